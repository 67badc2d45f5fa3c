import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.dedup_minhash import DedupMinhash, dedup_minhash
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.sign_minhash import sign_minhash

NEARDUP = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "neardup"


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


class Tables:
    """A dataset held in memory: shard name -> table."""

    name = "tables"

    def __init__(self, tables):
        self.tables = tables
        self.shards = [SimpleNamespace(name=name, rows_out=len(table)) for name, table in tables.items()]

    def table(self, shard, columns=None):
        return self.tables[shard].select(columns or self.tables[shard].column_names)

    def batches(self, shard, columns=None, batch_rows=1024):
        yield from self.table(shard, columns).to_batches(batch_rows)


def judge(ids, bands, split=2, batch_rows=1024, sidecar_extra=()):
    documents, sidecar = {}, {}
    for number, start in enumerate(range(0, len(ids), split)):
        mine = slice(start, start + split)
        documents[f"s{number}"] = pa.table({"id": pa.array(ids[mine], pa.string())})
        listed = [*sidecar_extra, *zip(ids[mine], bands[mine], strict=True)]
        columns = [
            pa.array([i for i, _ in listed], pa.string()),
            pa.array([b for _, b in listed], pa.list_(pa.uint64())),
        ]
        sidecar[f"s{number}"] = pa.table(columns, names=["id", "bands"])
    inputs = Inputs((Tables(documents), Tables(sidecar)), ("documents", "sidecar"))
    found = dedup_minhash(DedupMinhash(), inputs, Resources(batch_rows=batch_rows))
    return [row for _, table in found for row in table.to_pylist()]


@pytest.mark.parametrize("batch_rows", [1, 1024])
def test_clusters_are_chains_of_equal_bands(batch_rows):
    ids = ["a", "b", "c", "d", "e", "f"]
    bands = [[1, 2], [3, 4], [9, 4], [9, 2], [], []]  # a-d by bucket 1, b-c by bucket 1, c-d by bucket 0
    rows = judge(ids, bands, batch_rows=batch_rows, sidecar_extra=[("dropped since", [1, 2])])
    assert [row["keep"] for row in rows] == [True, False, False, False, True, True]
    assert [row["kept_id"] for row in rows] == [None, "a", "a", "a", None, None]
    assert [row["cluster"] for row in rows] == [0, 0, 0, 0, 4, 5]
    assert [row["value"] for row in rows] == [None, 0.0, 0.0, 1.0, None, None]
    assert {row["drop_reason"] for row in rows if not row["keep"]} == {"near_duplicate"}


def test_against_repeated_merging():
    rng = np.random.default_rng(2)
    bands = rng.integers(0, 90, (120, 3)).tolist()
    labels = list(range(120))
    for _ in range(120):
        before = list(labels)
        for i in range(120):
            for j in range(i):
                if any(x == y for x, y in zip(bands[i], bands[j], strict=True)):
                    labels[i] = labels[j] = min(labels[i], labels[j])
        if labels == before:
            break
    rows = judge([str(i) for i in range(120)], bands, split=50)
    assert [row["cluster"] for row in rows] == labels


def test_errors_and_emptiness():
    with pytest.raises(ValueError, match="documents of 1 bands and of 2"):
        judge(["a", "b"], [[1, 2], [1]])
    assert judge([], []) == []
    assert [row["keep"] for row in judge(["a", "b"], [[], []])] == [True, True]


@pytest.mark.skipif(not NEARDUP.is_dir(), reason="../shared/data/neardup is absent")
@pytest.mark.parametrize("size", [100, 1000])
def test_known_plagiarised_pairs_are_found(tmp_path, size):
    lines = (NEARDUP / f"articles_{size}.train").read_text().splitlines()
    rows = [dict(zip(("id", "text"), line.split(" ", 1), strict=True)) for line in lines]
    texts = documents_of(tmp_path / "in", {"a": rows[: size // 3], "b": rows[size // 3 :]})
    # 3-grams in 20 x 5: these articles differ by a few words a sentence
    signed = sign_minhash.on(texts, n_grams=3, num_buckets=20, hashes_per_bucket=5)
    store = Store(tmp_path / "store")
    verdicts = rows_of(run(store, dedup_minhash.on(texts, signed)))
    assert verdicts == rows_of(run(Store(tmp_path / "other"), dedup_minhash.on(texts, signed), batch_rows=17))
    clusters = {row["id"]: row["cluster"] for row in verdicts}
    pairs = [line.split() for line in (NEARDUP / f"articles_{size}.truth").read_text().splitlines() if line.strip()]
    assert all(clusters[a] == clusters[b] for a, b in pairs)
    assert sum(not row["keep"] for row in verdicts) == len(pairs)
