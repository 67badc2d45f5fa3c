"""The engine's promises: same content everywhere, nothing lost, nothing done twice, and a crash at any commit point is survived."""

from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from stages.core import engine
from stages.core import job as job_module
from stages.core.catalog import connect
from stages.core.engine import RunFailed, run_plan
from stages.core.plan import Plan, PlanError, PlanRef, load_plan
from stages.core.resolve import PROCESS_BYTES, forecast, resolve
from stages.core.stage import Resources, stage
from stages.core.store import Store, read_journals
from stages.core.verify import verify
from tests.stages.core import toy as toys

INLINE = Resources(workers=0)


def hashes(outcomes):
    return {name: outcome.manifest.content_hash for name, outcome in outcomes.items()}


def test_workers_and_batches_change_nothing(tmp_path, toy):
    plan = load_plan(toy())
    made = [
        hashes(run_plan(plan, Store(tmp_path / f"{workers}-{rows}"), Resources(workers=workers, batch_rows=rows)))
        for workers, rows in [(0, 1024), (0, 3), (1, 1024), (2, 5), (4, 64)]
    ]
    assert all(m == made[0] for m in made)


def test_every_drop_is_there_with_its_reason(store, toy):
    outcomes = run_plan(load_plan(toy()), store, INLINE)
    for name in ("toy_extract", "toy_filter", "toy_apply"):
        manifest = outcomes[name].manifest
        path = store.root / outcomes[name].dataset
        dropped = datasets.load_dataset(str(path), "dropped", split="train", cache_dir=str(store.root / "_cache"))
        assert manifest.rows_in == manifest.rows_out + manifest.rows_dropped and dropped.num_rows == manifest.rows_dropped
        assert sorted(set(dropped["drop_reason"])) == sorted(manifest.drops)
        assert set(dropped["drop_stage"]) == {name}


def test_second_run_reuses_everything(store, toy):
    plan = load_plan(toy())
    first = run_plan(plan, store, INLINE)
    again = run_plan(plan, store, INLINE)
    assert {o.state for o in again.values()} == {"reused"} and hashes(first) == hashes(again)


def test_one_threshold_reruns_only_what_follows(store, toy):
    run_plan(load_plan(toy()), store, INLINE)
    plan = load_plan(toy(toy_filter__min_length=6))
    why = {f.name: f for f in forecast(plan, store, resolve(plan, store, INLINE), INLINE)}
    assert why["toy_filter"].why == ["config.min_length: 5 -> 6"] and why["toy_apply"].why == ["input toy_filter, toy_dedup changed"]
    states = {name: o.state for name, o in run_plan(plan, store, INLINE).items()}
    assert states == {
        "toy_source": "reused", "toy_extract": "reused", "toy_score": "reused", "toy_filter": "ran", "toy_dedup": "ran", "toy_apply": "ran", "toy_count": "ran",
    }  # fmt: skip


def test_a_forecast_scales_the_last_run_of_a_stage(store, toy):
    made = run_plan(load_plan(toy()), store, INLINE)
    plan, two = load_plan(toy(toy_filter__min_length=6)), Resources(workers=2)
    told = {f.name: f for f in forecast(plan, store, resolve(plan, store, two), two)}
    before = made["toy_filter"].manifest
    assert told["toy_filter"].seconds == before.seconds and told["toy_filter"].file_bytes == before.file_bytes
    assert told["toy_filter"].memory_bytes == 2 * (PROCESS_BYTES + before.added_memory_bytes)
    assert told["toy_dedup"].memory_bytes >= PROCESS_BYTES + made["toy_dedup"].manifest.added_memory_bytes  # one process, whatever the workers
    assert told["toy_extract"].reused and told["toy_extract"].file_bytes == made["toy_extract"].manifest.file_bytes


def test_a_forecast_goes_by_the_largest_run_of_a_stage(store, toy):
    large = run_plan(load_plan(toy()), store, INLINE)["toy_filter"].manifest
    few = load_plan(toy(toy_source__limit_shards=1))
    assert run_plan(few, store, INLINE)["toy_filter"].manifest.rows_in < large.rows_in
    plan = load_plan(toy(toy_filter__min_length=6))
    told = {f.name: f for f in forecast(plan, store, resolve(plan, store, INLINE), INLINE)}
    assert told["toy_filter"].file_bytes == large.file_bytes and told["toy_filter"].seconds == large.seconds


