"""Results of lm-evaluation-harness: every number under its own name, nothing in CORE."""

import json

import pytest

from evaluation.board import build_board
from evaluation.lm_eval_results import lm_eval_entry

DOCUMENT = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.61, "acc_stderr,none": 0.01, "acc_norm,none": 0.55, "acc_norm_stderr,none": 0.0102},
        "gsm8k": {"exact_match,strict-match": 0.02, "exact_match_stderr,strict-match": 0.004, "exact_match,flexible-extract": 0.03, "exact_match_stderr,flexible-extract": "N/A"},
    },
    "n-shot": {"arc_easy": 25, "gsm8k": 5},
    "config": {"model": "hf", "model_args": "pretrained=org/tiny,dtype=float32", "limit": None, "fewshot_seed": 1234},
    "git_hash": "abc1234", "date": 1767225600.5, "lm_eval_version": "0.4.9",
}  # fmt: skip


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def test_every_metric_keeps_its_name(tmp_path):
    entry = lm_eval_entry(write(tmp_path / "results.json", DOCUMENT))
    assert entry["scores"] == {
        "arc_easy acc, 25-shot": 0.61, "arc_easy acc_norm, 25-shot": 0.55, "gsm8k exact_match (strict-match), 5-shot": 0.02,
        "gsm8k exact_match (flexible-extract), 5-shot": 0.03,
    }  # fmt: skip
    assert entry["score_errors"]["arc_easy acc_norm, 25-shot"] == 0.0102 and len(entry["score_errors"]) == 3
    assert (entry["strategy"], entry["date"], entry["limited"]) == ("org/tiny", "2026-01-01", False)
    assert "core" not in entry and "tasks" not in entry


def test_version_03_and_limits(tmp_path):
    old = {"results": {"copa": {"acc": 0.5, "acc_stderr": 0.05}}, "config": {"limit": 10.0}}
    entry = lm_eval_entry(write(tmp_path / "old.json", old), strategy="mine")
    assert entry["scores"] == {"copa acc": 0.5} and entry["score_errors"] == {"copa acc": 0.05}
    assert entry["suite"].endswith("-limit10") and entry["limited"]


def test_on_the_board_as_a_group_of_its_own(tmp_path):
    other = json.loads(json.dumps(DOCUMENT)) | {"model_name": "other"}
    other["results"]["arc_easy"]["acc,none"] = 0.7
    paths = [write(tmp_path / "a.json", DOCUMENT), write(tmp_path / "b.json", other)]
    board = build_board([lm_eval_entry(path) for path in paths])
    (group,) = board["groups"]
    assert group["origin"] == "lm-eval" and {m["name"] for m in group["metrics"]} == {f"score:{n}" for n in lm_eval_entry(paths[0])["scores"]}
    acc = next(m for m in group["metrics"] if m["name"] == "score:arc_easy acc, 25-shot")
    assert [arm["strategy"] for arm in acc["arms"]] == ["other", "org/tiny"] and not acc["pairs"]
    assert acc["arms"][1]["values"][0]["item"]["low"] == pytest.approx(0.61 - 0.0196)


@pytest.mark.parametrize("document", [[], {}, {"results": 3}, {"results": {"a": 3}}, {"results": {"a": {"alias": "a"}}}])
def test_other_files_are_refused(tmp_path, document):
    with pytest.raises(ValueError, match="results"):
        lm_eval_entry(write(tmp_path / "x.json", document))
