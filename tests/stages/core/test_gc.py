"""Garbage collection: what no ref reaches goes, with nothing that a kept dataset came from or shares."""

import multiprocessing

import pytest

from stages.core.engine import run_plan
from stages.core.gc import TRASH, collect, reachable
from stages.core.plan import load_plan
from stages.core.stage import Resources
from stages.core.store import Store, StoreError
from stages.core.verify import verify


@pytest.fixture
def two_runs(store, toy):
    """A store in which the second run's refs have replaced those of the first from the filter on."""
    for min_length in (5, 6):
        run_plan(load_plan(toy(toy_filter__min_length=min_length)), store, Resources(workers=0))
    return store


def names(store: Store) -> set[str]:
    return {where.name for where in store.dataset_dirs()}


def test_nothing_to_collect_after_one_run(store, toy):
    run_plan(load_plan(toy()), store, Resources(workers=0))
    before = names(store)
    assert collect(store) == [] and names(store) == before == reachable(store)


def test_what_no_ref_reaches_goes(two_runs):
    before = names(two_runs)
    planned = collect(two_runs, dry_run=True)
    assert names(two_runs) == before
    went = collect(two_runs)
    assert went == planned and {c.dataset.partition("/")[0] for c in went} == {"toy_filter", "toy_dedup", "toy_apply", "toy_count"}
    assert names(two_runs) == before - {c.dataset for c in went} == reachable(two_runs)
    assert all(c.freed_bytes > 0 for c in went) and not (two_runs.root / TRASH).exists()
    assert list(verify(two_runs)) == [] and collect(two_runs) == []


def test_a_ref_to_the_last_dataset_keeps_all_that_it_came_from(two_runs):
    refs = two_runs.root / "_refs" / "toy" / "default"
    for path in refs.glob("*.json"):
        if path.stem != "toy_apply":
            path.unlink()
    went = {c.dataset.partition("/")[0] for c in collect(two_runs)}
    assert went == {"toy_filter", "toy_dedup", "toy_apply", "toy_count"}
    assert {name.partition("/")[0] for name in names(two_runs)} == {
        "toy_source",
        "toy_extract",
        "toy_score",
        "toy_filter",
        "toy_dedup",
        "toy_apply",
    }


def test_shared_files_outlive_their_first_name_and_free_nothing(store, toy, corpus):
    run_plan(load_plan(toy()), store, Resources(workers=0))
    (corpus / "s2.jsonl").unlink()  # the same shards, adopted: hard links of the first run's files
    run_plan(load_plan(toy()), store, Resources(workers=0))
    freed = {c.dataset.partition("/")[0]: c.freed_bytes for c in collect(store, dry_run=True)}
    shared = sum(f.size_bytes for s in _first(store, "toy_extract").shards for f in s.files if s.name != "s2.jsonl")
    everything = sum(p.stat().st_size for p in (store.root / _doomed(store, "toy_extract")).rglob("*") if p.is_file())
    assert shared > 0 and freed["toy_extract"] == everything - shared
    collect(store)
    assert list(verify(store)) == []


def _doomed(store, stage):
    return next(c.dataset for c in collect(store, dry_run=True) if c.dataset.startswith(f"{stage}/"))


def _first(store, stage):
    return store.dataset_dir(*_doomed(store, stage).split("/")).manifest()


def test_unfinished_datasets_stay_unless_asked_for(store):
    half = store.dataset_dir("toy_extract", "a" * 64)
    half.documents.mkdir(parents=True)
    (half.documents / "s0.parquet").write_text("half")
    assert collect(store) == [] and half.documents.exists()
    assert [(c.dataset, c.rows, c.freed_bytes) for c in collect(store, unfinished=True)] == [(half.name, None, 4)]
    assert not half.path.exists()


def _hold(path, ready, release):
    from stages.core.store import DatasetDir

    with DatasetDir(path).locked():
        ready.set()
        release.wait(20)


def test_refuses_while_a_run_writes(two_runs):
    before = names(two_runs)
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(two_runs.dataset_dir("toy_score", "f" * 64).path, ready, release))
    other.start()
    assert ready.wait(30)
    with pytest.raises(StoreError, match="is being written by a run"):
        collect(two_runs)
    assert names(two_runs) == before and collect(two_runs, dry_run=True)
    release.set()
    other.join()
    assert collect(two_runs)


def test_a_killed_collection_is_finished_by_the_next(two_runs):
    leftover = two_runs.root / TRASH / "toy_apply-abc"
    leftover.mkdir(parents=True)
    (leftover / "x").write_text("x")
    assert "_trash" not in {name.partition("/")[0] for name in names(two_runs)}
    collect(two_runs)
    assert not (two_runs.root / TRASH).exists()


def test_an_empty_store(store):
    assert collect(store) == []
