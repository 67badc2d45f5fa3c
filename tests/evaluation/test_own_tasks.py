"""Tasks of one's own: a table, its files, and every mistake named with file, line and remedy."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import evaluation
from evaluation.aggregate import accuracies, aggregate
from evaluation.own_tasks import load_own_suite
from evaluation.requests import compile_requests
from evaluation.scorer import score_requests
from evaluation.tasks import load_suite
from tests.evaluation.test_subset import Characters

MINI = Path(evaluation.__file__).parent / "mini_v1"
HEADER = "label,task_type,num_fewshot,file"
GOOD = [{"query": f"Capital {i}?", "choices": ["A", "B"], "gold": i % 2} for i in range(4)]


def table(folder: Path, *lines: str, header: str = HEADER, rows=GOOD) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "my_tasks.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


class Uniform:
    """A model that likes every token the same."""

    max_seq_len, vocab_size = 100_000, 0x110000

    def score(self, tokens_BT, rows_N, cols_N, targets_N):
        return np.full(len(rows_N), -1.0, np.float32), np.zeros(len(rows_N), np.int64)

    def generate(self, prompts, max_new_tokens, stop=None):
        return [[ord("7")] for _ in prompts]


def test_a_table_is_a_suite_that_can_be_scored(tmp_path):
    suite = load_own_suite(table(tmp_path, "capitals,multiple_choice,2,rows.jsonl"))
    task = suite.entries["capitals"].task
    assert suite.name == f"own-my_tasks-{suite.data_hash[:8]}" and (task.category, task.continuation_delimiter, task.baseline_v1, task.in_core) == ("own", " ", 0.0, False)
    requests = compile_requests(task, suite.rows("capitals"), Characters(), 7, 1000)
    items = score_requests(Uniform(), requests, Characters())
    assert accuracies(items) == {"capitals": 0.5} and items.column("task").to_pylist() == ["capitals"] * 4
    whole = aggregate(accuracies(items))
    assert whole.core is None and whole.ignored == ["capitals"]


def test_the_whole_mini_suite_as_ones_own(tmp_path):
    """Every type and setting goes through the table: copied out under other labels, the tasks stay what they were."""
    suite = load_suite(MINI)
    path = tmp_path / "copy.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(suite.entries["copa"].task)))
        writer.writeheader()
        for label, entry in suite.entries.items():
            cells = asdict(entry.task) | {"label": f"my_{label}", "in_core": "false", "file": entry.path, "num_fewshot": min(1, entry.task.num_fewshot)}
            for name in ("continuation_delimiter", "question_prelimiter", "cot_delimiter", "early_stops"):
                cells[name] = json.dumps(cells[name])
            writer.writerow(cells)
    mine = load_own_suite(path)
    assert list(mine.tasks) == [f"my_{label}" for label in suite.tasks]
    for label, entry in suite.entries.items():
        same = asdict(mine.entries[f"my_{label}"].task)
        changed = {name for name, value in asdict(entry.task).items() if same[name] != value}
        assert changed <= {"label", "in_core", "file", "num_fewshot"}
        assert mine.rows(f"my_{label}") == suite.rows(label)


def test_the_hash_follows_settings_and_rows_not_the_place(tmp_path):
    hashes = []
    for folder, shots, rows in (("a", 1, GOOD), ("b", 1, GOOD), ("c", 2, GOOD), ("d", 1, GOOD[:-1])):
        (tmp_path / folder).mkdir()
        hashes.append(load_own_suite(table(tmp_path / folder, f"x,multiple_choice,{shots},rows.jsonl", rows=rows)).data_hash)
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,multiple_choise,0,rows.jsonl", "line 2: task_type is 'multiple_choise'; use one of .*did you mean multiple_choice"),
        ("x,multiple_choice,-1,rows.jsonl", "line 2: num_fewshot is '-1'; write a whole number"),
        ("x,multiple_choice,4,rows.jsonl", "line 2: num_fewshot is 4, but .*rows.jsonl has 4 rows, so a question has 3 others"),
        ("x,multiple_choice,0,row.jsonl", "line 2: there is no file .*row.jsonl; a path is relative to the table's folder"),
        ("copa,multiple_choice,0,rows.jsonl", "line 2: label 'copa' is the name of a task that comes with the suite"),
        ("validation/x,multiple_choice,0,rows.jsonl", "line 2: label is 'validation/x'"),
        ("../x,multiple_choice,0,rows.jsonl", "line 2: label is '../x'"),
        ("x,language_modeling,0,rows.jsonl", "line 2, task x: .*rows.jsonl: line 1: 'context' is None; a row of type language_modeling needs it"),
        ("x,multiple_choice,0", "line 2: another number of cells"),
        ("x,multiple_choice,0,rows.jsonl,more", "line 2: another number of cells"),
        ("x,multiple_choice,0,rows.jsonl\nx,multiple_choice,0,rows.jsonl", "line 3: label 'x' is there twice"),
        ('x,"multiple_choice,0,rows.jsonl', "not a CSV table"),
        ("", "no tasks below the header"),
    ],
)
def test_mistakes_in_a_line(tmp_path, line, message):
    with pytest.raises(ValueError, match=rf"my_tasks.csv.*{message}"):
        load_own_suite(table(tmp_path, line))


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("continuation_delimiter", "Answer: ", r"continuation_delimiter is Answer:; write JSON with its quotes"),
        ("continuation_delimiter", "3", "continuation_delimiter is 3; write a JSON text"),
        ("baseline_v2", "100", "baseline_v2 is '100'; write the accuracy of chance in percent"),
        ("has_categories", "yes", "has_categories is 'yes'; write true or false"),
        ("has_categories", "true", "'category' is None"),
        ("in_core", "true", "CORE is DCLM's 22 tasks"),
        ("early_stops", '"[""x""]"', "are for generation_task_with_answers alone"),
        ("early_stops", '"[""(""]"', "is no regular expression"),
        ("early_stops", "{}", "write a JSON list of texts"),
        ("delimiter", "", "line 1: unknown column 'delimiter'"),
        ("baseline_v3", "", "did you mean 'baseline_v2'"),
    ],
)
def test_mistakes_in_a_setting(tmp_path, column, cell, message):
    with pytest.raises(ValueError, match=message):
        load_own_suite(table(tmp_path, f"x,multiple_choice,0,rows.jsonl,{cell}", header=f"{HEADER},{column}"))


def test_a_small_category_can_not_show_enough_examples(tmp_path):
    rows = [{**row, "category": "big" if i else "small"} for i, row in enumerate(GOOD)]
    path = table(tmp_path, "x,multiple_choice,1,rows.jsonl,true", header=f"{HEADER},has_categories", rows=rows)
    with pytest.raises(ValueError, match="category 'small' of .* has 1 rows, so a question has 0 others"):
        load_own_suite(path)


def test_what_is_no_table(tmp_path):
    with pytest.raises(ValueError, match="there is no such table"):
        load_own_suite(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="line 1: column 'label' is missing"):
        load_own_suite(table(tmp_path, header="name"))
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a CSV table in UTF-8"):
        load_own_suite(tmp_path / "x.csv")
    path = table(tmp_path, "x,multiple_choice,0,rows.jsonl")
    (tmp_path / "rows.jsonl").write_bytes(b'{"query": "\xff"}\n')
    with pytest.raises(ValueError, match="rows.jsonl: line 1 is not JSON"):
        load_own_suite(path)
