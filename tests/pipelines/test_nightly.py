"""Nights of web archives: the next night reuses all before it, and all nights together are one sequential pass over their documents."""

import shutil

import pytest

from pipelines import nightly
from pipelines.sample import POOL
from stages.core.engine import run_plan
from stages.core.plan import PlanError
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store

NIGHTS = 3


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Directories of a few archives of the embedded sample, and a store in which the nights ran one after the other."""
    where = tmp_path_factory.mktemp("nightly")
    roots = []
    for number, archives in enumerate((("pool-000",), ("pool-001", "pool-003"), ("pool-002",)), start=1):
        root = where / f"night-{number}"
        root.mkdir()
        for name in archives:
            shutil.copy(POOL / f"{name}.warc.gz", root)
        roots.append(str(root))
    store = Store(where / "store")
    states = []
    for night in range(1, NIGHTS + 1):
        outcomes = run_plan(nightly.plan(tuple(roots[:night])), store, Resources(workers=0))
        states.append({name: outcome.state for name, outcome in outcomes.items()})
    return roots, store, states


def rows(nights, name, *columns):
    roots, store, _ = nights
    dataset = open_node(store, nightly.plan(tuple(roots)), name)
    return [tuple(row[c] for c in columns) for shard in dataset.shards for row in dataset.table(shard.name, ["id", *columns]).to_pylist()]


def test_every_node_of_the_earlier_nights_is_reused(nights):
    _, _, states = nights
    for night, state in enumerate(states, start=1):
        assert len(state) == 8 * night
        assert {name: made for name, made in state.items() if made != ("ran" if name.endswith(f"_{night}") else "reused")} == {}


def test_all_nights_are_one_sequential_pass(nights):
    first_of_text, bands_so_far, kept_so_far, dropped_by_old = {}, {}, set(), [0, 0]
    for night in range(1, NIGHTS + 1):
        tonight = rows(nights, f"prose_{night}", "id", "text")
        distinct = [i for i, text in tonight if first_of_text.setdefault(text, i) == i]
        dropped_by_old[0] += sum(first_of_text[text] not in dict(tonight) for _, text in tonight)
        assert [i for (i,) in rows(nights, f"distinct_{night}", "id")] == distinct
        old = set(bands_so_far)
        bands_so_far |= dict(rows(nights, f"bands_{night}", "id", "bands"))
        heads, order = {}, {i: place for place, i in enumerate(bands_so_far)}
        for i in bands_so_far:  # breadth first from the earliest document that no cluster has yet
            cluster = [i] if i not in heads else []
            for member in cluster:
                heads[member] = i
                near = [j for j in order if j not in heads and j not in cluster and share_a_band(bands_so_far[member], bands_so_far[j])]
                cluster += near
        clean = [i for i in distinct if heads[i] == i]
        dropped_by_old[1] += sum(heads[i] in old for i in distinct)
        assert [i for (i,) in rows(nights, f"clean_{night}", "id")] == clean
        full_run_drops = sum(heads[i] != i for i in kept_so_far)
        summary = open_node(nights[1], nightly.plan(tuple(nights[0])), f"near_{night}").summary
        assert summary.get("full_run_would_drop", 0) == full_run_drops
        kept_so_far |= set(clean)
    assert all(count > 0 for count in dropped_by_old)  # or the test tested nothing


def share_a_band(one, other):
    return any(x == y for x, y in zip(one, other, strict=False))


def test_directories_need_names_of_their_own():
    with pytest.raises(PlanError, match="roots end in a, a; give one directory or more, each with a name of its own"):
        nightly.plan(("x/a", "y/a/"))
    assert nightly.plan(("s3://bucket/2024-05-01/",))["warcs_1"].config.source == "2024-05-01"
