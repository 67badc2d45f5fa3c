"""What runs of several batch sizes say of the critical batch size: target losses, fits per target and seed, the noise scale beside them.

    targets = choose_targets(sweep_rows)                      # losses that every batch size is bound to reach
    found = [measure(confirm_rows, target) for target in targets]
    found[-1].b_star, found[-1].refused

Rows are evaluations as dictionaries: batch_size, seed, lr, step, num_steps, num_tokens, ewa_decay (None for the weights themselves), val_loss
(None where the run diverged) and, where they were measured, grad_sq, part_grad_sq, part_size. Constant learning rate and averaged weights
make one run serve all targets (arXiv 2410.21676, section 2).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.critical_batch_size import Crossing, Fit, cbs, fit, smallest_linear_batch, steps_to_target
from models.gradient_noise_scale import Gradient, estimate

Row = Mapping[str, Any]

FRACTIONS = (0.5, 0.7, 0.85)
"""Targets are the losses of the slowest batch size at these shares of its steps: another seed may need a sixth more."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """B* at one target loss; what could not be measured is None, and `refused` says why."""

    target: float
    crossings: tuple[Crossing, ...]
    fit: Fit | None = None
    """Over all seeds."""
    b_opt: float | None = None
    """The smallest batch shown to be linear."""
    b_star: float | None = None
    seed_fits: dict[int, Fit] = field(default_factory=dict)
    refused: str = ""

    @property
    def misfits(self) -> dict[int, dict[int, float]]:
        """Batch size -> seed -> log(steps / steps of the fit)."""
        found: dict[int, dict[int, float]] = defaultdict(dict)
        for crossing in self.crossings if self.fit else ():
            found[crossing.batch_size][crossing.seed] = math.log(crossing.steps / self.fit.steps(crossing.batch_size))
        return dict(found)

    def seed_b_star(self, overhead: float) -> dict[int, float]:
        """Seed -> B* of its own fit, at the b_opt of all seeds; {} where B* was refused."""
        if self.b_star is None:
            return {}
        return {seed: cbs(one, overhead, self.b_opt, least_ratio=0, least_beyond=0) for seed, one in self.seed_fits.items()}


def choose_targets(rows: Iterable[Row], fractions: Sequence[float] = FRACTIONS) -> tuple[float, ...]:
    """Losses, falling, that every batch size reaches: those of the slowest one at `fractions` of its steps.

    Of a batch size counts its best loss so far over all its runs and averages; the slowest has the highest at its end. Raises ValueError for
    rows without a single loss.
    """
    curves: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    for row in rows:
        if row["val_loss"] is not None:
            curves[row["batch_size"]].append((row["step"], row["num_steps"], row["val_loss"]))
    if not curves:
        raise ValueError("choose_targets: no run was evaluated; all of them diverged, or there are none")
    slowest = max(curves.values(), key=lambda curve: min(loss for _, _, loss in curve))
    targets = []
    for fraction in fractions:
        reached = [loss for step, num_steps, loss in slowest if step <= fraction * num_steps]
        if reached:
            targets.append(min(reached))
    if not targets:
        raise ValueError(f"choose_targets: no evaluation lies in the first {max(fractions):g} of the steps of the slowest batch size; evaluate more often")
    return tuple(sorted(set(targets), reverse=True))


def measure(rows: Iterable[Row], target: float, overhead: float = 0.2) -> Measurement:
    """Fit steps to the target over all seeds, and seed by seed; B* unless one of the refusals of models.critical_batch_size applies."""
    crossings = tuple(steps_to_target(rows, target))
    censored = [c for c in crossings if c.censored]
    if censored:
        words = {"above": "had not reached it after {:.0f} steps", "below": "was below it at its first evaluation, step {:.0f}"}
        told = "; ".join(f"batch size {c.batch_size}, seed {c.seed} {words[c.censored].format(c.steps)}" for c in censored[:3])
        return Measurement(target, crossings, refused=f"{len(censored)} of {len(crossings)} runs are censored at loss {target:.3f} ({told})")
    sizes, steps = [c.batch_size for c in crossings], [c.steps for c in crossings]
    found: dict[str, Any] = {}
    try:
        found["fit"] = fit(sizes, steps)
        found["seed_fits"] = {
            seed: fit([c.batch_size for c in crossings if c.seed == seed], [c.steps for c in crossings if c.seed == seed])
            for seed in sorted({c.seed for c in crossings})
        }
        found["b_opt"] = smallest_linear_batch(sizes, steps)
        found["b_star"] = cbs(found["fit"], overhead, found["b_opt"])
    except ValueError as why:
        return Measurement(target, crossings, **found, refused=str(why).partition(": ")[2])
    return Measurement(target, crossings, **found)


@dataclass(frozen=True, slots=True)
class NoiseWindow:
    """Signal and noise of the gradient between two evaluations of a run."""

    batch_size: int
    seed: int
    step: int
    """Its last step."""
    num_tokens: int
    """Trained on until then."""
    num_windowed: int
    """Steps in the window."""
    progress: float
    """Share of the run's steps done at its end."""
    gradient: Gradient


