"""The heat map of a group: tasks by category, strategies as columns, centered accuracy, and which cells are above chance.

A column is one strategy's tests against chance, adjusted by Benjamini-Hochberg over its tasks: of the cells that are not
grey at most 5 % are expected to be luck. Without the adjustment two or three of 53 tasks would be marked by luck alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evaluation.ranking import Run, Runs, mean
from evaluation.statistics import TaskCount, benjamini_hochberg, centered_accuracy, chance_test

ALPHA = 0.05
CORRECTION = "exact one-sided binomial test against chance, Benjamini-Hochberg over the tasks of a column at 5 %"


def mean_counts(arm: Sequence[Run]) -> dict[str, TaskCount]:
    """Right answers per task, averaged over the seeds of a strategy."""
    counts = {}
    for label in sorted({label for run in arm for label in run.get("tasks") or {}}):
        found = [run["tasks"][label] for run in arm if label in (run.get("tasks") or {})]
        correct = math.fsum(result["correct"] for result in found) / len(found)
        counts[label] = TaskCount(correct, found[0]["num_items"], found[0]["random_baseline"])
    return counts


def heat_map(runs: Runs, tasks: Sequence[Run], errors: Mapping[str, Mapping[str, float]]) -> dict:
    """The map of these strategies. `errors`: strategy -> task -> item standard error of the accuracy of one run."""
    known = {task["label"]: task for task in tasks}
    counts = {name: mean_counts(arm) for name, arm in runs.items()}
    ran = {label for cells in counts.values() for label in cells}
    adjusted = {name: _adjusted(cells) for name, cells in counts.items()}
    rows: dict[str, list[dict]] = {}
    for label in sorted(ran):
        task = known.get(label, {"category": "not in the task list", "task_type": "", "in_core": False})
        baseline = next(cells[label].random_baseline for cells in counts.values() if label in cells)
        cells = [
            _cell(label, runs[name], counts[name].get(label), adjusted[name], errors.get(name, {}).get(label)) for name in runs
        ]
        row = {"label": label, "task_type": task["task_type"], "in_core": bool(task["in_core"])}
        rows.setdefault(task["category"], []).append(row | {"random_baseline": baseline, "cells": cells})
    categories = []
    for category in sorted(rows):
        columns = zip(*(row["cells"] for row in rows[category]), strict=True)
        means = [mean(cell["centered"] if cell else None for cell in column) for column in columns]
        categories.append({"name": category, "means": means, "tasks": rows[category]})
    shown = [c["centered"] for g in categories for t in g["tasks"] for c in t["cells"] if c and not c["at_chance"]]
    return {
        "strategies": list(runs),
        "categories": categories,
        "num_tasks": len(ran),
        "correction": CORRECTION,
        "full_tint_at": max([0.05, *(abs(value) for value in shown)]),
        "not_run": sorted(set(known) - ran),
    }


def _adjusted(counts: Mapping[str, TaskCount]) -> dict[str, tuple[float, float]]:
    """By task: the p-value against chance and the adjusted one."""
    raw = [chance_test(count).p_value for count in counts.values()]
    return dict(zip(counts, zip(raw, benjamini_hochberg(raw), strict=True), strict=True))


def _cell(
    label: str, arm: Sequence[Run], count: TaskCount | None, tests: Mapping[str, tuple[float, float]], error: float | None
) -> dict | None:
    if count is None:
        return None
    p_value, p_adjusted = tests[label]
    found = [run for run in arm if label in (run.get("tasks") or {})]
    results = [run["tasks"][label] for run in found]
    accuracy = mean(result["accuracy"] for result in results)
    return {
        "centered": centered_accuracy(accuracy, count.random_baseline),
        "accuracy": accuracy,
        "correct": [[run["seed"], result["correct"]] for run, result in zip(found, results, strict=True)],
        "num_items": count.num_items,
        "gold_bpb": mean(result.get("gold_bpb") for result in results),
        "standard_error": None if error is None else float(f"{error:.6g}"),
        "p_value": _short(p_value),
        "p_adjusted": _short(p_adjusted),
        "at_chance": p_adjusted >= ALPHA,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")  # one of 26,000 in a board of 500 strategies
