import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.schema import schema_of
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.dedup_minhash import DedupMinhash, dedup_minhash
from stages.kernels import partitions
from stages.kernels import verdicts as verdicts_kernel
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
    """A dataset held in memory, shard name -> table, with the manifest that a stage looks at."""

    def __init__(self, tables, name="tables", inputs=(), stage="sign_minhash", config=None):
        self.tables, self.name, self.fingerprint = tables, name, name
        self.shards = [SimpleNamespace(name=name, rows_out=len(table)) for name, table in tables.items()]
        given = [{"role": role, "fingerprint": dataset.fingerprint} for role, dataset in inputs]
        self.manifest = SimpleNamespace(stage=stage, version=1, config=config or {}, inputs=given)

    def table(self, shard, columns=None):
        return self.tables[shard].select(columns or self.tables[shard].column_names)

    def batches(self, shard, columns=None, batch_rows=1024):
        yield from self.table(shard, columns).to_batches(batch_rows)


def tables_of(ids, bands, split=2, sidecar_extra=(), generation=0):
    """Documents and bands, `split` documents a shard."""
    documents, sidecar = {}, {}
    for number, start in enumerate(range(0, len(ids), split)):
        mine = slice(start, start + split)
        name = f"g{generation}-s{number}"
        documents[name] = pa.table({"id": pa.array(ids[mine], pa.string())})
        listed = [*sidecar_extra, *zip(ids[mine], bands[mine], strict=True)]
        columns = [pa.array([i for i, _ in listed], pa.string()), pa.array([b for _, b in listed], pa.list_(pa.uint64()))]
        sidecar[name] = pa.table(columns, names=["id", "bands"])
    return Tables(documents, f"documents {generation}"), Tables(sidecar, f"bands {generation}")


def verdicts_of(documents, bands, earlier=(), batch_rows=1024):
    """The verdicts as a dataset, and what the stage returns as its summary."""
    given = Inputs((documents, bands, *earlier), ("documents", "sidecar", *["table"] * len(earlier)))
    found, summary, tables = dedup_minhash(DedupMinhash(), given, Resources(batch_rows=batch_rows)), {}, {}
    while True:
        try:
            name, table = next(found)
        except StopIteration as end:
            summary = end.value
            break
        assert list(table.schema) == list(schema_of(dedup_minhash.added(DedupMinhash())))
        tables[name] = table
    inputs = zip(given.roles, given.datasets, strict=True)
    return Tables(tables, f"verdicts of {documents.name}", inputs, "dedup_minhash"), summary


def judge(ids, bands, split=2, batch_rows=1024, sidecar_extra=()):
    return rows_of(verdicts_of(*tables_of(ids, bands, split, sidecar_extra), batch_rows=batch_rows)[0])


def night_after_night(generations, split=3, batch_rows=2):
    """Judge each generation against those before it; return the rows and the summary of each."""
    earlier, made, place = [], [], 0
    for number, bands in enumerate(generations):
        documents, signed = tables_of([f"d{place + i}" for i in range(len(bands))], bands, split, generation=number)
        verdicts, summary = verdicts_of(documents, signed, earlier, batch_rows)
        earlier += [signed, verdicts]
        made.append((rows_of(verdicts), summary))
        place += len(bands)
    return made


def least_of_components(bands):
    """For each document the least of those that it is connected to."""
    labels = list(range(len(bands)))
    for i, mine in enumerate(bands):
        for j in range(i):
            if any(x == y for x, y in zip(mine, bands[j], strict=False)):
                low, high = sorted((labels[i], labels[j]))
                labels = [low if label == high else label for label in labels]
    return labels


def one_sequential_pass(generations):
    """The plain twin: a generation is judged by the clusters of all documents so far, and what was judged stays judged."""
    seen, kept, nights = [], [], []
    for bands in generations:
        start = len(seen)
        seen += bands
        full = least_of_components(seen)
        nights.append((full[start:], sum(kept[i] == i != full[i] for i in range(start)), sum(kept[i] != full[i] for i in range(start))))
        kept += full[start:]
    return nights


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
    bands = np.random.default_rng(2).integers(0, 90, (120, 3)).tolist()
    rows = judge([str(i) for i in range(120)], bands, split=50)
    assert [row["cluster"] for row in rows] == least_of_components(bands)
    for row, mine in zip(rows, bands, strict=True):
        assert row["value"] == (None if row["keep"] else sum(x == y for x, y in zip(mine, bands[row["cluster"]], strict=True)))


document = st.lists(st.integers(0, 12), min_size=3, max_size=3) | st.just([])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(document, max_size=9), min_size=1, max_size=4), st.sampled_from([1, 2, 50]), st.sampled_from([3, 1 << 20]))
def test_generations_against_one_sequential_pass(generations, batch_rows, rows_in_memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "ROWS_IN_MEMORY", rows_in_memory)
        made = night_after_night(generations, batch_rows=batch_rows)
    place, everything = 0, [bands for night in generations for bands in night]
    for (rows, summary), (kept, drops, revised) in zip(made, one_sequential_pass(generations), strict=True):
        assert [row["cluster"] for row in rows] == kept
        assert [row["keep"] for row in rows] == [k == place + i for i, k in enumerate(kept)]
        assert [row["kept_id"] for row in rows] == [None if row["keep"] else f"d{row['cluster']}" for row in rows]
        for row, mine in zip(rows, everything[place:], strict=False):
            assert row["keep"] or row["value"] == sum(x == y for x, y in zip(mine, everything[row["cluster"]], strict=False))
        if place:
            assert [summary[f] for f in ("earlier_documents", "full_run_would_drop", "full_run_would_revise")] == [place, drops, revised]
        place += len(rows)


