"""Shared runs of words between a suite and documents, against a plain-Python count."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation
from evaluation.contamination import FLAG_SCHEMA, accuracy_by_flag, contamination, flag_items
from evaluation.tasks import Suite, load_suite

MINI = load_suite(Path(evaluation.__file__).parent / "mini_v1")
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "eval"


class InMemory(Suite):
    """A suite whose rows are given."""

    def rows(self, label):
        return ROWS[label]


ROWS: dict[str, list[dict]] = {}


def suite_of(**rows: list[dict]) -> Suite:
    ROWS.clear()
    ROWS.update(rows)
    entry = MINI.entries["copa"]
    return InMemory(name="x", data_hash="", entries={label: replace(entry, path=Path(label)) for label in rows})


def plain(rows: list[dict], documents: list[tuple[str, str]], n: int) -> list[tuple]:
    """(contaminated, num_runs, found_runs, document) per row, by sets of word tuples."""

    def runs(text: str) -> set[tuple]:
        words = re.findall(r"[^\W_]+", text.lower())
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    of_row = [
        set().union(*(runs(t) for k, v in row.items() if k != "category" for t in (v if isinstance(v, list) else [v]) if isinstance(t, str)))
        for row in rows
    ]
    counts: dict[tuple, int] = {}
    for each in of_row:
        for run in each:
            counts[run] = counts.get(run, 0) + 1
    common = {run for run, count in counts.items() if count > 10 and count > 0.05 * len(rows)}
    of_document = [(name, runs(text)) for name, text in documents]
    out = []
    for each in of_row:
        kept = each - common
        found = {run for run in kept if any(run in have for _, have in of_document)}
        first = next((name for name, have in of_document if kept & have), None)
        out.append((bool(found) if kept else None, len(kept), len(found), first))
    return out


def flags_of(table: pa.Table, label: str) -> list[tuple]:
    return [tuple(row[name] for name in ("contaminated", "num_runs", "found_runs", "document")) for row in table.to_pylist() if row["task"] == label]


TEXT = st.lists(st.sampled_from(["a", "b", "Ä", "ß", "x1", "日本", "🙂", "_", ",", "\n", "İ"]), max_size=14).map(" ".join)
ROW = st.fixed_dictionaries({"query": TEXT, "choices": st.lists(TEXT, max_size=2), "category": TEXT, "gold": st.just(0)})


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=30), st.lists(ROW, max_size=3), st.lists(TEXT, max_size=4), st.integers(2, 4))
def test_it_finds_what_a_plain_count_finds(rows, others, texts, n):
    documents = [(f"d{i}", text) for i, text in enumerate(texts)]
    table = contamination(suite_of(one=rows, empty=[], two=others), documents, num_words=n)
    assert table.schema == FLAG_SCHEMA
    assert flags_of(table, "one") == plain(rows, documents, n) and flags_of(table, "two") == plain(others, documents, n)


def test_thirteen_words_in_a_row_are_needed():
    question = "one two three four five six seven eight nine ten eleven twelve thirteen"
    short = {"query": "one two three four", "choices": ["five six seven eight nine", "ten eleven twelve thirteen"]}
    suite = suite_of(one=[{"query": f"Q: {question}?"}, short])
    assert flags_of(contamination(suite, [("a", "nothing"), ("b", question.upper().replace(" ", ", "))]), "one") == [
        (True, 2, 1, "b"),
        (None, 0, 0, None),
    ]
    assert flags_of(contamination(suite, [("a", question.replace("seven ", ""))]), "one")[0] == (False, 2, 0, None)
    with pytest.raises(ValueError, match="num_words is 1"):
        contamination(suite, [], num_words=1)


def test_instructions_that_all_rows_share_say_nothing_of_a_row():
    instruction = "Choose the one of the four answers below that continues the story in the most natural way"
    rows = [{"query": f"{instruction}: {'word ' * i}{i}"} for i in range(40)]
    for count, expected in ((40, {False}), (9, {True})):  # of nine rows it could be the questions' common passage
        flags = contamination(suite_of(one=rows[:count]), [("d", instruction)]).column("contaminated")
        assert set(flags.to_pylist()) == expected


def test_tasks_with_one_file_and_chosen_labels():
    row = MINI.rows("mmlu_fewshot")[5]
    text = f"before {row['query']} after"
    table = contamination(MINI, [("leak", text)], labels=["mmlu_zeroshot", "mmlu_fewshot", "copa"])
    found = [(each["task"], each["row"]) for each in table.to_pylist() if each["contaminated"]]
    assert found == [("mmlu_zeroshot", 5), ("mmlu_fewshot", 5)]
    assert table.num_rows == sum(len(MINI.rows(label)) for label in ("mmlu_zeroshot", "mmlu_fewshot", "copa"))


def test_flags_go_to_the_items_and_split_the_accuracy():
    flags = pa.Table.from_pylist(
        [
            {"task": "x", "row": row, "contaminated": flag, "num_runs": 1, "found_runs": 0, "document": None}
            for row, flag in ((0, True), (1, False), (2, None), (3, False))
        ],
        schema=FLAG_SCHEMA,
    )
    items = pa.table({"task": ["x"] * 4 + ["y"], "row": pa.array([3, 0, 1, 2, 0], pa.int32()), "correct": [False, True, True, False, True]})
    flagged = flag_items(items, flags)
    assert flagged.column("contaminated").to_pylist() == [False, True, False, None, None]
    assert accuracy_by_flag(flagged) == [
        {"task": "x", "items": 4, "clean": 2, "accuracy_clean": 0.5, "contaminated": 1, "accuracy_contaminated": 1.0, "unjudged": 1,
         "accuracy_unjudged": 0.0},
        {"task": "y", "items": 1, "clean": 0, "accuracy_clean": None, "contaminated": 0, "accuracy_contaminated": None, "unjudged": 1,
         "accuracy_unjudged": 1.0},
    ]  # fmt: skip


def test_every_long_question_of_a_real_file_is_found_in_it():
    if not SHARED.is_dir():
        pytest.skip("../shared/data/eval is absent")
    suite = load_suite(SHARED)
    rows = suite.rows("piqa")
    start = time.process_time()
    table = contamination(suite, ((str(i), json.dumps(row["query"])) for i, row in enumerate(rows[:900])), labels=["piqa"])
    assert time.process_time() - start < 10
    flags = table.column("contaminated").to_pylist()
    long = [i for i, row in enumerate(rows) if len(re.findall(r"[^\W_]+", row["query"])) >= 15]
    assert all(flags[i] for i in long if i < 900) and sum(flags[i] or False for i in range(900, len(rows))) < 20
