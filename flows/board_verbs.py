"""Verbs of the command line about the leaderboard: `winnow leaderboard build|serve|import|check`.

    winnow leaderboard import results.csv --to site       a site that starts with what others have published
    winnow leaderboard check submission.json              what is wrong with a submission, field by field
"""

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from flows.parameters import Json, StoreDir, open_store

leaderboard_app = App(name="leaderboard", help="Build or serve the pages of a benchmark; import published results, check a submission.")



@leaderboard_app.command
def build(pipeline: str = "demo", *, to: Path | None = None, store: StoreDir = Path("store")) -> None:
    """Print the leaderboard of the last benchmark of PIPELINE; --to copies its site into that directory, with the studies of the store."""
    import shutil

    from flows import inspect_store, studies

    page = inspect_store.print_board(open_store(store), pipeline)
    if to:
        shutil.copytree(page.parent, to, dirs_exist_ok=True, copy_function=shutil.copyfile)
        studies.put_beside(to, open_store(store))


@leaderboard_app.command
def serve(pipeline: str = "demo", *, port: int = 8000, store: StoreDir = Path("store")) -> None:
    """Serve the store's pages on http://127.0.0.1:PORT until stopped."""
    from flows import inspect_store

    inspect_store.serve_board(open_store(store), pipeline, port)


@leaderboard_app.command(name="import")
def import_(
    *files: Path, to: Path, eval_version: Literal["v1", "v2"] = "v2", pipeline: str | None = None, store: StoreDir = Path("store"),
    json: Json = False,
) -> None:  # fmt: skip
    """Build a site in the directory --to from FILES: published tables (.csv), submissions and lm-evaluation-harness results (.json).

    --pipeline puts the groups of its last benchmark first. CORE and EXTENDED are recomputed from the accuracies of the tasks.
    """
    from flows import board_files, inspect_store
    from flows.errors import UserError
    from flows.terminal import console, print_json, print_table

    if not files:
        raise UserError("leaderboard import: name one file or more")
    beside = inspect_store.board_dir(open_store(store), pipeline) / "board.json" if pipeline else None
    board = board_files.import_results(files, to, eval_version, beside=beside)
    rows, decisions = board_files.import_rows(board), board_files.decision_rows(board)
    if json:
        print_json({"rows": rows, "decisions": decisions})
        return
    print_table(rows, f"{len(rows)} strategies")
    if decisions:
        print_table(decisions, "would the smaller scale have chosen as the larger one did?")
    console.print(f"page: {to / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


@leaderboard_app.command
def check(file: Path, *, json: Json = False) -> None:
    """Tell what is wrong with the submission FILE: where, the value seen, what to do. Exit code 1 if anything is."""
    from flows import board_files
    from flows.terminal import console, print_json, print_table

    problems = board_files.check_file(file)
    if json:
        print_json(problems)
    elif problems:
        print_table(problems, f"{file}: {len(problems)} problems")
    else:
        console.print(f"{file}: accepted", markup=False, highlight=False)
    if problems:
        sys.exit(1)
