import json
import random
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from stages.core.engine import RunFailed, run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.dedup_exact import SEEDS, DedupExact, dedup_exact
from stages.kernels import partitions
from stages.kernels import verdicts as verdicts_kernel
from stages.kernels.text_view import text_view
from stages.kernels.xxhash64 import hash_documents
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


def documents_of(root, shards, source="t"):
    """A node of documents from shard name -> rows of id, url, text."""
    root.mkdir()
    for name, rows in shards.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts.on(list_warcs.on(root=str(root), source=source, pattern=r"\.jsonl$", name=f"list_{source}"), name=f"texts_{source}")


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
    rng = random.Random(1)
    shards = {f"s{s}": [{"id": f"{s}-{i}", "text": f"text {rng.randint(0, 90)}"} for i in range(40)] for s in range(4)}
    rows = rows_of(run(Store(tmp_path / "store"), dedup_exact.on(documents_of(tmp_path / "in", shards))))
    first = {}
    for row, document in zip(rows, (d for docs in shards.values() for d in docs), strict=True):
        head = first.setdefault(document["text"], document["id"])
        assert row["keep"] == (head == document["id"]) and (row["keep"] or row["kept_id"] == head)


@pytest.mark.parametrize("key, small", [("text", False), ("url", True), ("normalised_text", True)])
def test_generation_after_generation_is_one_run_over_all(tmp_path, monkeypatch, small, key):
    if small:  # many files, several pieces of each
        for module, name, value in ((partitions, "ROWS_IN_MEMORY", 16), (partitions, "MOST_FILES", 4), (verdicts_kernel, "STRETCH", 7)):
            monkeypatch.setattr(module, name, value)
    rng, nights = random.Random(4), []
    for night in "abc":
        rows = [
            {
                "id": f"{night}{i}",
                "url": rng.choice([None, f"http://x/{rng.randint(0, 60)}"]),
                "text": rng.choice(["", " ", f"Text {rng.randint(0, 60)}", f"text\t{rng.randint(0, 60)}"]),
            }
            for i in range(50)
        ]
        nights.append({f"{night}0": rows[:20], f"{night}1": [], f"{night}2": rows[20:]})
    store, verdicts, judged = Store(tmp_path / "store"), [], []
    for number, shards in enumerate(nights):
        documents = documents_of(tmp_path / f"in{number}", shards, source=f"n{number}")
        verdicts.append(dedup_exact.on(documents, *verdicts, key=key, name=f"exact_{number}"))
        judged += rows_of(run(store, verdicts[-1], batch_rows=7))
    whole = documents_of(tmp_path / "whole", {name: rows for shards in nights for name, rows in shards.items()}, source="whole")
    assert judged == rows_of(run(store, dedup_exact.on(whole, key=key)))
    assert any(row["kept_id"] and row["kept_id"][0] < row["id"][0] for row in judged)


def test_the_hash_of_the_key_is_kept(tmp_path):
    verdicts = run(Store(tmp_path / "store"), dedup_exact.on(documents_of(tmp_path / "in", SHARDS), key="url"))
    urls = pa.array([row["url"] for row in SHARDS["a"] + SHARDS["c"]])
    hashes = np.column_stack([hash_documents(text_view(urls), seed) for seed in SEEDS])
    want = [None if url is None else pair.tobytes() for url, pair in zip(urls.to_pylist(), hashes, strict=True)]
    assert [row["key_hash"] for row in rows_of(verdicts)] == want


def test_generations_of_another_key_or_order_are_refused(tmp_path):
    store, one, two = Store(tmp_path / "store"), documents_of(tmp_path / "a", SHARDS, "a"), documents_of(tmp_path / "b", SHARDS, "b")
    by_text = dedup_exact.on(one, name="by_text")
    with pytest.raises(RunFailed, match="compared text, this node compares url; give both one key"):
        run(store, dedup_exact.on(two, by_text, key="url"))
    with pytest.raises(RunFailed, match="was not judged against the 1 before it"):
        run(store, dedup_exact.on(two, by_text, dedup_exact.on(two, name="alone"), name="third"))


class Synthetic:
    """Documents made shard by shard: every tenth is a copy of the one before it."""

    name = "synthetic"

    def __init__(self, rows, shard_rows=10_000):
        self.shards, self.rows = [SimpleNamespace(name=str(i), rows_out=shard_rows) for i in range(rows // shard_rows)], shard_rows

    def table(self, shard, columns=None):
        places = np.arange(self.rows) + int(shard) * self.rows
        return pa.table({"id": places.astype(str), "text": (places - (places % 10 == 9)).astype(str)}).select(columns)

    def batches(self, shard, columns=None, batch_rows=1024):
        yield from self.table(shard, columns).to_batches(batch_rows)


def test_memory_does_not_grow_with_the_documents(monkeypatch):
    monkeypatch.setattr(partitions, "ROWS_IN_MEMORY", 1 << 13)
    monkeypatch.setattr(verdicts_kernel, "STRETCH", 1 << 13)

    def peak(rows):
        """Most bytes of arrays that lived at once; pages of mapped files, which the system may take back, are none."""
        tracemalloc.start()
        judged = dedup_exact(DedupExact(), Inputs((Synthetic(rows),), ("documents",)), Resources())
        dropped = sum(table.num_rows - table["keep"].to_numpy().sum() for _, table in judged)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert dropped == rows // 10
        return most

    peak(10_000)  # compiles
    small, large = peak(20_000), peak(200_000)
    assert large < 1.25 * small and large < 200_000 * 24


def test_no_documents_no_verdicts(tmp_path):
    assert rows_of(run(Store(tmp_path / "store"), dedup_exact.on(documents_of(tmp_path / "in", {"a": []})))) == []
