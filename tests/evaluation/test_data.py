"""Importing and pulling the suite's files: hashes checked, reconstructions kept apart, nothing missing in silence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluation
import evaluation.data
import evaluation.tasks
from evaluation.conversions import BBQ_CATEGORIES, CONVERSIONS
from evaluation.data import Sources, count_rows, import_data, pull, status_rows
from evaluation.download import Patience
from evaluation.files import GPQA_ARCHIVE, EvalDataError, git_blob, known_files
from evaluation.tasks import load_suite, load_tasks
from tests.evaluation.file_server import serving
from tests.evaluation.test_gpqa import archive

MINI = Path(evaluation.__file__).parent / "mini_v1"
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "eval"
QUICK = Patience(first_wait_seconds=0.01, timeout_seconds=5)
COPA = "local_data/commonsense_reasoning/copa.jsonl"
SQUAD, BBQ, MATH = CONVERSIONS


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A clone of "llm-foundry": mini-v1's files under its layout, and a table that knows their hashes; GPQA as an encrypted archive."""
    root, table = tmp_path / "published", {}
    for file, known in known_files().items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if file == GPQA_ARCHIVE:
            archive(path)
        elif known.git_blob:
            shutil.copyfile(MINI / file.removeprefix("local_data/"), path)
        count = len(path.read_text().splitlines()) if file != GPQA_ARCHIVE and known.git_blob else None
        blob = git_blob(path) if known.git_blob else ""
        table[file] = replace(known, git_blob=blob, num_bytes=path.stat().st_size if blob else None, num_rows=count)
    for module in (evaluation.data, evaluation.tasks):
        monkeypatch.setattr(module, "known_files", lambda: table)
    return root


def by_task(rows: list[dict]) -> dict[str, dict]:
    assert [row["task"] for row in rows] == list(load_tasks())
    return {row["task"]: row for row in rows}


def served(server, root: Path) -> Sources:
    """Put a published tree on a server."""
    for path in root.rglob("*"):
        if path.is_file():
            place = "dclm" if path.name == "dataset.zip" else "foundry"
            server.files[f"/{place}/{path.relative_to(root)}"] = path.read_bytes()
    return Sources(llm_foundry=f"{server.url}/foundry", dclm=f"{server.url}/dclm/", hugging_face=f"{server.url}/hub")


def test_the_table_knows_every_file_and_a_licence():
    table = known_files()
    assert {task.file for task in load_tasks().values()} | {GPQA_ARCHIVE} == set(table) and len(table) == 52
    for known in table.values():
        assert known.licence and known.dataset and (known.num_rows or known.file == GPQA_ARCHIVE)
        assert len(known.git_blob) == 40 or known.file.startswith("gpqa_data/")


@pytest.mark.parametrize("folder", ["local_data", ".", "scripts/eval/local_data"])
def test_import_takes_what_is_published(published, tmp_path, folder):
    source = tmp_path / "source"
    shutil.copytree(published / "local_data", source / folder, dirs_exist_ok=True)
    shutil.copytree(published / "gpqa", source / "eval" / "gpqa")
    rows = import_data(source, tmp_path / "to")
    assert count_rows(rows) == {"present": 53, "reconstructed": 0, "missing": 0, "core": 22}
    assert {row["done"] for row in rows} == {"copied"} and load_suite(tmp_path / "to").name == "dclm"
    assert {row["done"] for row in import_data(source, tmp_path / "to")} == {"verified already"}
    assert not [path for path in (tmp_path / "to").rglob("*") if path.name.startswith(".")]
    assert not list((tmp_path / "to").rglob("gpqa_*"))


def test_import_keeps_a_sound_unknown_file_apart_and_refuses_a_broken_one(published, tmp_path):
    source, to = tmp_path / "source", tmp_path / "to"
    shutil.copytree(published, source)
    copa, piqa, siqa, boolq = (source / load_tasks()[name].file for name in ("copa", "piqa", "siqa", "boolq"))
    copa.write_text(copa.read_text() + "\n")  # the same rows, other bytes
    piqa.write_text("".join(piqa.read_text().splitlines(keepends=True)[:-1]))
    lines = siqa.read_text().splitlines()
    siqa.write_text("\n".join([lines[0], '{"query": "q", "choices": ["a"], "gold": 0}', *lines[2:]]))
    boolq.unlink()
    rows = by_task(import_data(source, to))
    assert rows["copa"]["status"] == "reconstructed" and "llm-foundry's is" in rows["copa"]["reason"]
    assert (to / "commonsense_reasoning" / "copa.reconstructed.jsonl").is_file() and load_suite(to).name == "dclm-reconstructed"
    assert rows["piqa"]["status"] == "missing" and "it is cut or another version" in rows["piqa"]["done"]
    assert rows["siqa"]["status"] == "missing" and "line 2: 'choices'" in rows["siqa"]["done"]
    assert rows["boolq"]["status"] == "missing" and rows["boolq"]["done"] == "" and "no file" in rows["boolq"]["reason"]
    assert count_rows(list(rows.values())) == {"present": 49, "reconstructed": 1, "missing": 3, "core": 20}

    copa.write_text(copa.read_text() + "\n")
    assert "as unverified as" in by_task(import_data(source, to))["copa"]["done"]
    rows = by_task(import_data(published, to))
    assert rows["copa"]["done"] == "copied" and {row["status"] for row in rows.values()} == {"present"}
    assert not list(to.rglob("*.reconstructed.jsonl"))


