"""The random control against a plain loop, and how closely it matches."""

import json

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.kernels.seeded_order import derived_seed
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.select_matching import SelectMatching, select_matching
from tests.stages.memory_dataset import Memory


def texts(rows):
    return pa.table(
        {"id": pa.array([i for i, _ in rows], pa.string()), "text": pa.array([t for _, t in rows], pa.string())}
    )


def run(pool, cut, target, batch_rows=1024, seed=0):
    documents = Memory({"a": texts(pool[:cut]), "b": texts(pool[cut:])})
    inputs = Inputs((documents, Memory({"t": texts(target)})), ("documents", "table"))
    shards = dict(select_matching(SelectMatching(seed=seed), inputs, Resources(batch_rows=batch_rows)))
    assert list(shards) == ["a", "b"]
    table = pa.concat_tables(shards.values())
    assert table.schema == pa.schema([("id", pa.string()), *VERDICT.items()])
    assert table["id"].to_pylist() == [i for i, _ in pool]
    return table.to_pylist()


ROWS = st.lists(st.tuples(st.text(min_size=1, max_size=6), st.text(max_size=12)), max_size=25, unique_by=lambda r: r[0])


@settings(deadline=None)
@given(ROWS, st.integers(0, 25), st.data(), st.integers(1, 9), st.integers(0, 2))
def test_equals_a_plain_loop(pool, cut, data, batch_rows, seed):
    target = data.draw(st.lists(st.sampled_from(pool), unique=True)) if pool else []
    verdicts = run(pool, cut, target, batch_rows, seed)
    left, chosen = sum(len(text.encode()) for _, text in target), set()
    for id_, text in sorted(
        pool, key=lambda row: xxhash.xxh64_intdigest(row[0].encode(), derived_seed("select_matching", seed))
    ):
        if len(text.encode()) <= left:
            chosen.add(id_)
            left -= len(text.encode())
    assert {row["id"] for row in verdicts if row["keep"]} == chosen
    assert all(row["drop_reason"] == (None if row["keep"] else "not_selected") for row in verdicts)
    assert all(len(text.encode()) > left for id_, text in pool if id_ not in chosen)


def test_matches_to_less_than_the_shortest_document():
    pool = [(f"doc-{i}", "x" * (20 + i % 50)) for i in range(500)]
    verdicts = run(pool, 100, [("other", "y" * 7_777)])
    total = sum(len(text) for (_, text), row in zip(pool, verdicts, strict=True) if row["keep"])
    assert 7_777 - 20 < total <= 7_777


def test_a_pool_that_is_too_small_is_an_error():
    with pytest.raises(ValueError, match="holds 2 bytes of text, fewer than the 3 of"):
        run([("a", "xx")], 0, [("b", "yyy")])


def test_a_table_without_text_is_an_error():
    table = Memory({"t": pa.table({"id": ["a"]})}, "score/1")
    with pytest.raises(ValueError, match="score/1 has no column 'text' to match"):
        list(
            select_matching(
                SelectMatching(), Inputs((Memory({"a": texts([])}), table), ("documents", "table")), Resources()
            )
        )


def test_in_a_plan(tmp_path):
    for name, count in (("pool", 40), ("other", 10)):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"id": f"{name}-{i}", "text": "word " * (i + 1)}) for i in range(count)]
        (tmp_path / name / "x.jsonl").write_text("\n".join(lines))
    pool, other = (
        read_texts.on(list_warcs.on(root=str(tmp_path / n), source=n, pattern="jsonl$", name=f"list_{n}"), name=n)
        for n in ("pool", "other")
    )
    plan = Plan("test_matching", [select_matching.on(pool, other)])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    verdicts = open_node(store, plan, "select_matching").table("pool-x.jsonl").to_pylist()
    gap = sum(5 * (i + 1) for i in range(10)) - sum(5 * (i + 1) for i, row in enumerate(verdicts) if row["keep"])
    assert 0 <= gap < min(5 * (i + 1) for i, row in enumerate(verdicts) if not row["keep"])
