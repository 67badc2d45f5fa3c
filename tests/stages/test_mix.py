"""Mixtures: allocation against its definition, epochs against a plain twin."""

import json
import logging
from collections import Counter
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.list_warcs import list_warcs
from stages.mix import Mix, allocate, mix
from stages.read_texts import read_texts
from tests.stages.memory_dataset import Memory


def source(prefix, texts, cut=1, **columns):
    table = (
        pa.table({"id": [f"{prefix}{i}" for i in range(len(texts))], "text": texts, **columns})
        if texts
        else pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    )
    return Memory({"x": table.slice(0, cut), "y": table.slice(cut)}, f"{prefix}/0")


def run(datasets, batch_rows=1024, **fields):
    inputs = Inputs(tuple(datasets), ("documents",) * len(datasets))
    return dict(mix(Mix(**fields), inputs, Resources(batch_rows=batch_rows)))


SOURCES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.2, 0.7, 1.0, 3.0]), st.integers(0, 400), st.sampled_from([0.5, 1.0, 2.5, 4.0])
    ),
    min_size=1,
    max_size=6,
)


@given(st.integers(1, 5000), SOURCES)
def test_allocation_meets_its_definition(budget, sources):
    weights, totals, caps = (tuple(column) for column in zip(*sources, strict=True))
    assume(sum(weights) > 0)
    parts = allocate(budget, weights, list(totals), caps)
    limits = [int(Fraction(str(cap)) * total) for cap, total in zip(caps, totals, strict=True)]
    assert all(0 <= part <= limit for part, limit in zip(parts, limits, strict=True))
    assert sum(parts) == min(budget, sum(limit for limit, weight in zip(limits, weights, strict=True) if weight))
    free = [i for i in range(len(parts)) if weights[i] and parts[i] < limits[i]]
    for i in free:  # what is not capped is proportional to the weights, to within the rounding
        for j in range(len(parts)):
            if weights[j]:
                assert parts[j] / weights[j] <= (parts[i] + 1) / weights[i] + 1 / weights[j] + 1e-9
    if len(free) == len(parts):
        exact = [Fraction(str(w)) for w in weights]
        quotas = [budget * w / sum(exact) for w in exact]
        assert all(int(quota) <= part <= int(quota) + 1 for quota, part in zip(quotas, parts, strict=True))
        up = [quota - int(quota) for quota, part in zip(quotas, parts, strict=True) if part > int(quota)]
        down = [quota - int(quota) for quota, part in zip(quotas, parts, strict=True) if part == int(quota)]
        assert not up or not down or min(up) >= max(down)


def test_largest_remainder_by_hand():
    # Hamilton's method on 10 seats for 47 : 16 : 15.8 : 12 : 6.1 : 3.1: quotas 4.7, 1.6, 1.58, 1.2, .61, .31
    assert allocate(10, (47, 16, 15.8, 12, 6.1, 3.1), [100] * 6, (1.0,) * 6) == [5, 2, 1, 1, 1, 0]


def test_a_capped_source_leaves_its_share_to_the_others():
    assert allocate(1000, (0.5, 0.25, 0.25), [100, 500, 500], (4.0, 4.0, 4.0)) == [400, 300, 300]
    assert allocate(1000, (0.5, 0.5), [100, 50], (4.0, 2.0)) == [400, 100]


TEXTS = st.lists(st.text(max_size=8), max_size=12)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 300), st.integers(0, 6), st.integers(1, 5), st.integers(0, 2))
def test_documents_are_whole_and_epochs_full_but_the_last(a, b, budget, cut, batch_rows, seed):
    datasets = [source("a", a, cut), source("b", b, cut)]
    totals = [sum(len(t.encode()) for t in texts) for texts in (a, b)]
    parts = allocate(budget, (2.0, 1.0), totals, (3.0, 3.0))
    shards = run(
        datasets, batch_rows, sources=("a", "b"), weights=(2.0, 1.0), num_text_bytes=budget, max_epochs=3.0, seed=seed
    )
    assert list(shards) == ["0-x", "0-y", "1-x", "1-y"]
    for number, (name, texts) in enumerate((("a", a), ("b", b))):
        rows = shards[f"{number}-x"].to_pylist() + shards[f"{number}-y"].to_pylist()
        assert all(row["source"] == name and texts[int(row["id"][1:])] == row["text"] for row in rows)
        assert max(Counter((row["id"], row["epoch"]) for row in rows).values(), default=1) == 1
        full, left = divmod(parts[number], totals[number]) if totals[number] else (0, 0)
        per_epoch = Counter(row["epoch"] for row in rows)
        assert all(per_epoch[epoch] == len(texts) for epoch in range(full))
        last = {row["id"] for row in rows if row["epoch"] == full}
        spent = sum(len(texts[int(i[1:])].encode()) for i in last)
        assert spent <= left and set(per_epoch) <= set(range(full + 1))
        if left:
            assert all(len(text.encode()) > left - spent for i, text in enumerate(texts) if f"{name}{i}" not in last)
    assert shards["0-x"].schema.field("epoch").type == pa.int32()


