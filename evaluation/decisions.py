"""Decision accuracy: how often the better of two datasets at a small scale is the better one at a large scale.

What a small-scale comparison is for (DataDecide, arXiv 2504.11393). Of all pairs of datasets that were trained at both
scales, the share ordered alike; its interval resamples datasets, since pairs share them and are far from independent. Below
eight datasets a share of so few pairs would be noise: the pairs are listed instead.

One recipe per scale, by a rule that looks at no score: the (learning rate, weight decay) with which most datasets were
trained at that scale (ties: the larger learning rate); of several runs of a dataset with it, the latest. A dataset without
such a run takes no part, because the learning rate moves CORE by more than many filters do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

MIN_DATASETS = 8
LOWER_IS_BETTER = frozenset({"val_bpb", "core_bpb"})
RULE = "one recipe per scale: the learning rate and weight decay with which most datasets were trained there"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPair:
    """Two datasets at two scales; the first is the better one at the large scale."""

    better: str
    worse: str
    small: float
    """Advantage of `better` at the small scale; negative where the small scale decides wrongly."""
    large: float
    """Its advantage at the large scale, never negative."""
    agrees: bool | None
    """None where they tie at one scale only: such a pair counts half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Decision accuracy of one scale for another, or the pairs where there are too few datasets for a number."""

    small_scale: str
    large_scale: str
    metric: str
    rule: str
    recipes: dict[str, str]
    """Scale -> the recipe that the rule chose."""
    datasets: list[str]
    left_out: dict[str, str]
    """dataset -> why it takes no part."""
    accuracy: float | None
    """Share of pairs that agree; None below eight datasets."""
    low: float | None
    """Percentile interval at 95 % over resampled datasets."""
    high: float | None
    num_pairs: int
    pairs: list[DecisionPair]
    """Every pair, the largest disagreement first."""


def decision_accuracy(
    small: Mapping[str, float], large: Mapping[str, float], higher_is_better: bool = True, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Share of pairs of the common keys ordered alike, and its 95 % interval by resampling keys.

    A tie at one scale only counts half: it decides like a coin. In a resample a dataset drawn twice makes no pair with
    itself. Raises ValueError below two common keys.
    """
    names = sorted(set(small) & set(large))
    if len(names) < 2:
        raise ValueError(f"decision_accuracy: {len(names)} dataset in common; at least two are needed")
    sign = 1.0 if higher_is_better else -1.0
    s, t = (sign * np.array([scores[name] for name in names]) for scores in (small, large))
    product = np.sign(s[:, None] - s) * np.sign(t[:, None] - t)
    both_tied = (s[:, None] == s) & (t[:, None] == t)
    agree = np.where(both_tied, 1.0, (product + 1) / 2)
    np.fill_diagonal(agree, 0.0)
    n = len(names)
    accuracy = float(agree.sum() / (n * (n - 1)))
    # A resample is a vector of multiplicities: sum over pairs of different datasets of count_i count_j agree_ij.
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    weight = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
    hits = np.einsum("ri,ij,rj->r", counts, agree, counts)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(hits, (0.025, 0.975))
    return accuracy, float(low), float(high)


def decide(
    rows: Sequence[Mapping[str, Any]],
    small_scale: str,
    large_scale: str,
    metric: str = "core",
    min_datasets: int = MIN_DATASETS,
) -> Decisions:
    """Decision accuracy from rows with dataset, scale, lr, wd, date, source and the metric (see `published.read_published`).

    Rows without the metric, or that name it in `unusable`, take no part. The result is the same for any order of the rows.
    """
    scores: dict[str, dict[str, float]] = {}
    recipes: dict[str, str] = {}
    seen: dict[str, set[str]] = {}
    for scale in (small_scale, large_scale):
        here = [r for r in rows if r["dataset"] and r["scale"].lower() == scale.lower()]
        here = [r for r in here if r.get(metric) is not None and metric not in r.get("unusable", ())]
        seen[scale] = {row["dataset"] for row in here}
        recipe = _most_common_recipe(here)
        recipes[scale] = "the recipe of the scale" if recipe == (None, None) else "lr {:g}, wd {:g}".format(*recipe) if recipe else "none"
        latest = sorted((r for r in here if (r["lr"], r["wd"]) == recipe), key=lambda r: (r["date"], r["source"]))
        scores[scale] = {row["dataset"]: row[metric] for row in latest}  # the last one wins: the latest evaluation
    small, large = scores[small_scale], scores[large_scale]
    datasets = sorted(set(small) & set(large))
    left_out = {
        name: " and ".join(f"no run at {scale} with {recipes[scale]}" for scale in (small_scale, large_scale) if name not in scores[scale])
        for name in sorted(seen[small_scale] & seen[large_scale])
        if name not in datasets
    }
    higher_is_better = metric not in LOWER_IS_BETTER
    pairs = _pairs(datasets, small, large, 1.0 if higher_is_better else -1.0)
    number: tuple[float | None, float | None, float | None] = (None, None, None)
    if len(datasets) >= max(2, min_datasets):
        number = decision_accuracy({d: small[d] for d in datasets}, {d: large[d] for d in datasets}, higher_is_better)
    return Decisions(
        small_scale=small_scale, large_scale=large_scale, metric=metric, rule=RULE, recipes=recipes, datasets=datasets,
        left_out=left_out, accuracy=number[0], low=number[1], high=number[2], num_pairs=math.comb(len(datasets), 2), pairs=pairs,
    )  # fmt: skip


def _most_common_recipe(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None] | None:
    """(lr, wd) of most datasets; a row that names none was trained by the recipe of its scale, which is (None, None)."""
    datasets: dict[tuple[float | None, float | None], set[str]] = {}
    for row in rows:
        if (row["lr"] is None) == (row["wd"] is None):
            datasets.setdefault((row["lr"], row["wd"]), set()).add(row["dataset"])
    return max(datasets, key=lambda recipe: (len(datasets[recipe]), recipe[0] or 0.0, recipe[1] or 0.0)) if datasets else None


def _pairs(names: Sequence[str], small: Mapping[str, float], large: Mapping[str, float], sign: float) -> list[DecisionPair]:
    found = []
    for a, b in combinations(names, 2):
        better, worse = (a, b) if sign * (large[a] - large[b]) >= 0 else (b, a)
        gain, gap = sign * (small[better] - small[worse]), sign * (large[better] - large[worse])
        agrees = None if (gain == 0) != (gap == 0) else gain > 0 or gap == 0
        found.append(DecisionPair(better=better, worse=worse, small=gain, large=gap, agrees=agrees))
    return sorted(found, key=lambda p: (p.small, -p.large, p.better, p.worse))
