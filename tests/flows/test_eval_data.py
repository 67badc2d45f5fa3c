"""The verbs of the evaluation's data: their folder, their rows, and errors that are the command's."""

import shutil
from pathlib import Path

import pytest

import evaluation
from flows import eval_data
from flows.errors import UserError
from tests.stages.test_evaluate import write_own

MINI = Path(evaluation.__file__).parent / "mini_v1"


def test_where_the_data_lie(tmp_path, monkeypatch):
    monkeypatch.delenv("WINNOW_EVAL_DATA", raising=False)
    assert eval_data.data_dir(tmp_path) == tmp_path / "_eval_data" == eval_data.suite_dir(tmp_path, "dclm")
    assert eval_data.suite_dir(tmp_path) == eval_data.suite_dir(tmp_path, "mini") == MINI
    assert eval_data.suite_dir(tmp_path, "/elsewhere") == Path("/elsewhere") == eval_data.data_dir(tmp_path, Path("/elsewhere"))
    monkeypatch.setenv("WINNOW_EVAL_DATA", "/all")
    assert eval_data.data_dir(tmp_path) == Path("/all")


def test_import_then_status(tmp_path):
    """mini-v1's files are sound but not the published ones, and too few: each refusal has its reason."""
    source, to = tmp_path / "source", tmp_path / "to"
    shutil.copytree(MINI, source / "local_data", ignore=shutil.ignore_patterns("suite.json"))
    with pytest.raises(UserError, match="winnow eval-data pull"):
        eval_data.status(to)
    with pytest.raises(UserError, match="holds none of the 53 task files .*refused: .*copa.jsonl has .* rows, the published file 100"):
        eval_data.import_(source, to)
    rows = eval_data.status(source)
    assert {row["status"] for row in rows} == {"reconstructed"} and len(rows) == 53
    title = eval_data.headline(rows, source)
    assert title.endswith("0 present, 53 reconstructed, 0 missing of 53 tasks; 22 of 22 CORE tasks")
    (source / "local_data" / "reading_comprehension" / "squad.jsonl").unlink()
    assert eval_data.headline(eval_data.status(source), source).endswith("21 of 22 CORE tasks (squad is one of those missing: CORE needs all 22)")


def test_errors_are_the_commands(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="not a directory"):
        eval_data.import_(tmp_path / "nowhere", tmp_path / "to")
    with pytest.raises(UserError, match="no task 'copaa'"):
        eval_data.pull(tmp_path / "to", ["copaa"])
    for name in ("WINNOW_EVAL_LLM_FOUNDRY", "WINNOW_EVAL_DCLM", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="nothing could be fetched.*there may be no network.*import DIR"):
        eval_data.pull(tmp_path / "to", ["copa"])


def test_questions_are_fields_of_evaluate(tmp_path, monkeypatch):
    monkeypatch.delenv("WINNOW_EVAL_DATA", raising=False)
    mine = write_own(tmp_path)
    assert eval_data.questions(tmp_path) == eval_data.questions(tmp_path, "mini") == eval_data.questions(tmp_path, tasks="all") == {}
    assert eval_data.questions(tmp_path, tasks="core, mmlu_fewshot") == {"tasks": ["core", "mmlu_fewshot"]}
    assert eval_data.questions(tmp_path, str(MINI), "copa") == {"eval_data": str(MINI), "tasks": ["copa"]}
    assert eval_data.questions(tmp_path, tasks=str(mine)) == {"eval_data": str(mine)}


def test_questions_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("WINNOW_EVAL_DATA", raising=False)
    mine = write_own(tmp_path)
    for given, tasks, said in [
        ("", "copaa", "no task 'copaa'; did you mean 'copa'"),
        ("", "copa,nothing", "`winnow list tasks` names them"),
        ("", "nowhere.csv", "there is no such table; write a CSV with the columns label, task_type, num_fewshot, file"),
        (str(mine), "", "a table of your own tasks goes with `winnow eval MODEL --tasks .*mine.csv`"),
        ("dclm", str(mine), "mine.csv brings its own questions; leave out --eval-data dclm"),
        ("dclm", "core", "there are no evaluation data in .*; `winnow eval-data pull`"),
        ("nowhere", "", "nowhere is not a directory"),
    ]:
        with pytest.raises(UserError, match=said):
            eval_data.questions(tmp_path, given, tasks)
    (tmp_path / "words.jsonl").write_text('{"context": "no answer"}\n')
    with pytest.raises(UserError, match="mine.csv: line 3, task words: .*words.jsonl: line 1: 'continuation' is None"):
        eval_data.questions(tmp_path, tasks=str(mine))
