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
from pathlib import Path

from .own_tasks import load_own_suite
from .tasks import Suite, Task, load_suite, load_tasks

CORE = "core"
ALL = "all"
NOT_CHOSEN = "not chosen (--tasks)"
NAMED_TASKS = 3
"""A part of so many tasks is named by them, a larger one by a hash."""


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


def find_suite(place: str | Path = "", chosen: Sequence[str] = ()) -> Suite:
    """The questions that are asked: those in a directory of llm-foundry's layout, of a table (.csv) of one's own, or ("") of mini-v1.

    `chosen` leaves some of the tasks, see choose_tasks. Raises ValueError where they are not there, with what to do.
    """
    place = Path(place or Path(__file__).with_name("mini_v1"))
    suite = load_own_suite(place) if place.suffix.lower() == ".csv" else load_suite(place)
    return choose_tasks(suite, chosen) if chosen else suite


def choose_tasks(suite: Suite, chosen: Sequence[str]) -> Suite:
    """The suite with some tasks only: labels, `core` (the 22) or `all`. The others stay listed, as missing because not chosen.

    The name says which part it is, so that it is ranked with no other part and not with the whole; the data hash remains the whole
    suite's, since the questions are the same. Raises ValueError for a name that is no task, and for a task asked for whose file is missing.
    """
    core = {label for label, task in load_tasks().items() if task.in_core and label in suite.entries}
    wanted: set[str] = set()
    for name in chosen:
        if name == ALL:
            wanted |= set(suite.entries)
        elif name == CORE:
            wanted |= core
        elif name in suite.missing:
            raise ValueError(f"--tasks: task {name!r} is missing ({suite.missing[name]}); `winnow eval-data pull {name}` fetches it")
        elif name in suite.entries:
            wanted.add(name)
        else:
            near = difflib.get_close_matches(name, [*suite.entries, CORE, ALL], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`winnow list tasks` names them"
            raise ValueError(f"--tasks: no task {name!r}; {hint}, or give core, all, or a table that ends in .csv")
    entries = {
        label: entry
        if label in wanted
        else replace(entry, status="missing", path=None, sha256=None, encrypted=False, reason=NOT_CHOSEN)
        for label, entry in suite.entries.items()
    }
    return replace(suite, entries=entries, name=suite.name + _part([label for label in suite.entries if label in wanted], suite, core))


def _part(wanted: Sequence[str], suite: Suite, core: Collection[str]) -> str:
    """What a part of a suite adds to its name: equal for equal tasks, however they were chosen."""
    if len(wanted) == len(suite.entries):
        return ""
    if core and set(wanted) == set(core):
        return f"-{CORE}"
    if len(wanted) <= NAMED_TASKS:
        return "-" + "+".join(wanted)
    return f"-{len(wanted)}-tasks-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:8]}"
