"""Questions in documents: found where they stand, counted, never written out."""

from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.subset import find_suite
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store
from stages.flag_contamination import flag_contamination
from tests.stages.test_evaluate import write_own
from tests.stages.test_train import texts_of, write_texts

QUESTION = "The quick brown fox jumps over the lazy dog while seven cats watch from the wall and"


def own(folder: Path) -> Path:
    """A table of two tasks: one short question, one of seventeen words."""
    table = write_own(folder)
    (folder / "words.jsonl").write_text(f'{{"context": "{QUESTION}", "continuation": "sleep"}}\n')
    return table


def test_a_question_in_a_document_is_flagged_and_another_suite_is_another_dataset(tmp_path):
    write_texts(tmp_path / "web.jsonl", 5, seed=1)
    with (tmp_path / "web.jsonl").open("a") as file:
        file.write(f'{{"id": "leak", "text": "Somebody wrote: {QUESTION.upper()} slept."}}\n')
    table, store = own(tmp_path), Store(tmp_path / "store")
    documents = texts_of(tmp_path, "web")
    plan = Plan("flags", [flag_contamination.on(documents, eval_data=str(table), name="own"), flag_contamination.on(documents, tasks=("copa",), name="mini")])
    run_plan(plan, store, Resources(workers=0))
    made = open_node(store, plan, "own")
    rows = made.table("flags").to_pylist()
    (found,) = [row for row in rows if row["contaminated"]]
    assert (found["task"], found["row"], found["document"]) == ("words", 0, "leak") and found["found_runs"] == found["num_runs"] == 5
    assert [row["contaminated"] for row in rows if row["task"] == "sums"] == [None] * 6, "too short to be judged, which is not clean"
    assert made.summary == {"suite": find_suite(table).name, "suite_hash": find_suite(table).data_hash, "questions": 7, "judged": 1, "contaminated": 1}
    mini = open_node(store, plan, "mini")
    assert set(mini.table("flags").column("task").to_pylist()) == {"copa"} and mini.summary["suite_hash"] == find_suite().data_hash
    assert all(b"brown" not in path.read_bytes() for path in made.path.rglob("*") if path.is_file())


def test_the_schema_is_that_of_the_flags():
    assert flag_contamination.added(flag_contamination.config_type())["contaminated"] == pa.bool_()
    with pytest.raises(ValueError, match="no task 'copaa'"):
        flag_contamination.identity(flag_contamination.config_type(tasks=("copaa",)))
