"""From per-item results to task accuracies, and from those to CORE, EXTENDED, MMLU and the category means.

Pure functions. Centered accuracy = (accuracy - b) / (1 - b) with the task's random baseline b: 0 is chance, 1 is perfect, and
nothing is clipped. CORE is its mean over the 22 core tasks, EXTENDED over all 53 (DataComp-LM, arXiv 2406.11794, section 3).
Version v2 corrects 12 baselines of v1; the two are never mixed. An incomplete mean is None: it never shrinks to what is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from .tasks import Task, load_tasks

EVAL_VERSIONS = ("v1", "v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What the leaderboard shows of one evaluation."""

    core: float | None
    """Mean centered accuracy over the 22 CORE tasks; None unless all are there."""
    core_no_squad: float | None = None
    """The mean over the 21 CORE tasks other than squad: `CORE-21 (no squad)`, another metric that is never ranked with CORE."""
    extended: float | None
    """The same over all 53 tasks."""
    mmlu: float | None
    """Raw accuracy of mmlu_fewshot."""
    categories: dict[str, float | None]
    """Mean centered accuracy per category; None where one of its tasks is missing."""
    missing: list[str]
    """Tasks without an accuracy, in the order of the suite."""
    ignored: list[str]
    """Given keys that are no task of the suite, sorted."""


def accuracies(items: pa.Table) -> dict[str, float]:
    """Accuracy per task from columns task, category, correct; tasks with categories count each category the same.

    Raises ValueError for a table without these columns, and for a task with both categorised and uncategorised items.
    """
    for name in ("task", "category", "correct"):
        if name not in items.column_names:
            raise ValueError(f"accuracies: column {name!r} is missing (has: {', '.join(items.column_names)})")
    counts: dict[str, dict[str | None, list[int]]] = {}
    columns = (items.column(name).to_pylist() for name in ("task", "category", "correct"))
    for task, category, correct in zip(*columns, strict=True):
        count = counts.setdefault(task, {}).setdefault(category, [0, 0])
        count[0] += correct
        count[1] += 1
    for task, parts in counts.items():
        if None in parts and len(parts) > 1:
            raise ValueError(f"accuracies: {task} has items with and without a category; score it again from one suite")
    return {
        task: math.fsum(right / all_ for right, all_ in parts.values()) / len(parts) for task, parts in counts.items()
    }


def aggregate(accuracies: Mapping[str, float], eval_version: str = "v2") -> Aggregate:
    """Aggregates accuracies (0 to 1) by task label.

    Raises ValueError for an unknown `eval_version` and for an accuracy outside 0 .. 1 (a percentage, say) or NaN.
    """
    _check_version(eval_version)
    tasks = load_tasks()
    for label in tasks:
        value = accuracies.get(label, 0.0)
        if value is None or not 0.0 <= value <= 1.0:
            raise ValueError(f"aggregate: accuracy of {label} is {value!r}; expected a number from 0 to 1")
    centered = {
        label: centered_accuracy(accuracies[label], task, eval_version)
        for label, task in tasks.items()
        if label in accuracies
    }
    by_category: dict[str, list[str]] = {}
    for label, task in tasks.items():
        by_category.setdefault(task.category, []).append(label)
    return Aggregate(
        core=_mean(centered, [label for label, task in tasks.items() if task.in_core]),
        core_no_squad=_mean(centered, [label for label, task in tasks.items() if task.in_core and label != "squad"]),
        extended=_mean(centered, list(tasks)),
        mmlu=accuracies.get("mmlu_fewshot"),
        categories={category: _mean(centered, labels) for category, labels in by_category.items()},
        missing=[label for label in tasks if label not in accuracies],
        ignored=sorted(set(accuracies) - set(tasks)),
    )


def centered_accuracy(accuracy: float, task: Task, eval_version: str = "v2") -> float:
    """(accuracy - b) / (1 - b) with the baseline b of that version."""
    _check_version(eval_version)
    chance = (task.baseline_v1 if eval_version == "v1" else task.baseline_v2) / 100
    return (accuracy - chance) / (1 - chance)


def _check_version(eval_version: str) -> None:
    if eval_version not in EVAL_VERSIONS:
        raise ValueError(f"eval_version is {eval_version!r}; expected one of {', '.join(EVAL_VERSIONS)}")


def _mean(centered: Mapping[str, float], labels: list[str]) -> float | None:
    if any(label not in centered for label in labels):
        return None
    return math.fsum(centered[label] for label in labels) / len(labels)
