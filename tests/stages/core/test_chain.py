import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.about import About, Published, Substitute
from stages.core.chain import chain
from stages.core.config import ConfigError
from stages.core.engine import RunFailed, run_plan
from stages.core.fingerprint import code_hash
from stages.core.plan import Plan, PlanError, PlanRef, load_plan
from stages.core.resolve import open_node, resolve
from stages.core.stage import Resources, Verdict, stage
from stages.core.store import Store
from tests.stages.core import toy


@stage(version=1, kind="map", needs={"text"}, adds={"text": pa.string()})
def toy_blank(config: toy.ToyCount, inputs, resources):
    """Keep what is longer than seven characters, in capitals."""
    import pyarrow.compute as pc

    def judge(batch):
        text = batch.column("text")
        keep = pc.greater(pc.utf8_length(text), 7)
        return Verdict(keep, pa.array(["blank"] * len(text)), None, {"text": pc.utf8_upper(text)}, {"capitals": len(text)})

    return judge


def plans(root):
    """The same three steps as one node and as three."""
    pages = toy.toy_extract.on(toy.toy_source.on(root=str(root)))
    fused = chain(pages, toy.toy_filter.step(min_length=4), toy_blank.step(), toy.toy_cut.step(length=7), name="refined")
    single = toy.toy_cut.on(toy_blank.on(toy.toy_filter.on(pages, min_length=4)), length=7)
    return Plan("fused", [fused]), Plan("single", [single])


def rows(dataset, kind="documents"):
    return [row for shard in dataset.shards for row in pq.read_table(dataset.parquet_file(shard.name, kind)).to_pylist()]


@pytest.mark.parametrize("batch_rows", [1, 7, 1024])
def test_a_chain_does_what_its_steps_do(corpus, tmp_path, batch_rows):
    fused, single = plans(corpus)
    store = Store(tmp_path / "store")
    run_plan(fused, store, Resources(workers=0, batch_rows=batch_rows))
    run_plan(single, store, Resources(workers=0, batch_rows=batch_rows))
    refined, last = open_node(store, fused, "refined"), open_node(store, single, "toy_cut")
    assert rows(refined) == rows(last) and refined.schema == last.schema
    steps = {name: open_node(store, single, name) for name in ("toy_filter", "toy_blank", "toy_cut")}
    assert refined.manifest.steps == {name: made.manifest.rows_dropped for name, made in steps.items()}
    assert refined.manifest.steps["toy_filter"] and refined.manifest.steps["toy_blank"]
    assert refined.manifest.drops == {"too_short": steps["toy_filter"].manifest.rows_dropped, "blank": steps["toy_blank"].manifest.rows_dropped}
    assert refined.manifest.counters == {"seen": steps["toy_filter"].manifest.rows_in, "capitals": steps["toy_blank"].manifest.rows_in}
    before = {row["id"]: row["text"] for row in rows(open_node(store, single, "toy_extract"))}
    dropped = rows(refined, "dropped")
    assert {row["drop_stage"] for row in dropped} == {"toy_filter", "toy_blank"}
    assert all(row["text"] == before[row["id"]] for row in dropped)
    assert len(dropped) + len(rows(refined)) == len(before)


def test_the_identity_of_a_chain_covers_its_steps(corpus, tmp_path):
    store = Store(tmp_path / "store")

    def fingerprint(plan):
        return resolve(plan, store, Resources())["refined"].fingerprint

    plan, _ = plans(corpus)
    assert fingerprint(plan) == fingerprint(plans(corpus)[0])
    assert fingerprint(plan) != fingerprint(plan.replace({"refined": {"toy_cut.length": 9}}))
    pages = plan["toy_extract"]

    @stage(version=2, kind="map", needs={"text"}, adds={"text": pa.string()})
    def toy_blank(config: toy.ToyCount, inputs, resources):
        """Another version."""

    newer = chain(pages, toy.toy_filter.step(min_length=4), toy_blank.step(), toy.toy_cut.step(length=7), name="refined")
    assert fingerprint(plan) != fingerprint(Plan("fused", [newer]))
    assert code_hash(plan["refined"].stage) != code_hash(toy.toy_cut)


