"""Item noise: how far a score of this model on this suite would move with another draw of questions.

All scores here (accuracy, centered accuracy, CORE, EXTENDED, category means) are linear in the task accuracies, and a task's
accuracy is a mean over its categories, each counted the same. So every question has a fixed weight w, its influence is
w (correct - mean of its category), and with S the sum of influences over a cluster (questions of one passage, in all tasks
that ask them) the variance is, over strata h (a category of a family of tasks) with m_h clusters,

    sum_h  m_h / (m_h - 1)  sum_{c in h}  S_c ** 2

which covers strata, shared passages and the covariance of tasks with the same questions in one formula. It is what a
bootstrap over clusters estimates (Wolter, Introduction to Variance Estimation, ch. 2 and 6). Degrees of freedom after
Satterthwaite. Where a task has fewer than five right or wrong answers its variance is at least that of (k + 2) / (n + 4)
(Agresti and Coull, Am. Stat. 52, 1998), since a count of zero knows no variance of its own.

Nothing here is about training: what another seed would give is `evaluation.statistics`, and the two are never merged.

Usage: `intervals = suite_intervals(read_items(table)); intervals.core.standard_error`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from .passages import family_of, row_ids
from .statistics import benjamini_hochberg
from .tasks import Task, load_tasks

FEW = 5  # fewer right (or wrong) answers than this and the plain variance is not trusted
suite_tasks = functools.cache(load_tasks)  # a board of 500 rows asks a thousand times
MIN_DEGENERATE = 20  # one answer for everything is no news below this many questions


@dataclass(frozen=True, slots=True)
class TaskItems:
    """The answers of one run to one task, in the order of its rows."""

    rows: np.ndarray
    """int64 [n]: position of the question in the task's file."""
    correct: np.ndarray
    """float64 [n]: 0 or 1, a mean over seeds, or a difference of two runs."""
    strata: np.ndarray
    """int64 [n]: code of the category, 0 .. K - 1 in the order of their names, which are `categories`."""
    categories: tuple[str, ...]
    clusters: np.ndarray
    """int64 [n]: equal for questions that share a passage, across the tasks of a family."""

    @property
    def accuracy(self) -> float:
        """Mean over categories of the mean over their questions."""
        return math.fsum(self.means()) / len(self.categories)

    def means(self) -> np.ndarray:
        """float64 [K]: the accuracy per category."""
        return np.bincount(self.strata, self.correct) / np.bincount(self.strata)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemInterval:
    """A score with its item noise alone: the 95 % interval over draws of questions, for one trained model."""

    estimate: float
    standard_error: float
    low: float
    high: float
    num_items: int
    num_clusters: int
    degrees: float
    """Satterthwaite's degrees of freedom of the standard error."""
    few: tuple[str, ...]
    """Tasks with fewer than five right or wrong answers, whose variance comes from (k + 2) / (n + 4)."""
    condition: str
    """What is held fixed, in words for the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteIntervals:
    """Item intervals of everything that one run shows."""

    tasks: dict[str, ItemInterval]
    """Accuracy by label."""
    centered: dict[str, ItemInterval]
    core: ItemInterval | None
    core_no_squad: ItemInterval | None
    extended: ItemInterval | None
    categories: dict[str, ItemInterval]
    """Mean centered accuracy of the categories that are complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDifference:
    """How two runs differ on the same questions; positive means the first is better."""

    score: str
    """A task's label, or core, extended, ..."""
    effect: float
    """Difference of accuracies (tasks) or of mean centered accuracies."""
    standard_error: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    """Tasks: Benjamini-Hochberg over the tasks compared. Aggregates: the raw p-value."""
    test: str
    """Its name for the page."""
    marked: bool
    """A difference after correction at 0.05."""


def condition_of(fewshot_seed: int, known_passages: bool = True) -> str:
    """The words beside every item interval."""
    words = f"this model, this suite, conditional on few-shot seed {fewshot_seed}"
    return words if known_passages else f"{words}; questions taken as independent, too narrow where passages are shared"


