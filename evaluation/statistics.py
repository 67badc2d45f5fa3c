"""Honest comparison of training runs: arms (curation strategies) x seeds, and accuracies against chance.

Two sources of noise are kept apart. Training noise (another seed gives another number) is estimated from the runs:
pooled over arms for the interval of one arm, as the residual of the two-way layout arms x seeds for differences, where
a seed shared by all arms (same initialisation, same order of batches) cancels. Item noise (another draw of test
questions) only decides whether an accuracy is above chance. Nothing here knows files, models or pages.

Sources: two-way layout, Box, Hunter and Hunter, Statistics for Experimenters, ch. 4 (randomised blocks); Holm,
A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979); Clopper and Pearson's tail sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

VARIANCE_UNKNOWN = "training variance unknown"

Scores = Mapping[str, Mapping[int, float]]
"""arm -> seed -> score of the run."""


@dataclass(frozen=True, slots=True)
class ArmInterval:
    """Mean of one arm over its seeds, with a t interval from the deviation pooled over arms."""

    arm: str
    num_seeds: int
    mean: float
    low: float | None
    """None (like `high`) when the arm has a single run: training variance unknown."""
    high: float | None


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better one arm did than another on the same seeds; `advantage` is never negative."""

    better: str
    worse: str
    advantage: float
    low: float
    """Interval at the level of the pair's Holm step: it excludes zero exactly when the adjusted test rejects."""
    high: float
    p_value: float
    p_adjusted: float
    decisive: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All paired differences of a balanced layout, and what may be claimed from them."""

    pairs: tuple[PairedDifference, ...]
    """Every pair once, the most significant first."""
    seeds: tuple[int, ...]
    """The seeds that all compared arms share."""
    residual_deviation: float | None
    degrees_of_freedom: int
    best: str | None
    """The compared arm with the best mean over the common seeds; None when nothing could be compared."""
    top: tuple[str, ...]
    """Arms that are not really worse than `best`, itself first; one name means a winner."""
    ranks: Mapping[str, int]
    """1 + number of arms that are really better; arms with equal rank are tied or not ordered by the evidence."""
    excluded: Mapping[str, str]
    """arm -> why it takes part in no test."""

    @property
    def winner(self) -> str | None:
        """The one arm that is really better than every other compared arm, or None."""
        return self.best if len(self.top) == 1 and len(self.ranks) > 1 else None


@dataclass(frozen=True, slots=True)
class TaskCount:
    """Right answers of one run on one task; `random_baseline` is a fraction in [0, 1)."""

    correct: float
    """Right answers, or their mean over seeds: seeds answer the same items, so their counts are never added up."""
    num_items: int
    random_baseline: float


@dataclass(frozen=True, slots=True)
class ChanceTest:
    """One-sided test that a score is above its random baseline."""

    p_value: float
    at_chance: bool

    def __str__(self) -> str:
        return "at chance" if self.at_chance else "above chance"


def pooled_deviation(scores: Scores) -> tuple[float | None, int]:
    """Return the within-arm standard deviation pooled over arms and its degrees of freedom, sum(n_i - 1)."""
    squares, degrees = 0.0, 0
    for runs in scores.values():
        mean = math.fsum(runs.values()) / len(runs) if runs else 0.0
        squares += math.fsum((value - mean) ** 2 for value in runs.values())
        degrees += max(len(runs) - 1, 0)
    return (math.sqrt(squares / degrees), degrees) if degrees else (None, 0)


def arm_intervals(scores: Scores, confidence: float = 0.95) -> dict[str, ArmInterval]:
    """Return each arm's mean and t interval, mean +- t * s_pooled / sqrt(n_i); an arm with one run has no interval.

    Raises ValueError for an arm without runs and for a score that is not finite.
    """
    _check(scores)
    deviation, degrees = pooled_deviation(scores)
    intervals = {}
    for arm, runs in scores.items():
        mean = math.fsum(runs.values()) / len(runs)
        if len(runs) < 2 or deviation is None:
            intervals[arm] = ArmInterval(arm, len(runs), mean, None, None)
            continue
        half = _t_quantile(degrees, (1 - confidence) / 2) * deviation / math.sqrt(len(runs))
        intervals[arm] = ArmInterval(arm, len(runs), mean, mean - half, mean + half)
    return intervals


def compare_arms(scores: Scores, lower_is_better: bool, alpha: float = 0.05) -> Comparison:
    """Return the paired differences of all arms over their common seeds, Holm-adjusted at `alpha` over the pairs.

    Model: score = arm + seed + noise. With a arms and n common seeds the residual has (a - 1)(n - 1) degrees of
    freedom and a difference of two means has standard error s * sqrt(2 / n). For two arms this is the paired t test.
    An arm with one run, or one that shares fewer than two seeds with the arms before it (more seeds first, then by
    name), is excluded with the reason. Raises ValueError like `arm_intervals`.
    """
    _check(scores)
    arms, seeds, excluded = _balanced_layout(scores)
    if len(arms) < 2:
        excluded |= {arm: "no other strategy to compare with" for arm in arms}
        return Comparison((), tuple(seeds), None, 0, None, (), {}, excluded)
    means = {arm: math.fsum(scores[arm][seed] for seed in seeds) / len(seeds) for arm in arms}
    deviation, degrees = _residual_deviation(scores, arms, seeds)
    if deviation <= 1e-12 * max(abs(mean) for mean in means.values()):
        # Runs that never vary are copies of each other (a seed that does nothing), not evidence without noise.
        excluded |= {arm: "the runs do not vary with the seed" for arm in arms}
        return Comparison((), tuple(seeds), deviation, degrees, None, (), {}, excluded)

    sign = -1.0 if lower_is_better else 1.0
    order = sorted(arms, key=lambda arm: (-sign * means[arm], arm))
    pairs = _holm_pairs(order, {arm: sign * means[arm] for arm in arms}, deviation, degrees, len(seeds), alpha)
    beaten_by: dict[str, list[str]] = {arm: [] for arm in order}
    for pair in pairs:
        if pair.decisive:
            beaten_by[pair.worse].append(pair.better)
    # Equal standard errors make this consistent: an arm that any arm really beats is really beaten by the best too.
    return Comparison(
        pairs=tuple(pairs),
        seeds=tuple(seeds),
        residual_deviation=deviation,
        degrees_of_freedom=degrees,
        best=order[0],
        top=tuple(arm for arm in order if not beaten_by[arm]),
        ranks={arm: 1 + len(beaten_by[arm]) for arm in order},
        excluded=excluded,
    )


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the given order: running maximum of (m - k) * p_(k), at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - step) * p_values[i]))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the false discovery rate, in the given order: running minimum of m / k * p_(k) from above.

    Of what is marked at an adjusted 0.05, at most 5 % is expected to be marked by luck (independent or positively dependent
    tests). Source: Benjamini and Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57 (1995).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i], reverse=True)
    adjusted, running = [0.0] * len(p_values), 1.0
    for step, i in enumerate(order):
        running = min(running, p_values[i] * len(order) / (len(order) - step))
        adjusted[i] = running
    return adjusted


def chance_test(count: TaskCount, alpha: float = 0.05) -> ChanceTest:
    """Return the exact one-sided binomial test of `correct` right answers out of `num_items` against the baseline.

    A mean over seeds is rounded down, which errs towards "at chance". With a baseline of zero one right answer is
    already above chance. Raises ValueError for counts or baselines out of range.
    """
    _check_count(count)
    right = math.floor(count.correct + 1e-9)
    if right == 0:
        p_value = 1.0
    else:  # P(X >= c) for X ~ Binomial(n, b) is the regularised incomplete beta function I_b(c, n - c + 1)
        p_value = float(special.betainc(right, count.num_items - right + 1, count.random_baseline))
    return ChanceTest(p_value, p_value >= alpha)


def centered_chance_test(counts: Sequence[TaskCount], alpha: float = 0.05) -> ChanceTest:
    """Return the one-sided test that a mean of centered accuracies, (acc - b) / (1 - b), is above zero.

    Under chance the centered accuracy of a task has mean 0 and variance b / (n (1 - b)); the mean over K tasks is
    compared with a normal of variance sum / K^2. Tasks with baseline zero have no variance under chance and only
    add to the mean. Raises ValueError for an empty list and for counts out of range.
    """
    if not counts:
        raise ValueError("centered_chance_test: no task counts; give at least one task")
    total, variance = 0.0, 0.0
    for count in counts:
        _check_count(count)
        total += centered_accuracy(count.correct / count.num_items, count.random_baseline)
        variance += count.random_baseline / (count.num_items * (1 - count.random_baseline))
    if variance > 0:
        p_value = float(special.ndtr(-total / math.sqrt(variance)))
    else:
        p_value = 0.0 if total > 0 else 1.0
    return ChanceTest(p_value, p_value >= alpha)


def centered_accuracy(accuracy: float, random_baseline: float) -> float:
    """Return (accuracy - baseline) / (1 - baseline): 0 is chance, 1 is perfect (DCLM, 2406.11794, section 3.5)."""
    return (accuracy - random_baseline) / (1 - random_baseline)


def _balanced_layout(scores: Scores) -> tuple[list[str], list[int], dict[str, str]]:
    arms: list[str] = []
    seeds: set[int] = set()
    excluded = {}
    for arm in sorted(scores, key=lambda arm: (-len(scores[arm]), arm)):
        if len(scores[arm]) < 2:
            excluded[arm] = f"one run, {VARIANCE_UNKNOWN}"
            continue
        common = seeds & set(scores[arm]) if arms else set(scores[arm])
        if len(common) < 2:
            excluded[arm] = f"shares {len(common)} of its seeds with the other strategies; two are needed"
            continue
        arms.append(arm)
        seeds = common
    return arms, sorted(seeds), excluded


def _residual_deviation(scores: Scores, arms: Sequence[str], seeds: Sequence[int]) -> tuple[float, int]:
    arm_means = {arm: math.fsum(scores[arm][seed] for seed in seeds) / len(seeds) for arm in arms}
    seed_means = {seed: math.fsum(scores[arm][seed] for arm in arms) / len(arms) for seed in seeds}
    grand = math.fsum(arm_means.values()) / len(arms)
    squares = math.fsum(
        (scores[arm][seed] - arm_means[arm] - seed_means[seed] + grand) ** 2 for arm in arms for seed in seeds
    )
    degrees = (len(arms) - 1) * (len(seeds) - 1)
    return math.sqrt(squares / degrees), degrees


def _holm_pairs(
    order: Sequence[str], merit: Mapping[str, float], deviation: float, degrees: int, num_seeds: int, alpha: float
) -> list[PairedDifference]:
    error = deviation * math.sqrt(2 / num_seeds)
    first, second = np.triu_indices(len(order), 1)  # `order` is best first, so first is the better one
    gap = np.array([merit[arm] for arm in order])
    gap = gap[first] - gap[second]
    by_name = np.argsort(np.argsort(order))
    steps = np.lexsort((by_name[second], by_name[first], -gap))  # equal standard errors: largest gap, smallest p-value
    first, second, gap, count = first[steps], second[steps], gap[steps], len(steps)
    p_values = np.minimum(1.0, 2 * special.stdtr(degrees, -gap / error))
    adjusted = np.maximum.accumulate(np.minimum(1.0, (count - np.arange(count)) * p_values))
    decisive = adjusted < alpha
    # The level opens by one step per rejection and stays where the first pair failed, so that an interval excludes zero
    # exactly when its pair is rejected (all pairs have the same standard error).
    level = alpha / (count - np.minimum(np.arange(count), decisive.sum()).clip(max=count - 1))
    half = -special.stdtrit(degrees, level / 2) * error
    columns = (gap, gap - half, gap + half, p_values, adjusted, decisive)
    return [
        PairedDifference(order[a], order[b], *facts)
        for a, b, *facts in zip(first.tolist(), second.tolist(), *(column.tolist() for column in columns), strict=True)
    ]


def _t_quantile(degrees: int, tail: float) -> float:
    return -float(special.stdtrit(degrees, tail))


def _check(scores: Scores) -> None:
    for arm, runs in scores.items():
        if not runs:
            raise ValueError(f"statistics: arm {arm!r} has no runs; leave it out or give at least one seed")
        for seed, value in runs.items():
            if not math.isfinite(value):
                raise ValueError(f"statistics: arm {arm!r} seed {seed} has score {value}; leave diverged arms out")


def _check_count(count: TaskCount) -> None:
    if count.num_items < 1 or not 0 <= count.correct <= count.num_items:
        raise ValueError(f"statistics: {count.correct} right answers out of {count.num_items} is not possible")
    if not 0 <= count.random_baseline < 1:
        raise ValueError(
            f"statistics: random_baseline is {count.random_baseline}; it is a fraction in [0, 1), divide percents by 100"
        )
