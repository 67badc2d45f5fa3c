"""Selection against a brute-force twin: exact counts, ties by id, the same for every split into shards and batches."""

import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.config import ConfigError
from stages.core.dataset import Dataset
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.kernels.seeded_order import derived_seed
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.select import Select, select
from tests.stages.memory_dataset import Memory


def dataset(rows, cuts=()):
    """rows: (id, text, score, tokens); cuts: where shards end."""
    borders = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("tokens", pa.int32())])
    sidecar = pa.schema([("id", pa.string()), ("score_x", pa.float32())])
    documents, scores = {}, {}
    for number, (a, b) in enumerate(zip(borders, borders[1:], strict=False)):
        part = rows[a:b]
        documents[f"s{number}"] = pa.Table.from_pylist(
            [{"id": i, "text": t, "tokens": n} for i, t, _, n in part], schema
        )
        scores[f"s{number}"] = pa.Table.from_pylist([{"id": i, "score_x": s} for i, _, s, _ in part], sidecar)
    return Inputs((Memory(documents), Memory(scores, "score/0")), ("documents", "sidecar"))


def run(rows, cuts=(), batch_rows=1024, **fields):
    inputs = dataset(rows, cuts)
    shards = list(select(Select(**fields), inputs, Resources(batch_rows=batch_rows)))
    assert [name for name, _ in shards] == [shard.name for shard in inputs.documents.shards]
    table = pa.concat_tables([table for _, table in shards])
    assert table.schema == pa.schema([("id", pa.string()), *VERDICT.items()])
    assert table["id"].to_pylist() == [row[0] for row in rows]
    return table.to_pylist()


def kept(verdicts):
    return {row["id"] for row in verdicts if row["keep"]}


def order(rows, by, seed=0):
    """The twin: all documents, best first."""
    if by:
        return sorted(rows, key=lambda row: (-row[2], row[0].encode()))
    return sorted(
        rows, key=lambda row: (xxhash.xxh64_intdigest(row[0].encode(), derived_seed("select", seed)), row[0].encode())
    )


def longest_run(rows, size, budget):
    chosen = set()
    for row in rows:
        budget -= size(row)
        if budget < 0:
            break
        chosen.add(row[0])
    return chosen


SCORES = st.sampled_from([0.0, 0.125, 0.5, 0.75, 1.0, -2.0]) | st.floats(-1, 1, width=32)
ROWS = st.lists(
    st.tuples(st.text(min_size=1, max_size=4), st.text(max_size=5), SCORES, st.integers(0, 9)),
    max_size=25,
    unique_by=lambda r: r[0],
)
CUTS = st.lists(st.integers(0, 25), max_size=3)


@settings(deadline=None)
@given(ROWS, CUTS, st.integers(1, 9), st.sampled_from([None, "score_x"]), st.integers(0, 30), st.integers(0, 3))
def test_count_equals_the_twin(rows, cuts, batch_rows, by, count, seed):
    verdicts = run(rows, cuts, batch_rows, by=by, num_documents=count, seed=seed)
    assert kept(verdicts) == {row[0] for row in order(rows, by, seed)[:count]}
    check_reasons(verdicts, by)


@settings(deadline=None)
@given(ROWS, CUTS, st.sampled_from([None, "score_x"]), st.integers(0, 100))
def test_fraction_rounds_half_up(rows, cuts, by, percent):
    exact = Decimal(percent) / 100 * len(rows)
    count = math.floor(exact + Decimal("0.5"))
    assert kept(run(rows, cuts, by=by, keep_fraction=percent / 100)) == {row[0] for row in order(rows, by)[:count]}


@settings(deadline=None)
@given(ROWS, CUTS, st.integers(1, 9), st.sampled_from([None, "score_x"]), st.integers(0, 130))
def test_budgets_equal_the_twin(rows, cuts, batch_rows, by, budget):
    best = order(rows, by)
    tokens = run(rows, cuts, batch_rows, by=by, num_tokens=budget, tokens_column="tokens")
    assert kept(tokens) == longest_run(best, lambda row: row[3], budget)
    check_reasons(tokens, by)
    text = run(rows, cuts, batch_rows, by=by, num_text_bytes=budget)
    assert kept(text) == longest_run(best, lambda row: len(row[1].encode()), budget)