def noise_windows(rows: Iterable[Row]) -> list[NoiseWindow]:
    """The windows of every run whose noise was measured, by batch size, seed and step."""
    raw = sorted(
        (row for row in rows if row["ewa_decay"] is None and row["part_grad_sq"] is not None),
        key=lambda row: (row["batch_size"], row["seed"], row["lr"], row["step"]),
    )
    windows, before = [], None
    for row in raw:
        run = (row["batch_size"], row["seed"], row["lr"])
        start = before[1] if before and before[0] == run else 0
        before = (run, row["step"])
        gradient = estimate(row["part_grad_sq"], row["grad_sq"], row["part_size"], row["batch_size"])
        progress = row["step"] / row["num_steps"]
        windows.append(NoiseWindow(row["batch_size"], row["seed"], row["step"], row["num_tokens"], row["step"] - start, progress, gradient))
    return windows


def noise_scale(windows: Iterable[NoiseWindow]) -> float:
    """Noise over signal of all the windows together, each counting with its steps; nan where the signal is not positive."""
    windows = list(windows)
    noise = sum(w.num_windowed * w.gradient.noise for w in windows)
    signal = sum(w.num_windowed * w.gradient.signal for w in windows)
    return Gradient(signal, noise).noise_scale


def noise_until(windows: Iterable[NoiseWindow], crossings: Iterable[Crossing]) -> dict[int, float]:
    """Seed -> noise scale of its runs until they reached the target, geometric mean over batch sizes; seeds where one drowned are left out."""
    stop = {(c.batch_size, c.seed): c.steps for c in crossings}
    return _by_seed(windows, lambda w: w.step - w.num_windowed < stop.get((w.batch_size, w.seed), 0.0))


def noise_growth(windows: Iterable[NoiseWindow]) -> dict[int, float]:
    """Seed -> noise scale of the last third of the steps over that of the first, geometric mean over batch sizes."""
    windows = list(windows)
    early, late = _by_seed(windows, lambda w: w.progress <= 1 / 3), _by_seed(windows, lambda w: w.progress > 2 / 3)
    return {seed: late[seed] / early[seed] for seed in early if seed in late}


def _by_seed(windows: Iterable[NoiseWindow], counts: Any) -> dict[int, float]:
    runs: dict[int, dict[int, list[NoiseWindow]]] = defaultdict(lambda: defaultdict(list))
    for window in windows:
        if counts(window):
            runs[window.seed][window.batch_size].append(window)
    scales = {seed: [noise_scale(of_run) for of_run in by_size.values()] for seed, by_size in runs.items()}
    return {seed: math.exp(sum(map(math.log, found)) / len(found)) for seed, found in sorted(scales.items()) if all(s > 0 for s in found)}
