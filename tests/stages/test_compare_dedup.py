from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from stages.compare_dedup import COLUMNS, CompareDedup, compare_dedup
from stages.core.config import ConfigError
from stages.core.schema import schema_of
from stages.core.stage import Inputs, Resources


def verdicts_of(name, keep, sizes=None, split=4, ids=None):
    ids = ids or [str(i) for i in range(len(keep))]
    stretches = [slice(i, i + split) for i in range(0, len(keep), split)]
    tables = {f"s{s.start}": pa.table({"id": pa.array(ids[s], pa.string()), "keep": keep[s]}) for s in stretches}
    return SimpleNamespace(
        name=name,
        summary={"clusters_by_size": sizes} if sizes else {},
        shards=[SimpleNamespace(name=n) for n in tables],
        table=lambda shard, columns: tables[shard].select(columns),
    )


def report(methods, *judged):
    (name, table), *rest = compare_dedup(CompareDedup(methods=methods), Inputs(judged, ("table",) * len(judged)), Resources())
    assert name == "report" and not rest and table.schema == schema_of(COLUMNS)
    return {tuple(row[key] for key in ("measure", "method", "other", "size")): row["documents"] for row in table.to_pylist()}


def test_against_sets():
    rng = np.random.default_rng(3)
    keep = {method: (rng.random(50) < share).tolist() for method, share in (("a", 0.5), ("b", 0.8), ("c", 0.9))}
    found = report(tuple(keep), *[verdicts_of(method, kept) for method, kept in keep.items()])
    gone = {method: {i for i in range(50) if not kept[i]} for method, kept in keep.items()}
    assert found.pop(("all", None, None, None)) == 50
    assert found.pop(("dropped_any", None, None, None)) == len(set.union(*gone.values()))
    for method, mine in gone.items():
        assert found.pop(("dropped", method, None, None)) == len(mine)
        assert found.pop(("dropped_only", method, None, None)) == len(mine.difference(*[g for m, g in gone.items() if m != method]))
    for one, other in combinations(gone, 2):
        assert found.pop(("dropped_both", one, other, None)) == len(gone[one] & gone[other])
    assert not found


def test_clusters_are_those_that_the_stage_counted():
    found = report(("a", "b"), verdicts_of("a", [True, False, False, True], {"3": 1}), verdicts_of("b", [True] * 4))
    assert {key: n for key, n in found.items() if key[0] == "cluster_size"} == {("cluster_size", "a", None, 3): 3}
    assert report(("a",), verdicts_of("a", []))[("all", None, None, None)] == 0


def test_other_documents_and_wrong_names_are_refused():
    a, b = verdicts_of("a", [True] * 6), verdicts_of("b", [True] * 6, ids=["x", *map(str, range(1, 6))])
    with pytest.raises(ValueError, match="b/s0 judged other documents than a"):
        report(("a", "b"), a, b)
    with pytest.raises(ValueError, match="have other shards"):
        report(("a", "b"), a, verdicts_of("b", [True] * 6, split=5))
    with pytest.raises(ValueError, match="2 methods are named \\(a, b\\) and 1 verdicts given"):
        report(("a", "b"), a)
    for methods in ((), ("a", "a")):
        with pytest.raises(ConfigError, match="1 to 16 different names"):
            CompareDedup(methods=methods)
