"""Are two training recipes comparable, different, or is it not known? Contrasts of arm means with a deviation pooled over all arms.

    losses = {"adamw": {1: 3.31, 2: 3.30}, "sgd": {1: 3.72, 2: None}}       # arm -> seed -> final loss; None = diverged
    compare(losses, "sgd", "adamw").verdict                                  # "comparable", "different" or "undecided"

Failing to find a difference is no evidence of equality: "comparable" has to be shown, by two one-sided tests (TOST) at 5 % that the
difference lies within the margin; "different" by a test at 5 % that it lies beyond. With 3 to 5 seeds an arm's own deviation is worth
little, so the deviation is pooled over arms and intervals are t intervals; there are too few seeds for a bootstrap. Seeds that arms share
(initialisation, order of the data) are not paired, which can only widen an interval of positively correlated runs.

Source: Schuirmann, J. Pharmacokin. Biopharm. 15 (1987); pooled deviation as in evaluation/statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import special

from evaluation import statistics

COMPARABLE, DIFFERENT, UNDECIDED = "comparable", "different", "undecided"

Losses = Mapping[str, Mapping[int, float | None]]
"""arm -> seed -> final loss in nats; None for a run that diverged, which is counted and enters no mean."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """An estimate with its standard error and the degrees of freedom behind that."""

    estimate: float
    error: float
    df: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The t interval, estimate -+ t * error."""
        half = -float(special.stdtrit(self.df, (1 - confidence) / 2)) * self.error
        return self.estimate - half, self.estimate + half

    def p_above(self, limit: float) -> float:
        """P-value of the one-sided test that the true value is above `limit`."""
        return float(special.stdtr(self.df, -(self.estimate - limit) / self.error))

    def p_below(self, limit: float) -> float:
        """P-value of the one-sided test that the true value is below `limit`."""
        return float(special.stdtr(self.df, (self.estimate - limit) / self.error))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What may be said of a difference against a margin."""

    verdict: str
    """COMPARABLE, DIFFERENT or UNDECIDED."""
    difference: float
    low: float
    """Ends of the 1 - 2 alpha interval, which lies inside the margins exactly when the verdict is COMPARABLE (no run diverged)."""
    high: float
    p_comparable: float
    """Larger p-value of the two one-sided tests that the difference is inside the margins."""
    p_different: float
    """P-value of the test that it is outside: the largest over all true differences inside."""


@dataclass(frozen=True, slots=True)
class ArmMean:
    """An arm over its seeds; mean and interval are None where no run was finished."""

    mean: float | None
    low: float | None
    high: float | None
    num_finished: int
    num_diverged: int


def pooled_deviation(losses: Losses) -> tuple[float, int]:
    """Within-arm standard deviation pooled over arms, and its degrees of freedom, sum(n_i - 1) over finished runs.

    Raises ValueError where no arm has two finished runs, and where runs never vary: copies of each other are no evidence.
    """
    deviation, df = statistics.pooled_deviation({arm: _finished(runs) for arm, runs in losses.items()})
    if deviation is None:
        raise ValueError(f"equivalence: none of {len(losses)} arms has two finished runs; give at least two seeds to one of them")
    if deviation <= 0:
        raise ValueError(f"equivalence: {df + len(losses)} runs of {len(losses)} arms do not vary with the seed; give runs that differ")
    return deviation, df


def t_interval(mean: float, deviation: float, n: int, df: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean of n runs: mean -+ t_df * deviation / sqrt(n)."""
    return Contrast(mean, deviation / math.sqrt(n), df).interval(confidence)


def tost(difference: float, deviation: float, n_a: int, n_b: int, df: int, margin: float = 0.02, alpha: float = 0.05) -> Comparison:
    """Judge a difference of two means of n_a and n_b runs against a margin (all in nats); `deviation` is that of one run, with `df`."""
    return against_margin(Contrast(difference, deviation * math.sqrt(1 / n_a + 1 / n_b), df), margin, alpha)


def against_margin(contrast: Contrast, margin: float, alpha: float = 0.05) -> Comparison:
    """Judge a contrast: comparable if shown to be inside -+margin, different if shown to be outside, else undecided.

    Raises ValueError for a margin or a standard error that is not positive.
    """
    if not (margin > 0 and contrast.error > 0):
        raise ValueError(f"equivalence: margin {margin} and standard error {contrast.error} must be positive")
    p_comparable = max(contrast.p_above(-margin), contrast.p_below(margin))
    size = Contrast(abs(contrast.estimate), contrast.error, contrast.df)
    p_different = size.p_above(margin) + size.p_above(-margin)  # of |estimate| this large by chance, on either side, if the truth lies on the margin
    verdict = COMPARABLE if p_comparable < alpha else DIFFERENT if p_different < alpha else UNDECIDED
    return Comparison(verdict, contrast.estimate, *contrast.interval(1 - 2 * alpha), p_comparable, p_different)


def contrast(losses: Losses, weights: Mapping[str, float]) -> Contrast:
    """A weighted sum of arm means with the pooled deviation: {"a": 1, "b": -1} is the difference a - b.

    An arm of which every run diverged has the mean infinity, so that it is worse than any other. Raises ValueError for an unknown arm, for a
    sum of plus and minus infinity, and like `pooled_deviation`.
    """
    deviation, df = pooled_deviation(losses)
    estimate = variance = 0.0
    for arm, weight in weights.items():
        if not losses.get(arm):
            raise ValueError(f"equivalence: there is no arm '{arm}' (arms: {', '.join(losses)})")
        runs = _finished(losses[arm])
        estimate += weight * (math.fsum(runs.values()) / len(runs) if runs else math.inf)
        variance += weight**2 / len(losses[arm] if not runs else runs)
    if math.isnan(estimate):
        raise ValueError(f"equivalence: every run of two of the arms {', '.join(weights)} diverged; there is nothing to compare")
    return Contrast(estimate, deviation * math.sqrt(variance), df)


def compare(losses: Losses, arm: str, reference: str, margin: float = 0.02, alpha: float = 0.05) -> Comparison:
    """Judge arm - reference, divergence counted: arms that lose different shares of their runs are never called comparable."""
    judged = against_margin(contrast(losses, {arm: 1, reference: -1}), margin, alpha)
    if judged.verdict == COMPARABLE and diverged_share(losses[arm]) != diverged_share(losses[reference]):
        return Comparison(UNDECIDED, judged.difference, judged.low, judged.high, judged.p_comparable, judged.p_different)
    return judged


def arm_means(losses: Losses, confidence: float = 0.95) -> dict[str, ArmMean]:
    """Mean and t interval of every arm, with the pooled deviation, and how many of its runs diverged."""
    deviation, df = pooled_deviation(losses)
    means = {}
    for arm, runs in losses.items():
        finished = _finished(runs)
        mean = math.fsum(finished.values()) / len(finished) if finished else None
        low, high = (None, None) if mean is None else t_interval(mean, deviation, len(finished), df, confidence)
        means[arm] = ArmMean(mean, low, high, len(finished), len(runs) - len(finished))
    return means


def diverged_share(runs: Mapping[int, float | None]) -> float:
    """Share of an arm's runs that diverged."""
    return sum(loss is None for loss in runs.values()) / len(runs)


def _finished(runs: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: loss for seed, loss in runs.items() if loss is not None}