@settings(deadline=None)
@given(ROWS, CUTS, SCORES)
def test_threshold_keeps_at_least(rows, cuts, threshold):
    verdicts = run(rows, cuts, by="score_x", threshold=threshold)
    assert kept(verdicts) == {row[0] for row in rows if row[2] >= threshold}
    assert all(row["limit"] == threshold and row["drop_reason"] in (None, "below_threshold") for row in verdicts)


def check_reasons(verdicts, by):
    chosen = [row["value"] for row in verdicts if row["keep"]]
    limit = (min if by else max)(chosen) if chosen else None
    for row in verdicts:
        assert row["limit"] == limit and row["kept_id"] is None and row["cluster"] is None
        if row["keep"]:
            assert row["drop_reason"] is None
        elif by and limit is not None and row["value"] < limit:
            assert row["drop_reason"] == "below_threshold"
        else:
            assert row["drop_reason"] == "not_selected"


def test_a_larger_random_selection_contains_the_smaller_and_another_seed_differs():
    rows = [(f"doc-{i}", "x", 0.0, 1) for i in range(200)]
    small, large = (kept(run(rows, num_documents=n)) for n in (50, 120))
    assert small < large
    assert kept(run(rows, num_documents=50, seed=1)) != small


def test_one_and_a_half_documents_are_two():
    rows = [(f"doc-{i}", "x", float(i), 1) for i in range(15)]
    assert kept(run(rows, by="score_x", keep_fraction=0.1)) == {"doc-13", "doc-14"}


@pytest.mark.parametrize("bad", [None, math.nan])
def test_a_document_without_a_score_is_named(bad):
    rows = [("fine", "x", 0.5, 1), ("broken", "x", bad, 1)]
    with pytest.raises(ValueError, match="'score_x' of document broken in made/"):
        run(rows, by="score_x", keep_fraction=0.5)


@pytest.mark.parametrize("bad", [None, -1])
def test_a_document_with_a_bad_token_count_is_named(bad):
    with pytest.raises(ValueError, match=f"'tokens' of document broken in made/0123456789ab is {bad}"):
        run([("broken", "x", 0.5, bad)], num_tokens=3, tokens_column="tokens")


def test_a_missing_or_doubled_score_column_is_named():
    inputs = dataset([("a", "x", 0.5, 1)])
    with pytest.raises(
        ValueError, match=r"'score_y' of made/0123456789ab is missing \(has: id, text, tokens, score_x\)"
    ):
        list(select(Select(by="score_y", keep_fraction=0.5), inputs, Resources()))
    twice = Inputs((inputs.documents, *inputs.of("sidecar") * 2), ("documents", "sidecar", "sidecar"))
    with pytest.raises(ValueError, match="several inputs"):
        list(select(Select(by="score_x", keep_fraction=0.5), twice, Resources()))


@pytest.mark.parametrize(
    "fields, says",
    [
        ({}, "exactly one of"),
        ({"keep_fraction": 0.1, "num_documents": 3}, "given: keep_fraction, num_documents"),
        ({"threshold": 0.5}, "needs by="),
        ({"keep_fraction": 1.5}, "from 0 to 1"),
        ({"num_documents": -1}, "must not be negative"),
        ({"num_tokens": 5}, "tokens_column go together"),
        ({"keep_fracton": 0.1}, "did you mean 'keep_fraction'"),
    ],
)
def test_a_wrong_config_says_what_to_write(fields, says):
    with pytest.raises(ConfigError, match=says):
        Select(**fields)


def test_in_a_plan(tmp_path):
    for number in range(3):
        lines = [json.dumps({"id": f"{number}-{i}", "text": "word " * (i + 1)}) for i in range(number * 5)]
        (tmp_path / f"{number}.jsonl").write_text("\n".join(lines))
    texts = read_texts.on(list_warcs.on(root=str(tmp_path), source="t", pattern="jsonl$"))
    plan = Plan("test_select", [select.on(texts, num_documents=4)])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    verdicts = open_node(store, plan, "select")
    assert isinstance(verdicts, Dataset) and [shard.rows_out for shard in verdicts.shards] == [0, 5, 10]
    assert sum(sum(verdicts.table(shard.name)["keep"].to_pylist()) for shard in verdicts.shards) == 4
