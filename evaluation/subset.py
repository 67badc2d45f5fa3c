"""A part of every task that stands for the whole: `--limit N`, or some tasks only.

The rows of a task have one order, by the hash of (task, row); a limit takes its first N, so a smaller limit takes a subset of what a
larger one takes, on every machine. Tasks with categories take turns: no category gives its second row before every other has given its
first. Prompts are those of the full run (compile_requests(only_rows=...)), so the full run only adds to a limited one.
A limited accuracy is no accuracy of the task: it stays out of CORE and EXTENDED, which are then None.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .tasks import Suite, Task, load_tasks

CORE = "core"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Limited:
    """So many of a task's rows were asked."""

    rows: int
    of: int

    def __str__(self) -> str:
        return f"limited to {self.rows:,} of {self.of:,} rows"


def nested_order(task: Task, rows: Sequence[Mapping]) -> list[int]:
    """Row indices of a task in the order in which a limit takes them; a permutation, the same on every machine."""
    by_hash = sorted(range(len(rows)), key=lambda row: hashlib.sha256(f"{task.label}:{row}".encode()).digest())
    if not task.has_categories:
        return by_hash
    turns: dict[str, int] = {}
    order = []
    for place, row in enumerate(by_hash):
        category = rows[row]["category"].strip()
        turns[category] = turns.get(category, 0) + 1
        order.append((turns[category], place, row))
    return [row for _, _, row in sorted(order)]


def nested_subset(task: Task, rows: Sequence[Mapping], limit: int | None) -> set[int] | None:
    """The first `limit` rows of `nested_order`; None = all rows. Raises ValueError for a limit below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit}: ask at least 1 question a task, or leave it out to ask them all")
    if limit is None or limit >= len(rows):
        return None
    return set(nested_order(task, rows)[:limit])


def limited_tasks(num_rows: Mapping[str, int], limit: int | None) -> dict[str, Limited]:
    """The tasks of which a limit leaves rows out, by label; `num_rows` has the rows of each whole task."""
    if limit is None:
        return {}
    return {label: Limited(limit, count) for label, count in num_rows.items() if count > limit}


def unlimited(accuracies: Mapping[str, float], limited: Collection[str]) -> dict[str, float]:
    """The accuracies that may enter CORE and EXTENDED: of tasks asked in full. Give these, and no others, to `aggregate`."""
    return {label: accuracy for label, accuracy in accuracies.items() if label not in limited}


def choose_tasks(suite: Suite, chosen: Sequence[str]) -> Suite:
    """The suite with some tasks only: labels, `core` (the 22) or `all`. The others stay listed, as missing because not chosen.

    Name and data hash remain the whole suite's: the questions are the same. Raises ValueError for a name that is no task.
    """
    wanted: set[str] = set()
    for name in chosen:
        if name == ALL:
            wanted |= set(suite.entries)
        elif name == CORE:
            wanted |= {label for label, task in load_tasks().items() if task.in_core and label in suite.entries}
        elif name in suite.entries:
            wanted.add(name)
        else:
            near = difflib.get_close_matches(name, [*suite.entries, CORE, ALL], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`winnow list tasks` names them"
            raise ValueError(f"--tasks: no task {name!r}; {hint}, or give core, all, or a table that ends in .csv")
    entries = {
        label: entry
        if label in wanted
        else replace(entry, status="missing", path=None, sha256=None, encrypted=False, reason="not chosen (--tasks)")
        for label, entry in suite.entries.items()
    }
    return replace(suite, entries=entries)
