"""How much it costs to miss the best learning rate: from one sweep per optimizer, losses over a grid of learning rates.

    stability = lr_stability({1e-3: 3.41, 3.16e-3: 3.33, 1e-2: None}, init_loss=6.24)      # None = diverged
    stability.decades, stability.sensitivity

Two measures. `decades`: the width of the learning rates whose loss is within `slack` of the sweep's best, straight lines between grid points.
`sensitivity`: the mean over the grid of min(loss, loss at initialisation) - best, where a diverged run counts as the loss at initialisation.

Source: Wortsman et al. 2309.14322 (sensitivity); Zhao et al. 2407.07972 (the sweeps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Stability:
    """A sweep in a few numbers."""

    best_lr: float
    best_loss: float
    decades: float
    """Decades of learning rate within the slack of the best."""
    at_edge: bool
    """The width reaches an end of the grid, so that it is a lower bound."""
    sensitivity: float
    """Nats."""
    num_lrs: int
    num_diverged: int


def lr_stability(losses: Mapping[float, float | None], init_loss: float, slack: float = 0.05) -> Stability:
    """Measure a sweep: lr -> final loss, None if diverged. ValueError for fewer than 2 learning rates and where every run diverged."""
    lrs = sorted(losses)
    if len(lrs) < 2 or all(losses[lr] is None for lr in lrs):
        raise ValueError(f"lr_stability: {len(lrs)} learning rates, {sum(losses[lr] is not None for lr in lrs)} of them finished; sweep at least two")
    capped = np.array([init_loss if losses[lr] is None else min(losses[lr], init_loss) for lr in lrs])
    best = int(capped.argmin())
    x = np.log10(lrs)
    low, high = _within(x, capped, best, slack)
    return Stability(
        best_lr=lrs[best],
        best_loss=float(capped[best]),
        decades=high - low,
        at_edge=bool(low == x[0] or high == x[-1]),
        sensitivity=float((capped - capped[best]).mean()),
        num_lrs=len(lrs),
        num_diverged=sum(loss is None for loss in losses.values()),
    )


def decades_difference(
    losses: Mapping[float, float | None], reference: Mapping[float, float | None], init_loss: float, deviation: float, slack: float = 0.05
) -> tuple[float, np.ndarray]:
    """Difference of two sweeps' widths in decades, and DRAWS of it with the noise of a run (`deviation`, nats) added to both.

    Divergence is held fixed: the draws know nothing of whether another seed would have diverged.
    """
    rng = np.random.default_rng(0)

    def noisy(sweep: Mapping[float, float | None]) -> dict[float, float | None]:
        return {lr: None if loss is None else loss + rng.normal(0, deviation) for lr, loss in sweep.items()}

    def width(sweep: Mapping[float, float | None]) -> float:
        return lr_stability(sweep, init_loss, slack).decades

    drawn = [width(noisy(losses)) - width(noisy(reference)) for _ in range(DRAWS)]
    return width(losses) - width(reference), np.array(drawn)


def _within(x: np.ndarray, y: np.ndarray, best: int, slack: float) -> tuple[float, float]:
    """The ends of the interval around x[best] in which the straight lines through (x, y) stay at or below y[best] + slack."""
    ends = []
    for step, last in ((-1, 0), (1, len(x) - 1)):
        at = best
        while at != last and y[at + step] <= y[best] + slack:
            at += step
        if at == last:
            ends.append(float(x[at]))
        else:
            share = (y[best] + slack - y[at]) / (y[at + step] - y[at])
            ends.append(float(x[at] + share * (x[at + step] - x[at])))
    return ends[0], ends[1]