def test_what_the_machine_can_not_hold_is_refused_before_anything_runs(store, toy, monkeypatch):
    run_plan(load_plan(toy()), store, INLINE)
    monkeypatch.setattr(engine, "machine_bytes", lambda: 1_000_000)
    assert {o.state for o in run_plan(load_plan(toy()), store, INLINE).values()} == {"reused"}
    runs = len({event["run"] for event in read_journals(store)})
    with pytest.raises(PlanError, match=r"toy_filter needs about 0\.\d GB of memory and this machine has 0\.0 GB; use fewer --workers"):
        run_plan(load_plan(toy(toy_filter__min_length=6)), store, INLINE)
    assert len({event["run"] for event in read_journals(store)}) == runs


def test_a_new_shard_is_the_only_one_that_runs(store, toy, corpus, shard_writer, tmp_path):
    run_plan(load_plan(toy()), store, INLINE)
    shard_writer(corpus, "s3", [{"id": f"3-{i}", "text": f"something new {i}"} for i in range(9)])
    grown = run_plan(load_plan(toy()), store, INLINE)
    assert (grown["toy_extract"].shards_run, grown["toy_extract"].shards_adopted) == (1, 3)
    assert (grown["toy_filter"].shards_run, grown["toy_filter"].shards_adopted) == (1, 3)
    assert (grown["toy_apply"].shards_run, grown["toy_apply"].shards_adopted) == (1, 3)  # old verdicts did not change
    fresh = run_plan(load_plan(toy()), Store(tmp_path / "fresh"), INLINE)
    assert hashes(grown) == hashes(fresh)
    assert list(verify(store)) == []


def test_the_place_of_the_input_does_not_matter(store, toy, corpus, tmp_path):
    first = run_plan(load_plan(toy()), store, INLINE)
    corpus.rename(tmp_path / "elsewhere")
    plan = load_plan(toy(toy_source__root=str(tmp_path / "elsewhere")))
    assert {o.state for o in run_plan(plan, store, INLINE).values()} == {"reused"}
    assert first["toy_extract"].manifest.fingerprint == resolve(plan, store, INLINE)["toy_extract"].fingerprint