def read_items(table: pa.Table, labels: Sequence[str] | None = None) -> dict[str, TaskItems]:
    """Split a table of per-item results (task, category, row, correct, and cluster where it was written) into tasks.

    Without a `cluster` column every question is its own cluster, paired across a family by its row. `labels` defaults to
    the tasks of the suite. Raises ValueError for a missing column and for a question that is there twice.
    """
    for name in ("task", "category", "row", "correct"):
        if name not in table.column_names:
            raise ValueError(f"read_items: column {name!r} is missing (has: {', '.join(table.column_names)})")
    wanted = list(suite_tasks()) if labels is None else list(labels)
    labels_in, task = _codes(table.column("task"))
    rows = table.column("row").to_numpy().astype(np.int64)
    correct = table.column("correct").cast(pa.int8()).to_numpy().astype(np.float64)
    category_names, category = _codes(table.column("category"))
    clusters = table.column("cluster") if "cluster" in table.column_names else None
    found: dict[str, TaskItems] = {}
    for label in wanted:
        if label not in labels_in:
            continue
        at = np.flatnonzero(task == labels_in.index(label))
        at = at[np.argsort(rows[at], kind="stable")]
        if len(np.unique(rows[at])) != len(at):
            raise ValueError(f"read_items: {label} has a row twice; read the items of one run")
        present, codes = np.unique(category[at], return_inverse=True)
        names = [category_names[code] for code in present]
        order = np.argsort(names)  # codes follow the order of the names, whatever came first in the table
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        ids = None if clusters is None else clusters.take(pa.array(at))
        if ids is None or ids.null_count:
            ids = row_ids(label, rows[at].tolist())
        found[label] = TaskItems(
            rows[at], correct[at], place[codes], tuple(sorted(names)), np.asarray(ids, dtype=np.int64)
        )
    return found


def mean_items(runs: Sequence[Mapping[str, TaskItems]]) -> dict[str, TaskItems]:
    """The mean answer of several runs (seeds) to every question, for tasks and questions that all of them have."""
    mean = {}
    for label in runs[0]:
        if all(label in run and np.array_equal(run[label].rows, runs[0][label].rows) for run in runs):
            mean[label] = replace(runs[0][label], correct=np.mean([run[label].correct for run in runs], axis=0))
    return mean


def linear_interval(
    items: Mapping[str, TaskItems],
    coefficients: Mapping[str, float],
    offset: float = 0.0,
    condition: str = "",
    counts: bool = True,
    confidence: float = 0.95,
) -> ItemInterval:
    """The item interval of offset + sum of coefficient x accuracy; `counts` is False for differences of answers.

    Raises ValueError for no coefficients and for a coefficient of a task without items.
    """
    if not coefficients or set(coefficients) - set(items):
        raise ValueError(f"linear_interval: no items of {sorted(set(coefficients) - set(items))}; leave the task out")
    strata = _variances(items, coefficients)
    variance, few, shift = math.fsum(v for v, _ in strata.values()), [], 0.0
    squares = math.fsum(v * v / max(1, m - 1) for v, m in strata.values())
    for label, coefficient in coefficients.items():
        correct = items[label].correct
        right, count = float(correct.sum()), len(correct)
        if counts and min(right, count - right) < FEW:
            few.append(label)
            fair = (right + 2) / (count + 4)
            alone = math.fsum(v for v, _ in _variances(items, {label: coefficient}).values())
            extra = max(0.0, coefficient**2 * fair * (1 - fair) / (count + 4) - alone)
            variance, squares = variance + extra, squares + extra**2 / max(1, count - 1)
            shift += coefficient * (fair - items[label].accuracy)
    estimate = offset + math.fsum(c * items[label].accuracy for label, c in coefficients.items())
    degrees = variance**2 / squares if squares > 0 else math.inf
    error = math.sqrt(variance)
    half = -float(special.stdtrit(degrees, (1 - confidence) / 2)) * error if math.isfinite(degrees) else 0.0
    centre = estimate + shift  # Agresti and Coull centre the interval at (k + 2) / (n + 4); elsewhere the shift is zero
    return ItemInterval(
        estimate=estimate,
        standard_error=error,
        low=min(estimate, centre - half),
        high=max(estimate, centre + half),
        num_items=sum(len(items[label].correct) for label in coefficients),
        num_clusters=sum(m for _, m in strata.values()),
        degrees=degrees if math.isfinite(degrees) else 0.0,
        few=tuple(few),
        condition=condition,
    )


