"""Histograms count every document once, samples are the first of their kind, and none of it depends on how rows are batched."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.dataset_profile import (
    BINS,
    EXCERPT,
    dropped_samples,
    kept_samples,
    length_histogram,
    number_histograms,
    spread,
    verdict_histogram,
)

DETAIL = pa.struct([("kept_id", pa.string()), ("value", pa.float64()), ("limit", pa.float64()), ("note", pa.string())])


def batches(table, size):
    return table.to_batches(max_chunksize=size)


def documents(texts):
    columns = {"id": [f"d/{i}" for i in range(len(texts))], "url": [None] * len(texts), "text": texts}
    return pa.table(columns, schema=pa.schema([("id", pa.string()), ("url", pa.string()), ("text", pa.string())]))


def test_spread_takes_evenly_and_begins_at_the_first():
    assert spread(range(5), 10) == [0, 1, 2, 3, 4] and spread(range(100), 4) == [0, 25, 50, 75]


@given(st.lists(st.one_of(st.none(), st.text(max_size=400)), min_size=1, max_size=40), st.integers(1, 7))
def test_lengths_count_every_document_once_in_its_bin(texts, size):
    found = length_histogram(batches(documents(texts), size))
    lengths = [len(text or "") for text in texts]
    assert sum(found["counts"]) == found["documents"] == len(texts)
    assert found["mean"] == pytest.approx(sum(lengths) / len(texts))
    edges, last = found["edges"], len(found["counts"]) - 1
    assert len(edges) == last + 2 and edges == sorted(set(edges))
    assert edges[0] <= min(lengths) and max(lengths) <= edges[-1]
    for i, count in enumerate(found["counts"]):  # edges are rounded to four digits: no length of 400 falls between
        assert count == sum(edges[i] <= n < edges[i + 1] or (i == last and n == edges[-1]) for n in lengths)
    assert found == length_histogram(batches(documents(texts), 3))


def test_lengths_are_characters_not_bytes():
    assert length_histogram(batches(documents(["\N{SNOWMAN}" * 10]), 1))["quartiles"] == [10, 10, 10]
    assert length_histogram([]) is None


def test_only_finite_floating_point_columns_have_a_histogram():
    table = documents(["a"] * 4).append_column("score", pa.array([0.0, 1.0, math.nan, None]))
    table = table.append_column("empty", pa.array([None] * 4, pa.float32())).append_column("count", pa.array([1, 2, 3, 4]))
    (found,) = number_histograms(batches(table, 2))
    assert found["column"] == "score" and found["documents"] == 2 and sum(found["kept"]) == 2
    assert len(found["kept"]) == BINS and found["kept"][0] == found["kept"][-1] == 1
    assert (found["edges"][0], found["edges"][-1]) == (0.0, 1.0)


def test_one_value_alone_has_a_histogram():
    (found,) = number_histograms(batches(documents(["a"] * 3).append_column("s", pa.array([7.0] * 3)), 2))
    assert sum(found["kept"]) == 3 and found["edges"][0] < 7 < found["edges"][-1]


def test_verdicts_are_counted_apart_with_their_limit():
    table = pa.table({"keep": [True, False, False, True], "value": [0.9, 0.1, 0.2, 0.5], "limit": [0.5] * 4})
    found = verdict_histogram(batches(table, 3))
    assert (sum(found["kept"]), sum(found["dropped"]), found["documents"], found["limit"]) == (2, 2, 4, 0.5)
    assert all(not (kept and dropped) for kept, dropped in zip(found["kept"], found["dropped"], strict=True))
    duplicates = pa.table({"keep": [True, False], "value": pa.array([None, 3.0]), "limit": pa.array([None, 1.0])})
    assert verdict_histogram(batches(duplicates, 2)) is None, "documents that no value kept say nothing about a limit"
    two = table.set_column(2, "limit", pa.array([0.5, 0.5, 0.5, 0.6]))
    assert verdict_histogram(batches(two, 4))["limit"] is None


def test_samples_are_the_first_with_the_beginning_of_their_text():
    long = "x" * (EXCERPT + 5)
    found = kept_samples(batches(documents([long, "b", None, "d"]), 2), count=3)
    assert [(s["id"], s["characters"]) for s in found] == [("d/0", EXCERPT + 5), ("d/1", 1), ("d/2", None)]
    assert found[0]["text"] == "x" * EXCERPT and found[2]["text"] is None


@pytest.mark.parametrize("size", [1, 2, 10])
def test_every_reason_has_samples_with_what_the_step_measured(size):
    rows = [("filter", "short", 0.1), ("filter", "short", 0.2), ("filter", "long", None), ("filter", "short", 0.3), ("dedup", "short", 0.4)]
    table = documents([f"text {i}" for i in range(5)])
    table = table.append_column("drop_stage", pa.array([r[0] for r in rows])).append_column("drop_reason", pa.array([r[1] for r in rows]))
    detail = [{"value": value, "limit": 0.5} if value is not None else None for *_, value in rows]
    found = dropped_samples(batches(table.append_column("detail", pa.array(detail, DETAIL)), size), per_reason=2)
    assert {key: [s["id"] for s in samples] for key, samples in found.items()} == {
        ("filter", "short"): ["d/0", "d/1"], ("filter", "long"): ["d/2"], ("dedup", "short"): ["d/4"],
    }  # fmt: skip
    assert found["filter", "short"][1]["detail"] == {"value": 0.2, "limit": 0.5} and found["filter", "long"][0]["detail"] == {}
