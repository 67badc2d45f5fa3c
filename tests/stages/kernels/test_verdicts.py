from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from stages.core.schema import VERDICT, schema_of
from stages.kernels.verdicts import verdict_tables


def test_one_row_per_document_in_order():
    shards = {
        "s0": pa.table({"id": ["a", "b"]}),
        "empty": pa.table({"id": pa.array([], pa.string())}),
        "s1": pa.table({"id": ["c", "d"]}),
    }
    documents = SimpleNamespace(
        shards=[SimpleNamespace(name=name) for name in shards],
        table=lambda name, columns=None: shards[name].select(columns),
    )
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