class Crash(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.parametrize("kill_at", range(0, 72, 3))
def test_a_crash_at_any_commit_point_is_survived(tmp_path, toy, monkeypatch, kill_at):
    plan = load_plan(toy())
    whole = hashes(run_plan(plan, Store(tmp_path / "whole"), INLINE))
    store, count = Store(tmp_path / "cut"), 0
    from stages.core import listing
    from stages.core import store as store_module

    def dying(real):
        def commit(*args):
            nonlocal count
            count += 1
            if count == kill_at + 1:
                raise Crash
            return real(*args)

        return commit

    with monkeypatch.context() as patch:
        for module in (job_module, listing, store_module):
            patch.setattr(module, "commit_file", dying(module.commit_file))
        try:
            run_plan(plan, store, INLINE)
        except Crash:
            pass
        else:
            assert count <= kill_at
    after = run_plan(plan, store, INLINE)
    assert hashes(after) == whole
    assert list(verify(store)) == []
    assert not [p for p in store.root.rglob(".tmp-*") if "_refs" not in str(p)]
    connect(store).close()


def test_a_failed_shard_lets_the_others_finish_and_says_why(store, toy, corpus, shard_writer):
    shard_writer(corpus, "s1", [{"id": "bad", "text": "x", "fault": "raise"}])
    with pytest.raises(RunFailed, match="toy_extract: 1 of 3 shards failed; s1.jsonl: RuntimeError: the page made me do it"):
        run_plan(load_plan(toy()), store, INLINE)
    events = list(read_journals(store))
    assert sorted(e["shard"] for e in events if e["event"] == "shard_done" and e["node"] == "toy_extract") == ["s0.jsonl", "s2.jsonl"]
    failed = next(e for e in events if e["event"] == "shard_failed")
    assert "RuntimeError" in open(failed["log"]).read()
    assert {e["node"] for e in events if e["event"] == "node_skipped"} == {"toy_filter", "toy_score", "toy_dedup", "toy_apply", "toy_count"}
    shard_writer(corpus, "s1", [{"id": "good", "text": "mended by hand"}])
    mended = run_plan(load_plan(toy()), store, INLINE)["toy_extract"]
    assert (mended.shards_run, mended.shards_adopted) == (1, 2)  # what the failed run had finished is not done again


def test_strict_stops_at_an_unexpected_drop_rate(store, toy, corpus, shard_writer):
    shard_writer(corpus, "s3", [{"id": "long", "text": "x" * 200}])
    with pytest.raises(RunFailed, match=r"toy_filter dropped 99\.0% of 97 documents; one expects 0% to 90%"):
        run_plan(load_plan(toy(toy_filter__min_length=99)), store, INLINE, strict=True)
    manifest = run_plan(load_plan(toy(toy_filter__min_length=99)), store, INLINE)["toy_filter"].manifest
    assert "dropped 99.0%" in manifest.warnings[0]


def test_everything_dropped_is_loud(store, toy):
    heard = []
    run_plan(load_plan(toy(toy_filter__min_length=99)), store, INLINE, watch=lambda node, event, fields: heard.append((node, event, fields)))
    assert ("toy_filter", "warning", {"warning": "toy_filter dropped all of 96 documents"}) in heard


def test_dropped_text_policies(tmp_path, toy):
    import pyarrow.parquet as pq

    for policy, expected in (("all", 24), ("none", 0)):
        store = Store(tmp_path / policy)
        made = run_plan(load_plan(toy()), store, Resources(workers=0, keep_dropped_text=policy))["toy_filter"]
        texts = [t for f in (store.root / made.dataset / "dropped").glob("*.parquet") for t in pq.read_table(f).column("text").to_pylist()]
        assert sum(t is not None for t in texts) == expected and made.manifest.keep_dropped_text == policy


def test_another_text_policy_is_not_resumed_or_adopted(store, toy, corpus, shard_writer):
    import pyarrow.parquet as pq

    run_plan(load_plan(toy()), store, Resources(workers=0, keep_dropped_text="none"))
    shard_writer(corpus, "s3", [{"id": "3-0", "text": "no"}])
    made = run_plan(load_plan(toy()), store, Resources(workers=0, keep_dropped_text="all"))["toy_filter"]
    texts = [t for f in (store.root / made.dataset / "dropped").glob("*.parquet") for t in pq.read_table(f).column("text").to_pylist()]
    assert len(texts) == 25 and None not in texts


def test_strict_looks_at_reused_datasets_too(store, toy):
    plan = load_plan(toy(toy_filter__min_length=99))
    run_plan(plan, store, INLINE)
    with pytest.raises(RunFailed, match="dropped all of 96 documents"):
        run_plan(plan, store, INLINE, strict=True)


def test_two_stages_of_one_name_do_not_share(store, toy, tmp_path):
    source = open(toy().target.partition(":")[0]).read()
    kept = []
    for name, sign in (("a", "greater_equal"), ("b", "less")):
        (tmp_path / f"{name}.py").write_text(source.replace("pc.greater_equal(length", f"pc.{sign}(length"))
        ref = PlanRef(f"{tmp_path / name}.py:plan", toy().arguments)
        kept.append(run_plan(load_plan(ref), store, INLINE)["toy_filter"].manifest.rows_out)
    assert kept == [72, 24]


def test_an_unexpected_error_is_a_failure_and_the_rest_goes_on(store, toy, monkeypatch):
    from stages.core import engine

    real = engine.Run._commit

    def full_disk(self, found, *args, **kwargs):
        if found.node.name == "toy_score":
            raise OSError(28, "No space left on device")
        return real(self, found, *args, **kwargs)

    monkeypatch.setattr(engine.Run, "_commit", full_disk)
    with pytest.raises(RunFailed, match="toy_score: OSError: .* No space left"):
        run_plan(load_plan(toy()), store, INLINE)
    finished = {e["node"] for e in read_journals(store) if e["event"] == "node_finished"}
    assert {"toy_filter", "toy_dedup"} <= finished


@pytest.mark.parametrize("resumes", [True, False])
def test_the_scratch_of_a_reduce_that_resumes_outlives_a_failure(corpus, store, resumes):
    """The second attempt finds what the first one left, and once it is done nothing is left."""
    seen = []

    @stage(version=1, kind="reduce", needs={"id"}, adds={"id": pa.string()}, resumes=resumes)
    def toy_reduce(config: toys.ToyCount, inputs, resources):
        """Leave a note and fail, unless there is one."""
        note = Path(resources.scratch) / "note"
        seen.append(note.exists())
        note.touch()
        if len(seen) == 1:
            raise RuntimeError("once")
        for shard in inputs.documents.shards:
            yield shard.name, inputs.documents.table(shard.name, ["id"])

    plan = Plan("p", [toy_reduce.on(toys.toy_extract.on(toys.toy_source.on(root=str(corpus))))])
    with pytest.raises(RunFailed, match="once"):
        run_plan(plan, store, Resources(workers=0))
    outcome = run_plan(plan, store, Resources(workers=0))["toy_reduce"]
    assert seen == [False, resumes]
    assert not [path for path in (store.root / outcome.dataset).rglob("note")]