def score_coefficients(labels: Sequence[str], eval_version: str) -> dict[str, tuple[dict[str, float], float]]:
    """By score (core, core_no_squad, extended, category:<name>): coefficient per task and the offset.

    A mean over T tasks of (accuracy - b) / (1 - b) has coefficients 1 / (T (1 - b)) and offset -sum b / (T (1 - b)). Scores
    of which a task is not in `labels` are left out.
    """
    tasks = suite_tasks()
    groups: dict[str, list[Task]] = {
        "core": [task for task in tasks.values() if task.in_core],
        "core_no_squad": [task for task in tasks.values() if task.in_core and task.label != "squad"],
        "extended": list(tasks.values()),
    }
    for task in tasks.values():
        groups.setdefault(f"category:{task.category}", []).append(task)
    scores = {}
    for name, members in groups.items():
        if all(task.label in labels for task in members):
            chance = {task.label: getattr(task, f"baseline_{eval_version}") / 100 for task in members}
            weights = {label: 1 / (len(members) * (1 - b)) for label, b in chance.items()}
            scores[name] = (weights, -math.fsum(weights[label] * b for label, b in chance.items()))
    return scores


def suite_intervals(items: Mapping[str, TaskItems], eval_version: str = "v2", fewshot_seed: int = 1234) -> SuiteIntervals:
    """Every item interval of one run: tasks, centered, CORE, EXTENDED and category means (None or absent if incomplete)."""
    words, tasks = condition_of(fewshot_seed), suite_tasks()
    plain, centered = {}, {}
    for label in items:
        plain[label] = _within(linear_interval(items, {label: 1.0}, condition=words), 0.0, 1.0)
        if label in tasks:
            chance = getattr(tasks[label], f"baseline_{eval_version}") / 100
            centered[label] = affine(plain[label], 1 / (1 - chance), -chance / (1 - chance))
    scores = {
        name: linear_interval(items, weights, offset, words)
        for name, (weights, offset) in score_coefficients(list(items), eval_version).items()
    }
    return SuiteIntervals(
        tasks=plain,
        centered=centered,
        core=scores.get("core"),
        core_no_squad=scores.get("core_no_squad"),
        extended=scores.get("extended"),
        categories={name.partition(":")[2]: found for name, found in scores.items() if name.startswith("category:")},
    )


def affine(interval: ItemInterval, factor: float, offset: float) -> ItemInterval:
    """The interval of factor x score + offset, factor > 0."""
    return replace(
        interval,
        estimate=factor * interval.estimate + offset,
        standard_error=factor * interval.standard_error,
        low=factor * interval.low + offset,
        high=factor * interval.high + offset,
    )


def compare_items(
    first: Mapping[str, TaskItems], second: Mapping[str, TaskItems], eval_version: str = "v2", alpha: float = 0.05
) -> list[ItemDifference]:
    """Compare two runs question by question: every task that both answered, then the scores that are complete.

    A task whose questions stand alone is compared by McNemar's exact test, one with categories or shared passages by the
    cluster-robust paired difference, or, where fewer than ten clusters differ, by the exact sign test over those clusters.
    Task p-values are adjusted by Benjamini-Hochberg. Raises ValueError where two runs answered different questions.
    """
    shared = [label for label in first if label in second]
    differences: dict[str, TaskItems] = {}
    for label in shared:
        if not np.array_equal(first[label].rows, second[label].rows):
            raise ValueError(f"compare_items: the runs answered different questions of {label}; score both with one suite")
        differences[label] = replace(first[label], correct=first[label].correct - second[label].correct)
    tests = {label: _paired_test(differences[label], linear_interval(differences, {label: 1.0}, counts=False)) for label in shared}
    adjusted = benjamini_hochberg([p_value for p_value, _, _ in tests.values()])
    found = [
        _difference(label, interval, p_value, p_adjusted, name, alpha)
        for (label, (p_value, name, interval)), p_adjusted in zip(tests.items(), adjusted, strict=True)
    ]
    for score, (weights, _) in score_coefficients(shared, eval_version).items():
        interval = linear_interval(differences, weights, counts=False)
        p_value = _t_test(interval)
        found.append(_difference(score, interval, p_value, p_value, "paired difference over items, clustered", alpha))
    return found