def test_a_step_is_configured_by_name(corpus):
    plan, _ = plans(corpus)
    assert plan.place("toy_filter.min_length") == ("refined", "toy_filter.min_length")
    assert plan.place("refined.toy_filter.min_length") == ("refined", "toy_filter.min_length")
    assert plan.place("toy_extract.limit_shards") == ("toy_source", "limit_shards"), "a field of the source that the node reads"
    changed = plan.replace({"refined": {"toy_filter.min_length": 9, "toy_cut.length": 1}})
    assert changed.value("refined.toy_filter", "min_length") == 9 and changed.value("refined.toy_cut", "length") == 1
    again = Plan("twice", [*plan.outputs, chain(plan["toy_extract"], toy.toy_cut.step(), name="other")])
    with pytest.raises(PlanError, match="step 'toy_cut' in refined and in other; write refined.toy_cut.length"):
        again.place("toy_cut.length")
    for words, kind, said in [
        ("refined.toy_filter", ConfigError, r"that is a step; write refined\.toy_filter\.field=value \(fields: min_length"),
        ("refined.min_length", PlanError, r"did you mean refined\.toy_filter\.min_length\?"),
        ("refined.toy_fliter.min_length", PlanError, r"did you mean refined\.toy_filter\?"),
        ("refined.nothing.x", PlanError, r"write the step before the field \(steps: toy_filter, toy_blank, toy_cut\)"),
        ("toy_fliter.min_length", PlanError, r"did you mean 'refined\.toy_filter'\?"),
    ]:
        with pytest.raises(kind, match=said):
            plan.place(words)
    with pytest.raises(ConfigError, match="refined: ToyFilter: unknown field 'min_lenght'; did you mean 'min_length'"):
        plan.replace({"refined": {"toy_filter.min_lenght": 9}})
    with pytest.raises(ConfigError, match="did you mean 'toy_filter'"):
        plan.replace({"refined": {"toy_filtr.min_length": 9}})


def test_overrides_travel_to_the_workers(corpus, tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(
        f"import sys; sys.path.insert(0, {str(__file__).rpartition('/')[0]!r})\nimport toy\nfrom stages.core.chain import chain\n"
        "from stages.core.plan import Plan\n"
        f"def plan():\n    pages = toy.toy_extract.on(toy.toy_source.on(root={str(corpus)!r}))\n"
        "    return Plan('chained', [chain(pages, toy.toy_filter.step(), toy.toy_cut.step(), name='refined')])\n"
    )
    plan = load_plan(PlanRef(f"{path}:plan", {}, (("toy_filter.min_length", 9), ("toy_extract.limit_shards", 2))))
    outcome = run_plan(plan, Store(tmp_path / "store"), Resources(workers=2))["refined"]
    assert outcome.manifest.config["toy_filter"]["min_length"] == 9 and len(outcome.manifest.shards) == 2


def test_what_can_not_be_chained(corpus):
    pages = toy.toy_extract.on(toy.toy_source.on(root=str(corpus)))
    with pytest.raises(PlanError, match="toy_apply can not be a step"):
        chain(pages, toy.toy_apply.step(), name="x")
    with pytest.raises(PlanError, match="two steps are called 'toy_cut'"):
        chain(pages, toy.toy_cut.step(), toy.toy_cut.step(), name="x")
    with pytest.raises(PlanError, match="column 'shout' is missing"):

        @stage(version=1, kind="map", needs={"shout"})
        def toy_listen(config: toy.ToyCount, inputs, resources):
            """Needs what the filter adds."""

        Plan("p", [chain(pages, toy_listen.step(), toy.toy_filter.step(), name="x")])


def test_a_step_outside_its_band_is_named(corpus, tmp_path):
    plan, _ = plans(corpus)
    everything = plan.replace({"refined": {"toy_filter.min_length": 99}})
    with pytest.raises(RunFailed, match=r"refined.toy_filter dropped all of \d+ documents"):
        run_plan(everything, Store(tmp_path / "store"), Resources(workers=0), strict=True)


def test_substitutes_hold_until_their_field_is_set(corpus):
    about = About(substitutes=(Substitute("refined.toy_cut", "a shorter cut", unless="length"), Substitute("gone", "?")), published=(Published(("refined",), 0.5),))
    plan, _ = plans(corpus)
    plan = Plan("fused", plan.outputs, about=about).replace({"refined": {"toy_cut.length": 0}})
    assert [item.words for item in plan.substitutes()] == ["a shorter cut"]
    assert plan.replace({"refined": {"toy_cut.length": 3}}).substitutes() == []
