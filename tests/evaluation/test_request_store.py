import json
import multiprocessing
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import evaluation
from evaluation import request_store
from evaluation.gpqa import PASSWORD_VARIABLE
from evaluation.protocol import HuggingFaceTokenizer
from evaluation.request_store import request_key, stored_requests
from evaluation.request_table import SCHEMA, to_arrow
from evaluation.requests import SCORING_MODE, compile_requests
from evaluation.subset import choose_tasks
from evaluation.tasks import SuiteTask, load_suite
from tests.evaluation.test_encoding import byte_level
from tests.evaluation.test_gpqa import archive
from tests.evaluation.test_request_table import same
from tests.evaluation.test_requests import make_task

MINI = Path(evaluation.__file__).parent / "mini_v1"
LABELS = ("copa", "jeopardy", "winograd", "aqua_cot")
SETTINGS = {"fewshot_seed": 1234, "max_seq_len": 2048, "faithful": True}


@pytest.fixture(scope="module")
def tokenizer():
    return HuggingFaceTokenizer(byte_level())


@pytest.fixture(scope="module")
def suite():
    return choose_tasks(load_suite(MINI), LABELS)


@pytest.fixture
def stored(suite, tokenizer, tmp_path):
    """A store that holds the suite, and the names of its files by task."""
    stored_requests(suite, tokenizer, tmp_path / "store")
    return tmp_path / "store", {name.split(".")[0]: tmp_path / "store" / name for name in os.listdir(tmp_path / "store")}


def load(suite, tokenizer, directory, **settings):
    compiled = []
    return stored_requests(suite, tokenizer, directory, compiled=compiled.append, **settings), compiled


def test_what_is_read_is_what_was_compiled(suite, tokenizer, tmp_path):
    first, compiled = load(suite, tokenizer, tmp_path)
    assert compiled == list(suite.tasks) and sorted(compiled) == sorted(LABELS)
    second, compiled = load(suite, tokenizer, tmp_path)
    assert compiled == []
    expected = [
        request for label, task in suite.tasks.items() for request in compile_requests(task, suite.rows(label), tokenizer, **SETTINGS)
    ]
    for theirs, ours, read in zip(expected, first, second, strict=True):
        same(ours, theirs)
        same(read, theirs)


def test_files_are_parquet_for_everyone(stored):
    _, files = stored
    assert sorted(files) == sorted(LABELS)
    for path in files.values():
        assert path.suffix == ".parquet" and len(path.name.split(".")) == 4
        assert pq.read_schema(path).equals(SCHEMA)


def test_some_tasks_are_compiled_where_some_are_stored(suite, tokenizer, stored):
    directory, _ = stored
    more = choose_tasks(load_suite(MINI), [*LABELS, "piqa"])
    _, compiled = load(more, tokenizer, directory)
    assert compiled == ["piqa"]
    assert load(more, tokenizer, directory)[1] == []


@pytest.mark.parametrize("settings", [{"fewshot_seed": 7}, {"max_seq_len": 512}, {"faithful": False}])
def test_other_settings_are_other_requests(suite, tokenizer, stored, settings):
    directory, _ = stored
    _, compiled = load(suite, tokenizer, directory, **settings)
    assert len(compiled) == len(LABELS)
    assert load(suite, tokenizer, directory)[1] == [] and load(suite, tokenizer, directory, **settings)[1] == []