def test_a_file_changed_under_the_published_name_is_seen(published, tmp_path):
    import_data(published, tmp_path / "to")
    path = tmp_path / "to" / "commonsense_reasoning" / "copa.jsonl"
    path.write_text(path.read_text().replace("because", "since"))
    rows = by_task(status_rows(load_suite(tmp_path / "to")))
    assert rows["copa"]["status"] == "reconstructed" and "done" not in rows["copa"]
    assert by_task(import_data(published, tmp_path / "to"))["copa"]["status"] == "present"


def test_plain_gpqa_and_other_archives_are_not_taken(published, tmp_path):
    shutil.rmtree(published / "gpqa")
    shutil.copytree(MINI / "gpqa_data", published / "gpqa_data", dirs_exist_ok=True)
    rows = by_task(import_data(published, tmp_path / "to"))
    assert rows["gpqa_main"]["status"] == "missing" and "plain text is not copied" in rows["gpqa_main"]["done"]
    archive(published / "gpqa" / "dataset.zip", gpqa_main=b"Question\n")
    assert "refused" in by_task(import_data(published, tmp_path / "to"))["gpqa_diamond"]["done"]
    assert not list((tmp_path / "to").rglob("*gpqa*"))


def test_import_says_what_it_did_not_find(tmp_path):
    with pytest.raises(EvalDataError, match="not a directory"):
        import_data(tmp_path / "nowhere", tmp_path / "to")
    with pytest.raises(EvalDataError, match="holds no file of the suite"):
        import_data(tmp_path, tmp_path / "to")


def test_pull_fetches_everything_and_only_once(published, tmp_path):
    seen = []
    with serving() as server:
        sources = served(server, published)
        server.faults["/foundry/" + COPA] = ["cut", 500]
        rows = pull(tmp_path / "to", sources=sources, patience=QUICK, progress=lambda *each: seen.append(each))
        assert count_rows(rows) == {"present": 53, "reconstructed": 0, "missing": 0, "core": 22}
        assert {row["done"] for row in rows} == {"fetched"}
        asked = len(server.requests)
        rows = pull(tmp_path / "to", sources=sources, patience=QUICK)
        assert {row["done"] for row in rows} == {"verified already"} and len(server.requests) == asked
    assert seen[0][:2] == (0, 50) and seen[-1] == (50, 50, "")


def test_pull_of_some_tasks(published, tmp_path):
    with serving() as server:
        rows = by_task(pull(tmp_path / "to", ["copa", "gpqa_main"], served(server, published), QUICK))
        assert len(server.requests) == 2
    there = [label for label, row in rows.items() if row["status"] == "present"]
    assert there == ["copa", "gpqa_main", "gpqa_diamond"]
    with pytest.raises(EvalDataError, match="no task 'cop'"):
        pull(tmp_path / "to", ["cop"])


def test_pull_says_of_each_file_why_it_is_not_there(published, tmp_path):
    with serving() as server:
        sources = served(server, published)
        del server.files["/foundry/" + COPA]
        server.files["/foundry/" + SQUAD] = b"<html>moved</html>"
        rows = by_task(pull(tmp_path / "to", ["copa", "squad", "piqa"], sources, QUICK))
    assert rows["piqa"]["status"] == "present"
    assert rows["copa"]["status"] == "missing" and "404" in rows["copa"]["done"]
    assert "was expected" in rows["squad"]["done"] and "nor made from its data set" in rows["squad"]["done"]
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file() and path.suffix != ".jsonl"]


