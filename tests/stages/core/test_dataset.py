"""Reading: by the manifest, in order; sidecars merged on id or refused."""

import pyarrow as pa
import pytest

from stages.core.dataset import Dataset, merged_batches
from stages.core.engine import run_plan
from stages.core.plan import load_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources


@pytest.fixture
def run(store, toy):
    plan = load_plan(toy())
    run_plan(plan, store, Resources(workers=0))
    return lambda name: open_node(store, plan, name)


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_a_sidecar_of_an_ancestor_follows_the_documents(run, batch_rows):
    kept, scores = run("toy_filter"), run("toy_score")  # rows were dropped in between
    for shard in kept.shards:
        batches = list(merged_batches(kept, (scores,), shard.name, ["text"], batch_rows))
        merged = pa.Table.from_batches(batches)
        assert merged.column_names == ["id", "text", "score_toy"] and merged.num_rows == shard.rows_out
        assert merged.column("score_toy").to_pylist() == [float(len(t)) for t in merged.column("text").to_pylist()]


def test_a_missing_id_is_an_error(run):
    kept, scores = run("toy_extract"), run("toy_dedup")  # the dedup saw fewer documents
    with pytest.raises(ValueError, match="has no row for document"):
        list(merged_batches(kept, (scores,), kept.shards[0].name))


def test_unfinished_does_not_exist(store):
    with pytest.raises(FileNotFoundError, match="never finished"):
        Dataset(store.dataset_dir("s", "d" * 64))


def test_lineage(run):
    unique = run("toy_apply")
    assert [d.manifest.stage for d in unique.inputs()] == ["toy_filter", "toy_dedup", "toy_score"]
    assert unique.inputs("documents")[0].fingerprint == run("toy_filter").fingerprint
    with pytest.raises(ValueError, match="has no shard 'nope'"):
        unique.shard("nope")