def test_the_key_holds_all_that_requests_follow_from(suite, monkeypatch):
    entry = suite.entries["copa"]
    base = request_key(entry, "t", **SETTINGS)
    assert base == request_key(replace(entry, path=Path("elsewhere.jsonl"), reason="moved"), "t", **SETTINGS)
    others = [
        request_key(replace(entry, sha256="0" * 64), "t", **SETTINGS),
        request_key(replace(entry, task=replace(entry.task, num_fewshot=3)), "t", **SETTINGS),
        request_key(replace(entry, task=replace(entry.task, continuation_delimiter="\n")), "t", **SETTINGS),
        request_key(suite.entries["winograd"], "t", **SETTINGS),
        request_key(entry, "u", **SETTINGS),
        *(request_key(entry, "t", **(SETTINGS | change)) for change in ({"fewshot_seed": 1}, {"max_seq_len": 9}, {"faithful": False})),
    ]
    monkeypatch.setattr(request_store, "SCORING_MODE", "another")
    others.append(request_key(entry, "t", **SETTINGS))
    monkeypatch.undo()
    monkeypatch.setattr(request_store, "COMPILER_VERSION", 99)
    others.append(request_key(entry, "t", **SETTINGS))
    assert len({base, *others}) == len(others) + 1
    assert SCORING_MODE == "llmfoundry-0.9"


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_a_damaged_file_is_compiled_again(suite, tokenizer, stored, caplog):
    directory, files = stored
    path = files["jeopardy"]
    whole = path.read_bytes()
    expected = list(stored_requests(suite, tokenizer, directory))
    damages = {f"byte {place}": lambda place=place: flip(path, place) for place in (0, 5, len(whole) // 2, len(whole) - 40, len(whole) - 1)}
    damages |= {"empty": lambda: path.write_bytes(b""), "short": lambda: path.write_bytes(whole[:-100])}
    damages |= {"text": lambda: path.write_text("not a table"), "gone": path.unlink}
    for name, damage in damages.items():
        caplog.clear()
        damage()
        read, compiled = load(suite, tokenizer, directory)
        assert compiled == ["jeopardy"], name
        assert name == "gone" or "not those that were written; the task is compiled again" in caplog.text
        for ours, theirs in zip(read, expected, strict=True):
            same(ours, theirs)
        assert path.read_bytes() == whole  # the good file has taken the damaged one's place
        assert load(suite, tokenizer, directory)[1] == []


def test_a_foreign_file_is_compiled_again(suite, tokenizer, stored, caplog):
    directory, files = stored
    entry, path = suite.entries["winograd"], files["winograd"]
    key = request_key(entry, request_store.tokenizer_hash(tokenizer), **SETTINGS)
    other = pq.read_table(files["copa"])

    def put(data):
        path.unlink(missing_ok=True)
        name = request_store._name(entry, key, data)  # a name that agrees with the bytes
        (directory / name).write_bytes(data)
        caplog.clear()
        compiled, text = load(suite, tokenizer, directory)[1], caplog.text
        assert not (directory / name).exists() and load(suite, tokenizer, directory)[1] == []
        return compiled, text

    compiled, text = put(files["copa"].read_bytes())
    assert compiled == ["winograd"] and "holds other requests than its name says" in text
    copy = directory.parent / "other.parquet"
    pq.write_table(other.drop_columns(["gold"]).replace_schema_metadata({"requests": key}), copy)
    compiled, text = put(copy.read_bytes())
    assert compiled == ["winograd"] and "holds other requests than its name says" in text
    compiled, text = put(b"PAR1 and then nothing")
    assert compiled == ["winograd"] and "not a table of requests" in text


def test_a_changed_file_is_not_stored_under_the_old_hash(tokenizer, tmp_path):
    data = tmp_path / "data" / "commonsense_reasoning" / "copa.jsonl"
    data.parent.mkdir(parents=True)
    shutil.copy(MINI / "commonsense_reasoning" / "copa.jsonl", data)
    suite = load_suite(tmp_path / "data")
    data.write_text(data.read_text() + json.dumps({"query": "q", "choices": ["a", "b"], "gold": 0}) + "\n")
    with pytest.raises(ValueError, match="copa.*was written while.*load the suite again"):
        stored_requests(suite, tokenizer, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert len(stored_requests(load_suite(tmp_path / "data"), tokenizer, tmp_path / "store")) > 0


def test_a_label_can_not_climb(tokenizer, tmp_path):
    task = make_task("language_modeling", label="../../climb\n" + "x" * 300, num_fewshot=0)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"context": "a", "continuation": "b"}))
    entry = SuiteTask(task=task, status="present", path=tmp_path / "rows.jsonl", sha256="0")
    (tmp_path / "store").mkdir()
    table = to_arrow(compile_requests(task, [{"context": "a", "continuation": "b"}], tokenizer))
    request_store._write(tmp_path / "store", entry, "k" * 64, table)
    assert [name.startswith("______climb_xxx") for name in os.listdir(tmp_path / "store")] == [True]
    assert request_store._read(tmp_path / "store", os.listdir(tmp_path / "store"), entry, "k" * 64).equals(table)


def test_encrypted_questions_are_sealed(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "data" / "gpqa").mkdir(parents=True)
    archive(tmp_path / "data" / "gpqa" / "dataset.zip")
    suite = load_suite(tmp_path / "data")
    encrypted = [label for label, entry in suite.entries.items() if entry.encrypted]
    assert encrypted
    first = list(stored_requests(suite, tokenizer, tmp_path / "store"))
    for path in (tmp_path / "store").iterdir():
        assert path.name.endswith(".parquet.sealed") and b"PAR1" not in path.read_bytes()
    read, compiled = load(suite, tokenizer, tmp_path / "store")
    assert compiled == []
    for ours, theirs in zip(read, first, strict=True):
        same(ours, theirs)
    monkeypatch.setenv(PASSWORD_VARIABLE, "another")
    assert request_store._read(tmp_path / "store", sorted(os.listdir(tmp_path / "store")), *one_of(suite, tokenizer)) is None


def one_of(suite, tokenizer):
    entry = suite.entries["gpqa_main"]
    return entry, request_key(entry, request_store.tokenizer_hash(tokenizer), **SETTINGS)


def _store(directory, front):
    suite = choose_tasks(load_suite(MINI), LABELS)
    stored_requests(suite, HuggingFaceTokenizer(byte_level(front=front)), directory)


def test_several_processes_at_once(tmp_path, suite):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_store, args=(tmp_path, front)) for front in (False, False, True)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
        assert each.exitcode == 0
    assert len(os.listdir(tmp_path)) == 2 * len(LABELS)  # equal requests have equal bytes, so one file


def test_a_write_that_is_cut_off_leaves_nothing_to_be_read(suite, tokenizer, tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(request_store.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        stored_requests(suite, tokenizer, tmp_path)
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("_tmp-")
    os.utime(left, (time.time() - 7_200, time.time() - 7_200))
    assert len(load(suite, tokenizer, tmp_path)[1]) == len(LABELS)
    assert not left.exists() and len(os.listdir(tmp_path)) == len(LABELS)
