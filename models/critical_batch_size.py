"""The critical batch size: from loss curves to steps to a target, to a fit of steps against batch size, to B*.

    reached = steps_to_target(rows, target=3.6)                             # one Crossing per batch size and seed
    found = fit([c.batch_size for c in reached], [c.steps for c in reached])
    b_star = cbs(found, overhead=0.2, b_opt=8)                              # sequences

A run of batch size B needs f(B) = a + b / B**alpha steps to a target loss: b / B while gradients are noisy and a larger batch averages the
noise away, a once they are not. B* is where it costs `overhead` more tokens than at b_opt, a batch of the linear regime:

    f(B*) B* = (1 + overhead) f(b_opt) b_opt,    with alpha = 1:    B* = (1 + overhead) b_opt + overhead * b / a

The first term is a convention, the second (McCandlish et al.'s noise scale b / a) was measured: `cbs` refuses a B* that is mostly convention.
Batch sizes are sequences here, but any unit will do. Source: Zhang et al., How Does Critical Batch Size Scale in Pre-training?, arXiv
2410.21676, sections 2 and 3; f with alpha = 1: McCandlish et al., An Empirical Model of Large-Batch Training, arXiv 1812.06162, section 2.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.optimize import brentq, least_squares

LEAST_RATIO = 1.5
"""B* must be so many times the constant (1 + overhead) b_opt: below, a third of it and less was measured."""

LINEAR_TOLERANCE = 0.15
"""A batch is linear if its steps fall to the next larger measured one as B^-s with s within this of 1."""

VANISHING = 1e-3
"""A floor a below this share of the fewest steps is none: the data never leave the linear regime."""

PUBLISHED_BATCH_SIZES = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
PUBLISHED_STEPS = {
    85: (46_000, 23_000, 13_282, 7_000, 3_840, 2_528, 1_917, 1_600, 1_600),
    151: (96_000, 49_000, 24_000, 12_000, 7_128, 4_350, 2_940, 2_400, 2_300),
    302: (196_000, 90_000, 46_000, 23_400, 13_300, 7_224, 4_980, 3_400, 2_879),
    604: (311_000, 166_000, 81_000, 37_440, 21_320, 11_400, 7_199, 4_700, 3_800),
    1200: (642_000, 331_000, 176_000, 94_000, 46_500, 25_000, 15_360, 8_900, 6_500),
}
"""Millions of parameters -> steps to its target loss at each batch size, sequences of 512 tokens: what Zhang et al. fitted (their notebook)."""


class Crossing(NamedTuple):
    """When the best of the runs of one batch size and seed reached the target."""

    batch_size: int
    seed: int
    steps: float
    """Interpolated; where censored, all that is known: more than these ("above") or at most these ("below")."""
    censored: Literal["", "above", "below"]
    """ "above": never reached; "below": reached before its first evaluation."""
    best: tuple[Any, ...] = ()
    """Values of the minimised keys of the curve that got there first."""


class Fit(NamedTuple):
    """f(B) = a + b / B**alpha steps, fitted to log steps."""

    a: float
    """Steps that no batch size saves."""
    b: float
    """With alpha = 1, sequences that a small batch needs in all."""
    alpha: float
    cov: np.ndarray
    """Covariance of (a, b), or (a, b, alpha) where alpha was free, to first order; nan without a spare point."""
    batch_sizes: tuple[float, ...] = ()
    """The distinct batch sizes fitted, ascending; () for a fit taken from print."""

    def steps(self, batch_size: float) -> float:
        """Steps to the target at a batch size."""
        return self.a + self.b / batch_size**self.alpha

    @property
    def b_noise(self) -> float:
        """(b / a)^(1 / alpha), the batch size of twice the floor's steps: McCandlish et al.'s noise scale."""
        return (self.b / self.a) ** (1 / self.alpha)


class Law(NamedTuple):
    """y = coefficient * x**exponent."""

    coefficient: float
    exponent: float


def steps_to_target(
    rows: Iterable[Mapping[str, Any]],
    target: float,
    *,
    over: tuple[str, ...] = ("lr", "ewa_decay"),
    step: str = "step",
    loss: str = "val_loss",
) -> list[Crossing]:
    """Steps to the target loss of every (batch_size, seed), the fewest over all curves that differ in the keys `over`.

    rows: evaluations with columns batch_size, seed, those of `over`, step and loss; a loss of None or nan (a diverged run) reaches nothing.
    Of a curve counts the first evaluation at or under the target, and the place between it and the one before is interpolated linearly in the
    logarithm of the step. Seeds are kept apart. Ordered by batch size and seed. Raises ValueError for a step below 1.
    """
    curves: dict[tuple[int, int], dict[tuple[Any, ...], list[tuple[int, float]]]] = {}
    for row in rows:
        value = math.inf if row[loss] is None or math.isnan(row[loss]) else row[loss]
        if row[step] < 1:
            raise ValueError(f"steps_to_target: an evaluation of batch size {row['batch_size']} has step {row[step]}; steps done count from 1")
        of_batch = curves.setdefault((row["batch_size"], row["seed"]), {})
        of_batch.setdefault(tuple(row[key] for key in over), []).append((row[step], value))
    crossings = []
    for (batch_size, seed), found in sorted(curves.items()):
        reached = [Crossing(batch_size, seed, *_crossing(sorted(curve), target), best) for best, curve in found.items()]
        first = min(reached, key=lambda c: (c.censored == "above", c.steps))  # a curve that never gets there is the answer only where none does
        early = any(c.censored == "below" for c in reached)  # a curve that began under the target may have been there before all others
        crossings.append(first._replace(censored="below") if early else first)
    return crossings


def fit(batch_sizes: Sequence[float], steps: Sequence[float], alpha: float | None = 1.0) -> Fit:
    """Least squares on log steps of log(a + b / B**alpha); alpha=None fits the exponent too. Seeds are simply more points.

    batch_sizes, steps: equally long and positive; two distinct batch sizes are needed, three where alpha is free. Raises ValueError
    otherwise, and where no floor a > 0 can be told from the data (all are in the linear regime). Leave censored points out knowingly.
    """
    sizes, logs = np.asarray(batch_sizes, float), np.log(_positive("steps", steps))
    _positive("batch_sizes", sizes)
    distinct, needed = np.unique(sizes), 2 if alpha is not None else 3
    if sizes.shape != logs.shape or len(distinct) < needed:
        raise ValueError(
            f"fit: {len(distinct)} distinct batch sizes ({len(sizes)} sizes, {len(logs)} steps) can not fix {needed} numbers; measure more batch sizes"
        )
    log_b = np.log(sizes)

    def predicted(theta: np.ndarray) -> np.ndarray:
        return np.logaddexp(theta[0], theta[1] - (theta[2] if alpha is None else alpha) * log_b)

    start = [logs.min(), logs[sizes.argmin()] + (alpha or 1.0) * log_b.min(), *([1.0] if alpha is None else [])]
    found = least_squares(lambda theta: predicted(theta) - logs, start, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=2000)
    a, b = math.exp(found.x[0]), math.exp(found.x[1])
    if a < VANISHING * math.exp(logs.min()):
        raise ValueError(
            f"fit: steps fall in proportion to the batch size up to {distinct[-1]:g}, the largest measured, so that no floor shows; measure larger ones"
        )
    spare = len(logs) - len(found.x)
    cov = np.full((len(found.x),) * 2, np.nan)
    if spare > 0:  # of (log a, log b, alpha), then to first order of (a, b, alpha)
        scale = np.array([a, b, 1.0][: len(found.x)])
        cov = np.linalg.pinv(found.jac.T @ found.jac) * (2 * found.cost / spare) * np.outer(scale, scale)
    return Fit(a, b, float(found.x[2]) if alpha is None else float(alpha), cov, tuple(distinct.tolist()))


def cbs(fit: Fit, overhead: float = 0.2, b_opt: float = 256.0, least_ratio: float = LEAST_RATIO, least_beyond: int = 2) -> float:
    """B*, the batch size that costs `overhead` more tokens than b_opt; in the unit of the fit's batch sizes.

    Refused with ValueError where B* < least_ratio * (1 + overhead) * b_opt, because then it says little but b_opt, and where fewer than
    `least_beyond` of the fitted batch sizes lie beyond it, because then the floor is a guess. 0 asks for it all the same.
    """
    if not (overhead > 0 and b_opt > 0):
        raise ValueError(f"cbs: overhead {overhead} and b_opt {b_opt} must be positive")
    limit = (1 + overhead) * fit.steps(b_opt) * b_opt
    # f(B) B >= a B, so the root is below limit / a; for alpha > 1 a second one lies below b_opt and does not count.
    b_star = brentq(lambda size: fit.steps(size) * size - limit, b_opt, limit / fit.a, xtol=1e-9, rtol=1e-14)
    constant = (1 + overhead) * b_opt
    if b_star < least_ratio * constant:
        raise ValueError(
            f"cbs: B* = {b_star:.4g} is less than {least_ratio:g} times {constant:.4g}, the constant {1 + overhead:g} * b_opt: it would measure the choice "
            f"b_opt = {b_opt:g}, not the runs; measure smaller linear batches and give a smaller b_opt, or ask for it with least_ratio=0"
        )
    beyond = sum(size > b_star for size in fit.batch_sizes)
    if fit.batch_sizes and beyond < least_beyond:
        raise ValueError(
            f"cbs: {beyond} of the batch sizes measured (up to {fit.batch_sizes[-1]:g}) lie beyond B* = {b_star:.4g}, {least_beyond} are needed to know the "
            "floor; measure larger batches, or ask for it with least_beyond=0"
        )
    return b_star


def smallest_linear_batch(batch_sizes: Sequence[float], steps: Sequence[float], tolerance: float = LINEAR_TOLERANCE) -> float:
    """The smallest batch shown to be linear, which is b_opt: to the next larger one steps fall as B^-s, |s - 1| <= tolerance.

    Steps of one batch size (seeds) are averaged in the logarithm. Raises ValueError where no batch size is linear.
    """
    means = mean_steps(batch_sizes, steps)
    slopes = {small: math.log(f / g) / math.log(large / small) for (small, f), (large, g) in pairwise(means.items())}
    for size, slope in slopes.items():
        if abs(slope - 1) <= tolerance:
            return size
    seen = ", ".join(f"{slope:.2f} at {size:g}" for size, slope in slopes.items()) or f"{len(means)} batch size"
    raise ValueError(f"smallest_linear_batch: no batch is linear within {tolerance:g} (steps fall as B^-s with s = {seen}); measure smaller batches")


def sensitivity(fit: Fit, overheads: Sequence[float] = (0.1, 0.2, 0.3, 0.5), b_opts: Sequence[float] = (64, 128, 256, 512)) -> list[dict[str, Any]]:
    """B* under every overhead and b_opt: rows {overhead, b_opt, b_star, refused}, b_star None and `refused` the reason where it is."""
    rows = []
    for overhead in overheads:
        for b_opt in b_opts:
            row: dict[str, Any] = {"overhead": overhead, "b_opt": b_opt, "b_star": None, "refused": ""}
            try:
                row["b_star"] = cbs(fit, overhead, b_opt)
            except ValueError as why:
                row["refused"] = str(why)
            rows.append(row)
    return rows


def power_law(x: Sequence[float], y: Sequence[float]) -> Law:
    """Least squares of a line through (log x, log y). ValueError for fewer than two distinct x and for what is not positive."""
    xs, ys = _positive("x", x), _positive("y", y)
    if xs.shape != ys.shape or len(np.unique(xs)) < 2:
        raise ValueError(f"power_law: {len(xs)} x and {len(ys)} y; give as many of both, with at least two different x")
    exponent, intercept = np.polyfit(np.log(xs), np.log(ys), 1)
    return Law(math.exp(intercept), float(exponent))


def mean_steps(batch_sizes: Sequence[float], steps: Sequence[float]) -> dict[float, float]:
    """Batch size -> geometric mean of its steps, batch sizes ascending."""
    sizes, logs = np.asarray(batch_sizes, float), np.log(_positive("steps", steps))
    return {float(size): float(np.exp(logs[sizes == size].mean())) for size in np.unique(sizes)}


def _crossing(curve: list[tuple[int, float]], target: float) -> tuple[float, Literal["", "above", "below"]]:
    """(steps, censored) of one curve of (step, loss) in order."""
    before: tuple[int, float] | None = None
    for step, loss in curve:
        if loss <= target:
            if before is None:
                return float(step), "below"
            # From a loss that is not finite there is no line: the target counts as reached at this evaluation.
            share = (before[1] - target) / (before[1] - loss) if math.isfinite(before[1]) else 1.0
            return math.exp(math.log(before[0]) + share * math.log(step / before[0])), ""
        before = (step, loss)
    return float(curve[-1][0]), "above"


def _positive(name: str, values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim != 1 or not np.all(np.isfinite(array)) or np.any(array <= 0):
        raise ValueError(f"{name} are {array.tolist()}; give positive numbers (leave censored runs out, and say so)")
    return array
