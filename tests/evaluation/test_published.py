"""Published rows: recomputed to 1e-12, flagged where the evaluator was broken, and a board that starts full."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from evaluation.board import build_board
from evaluation.decisions import decide
from evaluation.published import decision_rows, defects, published_entries, read_published
from evaluation.tasks import load_tasks

RESULTS = Path(__file__).parents[2] / ".." / "shared" / "data" / "published" / "results.csv"
needs_results = pytest.mark.skipif(not RESULTS.is_file(), reason="the published results are not on this machine")
FIELDS = ["eval_file", "creation_date", "model_uuid", "model_name", "arch", "dataset_name", "scale", "params", "tokens", "lr", "wd", "seed", "Core_v2"]


def row(**changes):
    facts = {
        "eval_file": "e.json", "creation_date": "2024_01_25-1_30_23", "model_name": "m", "dataset_name": "d", "scale": "1B-1x",
        "params": "10", "tokens": "200", "lr": "0.003", "wd": "0.033", "seed": "124", "model_uuid": "u",
    }  # fmt: skip
    return facts | dict.fromkeys(load_tasks(), "0.5") | changes


def write(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*FIELDS, *load_tasks()])
        writer.writeheader()
        writer.writerows(rows)
    return path


@needs_results
def test_every_published_aggregate_is_recomputed():
    with RESULTS.open(newline="") as file:
        stated = list(csv.DictReader(file))
    found = read_published(RESULTS)  # raises where one differs by more than 1e-12
    assert len(found) == len(stated) == 104
    compared = Counter()
    for ours, theirs in zip(found, stated, strict=True):
        for version in ("v1", "v2"):
            for name in ("core", "extended"):
                text = theirs[f"{name.capitalize()}_{version}"]
                assert (ours[f"{name}_{version}"] is None) == (text == "")
                if text:
                    assert abs(ours[f"{name}_{version}"] - float(text)) <= 1e-12
                    compared[name] += 1
    assert compared == {"core": 208, "extended": 198}


@needs_results
def test_known_defects_of_the_published_rows_are_flagged():
    rows = read_published(RESULTS)
    flags = Counter((label, reason.split(":")[0]) for r in rows for label, reason in r["defects"].items())
    assert flags == {
        ("triviaqa_sm_sub", "known defect"): 26, ("triviaqa_sm_sub", "suspected"): 5, ("squad", "known defect"): 1,
        ("squad", "suspected"): 1, ("pubmed_qa_labeled", "suspected"): 1,
    }  # fmt: skip
    (olmo,) = (r for r in rows if r["defects"].get("squad", "").startswith("known"))
    assert "olmo" in olmo["model"] and olmo["unusable"] == ["core", "extended"]


@needs_results
def test_the_board_starts_full_and_claims_nothing():
    entries = published_entries(read_published(RESULTS))
    assert len({(e["strategy"], e["scale"], e["seed"]) for e in entries}) == 104
    board = build_board(entries, [{"label": t.label, "category": t.category, "task_type": t.task_type, "random_baseline": t.baseline_v2 / 100, "in_core": t.in_core} for t in load_tasks().values()])
    assert json.loads(json.dumps(board, allow_nan=False)) == board
    assert {g["scale"]: len(g["strategies"]) for g in board["groups"]}["1b-1x"] == 51
    assert sum(g["provenance"]["runs"] for g in board["groups"]) == 104
    for group in board["groups"]:
        core = next(m for m in group["metrics"] if m["name"] == "core")
        assert group["primary"] == "core" and group["origin"] == "published"
        assert not core["pairs"] and all(arm["status"] == "untested" for arm in core["arms"])
        for arm in core["arms"]:
            assert arm["low"] is None and "training variance unknown" in arm["training"]
            (value,) = arm["values"]
            assert value["item"]["low"] < value["value"] < value["item"]["high"]
        assert all(not pair["paired"] for pair in group["item_pairs"]["pairs"])


@needs_results
def test_decision_accuracy_of_the_published_scales():
    for version in ("v1", "v2"):
        found = decide(decision_rows(read_published(RESULTS), version), "1B-1x", "7B-1x")
        assert found.recipes == {"1B-1x": "lr 0.003, wd 0.033", "7B-1x": "lr 0.0003, wd 0.33"}
        assert (len(found.datasets), found.num_pairs) == (9, 36)
        assert found.accuracy == pytest.approx(32 / 36) and found.low < 0.7 and found.high == 1.0
        assert len(found.left_out) == 2
    assert decide(decision_rows(read_published(RESULTS)), "1B-1x", "7B-1x", "extended").accuracy is None, "seven without a defect"


def test_a_strategy_is_a_dataset_and_its_recipe_only_where_it_must_be(tmp_path):
    path = write(
        tmp_path / "r.csv",
        row(), row(lr="0.0003", wd="0.33"), row(scale="7B-1x"),
        row(dataset_name="s", model_name="x-seed=1", seed="1"), row(dataset_name="s", model_name="x-seed=2", seed="2"),
        row(dataset_name="t", creation_date="2024_02_01-01_00_00"), row(dataset_name="t", creation_date="2024_03_01-01_00_00"),
        row(dataset_name="w"), row(dataset_name="w", model_uuid="other"), row(dataset_name="", model_name="qwen", scale=""),
    )  # fmt: skip
    entries = published_entries(read_published(path))
    assert [(e["strategy"], e["scale"], e["seed"]) for e in entries] == [
        ("d (lr 0.003, wd 0.033)", "1b-1x", 124), ("d (lr 0.0003, wd 0.33)", "1b-1x", 124), ("d", "7b-1x", 124),
        ("s", "1b-1x", 1), ("s", "1b-1x", 2),
        ("t (2024-02-01)", "1b-1x", 124), ("t (2024-03-01)", "1b-1x", 124),
        ("w (2024-01-25) (u)", "1b-1x", 124), ("w (2024-01-25) (other)", "1b-1x", 124), ("qwen", "other models", 124),
    ]  # fmt: skip
    assert entries[0]["date"] == "2024-01-25" and entries[0]["recipe"] == {"lr": 0.003, "wd": 0.033}


def test_a_row_without_squad_has_core_21_and_no_core(tmp_path):
    (entry,) = published_entries(read_published(write(tmp_path / "r.csv", row(squad=""))))
    assert entry["core"] is None and entry["core_no_squad"] is not None and entry["missing"] == ["squad"]


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"copa": "62"}, "copa is 62.0; expected a fraction"),
        ({"copa": "nan"}, "copa is 'nan'; expected a number"),
        ({"copa": "<b>"}, "copa is '<b>'"),
        ({"Core_v2": "0.1"}, "core v2 is published as 0.1"),
    ],
)
def test_changed_rows_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"line 2: {message}"):
        read_published(write(tmp_path / "r.csv", row(**changes)))


def test_another_table_is_refused(tmp_path):
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no column 'eval_file'"):
        read_published(tmp_path / "r.csv")
    with pytest.raises(ValueError, match="eval_version is 'v3'"):
        published_entries([], "v3")


def test_defects_have_limits():
    assert defects({"triviaqa_sm_sub": 1 / 3000, "squad": 0.0, "pubmed_qa_labeled": 0.0}).keys() == {"triviaqa_sm_sub", "squad", "pubmed_qa_labeled"}
    assert defects({"triviaqa_sm_sub": 0.04, "squad": 0.07, "pubmed_qa_labeled": 0.2}) == {} == defects({})
