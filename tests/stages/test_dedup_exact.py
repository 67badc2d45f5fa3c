import json

import pytest

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store
from stages.dedup_exact import dedup_exact
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts

SHARDS = {
    "a": [
        {"id": "a0", "url": "http://x/1", "text": "Same  Text"},
        {"id": "a1", "url": "http://x/2", "text": "other"},
        {"id": "a2", "url": None, "text": "same text\n"},
    ],
    "b": [],
    "c": [
        {"id": "c0", "url": "http://x/2", "text": "Same  Text"},
        {"id": "c1", "url": None, "text": "SAME\ttext"},
        {"id": "c2", "url": "http://x/3", "text": "Same  Text"},
    ],
}


def documents_of(root, shards):
    """A node of documents from shard name -> rows of id, url, text."""
    root.mkdir()
    for name, rows in shards.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts.on(list_warcs.on(root=str(root), source="t", pattern=r"\.jsonl$"))


def run(store, node, batch_rows=1024):
    """Run a node and all before it in this process; return its dataset."""
    plan = Plan("test", [node])
    run_plan(plan, store, Resources(workers=0, batch_rows=batch_rows))
    return open_node(store, plan, node.name)


def rows_of(dataset):
    return [row for shard in dataset.shards for row in dataset.table(shard.name).to_pylist()]


@pytest.mark.parametrize("batch_rows", [1, 2, 1024])
@pytest.mark.parametrize(
    "key, kept",
    [
        ("text", ["a0", "a1", "a2", "a0", "c1", "a0"]),
        ("normalised_text", ["a0", "a1", "a0", "a0", "a0", "a0"]),
        ("url", ["a0", "a1", "a2", "a1", "c1", "c2"]),  # a missing url has no duplicate
    ],
)
def test_the_earliest_of_each_key_stays(tmp_path, key, kept, batch_rows):
    verdicts = run(
        Store(tmp_path / "store"), dedup_exact.on(documents_of(tmp_path / "in", SHARDS), key=key), batch_rows
    )
    rows = rows_of(verdicts)
    ids = [row["id"] for row in SHARDS["a"] + SHARDS["c"]]
    assert [row["id"] for row in rows] == ids and [s.rows_out for s in verdicts.shards] == [3, 0, 3]
    assert [row["keep"] for row in rows] == [a == b for a, b in zip(ids, kept, strict=True)]
    assert [row["kept_id"] for row in rows] == [None if a == b else b for a, b in zip(ids, kept, strict=True)]
    assert [row["cluster"] for row in rows] == [ids.index(b) for b in kept]
    assert {row["drop_reason"] for row in rows if not row["keep"]} == {"exact_duplicate"}


def test_against_a_dictionary_of_texts(tmp_path):
    import random

    rng = random.Random(1)
    shards = {f"s{s}": [{"id": f"{s}-{i}", "text": f"text {rng.randint(0, 90)}"} for i in range(40)] for s in range(4)}
    rows = rows_of(run(Store(tmp_path / "store"), dedup_exact.on(documents_of(tmp_path / "in", shards))))
    first = {}
    for row, document in zip(rows, (d for docs in shards.values() for d in docs), strict=True):
        head = first.setdefault(document["text"], document["id"])
        assert row["keep"] == (head == document["id"]) and (row["keep"] or row["kept_id"] == head)
