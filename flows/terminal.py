"""What the terminal shows: progress while a plan runs, and one table as an answer."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160  # into a file or a pipe: do not fold to 80 columns
console = Console(width=WIDTH)
errors = Console(stderr=True)
LINE_SECONDS = 60.0  # into a file a node at work says so often how far it is
SHORT = 24  # characters: a cell as long as `2.394 [2.388, 2.401]` is read in one piece, longer ones may fold

STYLES = {"reused": "dim", "ran": "green", "adopted": "cyan", "failed": "bold red", "skipped": "yellow", "will run": "green"}


def print_table(rows: list[dict[str, Any]], title: str = "", as_json: bool = False, columns: Iterable[str] | None = None) -> None:
    """Print rows of one shape as a table, or as JSON for scripts."""
    if as_json:
        print_json(rows)
        return
    names = list(columns or (rows[0] if rows else []))
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    widths = {name: max(len(name), *(len(cell(row.get(name))) for row in rows)) if rows else 0 for name in names}
    fits = sum(3 + (width if width <= SHORT else SHORT // 2) for width in widths.values()) <= console.width
    for name in names:
        numbers = all(isinstance(row.get(name), (int, float)) or row.get(name) is None for row in rows) and bool(rows)
        whole = fits and widths[name] <= SHORT
        table.add_column(Text(name.replace("_", " ")), justify="right" if numbers else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*[Text(cell(row.get(name))) for name in names], style=STYLES.get(str(row.get("state", "")), ""))
    if rows:
        if title:
            console.print(Text(title, "italic"), soft_wrap=True)
        console.print(table)
    else:
        console.print(f"{title}: nothing to show" if title else "nothing to show", markup=False)


def cell(value: Any) -> str:
    """Write a value as it stands in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    text = json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, (dict, list, tuple)) else str(value)
    return text if len(text) <= 400 else text[:397] + "..."


def print_json(value: Any) -> None:
    """Print one value as JSON that every parser takes: JSON has no NaN and no infinity, so these become null."""
    json.dump(_finite(value), sys.stdout, indent=1, default=str, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


class RunView:
    """Shows a run while it goes: a bar for each node at work, a line for each that is done."""

    def __init__(self, quiet: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<34}"), BarColumn(bar_width=24), TextColumn("{task.fields[words]}", markup=False), TimeElapsedColumn(),
            console=errors, transient=True, disable=quiet or not errors.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._quiet = quiet
        self._said: dict[str, float] = {}
        """When a node began, or last said how far it is."""
        self.rows: dict[str, dict[str, Any]] = {}
        """One row a node that came to an end, for the table afterwards."""

    def __enter__(self) -> "RunView":
        self._started = time.perf_counter()
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    @property
    def seconds(self) -> float:
        """Time since the view was opened."""
        return time.perf_counter() - self._started

    def watch(self, node: str, event: str, fields: dict[str, Any]) -> None:
        """Take an event of the engine."""
        if event in ("node_finished", "node_reused", "node_skipped", "node_failed"):
            state = fields.get("state") or event.removeprefix("node_")
            numbers = {
                "rows": fields.get("rows_out"),
                "dropped": fields.get("rows_dropped"),
                "seconds": round(fields.get("seconds", 0.0), 2),
            }
            self.rows[node] = {"node": node, "state": state, "dataset": fields.get("dataset"), **numbers}
        if event == "node_started":
            self._tasks[node] = self._progress.add_task(node, total=1.0, words="")
            self._said[node] = time.perf_counter()
        elif event == "progress" and node in self._tasks:
            self._progress.update(self._tasks[node], completed=fields["fraction"], words=fields["words"])
            if self._progress.disable and time.perf_counter() - self._said[node] >= LINE_SECONDS:
                self._said[node] = time.perf_counter()
                self.say(Text(f"{node}: {fields['words']}", "dim"))
        elif event == "resumed":
            self.say(
                f"[cyan]{node}: resuming, {fields['done']} of {fields['shards']} shards are done"
                + (f" ({fields['adopted']} adopted)" if fields["adopted"] else "")
            )
        elif event == "warning":
            self.say(Text(f"warning: {fields['warning']}", "yellow"))
        elif event in ("shard_failed", "node_failed"):
            where = f"{node}/{fields['shard']}" if fields.get("shard") else node
            self.say(Text(f"{where}: {fields['error']}", "red"))
        elif event == "node_finished":
            if node in self._tasks:
                self._progress.remove_task(self._tasks.pop(node))
            what = (
                f"{fields['rows_out']:>9,} rows" + (f", {fields['rows_dropped']:,} dropped" if fields["rows_dropped"] else "")
                if fields["rows_out"]
                else ""
            )
            self.say(f"[green]{node:<34}[/green] {fields['seconds']:>7.1f} s {what}")

    def say(self, line: str | Text) -> None:
        """Print a line above the bars; words that are not ours come as Text, in which brackets mean nothing."""
        if not self._quiet:
            self._progress.console.print(line, highlight=False, soft_wrap=True)  # in a log one message is one line
