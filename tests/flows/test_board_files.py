"""Imports make a site, a check lists what is wrong, and other files are refused."""

import json
from pathlib import Path

import pytest

from evaluation.tasks import load_tasks
from evaluation.unpaired import NUM_ITEMS
from flows.board_files import budgets, check_file, decision_rows, import_results, import_rows
from flows.errors import UserError

RESULTS = Path(__file__).parents[2] / ".." / "shared" / "data" / "published" / "results.csv"


def submission(**changes):
    tasks = {label: {"accuracy": 0.5, "num_items": NUM_ITEMS[label]} for label in load_tasks()}
    tasks = {label: row | {"accuracy": (row["num_items"] // 2) / row["num_items"]} for label, row in tasks.items()}
    run = {"seed": 0, "train_tokens": budgets()["400m-1x"], "fewshot_seed": 1234, "items_sha256": "a" * 64, "tasks": tasks}
    document = {"submission_version": 1, "strategy": "s", "scale": "400m-1x", "suite": "dclm", "suite_hash": "0" * 64,
                "eval_version": "v2", "fingerprint": "f" * 64, "runs": [run]}  # fmt: skip
    return document | changes


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def test_submissions_and_lm_eval_results_make_one_site(tmp_path):
    ours = write(tmp_path / "s.json", submission())
    other = write(tmp_path / "l.json", {"results": {"copa": {"acc,none": 0.5, "acc_stderr,none": 0.05}}, "model_name": "m\x1b[2J\u202e"})
    board = import_results([ours, other], tmp_path / "site")
    assert {group["origin"] for group in board["groups"]} == {"submitted", "lm-eval"}
    assert json.loads((tmp_path / "site" / "board.json").read_text()) == board
    assert "<!doctype html>" in (tmp_path / "site" / "index.html").read_text()
    assert {row["strategy"] for row in import_rows(board)} == {"s", "m?[2J?"}
    again = import_results([other], tmp_path / "both", beside=write(tmp_path / "own.json", import_results([ours], tmp_path / "own")))
    assert [group["origin"] for group in again["groups"]] == ["submitted", "lm-eval"]


def test_a_check_lists_what_is_wrong_and_an_import_refuses(tmp_path):
    assert check_file(write(tmp_path / "good.json", submission())) == []
    bad = write(tmp_path / "bad.json", submission(scale="2b", strategy="<b>"))
    assert [row["path"] for row in check_file(bad)] == ["strategy", "scale"]
    with pytest.raises(UserError, match="2 in all"):
        import_results([bad], tmp_path / "site")
    with pytest.raises(UserError, match="neither a submission"):
        import_results([write(tmp_path / "x.json", {"a": 1})], tmp_path / "site")
    with pytest.raises(UserError, match="can not be opened"):
        import_results([tmp_path / "absent.json"], tmp_path / "site")
    with pytest.raises(UserError):
        import_results([tmp_path / "absent.csv"], tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.skipif(not RESULTS.is_file(), reason="the published results are not on this machine")
def test_the_published_table_starts_a_board(tmp_path):
    board = import_results([RESULTS], tmp_path)
    assert len(import_rows(board)) == 104
    (row,) = (row for row in decision_rows(board) if (row["small"], row["large"], row["metric"]) == ("1b-1x", "7b-1x", "core"))
    assert row["decision accuracy"].startswith("89 % [65, 100]") and row["datasets"] == 9
    assert any("a number needs 8 datasets" in row["decision accuracy"] for row in decision_rows(board))
