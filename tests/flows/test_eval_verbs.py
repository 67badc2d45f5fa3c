"""The verbs as a person types them, on real directories, a real server and a real store."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cyclopts import App

import evaluation
from flows.errors import UserError
from flows.eval_verbs import add_item_verbs, eval_data_app
from tests.evaluation.file_server import serving
from tests.evaluation.test_data import SHARED
from tests.flows.test_eval_items import LABELS, SUITE, commit
from tests.flows.test_eval_items import runs as runs
from tests.stages.test_evaluate import write_own
from tests.stages.test_import_language_model import saved as saved

MINI = Path(evaluation.__file__).parent / "mini_v1"


def call(app: App, *words) -> None:
    app([str(word) for word in words], exit_on_error=False, print_error=False, result_action="return_value")


@pytest.fixture
def verbs(store, capsys, monkeypatch):
    """Call `winnow eval ...`, or `winnow eval-data ...`; what it prints."""
    monkeypatch.delenv("WINNOW_EVAL_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    app = App(name="winnow")
    item_app = App(name="eval")
    add_item_verbs(item_app)
    app.command(item_app)
    app.command(eval_data_app)

    def run(*words) -> str:
        capsys.readouterr()
        call(app, *words, "--store", store.root)
        return capsys.readouterr().out

    return run


def test_import_and_status(verbs, store, tmp_path):
    if not SHARED.is_dir():
        pytest.skip("../shared/data/eval is absent")
    out = verbs("eval-data", "import", SHARED)
    assert "46 present, 4 reconstructed, 3 missing of 53 tasks; 21 of 22 CORE tasks (squad is one of those missing" in out
    assert "CC-BY-SA-4.0" in out and (store.root / "_eval_data" / "gpqa" / "dataset.zip").is_file()
    rows = json.loads(verbs("eval-data", "status", "--json"))
    assert len(rows) == 53 and rows[0]["task"] == "mmlu_zeroshot" and rows[0]["status"] == "reconstructed"
    with pytest.raises(UserError, match="there are no evaluation data in"):
        verbs("eval-data", "status", "--to", tmp_path / "none")


def test_pull_tells_what_is_still_missing(verbs, tmp_path, monkeypatch):
    with serving() as server:
        for name, place in (("WINNOW_EVAL_LLM_FOUNDRY", "foundry"), ("WINNOW_EVAL_DCLM", "dclm"), ("HF_ENDPOINT", "hub")):
            monkeypatch.setenv(name, f"{server.url}/{place}")
        with pytest.raises(UserError, match="holds none of the 53 task files .*404"):
            verbs("eval-data", "pull", "copa", "--to", tmp_path)
        if SHARED.is_dir():
            file = "commonsense_reasoning/copa.jsonl"
            server.files[f"/foundry/local_data/{file}"] = (SHARED / file).read_bytes()
            assert "1 present" in verbs("eval-data", "pull", "copa", "--to", tmp_path)
            with pytest.raises(SystemExit) as caught:
                verbs("eval-data", "pull", "copa", "siqa", "--to", tmp_path)
            assert caught.value.code == 1


def test_show(verbs, runs):
    out = verbs("eval", "show", runs[0], "--task", "agi_eval_lsat_lr", "--wrong", "-n", "2")
    assert out.count("agi_eval_lsat_lr row") == 2 and out.count(": wrong") == 2 and "gold" in out and "->" in out and " a token, " in out
    assert len(json.loads(verbs("eval", "show", runs[0], "--task", "copa", "--json"))) == 5


def test_diff_and_curve(verbs, runs):
    out = verbs("eval", "diff", *runs, "-n", "1")
    assert "McNemar" in out and "items flipped, the first 1" in out
    found = json.loads(verbs("eval", "diff", *runs, "--task", "copa", "--json"))
    assert {row["task"] for row in found["flipped"]} <= {"copa"} and len(found["tasks"]) == len(LABELS)
    rows = json.loads(verbs("eval", "curve", *runs, "--metric", "core", "--json"))
    assert [row["value"] for row in rows] == [0.1, 0.3]


def test_contamination(verbs, store, runs, tmp_path):
    text = " ".join(row["query"] for row in SUITE.rows("agi_eval_lsat_lr"))
    documents = commit(store, "clean", "d" * 12, {"s0": pa.table({"id": ["a"], "text": [text]})})
    out = verbs("eval", "contamination", runs[0], documents, "--to", tmp_path / "flags.parquet")
    assert "questions have a run of 13 words that clean/dddddddddddd has too" in out
    assert sum(flag or False for flag in pq.read_table(tmp_path / "flags.parquet").column("contaminated").to_pylist()) > 0


def test_a_model_on_disk_answers_tasks_of_ones_own(winnow, saved, tmp_path):
    mine = write_own(tmp_path)
    code, out, err = winnow("eval", str(saved), "--tasks", str(mine), "--workers", "0")
    assert code == 0 and "suite own-mine-" in out and "sums" in out and "words" in out and "together" not in out, err
    (run,) = [row["dataset"] for row in json.loads(winnow("list", "datasets", "--json")[1]) if row["dataset"].startswith("evaluate/")]
    code, out, err = winnow("eval", "show", run, "--task", "sums", "-n", "1", "--json")
    assert code == 0 and json.loads(out)[0]["choices"][2]["text"] == "none", err
    (tmp_path / "sums.jsonl").write_text((tmp_path / "sums.jsonl").read_text().replace("none", "some"))
    code, _, err = winnow("eval", "show", run, "--task", "sums")
    assert code == 2 and "other data than" in err and "mine.csv; give its own with --eval-data or --tasks" in err


def test_a_part_of_the_suite_is_compared_with_the_whole_by_its_items_alone(winnow, saved):
    for tasks in ("copa,piqa", "copa"):
        code, out, err = winnow("eval", str(saved), "--tasks", tasks, "--limit", "3", "--workers", "0")
        assert code == 0 and f"suite mini-v1-{tasks.replace(',', '+')}-limit3" in out and "not asked" not in out, err
    runs = [row["dataset"] for row in json.loads(winnow("list", "datasets", "--json")[1]) if row["dataset"].startswith("evaluate/")]
    found = json.loads(winnow("eval", "diff", *runs, "--json")[1])
    assert [row["task"] for row in found["tasks"]] == ["copa"] and found["flipped"] == [] and list(found["uncommon"]) == ["piqa"]


def test_tasks_without_their_files_are_named_beside_the_scores(winnow, saved, tmp_path):
    (tmp_path / "data" / "commonsense_reasoning").mkdir(parents=True)
    shutil.copy(MINI / "commonsense_reasoning" / "copa.jsonl", tmp_path / "data" / "commonsense_reasoning")
    code, out, err = winnow("eval", str(saved), "--eval-data", str(tmp_path / "data"), "--limit", "2", "--workers", "0")
    assert code == 0 and "not asked, `winnow eval-data pull` fetches them: mmlu_zeroshot, hellaswag_zeroshot" in out, err
    assert "copa" not in out.partition("not asked")[2]


def test_questions_that_are_not_there_are_told_before_anything_runs(winnow, saved, tmp_path):
    for words, said in [
        (["--tasks", "copaa"], "no task 'copaa'; did you mean 'copa'?"),
        (["--tasks", str(tmp_path / "none.csv")], "there is no such table; write a CSV with the columns"),
        (["--eval-data", "dclm", "--tasks", "core"], "`winnow eval-data pull` fetches them"),
    ]:
        code, out, err = winnow("eval", str(saved), *words)
        assert code == 2 and said in err and "Traceback" not in err and not (tmp_path / "store" / "import_language_model").exists()


def test_a_directory_that_is_no_suite(verbs, tmp_path):
    shutil.copy(MINI / "suite.json", tmp_path)
    with pytest.raises(UserError, match="holds none of the 53 task files"):
        verbs("eval-data", "status", "--to", tmp_path)
