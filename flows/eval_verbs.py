"""Verbs of the command line about evaluations: `winnow eval-data status|import|pull` and `winnow eval show|diff|curve|contamination`.

    winnow eval-data import ../llm-foundry/scripts/eval    copy the task files, each checked by its hash
    winnow eval-data pull                                  fetch what is missing
    winnow eval models/mine --tasks my_tasks.csv           tasks of your own (the verb itself is in flows/cli.py)
    winnow eval show evaluate/1f3a9c02 --task copa --wrong -n 3
    winnow eval diff evaluate/1f3a9c02 evaluate/77ab0d1e   the items that flipped
    winnow eval contamination evaluate/1f3a9c02 demo.clean which questions the training documents have
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flows.parameters import Json, StoreDir, open_store

eval_data_app = App(name="eval-data", help="The 53 tasks' files: what is there, copy them, fetch them.")

DataDir = Annotated[
    Path | None, Parameter(name=["--data-dir", "--to"], env_var="WINNOW_EVAL_DATA", help="Directory of the task files; by default STORE/_eval_data.")
]
Number = Annotated[int, Parameter(name=["-n", "--number"])]


@eval_data_app.command
def status(*, data_dir: DataDir = None, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Tell of each task whether its file is present (as published), reconstructed or missing, why, and its data set's licence."""
    from flows import eval_data

    folder = eval_data.data_dir(store, data_dir)
    _print_status(eval_data.status(folder), folder, json)


@eval_data_app.command(name="import")
def import_(source: Path, *, data_dir: DataDir = None, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Copy the task files from SOURCE: a clone of llm-foundry or DCLM, or any directory laid out like one."""
    from flows import eval_data

    folder = eval_data.data_dir(store, data_dir)
    _print_status(eval_data.import_(source, folder), folder, json)


@eval_data_app.command
def pull(*tasks: str, data_dir: DataDir = None, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Fetch the files that are missing (of TASKS, or of all) from llm-foundry and DCLM, or make them from Hugging Face's data sets.

    Exit code 1 if a file that was asked for is still missing.
    """
    from flows import eval_data
    from flows.terminal import errors

    folder = eval_data.data_dir(store, data_dir)
    with errors.status("eval-data pull") as line:
        rows = eval_data.pull(folder, tasks, lambda done, total, file: line.update(f"eval-data pull: {done} of {total} files; {file}"))
    _print_status(rows, folder, json)
    if any(row["status"] == "missing" for row in rows if not tasks or row["task"] in tasks):
        sys.exit(1)


def _print_status(rows: list[dict[str, Any]], folder: Path, json: bool) -> None:
    from flows import eval_data
    from flows.terminal import print_table

    columns = [name for name in rows[0] if name != "file"]
    print_table(rows, eval_data.headline(rows, folder), json, columns)


def add_item_verbs(app: App) -> None:
    """Give an app the verbs that look into evaluations."""
    for verb in (show, diff, curve, contamination):
        app.command(verb)


def show(
    run: str, *, task: str, wrong: bool = False, n: Number = 5, reveal: bool = False, eval_data: str = "", tasks: Path | None = None,
    store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Show items of one task of an evaluation: the question's end, the choices with their log-probabilities, gold and prediction.

    --wrong shows only what was answered wrongly. --reveal shows GPQA's text too, which its authors ask not to publish. --eval-data and
    --tasks name the data that were answered, where they have been moved since.
    """
    from flows import eval_items
    from flows.terminal import print_json

    rows = eval_items.show(open_store(store), run, task, wrong=wrong, number=n, eval_data=eval_data, tasks=tasks, reveal=reveal)
    print_json(rows) if json else _print_items(rows, task, wrong)


def diff(a: str, b: str, *, task: str | None = None, n: Number = 20, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Compare two evaluations item by item: per task what one alone has right, McNemar's exact p, and the first N items that flipped."""
    from flows import eval_items
    from flows.terminal import console, print_json, print_table

    found = eval_items.diff(open_store(store), a, b)
    flipped = [row for row in found.flipped if task in (None, row["task"])]
    if json:
        print_json({"tasks": found.tasks, "flipped": flipped, "uncommon": found.uncommon})
        return
    print_table([row for row in found.tasks if task in (None, row["task"])], f"a = {a}, b = {b}; p: McNemar, exact, adjusted after Holm")
    print_table(flipped[:n], f"{len(flipped):,} items flipped{f', the first {n}' if len(flipped) > n else ''}")
    for name, (one, other) in found.uncommon.items():
        console.print(f"{name}: {one:,} items only in a, {other:,} only in b; they are in no count", markup=False, highlight=False)


def curve(*runs: str, metric: str | None = None, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Put the evaluations of several checkpoints of a run on one curve: every metric by training tokens."""
    from flows import eval_items
    from flows.terminal import print_table

    rows = [row for row in eval_items.curve(open_store(store), list(runs)) if metric in (None, row["metric"])]
    print_table(rows, f"{len(runs)} checkpoints", json)


def contamination(
    run: str, documents: str, *, eval_data: str = "", tasks: Path | None = None, to: Path | None = None, store: StoreDir = Path("store"),
    json: Json = False,
) -> None:  # fmt: skip
    """Flag the questions of an evaluation that share 13 words in a row with DOCUMENTS, a dataset; accuracy with and without them.

    --to writes the items with their flag as Parquet.
    """
    from flows import eval_items
    from flows.terminal import print_table

    flagged, rows = eval_items.contamination(open_store(store), run, documents, eval_data, tasks)
    if to:
        import pyarrow.parquet as pq

        pq.write_table(flagged, to)
    found = sum(row["contaminated"] for row in rows)
    print_table(rows, f"{found:,} of {flagged.num_rows:,} questions have a run of 13 words that {documents} has too", json)


def _print_items(rows: list[dict[str, Any]], task: str, wrong: bool) -> None:
    """Print items as people read them."""
    from rich.panel import Panel
    from rich.text import Text

    from flows.terminal import console

    if not rows:
        console.print(f"{task}: no {'wrong ' if wrong else ''}answers", markup=False)
    for row in rows:
        body = Text(f"{'... ' if row['cut'] else ''}{row['prompt']}\n")
        for choice in row["choices"]:
            mark = ("gold " if choice["gold"] else "     ") + ("-> " if choice["predicted"] else "   ")
            style = "green" if choice["gold"] else "red" if choice["predicted"] else ""
            body.append(f"\n{mark}{choice['log_prob']:9.3f} ({choice['per_token']:.3f} a token, {choice['num_tokens']})  {choice['text']}", style)
        if row["generated"] is not None:
            body.append(f"\ngenerated: {row['generated']}\naccepted: {' | '.join(row['answers'])}")
        title = f"{task} row {row['row']}" + (f" ({row['category']})" if row["category"] else "") + (": right" if row["correct"] else ": wrong")
        console.print(Panel(body, title=Text(title), title_align="left"))
