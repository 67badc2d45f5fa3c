"""The verbs of the evaluation's data: where it lies, what is there, and how it gets there. Rows for a table; nothing is printed."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.errors import UserError

FOLDER = "_eval_data"
"""Below the store; a name with _ is never a dataset, so neither gc nor the catalog looks into it."""
MINI, DCLM = "mini", "dclm"
"""--eval-data mini: the suite that comes with winnow; --eval-data dclm: what was imported or pulled."""


def data_dir(store: Path, given: Path | None = None) -> Path:
    """Where the suite's files lie: what is given, else WINNOW_EVAL_DATA, else a folder of the store."""
    return given or Path(os.environ.get("WINNOW_EVAL_DATA") or store / FOLDER)


def suite_dir(store: Path, given: str = "") -> Path:
    """Where an evaluation finds its tasks: `mini` (or ""), `dclm`, or a directory."""
    import evaluation

    if given in ("", MINI):
        return Path(evaluation.__file__).parent / "mini_v1"
    return data_dir(store) if given == DCLM else Path(given)


def questions(store: Path, eval_data: str = "", tasks: str = "") -> dict[str, Any]:
    """Which questions an evaluation asks, as fields of Evaluate: those that differ from its defaults. They are looked at, so a mistake is told now.

    `tasks` is a table of tasks of one's own (.csv), or labels and `core` with commas between.
    """
    from evaluation.subset import ALL, find_suite

    fields: dict[str, Any] = {}
    if eval_data.lower().endswith(".csv"):
        raise UserError(f"--eval-data {eval_data}: a table of your own tasks goes with `winnow eval MODEL --tasks {eval_data}`")
    if tasks.lower().endswith(".csv"):
        if eval_data:
            raise UserError(f"--tasks {tasks} brings its own questions; leave out --eval-data {eval_data}")
        fields["eval_data"] = str(Path(tasks).absolute())
    else:
        if eval_data not in ("", MINI):
            folder = suite_dir(store, eval_data).absolute()
            if eval_data == DCLM:
                _must_be_there(folder)
            fields["eval_data"] = str(folder)
        names = [name.strip() for name in tasks.split(",") if name.strip()]
        if names and ALL not in names:
            fields["tasks"] = names
    with explained():
        find_suite(fields.get("eval_data", ""), fields.get("tasks", ()))
    return fields


def _must_be_there(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"there are no evaluation data in {folder}; `winnow eval-data pull` fetches them, `winnow eval-data import DIR` copies them")


def status(folder: Path) -> list[dict[str, Any]]:
    """One row per task: present, reconstructed or missing, and why."""
    from evaluation.data import status_rows
    from evaluation.tasks import load_suite

    _must_be_there(folder)
    with explained():
        return status_rows(load_suite(folder))


def import_(source: Path, to: Path) -> list[dict[str, Any]]:
    """Copy what `source` has of the suite; one row per task afterwards."""
    from evaluation.data import import_data

    with explained():
        return import_data(source, to)


def pull(to: Path, tasks: Sequence[str] | None = None, progress: Callable[[int, int, str], None] | None = None) -> list[dict[str, Any]]:
    """Fetch what is missing of the suite (or of some tasks); one row per task afterwards."""
    from evaluation.data import pull as fetch

    with explained():
        return fetch(to, tasks, progress=progress)


def headline(rows: Sequence[dict[str, Any]], folder: Path) -> str:
    """The title of a table of status rows."""
    from evaluation.data import count_rows

    counts = count_rows(list(rows))
    squad = " (squad is one of those missing: CORE needs all 22)" if any(r["task"] == "squad" and r["status"] == "missing" for r in rows) else ""
    return (
        f"{folder}: {counts['present']} present, {counts['reconstructed']} reconstructed, {counts['missing']} missing of {len(rows)} tasks; "
        f"{counts['core']} of 22 CORE tasks{squad}"
    )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What the evaluation says of its data, tasks and items is the command's matter: exit code 2, no traceback."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None
