from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from stages.core.schema import VERDICT, schema_of
from stages.kernels.verdicts import verdict_tables


def made_of(shards):
    return SimpleNamespace(
        shards=[SimpleNamespace(name=name) for name in shards],
        table=lambda name, columns=None: shards[name].select(columns),
    )


def summary_of(kept):
    """What the generator returns after its last table."""
    tables = verdict_tables(made_of({"s": pa.table({"id": [str(i) for i in range(len(kept))]})}), np.array(kept), "near_duplicate")
    while True:
        try:
            next(tables)
        except StopIteration as end:
            return end.value


def test_clusters_are_counted_by_size():
    assert summary_of([0, 1, 0, 3, 1, 0, 6]) == {"documents": 7, "duplicates": 3, "clusters_by_size": {"2": 1, "3": 1}}


def test_no_duplicate_among_many_is_told():
    assert summary_of(range(999)) == {"documents": 999, "duplicates": 0, "clusters_by_size": {}}
    assert summary_of(range(1000))["warnings"] == ["0 duplicates found among 1,000 documents; of a crawl one expects some"]


def test_one_row_per_document_in_order():
    shards = {
        "s0": pa.table({"id": ["a", "b"]}),
        "empty": pa.table({"id": pa.array([], pa.string())}),
        "s1": pa.table({"id": ["c", "d"]}),
    }
    documents = made_of(shards)
    tables = dict(verdict_tables(documents, np.array([0, 1, 1, 0]), "near_duplicate", np.array([0.0, 0, 3, 2]), 1.0))
    assert list(tables) == ["s0", "empty", "s1"] and all(
        t.schema == schema_of({"id": pa.string(), **VERDICT}) for t in tables.values()
    )
    rows = [row for table in tables.values() for row in table.to_pylist()]
    assert [tuple(row.values()) for row in rows] == [
        ("a", True, None, None, 0, None, None),
        ("b", True, None, None, 1, None, None),
        ("c", False, "near_duplicate", "b", 1, 3.0, 1.0),
        ("d", False, "near_duplicate", "a", 0, 2.0, 1.0),
    ]
