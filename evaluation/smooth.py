"""Bits per byte of the right answers: what ranks small models long before accuracy leaves chance.

A task's `gold_bpb` is the mean over its questions of -log2 p(right continuation) per UTF-8 byte of its text, an added space not
counted: comparable between tokenizers. `core_bpb` is the plain mean over the CORE tasks that have one, so it always goes with
their names: means over other tasks are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyarrow as pa

from .tasks import load_tasks


def gold_bpb(items: pa.Table) -> dict[str, float | None]:
    """Mean bits per byte by task, over the items that have them (a continuation that was cut has none); None where none has."""
    values: dict[str, list[float]] = {}
    for task, value in zip(items.column("task").to_pylist(), items.column("gold_bpb").to_pylist(), strict=True):
        of_task = values.setdefault(task, [])
        if value is not None:
            of_task.append(value)
    return {task: math.fsum(found) / len(found) if found else None for task, found in values.items()}


def core_bpb(by_task: Mapping[str, float | None]) -> tuple[float | None, list[str]]:
    """(mean, names of the tasks in it) over the CORE tasks with a value, in the order of the suite; (None, []) without any."""
    names = [label for label, task in load_tasks().items() if task.in_core and by_task.get(label) is not None]
    return (math.fsum(by_task[label] for label in names) / len(names), names) if names else (None, [])
