"""Files that others wrote and the board: import published results, lm-evaluation-harness results and submissions; check one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.errors import UserError


def import_results(
    files: Sequence[Path], to: Path, eval_version: str = "v2", title: str = "Published results", beside: Path | None = None
) -> dict[str, Any]:
    """Write a site (index.html, pair.html, board.json) with the rows of `files` into the directory `to`; return its board.

    A .csv is the published table, a .json a submission or a result of lm-evaluation-harness. `beside`: the board.json of a
    benchmark, whose groups come first. Raises UserError for a file that is none of these or that does not pass its check.
    """
    from evaluation.board import build_board, merge_boards
    from evaluation.page import render_site
    from evaluation.tasks import load_tasks

    try:
        entries = [entry for file in files for entry in _entries(file, eval_version)]
        tasks = [
            {"label": t.label, "category": t.category, "task_type": t.task_type, "in_core": t.in_core,
             "random_baseline": getattr(t, f"baseline_{eval_version}") / 100}
            for t in load_tasks().values()
        ]  # fmt: skip
        board = build_board(entries, tasks, title)
        if beside is not None:
            own = json.loads(beside.read_text(encoding="utf-8"))
            board = merge_boards([own, board], own["title"])
    except (ValueError, OSError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error
    to.mkdir(parents=True, exist_ok=True)
    for name, page in render_site(board).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text(page, encoding="utf-8")
    (to / "board.json").write_text(json.dumps(board, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return board


def check_file(file: Path) -> list[dict[str, str]]:
    """What is wrong with a submission, one row a problem (path, value, problem, remedy); no rows: it is accepted."""
    from evaluation.submission import check_submission

    found = check_submission(file, budgets())
    return [{"path": p.path, "value": p.value, "problem": p.problem, "remedy": p.remedy} for p in found.problems]


def budgets() -> dict[str, int]:
    """Training tokens by scale."""
    from models.scales import SCALES

    return {name: scale.recipe.num_tokens for name, scale in SCALES.items()}


def import_rows(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The board in lines of a terminal: one a strategy, best first in its group."""
    from evaluation.board import table

    return [
        {
            "scale": row["scale"], "version": row["eval_version"], "origin": row["origin"] or "here", "rank": row["mark"],
            "strategy": _printable(row["strategy"]), "core": _percent(row["core"]),
            "core-21": _percent(row["core_no_squad"]) if row["core"] is None else "", "extended": _percent(row["extended"]), "seeds": row["seeds"], "flags": row["flags"] or "",
        }
        for row in table(board)
    ]  # fmt: skip


def decision_rows(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Decision accuracies in lines of a terminal; below the least number of datasets, how many pairs agree."""
    rows = []
    for found in board["decisions"]:
        agree = sum(pair["agrees"] is True for pair in found["pairs"])
        number = (
            f"{found['num_pairs']} pairs, {agree} agree (a number needs {found['min_datasets']} datasets)"
            if found["accuracy"] is None
            else f"{100 * found['accuracy']:.0f} % [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"
        )
        rows.append(
            {"small": found["small_scale"], "large": found["large_scale"], "metric": found["metric"], "version": found["eval_version"],
             "datasets": len(found["datasets"]), "decision accuracy": number,
             "recipes": "; ".join(f"{scale}: {recipe}" for scale, recipe in sorted(found["recipes"].items()))}
        )  # fmt: skip
    return rows


def _entries(file: Path, eval_version: str) -> list[dict[str, Any]]:
    from evaluation.lm_eval_results import lm_eval_entry
    from evaluation.published import published_entries, read_published
    from evaluation.strict_json import read_json
    from evaluation.submission import check_submission, submission_entries

    if file.suffix.lower() == ".csv":
        return published_entries(read_published(file), eval_version)
    document = read_json(file, max_bytes=64 * 2**20)
    if isinstance(document, dict) and "submission_version" in document:
        found = check_submission(file, budgets())
        if not found.accepted or found.document is None:
            raise UserError(f"{file}: {found.problems[0]} ({len(found.problems)} in all; `winnow leaderboard check {file}` lists them)")
        return submission_entries(found.document)
    if isinstance(document, dict) and "results" in document:
        return [lm_eval_entry(file)]
    raise UserError(f"{file}: neither a submission (submission_version) nor a result of lm-evaluation-harness (results)")


def _printable(text: str) -> str:
    """A stranger's name for a terminal: what could move the cursor or turn the text around becomes a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
