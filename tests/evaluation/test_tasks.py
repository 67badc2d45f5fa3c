import csv
import json
import shutil
from pathlib import Path

import pytest

import evaluation
from evaluation.tasks import TASK_TYPES, checked_rows, load_suite, load_tasks, row_problem

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def write_rows(path, rows=({"query": "q", "choices": ["a", "b"], "gold": 0},)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_table_has_the_published_counts():
    tasks = load_tasks()
    assert len(tasks) == 53 and sum(task.in_core for task in tasks.values()) == 22
    types = [task.task_type for task in tasks.values()]
    assert [types.count(each) for each in TASK_TYPES] == [33, 2, 13, 5]
    categories = [task.category for task in tasks.values()]
    assert sorted(categories.count(each) for each in set(categories)) == [4, 8, 8, 8, 10, 15]
    assert [label for label, task in tasks.items() if task.has_categories] == [
        "mmlu_zeroshot",
        "jeopardy",
        "mmlu_fewshot",
        "bbq",
    ]
    assert sum(task.baseline_v1 != task.baseline_v2 for task in tasks.values()) == 12
    assert sum(task.baseline_v1 != task.baseline_v2 for task in tasks.values() if task.in_core) == 3


def test_delimiters_keep_their_newlines_and_spaces():
    tasks = load_tasks()
    assert tasks["mmlu_zeroshot"].continuation_delimiter == "Answer: "
    assert tasks["mmlu_fewshot"].continuation_delimiter == "\nAnswer: "
    assert tasks["gsm8k_cot"].question_prelimiter == "Q: " and tasks["gsm8k_cot"].cot_delimiter == " #### "
    assert tasks["gsm8k_cot"].early_stops == ("\n\n", "Q:", "Q: ") and tasks["triviaqa_sm_sub"].early_stops == ()


def test_the_table_equals_the_published_one():
    path = SHARED / "published" / "tasks.csv"
    if not path.is_file():
        pytest.skip("../shared/data/published is absent")
    with path.open(newline="") as file:
        published = {row["label"]: row for row in csv.DictReader(file)}
    tasks = load_tasks()
    assert list(tasks) == list(published)
    for label, row in published.items():
        task = tasks[label]
        assert (task.category, task.task_type, task.file) == (row["category"], row["icl_task_type"], row["dataset_uri"])
        assert (task.num_fewshot, task.baseline_v1, task.baseline_v2) == (
            int(row["num_fewshot"]),
            float(row["baseline_v1"]),
            float(row["baseline_v2"]),
        )
        assert [task.continuation_delimiter, task.question_prelimiter, task.cot_delimiter, list(task.early_stops)] == [
            json.loads(row[name])
            for name in ("continuation_delimiter", "question_prelimiter", "cot_delimiter", "early_stopping")
        ]
        assert (str(task.has_categories), str(task.in_core)) == (row["has_categories"], row["in_core"])


@pytest.mark.parametrize("prefix", ["local_data", "."])
def test_files_are_found_with_and_without_local_data(tmp_path, prefix):
    write_rows(tmp_path / prefix / "commonsense_reasoning" / "copa.jsonl")
    write_rows(tmp_path / prefix / "gpqa_data" / "gpqa_main.jsonl")
    suite = load_suite(tmp_path)
    assert list(suite.tasks) == ["copa", "gpqa_main"] and len(suite.missing) == 51 and len(suite.entries) == 53
    assert suite.name == "dclm-reconstructed" and suite.rows("copa")[0]["query"] == "q"
    assert {entry.status for entry in suite.entries.values()} == {"reconstructed", "missing"}  # these are not the published bytes
    assert "llm-foundry's is b22f96e0" in suite.entries["copa"].reason
    assert "commonsense_reasoning/piqa.jsonl" in suite.missing["piqa"]


def test_a_reconstructed_file_renames_the_suite_and_yields_to_the_real_one(tmp_path):
    if not (SHARED / "eval").is_dir():
        pytest.skip("../shared/data/eval is absent")
    source = SHARED / "eval" / "commonsense_reasoning" / "copa.jsonl"
    path = tmp_path / "commonsense_reasoning" / "copa.reconstructed.jsonl"
    write_rows(path)
    suite = load_suite(tmp_path)
    assert suite.name == "dclm-reconstructed" and suite.reconstructed == ["copa"]
    shutil.copyfile(source, path)  # its bytes are the published ones, whatever its name
    assert load_suite(tmp_path).reconstructed == []
    write_rows(path)
    shutil.copyfile(source, path.with_name("copa.jsonl"))
    assert load_suite(tmp_path).name == "dclm" and load_suite(tmp_path).reconstructed == []


def test_files_of_a_suite_with_a_name_of_its_own_are_its_own():
    suite = load_suite(Path(evaluation.__file__).parent / "mini_v1")
    assert len(suite.tasks) == 53 and suite.reconstructed == [] and not any(e.encrypted for e in suite.entries.values())


def test_an_archive_that_can_not_be_opened_is_missing_with_the_reason(tmp_path):
    write_rows(tmp_path / "commonsense_reasoning" / "copa.jsonl")
    (tmp_path / "gpqa").mkdir()
    (tmp_path / "gpqa" / "dataset.zip").write_bytes(b"PK")
    missing = load_suite(tmp_path).missing
    assert "not GPQA's archive" in missing["gpqa_main"] and "fetch it again" in missing["gpqa_diamond"]


ROWS = {
    "copa": {"query": "q", "choices": ["a", "b"], "gold": 1},
    "winograd": {"context_options": ["a", "b"], "continuation": "c", "gold": 0},
    "squad": {"context": "c", "continuation": "d"},
    "gsm8k_cot": {"context": "c", "answer": "a", "aliases": ["b"], "chain_of_thought": "t"},
    "jeopardy": {"context": "c", "continuation": "d", "category": "e"},
}


@pytest.mark.parametrize("label", ROWS)
def test_a_sound_row_has_no_problem_and_each_field_is_needed(label):
    task, row = load_tasks()[label], ROWS[label]
    assert row_problem(task, row) == ""
    for name in row.keys() - {"aliases", "chain_of_thought"}:
        assert name in row_problem(task, {key: value for key, value in row.items() if key != name})


@pytest.mark.parametrize(
    ("label", "change", "problem"),
    [
        ("copa", {"gold": 2}, "'gold' is 2; give the index of the right one of 2 choices"),
        ("copa", {"gold": True}, "'gold' is True"),
        ("copa", {"choices": ["a"]}, "two or more"),
        ("copa", {"choices": ["a", ""]}, "two or more"),
        ("copa", {"query": 3}, "as text"),
        ("squad", {"continuation": " "}, "empty"),
        ("gsm8k_cot", {"aliases": "b"}, "'aliases' is 'b'"),
        ("gsm8k_cot", {"chain_of_thought": 3}, "'chain_of_thought' is 3"),
    ],
)
def test_what_is_wrong_with_a_row(label, change, problem):
    assert problem in row_problem(load_tasks()[label], ROWS[label] | change)


def test_every_row_of_the_suites_is_sound():
    roots = [Path(evaluation.__file__).parent / "mini_v1", *([SHARED / "eval"] if (SHARED / "eval").is_dir() else [])]
    for root in roots:
        for entry in load_suite(root).entries.values():
            if entry.path and not entry.encrypted and entry.path.stat().st_size < 3_000_000:
                assert checked_rows(entry.task, entry.path)


def test_suite_json_renames_and_shortens(tmp_path):
    write_rows(tmp_path / "commonsense_reasoning" / "copa.jsonl")
    plain = load_suite(tmp_path)
    facts = {"name": "mini-v1", "num_fewshot": {"arc_easy": 1}, "max_num_fewshot": 2}
    (tmp_path / "suite.json").write_text(json.dumps(facts))
    suite = load_suite(tmp_path)
    assert suite.name == "mini-v1" and suite.data_hash != plain.data_hash
    shots = {label: entry.task.num_fewshot for label, entry in suite.entries.items()}
    assert (shots["copa"], shots["arc_easy"], shots["hellaswag"], max(shots.values())) == (0, 1, 2, 2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"max_num_fewshot": 2}, "name"),
        ({"name": "dclm"}, "reserved"),
        ({"name": "x", "max_fewshot": 2}, "max_num_fewshot"),
        ({"name": "x", "num_fewshot": {"arc_esay": 1}}, "arc_easy"),
        ({"name": "x", "max_num_fewshot": -1}, "-1"),
    ],
)
def test_a_suite_json_that_is_not_understood_is_an_error(tmp_path, facts, message):
    (tmp_path / "suite.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=message):
        load_suite(tmp_path)


def test_the_hash_follows_contents_not_the_place(tmp_path):
    for folder, text in (("a", "q"), ("b", "q"), ("c", "other")):
        write_rows(tmp_path / folder / "commonsense_reasoning" / "copa.jsonl", [{"query": text}])
    a, b, c = (load_suite(tmp_path / folder).data_hash for folder in "abc")
    assert a == b != c and len(a) == 64


def test_what_can_not_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="not a directory"):
        load_suite(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="none of the 53"):
        load_suite(tmp_path)
    path = tmp_path / "commonsense_reasoning" / "copa.jsonl"
    write_rows(path)
    path.write_text(path.read_text() + "\n{broken\n")
    suite = load_suite(tmp_path)
    with pytest.raises(ValueError, match="line 3"):
        suite.rows("copa")
    with pytest.raises(ValueError, match="missing"):
        suite.rows("piqa")
    with pytest.raises(ValueError, match="did you mean 'copa'"):
        suite.rows("cop")


def test_the_real_files_are_all_accounted_for():
    if not (SHARED / "eval").is_dir():
        pytest.skip("../shared/data/eval is absent")
    suite = load_suite(SHARED / "eval")
    assert suite.name == "dclm-reconstructed" and len(suite.tasks) == 50
    assert suite.reconstructed == ["mmlu_zeroshot", "hellaswag_zeroshot", "mmlu_fewshot", "hellaswag"]
    assert list(suite.missing) == ["bigbench_elementary_math_qa", "squad", "bbq"]
    assert [label for label, entry in suite.entries.items() if entry.encrypted] == ["gpqa_main", "gpqa_diamond"]