def test_rows_of_a_shard_are_in_order_of_epoch_and_then_of_row():
    shards = run([source("a", ["x", "y", "z"], 2)], sources=("a",), weights=(1,), num_text_bytes=7)
    rows = [(row["epoch"], row["id"]) for row in shards["0-x"].to_pylist()]
    assert rows[:4] == [(0, "a0"), (0, "a1"), (1, "a0"), (1, "a1")] and rows == sorted(rows)
    assert sum(table.num_rows for table in shards.values()) == 7


def test_a_token_column_can_be_the_unit():
    dataset = source("a", ["x", "y", "z"], n=pa.array([5, 5, 5], pa.int32()))
    shards = run([dataset], sources=("a",), weights=(1,), num_tokens=10, tokens_column="n")
    assert sum(table.num_rows for table in shards.values()) == 2
    bad = source("a", ["x", "y"], n=pa.array([5, None], pa.int32()))
    with pytest.raises(ValueError, match="'n' of document a1 in a/0 is None"):
        run([bad], sources=("a",), weights=(1,), num_tokens=10, tokens_column="n")


def test_a_shortfall_is_said_aloud(caplog):
    with caplog.at_level(logging.INFO, "stages.mix"):
        run(
            [source("a", ["xxxx"]), source("b", ["yy"])],
            sources=("a", "b"),
            weights=(1, 1),
            num_text_bytes=100,
            max_epochs=(1, 2.5),
        )
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "b: 5 bytes, 2.50 epochs (at most 2.5)" in said
    assert "a gives 4.0 % of the budget, not 50.0 %" in said
    assert "the mixture holds 9 of 100 bytes" in said


def test_inputs_must_have_the_same_columns():
    with pytest.raises(ValueError, match="put the stages that add the missing ones before mix"):
        run([source("a", ["x"]), source("b", ["y"], n=[1])], sources=("a", "b"), weights=(1, 1), num_text_bytes=1)
    with pytest.raises(ValueError, match="1 inputs, but 2 sources are named"):
        run([source("a", ["x"])], sources=("a", "b"), weights=(1, 1), num_text_bytes=1)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"sources": ("a", "a"), "weights": (1, 1), "num_text_bytes": 1}, "one name and one weight"),
        ({"sources": ("a",), "weights": (0,), "num_text_bytes": 1}, "one must be positive"),
        ({"sources": ("a",), "weights": (1,)}, "give num_tokens or num_text_bytes"),
        ({"sources": ("a",), "weights": (1,), "num_tokens": 1}, "tokens_column go together"),
        ({"sources": ("a",), "weights": (1,), "num_text_bytes": 0}, "must be positive"),
        ({"sources": ("a",), "weights": (1,), "num_text_bytes": 1, "max_epochs": (1.0, 2.0)}, "2 values of max_epochs"),
    ],
)
def test_a_wrong_config_says_what_to_write(fields, says):
    with pytest.raises(ConfigError, match=says):
        Mix(**fields)


def test_in_a_plan(tmp_path):
    nodes = []
    for name, count in (("web", 20), ("wiki", 3)):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"id": f"{name}-{i}", "text": "0123456789"}) for i in range(count)]
        (tmp_path / name / "x.jsonl").write_text("\n".join(lines))
        listing = list_warcs.on(root=str(tmp_path / name), source=name, pattern="jsonl$", name=f"list_{name}")
        nodes.append(read_texts.on(listing, name=name))
    plan = Plan("test_mix", [mix.on(*nodes, sources=("web", "wiki"), weights=(0.5, 0.5), num_text_bytes=150)])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    mixed = open_node(store, plan, "mix")
    assert [shard.name for shard in mixed.shards] == ["0-web-x.jsonl", "1-wiki-x.jsonl"]
    wiki = mixed.table("1-wiki-x.jsonl")
    assert Counter(wiki["epoch"].to_pylist()) == {0: 3, 1: 3, 2: 1}
    assert mixed.schema.names == ["id", "url", "origin", "text", "source", "epoch"]
    assert mixed.table("0-web-x.jsonl").num_rows == 7  # 75 bytes hold 7 whole documents of 10