def test_pull_without_a_network(tmp_path, monkeypatch):
    for name in ("WINNOW_EVAL_LLM_FOUNDRY", "WINNOW_EVAL_DCLM", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(EvalDataError, match="nothing could be fetched.*winnow eval-data import DIR"):
        pull(tmp_path / "to", patience=QUICK)


def hub_files(tmp_path, num_rows: dict[str, int]) -> dict[str, bytes]:
    """The three data sets in their publishers' columns."""
    squad = [
        {"id": str(i), "context": f"Text {i}.", "question": f"Which {i}?", "answers": {"text": [f"the {i}", "no"], "answer_start": [0, 1]}}
        for i in range(num_rows[SQUAD])
    ]
    math = [
        {
            "idx": i,
            "inputs": f"Q: How much is {i}?\n  choice: a\n  choice: b\nA:",
            "multiple_choice_targets": ["a", "b", "c", "d", "e"],
            "multiple_choice_scores": [int(k == i % 5) for k in range(5)],
        }
        for i in range(num_rows[MATH])
    ]
    files = {}
    tables = dict(zip(CONVERSIONS[SQUAD].paths + CONVERSIONS[MATH].paths, [squad, math[::2], math[1::2]], strict=True))
    for path, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
        files[f"/hub/{path}"] = (tmp_path / "x.parquet").read_bytes()
    per, rest = divmod(num_rows[BBQ], len(BBQ_CATEGORIES))
    for k, path in enumerate(CONVERSIONS[BBQ].paths):
        lines = []
        for i in range(per + (k < rest)):
            info = {"ans0": ["old", "old"], "ans1": ["Unknown", "unknown"], "ans2": ["young", "nonOld"]}
            texts = {"context": f"Two {i}.", "question": "Who?", "ans0": "The old", "ans1": "Not known", "ans2": "The young"}
            lines.append(json.dumps({**texts, "answer_info": info, "label": i % 3, "category": BBQ_CATEGORIES[k]}))
        files[f"/hub/{path}"] = "\n".join(lines).encode()
    return files


def test_three_tasks_are_made_from_their_data_sets(tmp_path):
    """With the real table: the right number of rows, in the columns of the suite, and reconstructed, not present."""
    to = tmp_path / "to"
    with serving() as server:
        server.files = hub_files(tmp_path, {file: known_files()[file].num_rows for file in CONVERSIONS})
        sources = Sources(llm_foundry=f"{server.url}/foundry", dclm=f"{server.url}/dclm", hugging_face=f"{server.url}/hub")
        rows = by_task(pull(to, ["squad", "bbq", "bigbench_elementary_math_qa"], sources, QUICK))
    assert {label for label, row in rows.items() if row["status"] == "reconstructed"} == {"squad", "bbq", "bigbench_elementary_math_qa"}
    assert rows["bbq"]["done"] == "made from its data set" and not (to / "_downloads").exists()
    suite = load_suite(to)
    assert suite.rows("squad")[3] == {"context": "Context: Text 3.\nQuestion: Which 3?\nAnswer:", "continuation": "the 3"}
    assert suite.rows("bigbench_elementary_math_qa")[:2] == [
        {"query": "Question: How much is 0?\nA. a\nB. b\nC. c\nD. d\nAnswer: ", "choices": ["A", "B", "C", "D"], "gold": 0},
        {"query": "Question: How much is 1?\nA. a\nB. b\nC. c\nD. d\nAnswer: ", "choices": ["A", "B", "C", "D"], "gold": 1},
    ]
    assert suite.rows("bigbench_elementary_math_qa")[4]["query"].endswith("A. a\nB. b\nC. c\nD. e\nAnswer: ")
    bbq = suite.rows("bbq")
    assert [(row["query"].split("Choices:\n")[1], row["gold"]) for row in bbq[:3]] == [
        ("A. The old\nB. The young\nAnswer:", 0),
        ("A. The old\nB. Not known\nAnswer:", 1),
        ("A. The old\nB. The young\nAnswer:", 1),
    ]
    assert {row["category"] for row in bbq} == set(BBQ_CATEGORIES) and len(bbq) == 58_492


def test_a_data_set_that_changed_is_refused(tmp_path):
    with serving() as server:
        server.files = hub_files(tmp_path, {SQUAD: 5, BBQ: 11, MATH: 4})
        pq.write_table(pa.table({"idx": [1]}), tmp_path / "x.parquet")
        server.files[f"/hub/{CONVERSIONS[MATH].paths[0]}"] = (tmp_path / "x.parquet").read_bytes()
        server.files["/foundry/" + COPA] = b""
        sources = Sources(llm_foundry=f"{server.url}/foundry", dclm=server.url, hugging_face=f"{server.url}/hub")
        with pytest.raises(EvalDataError) as caught:
            pull(tmp_path / "to", ["squad", "bbq", "bigbench_elementary_math_qa"], sources, QUICK)
    said = str(caught.value)
    assert "5 rows came of it, the suite's file has 10,570" in said and "columns inputs" in said


def test_the_real_files(tmp_path):
    if not SHARED.is_dir():
        pytest.skip("../shared/data/eval is absent")
    rows = by_task(import_data(SHARED, tmp_path))
    assert count_rows(list(rows.values())) == {"present": 46, "reconstructed": 4, "missing": 3, "core": 21}
    suite = load_suite(tmp_path)
    assert {label: len(suite.rows(label)) for label in suite.tasks} == {label: rows[label]["rows"] for label in suite.tasks}
    assert suite.data_hash == load_suite(SHARED).data_hash
    with serving() as server:
        server.files["/foundry/" + COPA] = (SHARED / "commonsense_reasoning" / "copa.jsonl").read_bytes()
        server.files["/dclm/" + GPQA_ARCHIVE] = (SHARED / GPQA_ARCHIVE).read_bytes()
        sources = Sources(llm_foundry=f"{server.url}/foundry", dclm=f"{server.url}/dclm", hugging_face=server.url)
        rows = by_task(pull(tmp_path / "pulled", ["copa", "gpqa_main"], sources, QUICK))
    assert [label for label, row in rows.items() if row["status"] == "present"] == ["copa", "gpqa_main", "gpqa_diamond"]