def degenerate_answers(table: pa.Table) -> dict[str, str]:
    """By label: what is suspicious about a task's answers as a whole (the same choice for everything, nothing generated)."""
    answers: dict[str, list[Any]] = {}
    golds: dict[str, set[Any]] = {}
    columns = [table.column(name).to_pylist() for name in ("task", "prediction", "gold", "generated")]
    for task, prediction, gold, generated in zip(*columns, strict=True):
        if prediction is None and generated is None:
            continue  # language modeling: its answers are no choice and no text
        answers.setdefault(task, []).append(generated.strip() if prediction is None else prediction)
        golds.setdefault(task, set()).add(gold)
    found = {}
    for task, given in answers.items():
        if len(given) < MIN_DEGENERATE or len(set(given)) > 1:
            continue
        if isinstance(given[0], str):
            what = f"the same text {given[0][:20]!r}" if given[0] else "nothing"
            found[task] = f"generated {what} for all {len(given)} questions"
        elif len(golds[task]) > 1:
            found[task] = f"answered choice {given[0]} to all {len(given)} questions"
    return found


def _codes(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The distinct strings of a column (null is "") and the code of every row."""
    encoded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _variances(items: Mapping[str, TaskItems], coefficients: Mapping[str, float]) -> dict[tuple[str, str], tuple[float, int]]:
    """(family, category) -> (its share of the variance, its number of clusters)."""
    parts: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for label, coefficient in coefficients.items():
        task = items[label]
        sizes, means = np.bincount(task.strata), task.means()
        weights = coefficient / (len(task.categories) * sizes)
        influence = weights[task.strata] * (task.correct - means[task.strata])
        for code, category in enumerate(task.categories):
            at = task.strata == code if len(task.categories) > 1 else slice(None)
            parts.setdefault((family_of(label), category), []).append((task.clusters[at], influence[at]))
    found = {}
    for key, arrays in parts.items():
        clusters, influence = (np.concatenate([pair[i] for pair in arrays]) for i in (0, 1))
        names, codes = np.unique(clusters, return_inverse=True)
        sums = np.bincount(codes, influence)
        if len(names) == 1:  # one passage says nothing about passages: the questions stand in for them
            names, sums = clusters, influence
        count = len(names)
        found[key] = (count / (count - 1) * float(sums @ sums) if count > 1 else 0.0, count)
    return found


def _paired_test(items: TaskItems, interval: ItemInterval) -> tuple[float, str, ItemInterval]:
    names, codes = np.unique(items.clusters, return_inverse=True)
    alone = len(names) == len(items.correct)
    if len(items.categories) == 1 and alone and np.all(np.isin(items.correct, (-1.0, 0.0, 1.0))):
        return _sign_test(items.correct), "McNemar's exact test over items", interval
    sums = np.bincount(codes, items.correct)
    if np.count_nonzero(np.abs(sums) > 1e-12) < 10:
        return _sign_test(sums), "exact sign test over passages", interval
    return _t_test(interval), "paired difference over items, clustered", interval


def _sign_test(differences: np.ndarray) -> float:
    """Two-sided exact test that plus is as likely as minus; ties say nothing. With single items this is McNemar's."""
    plus, minus = int(np.sum(differences > 1e-12)), int(np.sum(differences < -1e-12))
    if plus == minus:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(plus, minus), plus + minus, 0.5)))


def _t_test(interval: ItemInterval) -> float:
    if interval.standard_error == 0:
        return 1.0 if interval.estimate == 0 else 0.0
    return 2 * float(special.stdtr(interval.degrees, -abs(interval.estimate) / interval.standard_error))


def _difference(
    score: str, interval: ItemInterval, p_value: float, p_adjusted: float, test: str, alpha: float
) -> ItemDifference:
    return ItemDifference(
        score=score,
        effect=interval.estimate,
        standard_error=interval.standard_error,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        p_adjusted=p_adjusted,
        test=test,
        marked=p_adjusted < alpha,
    )


def _within(interval: ItemInterval, low: float, high: float) -> ItemInterval:
    return replace(interval, low=max(low, interval.low), high=min(high, interval.high))