def test_what_connects_old_clusters_is_written_down_and_old_verdicts_stay():
    first, second, third = [[1, 1], [2, 2], [3, 3], [2, 9]], [[7, 2], [3, 2], [8, 8]], [[3, 7], [8, 1], [5, 5]]
    made = night_after_night([first, second, third])
    assert [row["cluster"] for row in made[1][0]] == [1, 1, 6]  # 4 and 5 join the cluster of 1, and 5 the document 2 to it
    assert [row["connects"] for row in made[1][0]] == [[2], [], []]
    assert made[1][1]["full_run_would_drop"] == 1 and made[1][1]["full_run_would_revise"] == 1
    # 7 equals document 2, which has stood with 1 since 5 came; 8 equals 6 and 0
    assert [(row["kept_id"], row["connects"]) for row in made[2][0]] == [("d1", []), ("d0", [6]), (None, [])]
    here = {"documents": 3, "duplicates": 2, "clusters_by_size": {"2": 2}}
    assert made[2][1] == here | {"earlier_documents": 7, "full_run_would_drop": 2, "full_run_would_revise": 2}


def test_one_generation_is_plain_deduplication():
    bands = np.random.default_rng(5).integers(0, 30, (40, 2)).tolist()
    ((rows, summary),) = night_after_night([bands])
    assert rows == judge([f"d{i}" for i in range(40)], bands) and "earlier_documents" not in summary
    assert all(row["connects"] == [] for row in rows)


def test_generations_that_do_not_belong_together_are_refused():
    documents, signed = tables_of(["a"], [[1]])
    verdicts, _ = verdicts_of(documents, signed)
    later, theirs = tables_of(["b"], [[1]], generation=1)
    with pytest.raises(ValueError, match="1 tables of earlier generations; give the bands and the verdicts of each"):
        verdicts_of(later, theirs, [signed])
    with pytest.raises(ValueError, match="did not judge by bands 1"):
        verdicts_of(later, theirs, [theirs, verdicts])
    with pytest.raises(ValueError, match="was not judged against the 1 before it"):
        verdicts_of(later, theirs, [signed, verdicts, signed, verdicts])
    theirs.manifest.config = {"n_grams": 13}
    with pytest.raises(ValueError, match="such bands never meet"):
        verdicts_of(later, theirs, [signed, verdicts])


class Synthetic:
    """Documents and their bands, made shard by shard: every tenth is a copy of the one before it."""

    name = fingerprint = "synthetic"

    def __init__(self, rows, shard_rows=10_000):
        self.shards = [SimpleNamespace(name=str(i), rows_out=shard_rows) for i in range(rows // shard_rows)]
        self.rows = shard_rows

    def table(self, shard, columns=None):
        places = np.arange(self.rows) + int(shard) * self.rows
        places -= (places % 10 == 9) * 1
        bands = (places[:, None] * 4 + np.arange(4)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        ids = pa.array((np.arange(self.rows) + int(shard) * self.rows).astype(str))
        lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 4 * self.rows + 1, 4, np.int32)), pa.array(bands.ravel()))
        return pa.table({"id": ids, "bands": lists}).select(columns)

    def batches(self, shard, columns=None, batch_rows=1024):
        yield from self.table(shard, columns).to_batches(batch_rows)


def test_memory_does_not_grow_with_the_documents(monkeypatch):
    monkeypatch.setattr(partitions, "ROWS_IN_MEMORY", 1 << 14)
    monkeypatch.setattr(verdicts_kernel, "STRETCH", 1 << 14)

    def peak(rows):
        """Most bytes of arrays that lived at once; pages of mapped files, which the system may take back, are none."""
        given = Inputs((Synthetic(rows), Synthetic(rows)), ("documents", "sidecar"))
        tracemalloc.start()
        dropped = sum(table.num_rows - table["keep"].to_numpy().sum() for _, table in dedup_minhash(DedupMinhash(), given, Resources()))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert dropped == rows // 10
        return most

    peak(10_000)  # compiles
    small, large = peak(20_000), peak(200_000)
    assert large < 1.25 * small and large < 200_000 * 24


def test_errors_and_emptiness():
    with pytest.raises(ValueError, match="documents of 1 bands and of 2"):
        judge(["a", "b"], [[1, 2], [1]])
    assert judge([], []) == []
    assert [row["keep"] for row in judge(["a", "b"], [[], []])] == [True, True]


@pytest.mark.skipif(not NEARDUP.is_dir(), reason="../shared/data/neardup is absent")
@pytest.mark.parametrize("size", [100, 1000, 2500])
def test_known_plagiarised_pairs_are_found_and_nothing_else(tmp_path, size):
    lines = (NEARDUP / f"articles_{size}.train").read_text().splitlines()
    rows = [dict(zip(("id", "text"), line.split(" ", 1), strict=True)) for line in lines]
    texts = documents_of(tmp_path / "in", {"a": rows[: size // 3], "b": rows[size // 3 :]})
    near = dedup_minhash.on(texts, sign_minhash.on(texts))
    verdicts = rows_of(run(Store(tmp_path / "store"), near))
    assert verdicts == rows_of(run(Store(tmp_path / "other"), near, batch_rows=17))
    clusters = {row["id"]: row["cluster"] for row in verdicts}
    pairs = [line.split() for line in (NEARDUP / f"articles_{size}.truth").read_text().splitlines() if line.strip()]
    assert len(pairs) == {100: 5, 1000: 10, 2500: 20}[size]
    assert all(clusters[a] == clusters[b] for a, b in pairs)
    assert sum(not row["keep"] for row in verdicts) == len(pairs)
