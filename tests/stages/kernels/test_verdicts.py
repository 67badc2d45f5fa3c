from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from stages.core.schema import VERDICT, schema_of
from stages.kernels.verdicts import check_generations, verdict_tables


def made_of(shards):
    return SimpleNamespace(
        shards=[SimpleNamespace(name=name, rows_out=len(table)) for name, table in shards.items()],
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


def test_documents_of_earlier_generations_may_stand_for_these():
    old = [made_of({"o0": pa.table({"id": ["p", "q"]}), "o1": pa.table({"id": ["r"]})}), made_of({"o2": pa.table({"id": ["s"]})})]
    new = made_of({"n": pa.table({"id": pa.chunked_array([["a"], ["b", "c", "d"]])})})
    numbers = lambda mine: {"number": pa.array(range(mine.start, mine.stop))}  # noqa: E731
    tables = verdict_tables(new, np.array([2, 5, 3, 5]), "exact_duplicate", earlier=old, more=numbers)
    (name, table), summary = next(tables), None
    try:
        next(tables)
    except StopIteration as end:
        summary = end.value
    assert name == "n" and table.column("kept_id").to_pylist() == ["r", None, "s", "b"]
    assert table.column("keep").to_pylist() == [False, True, False, False] and table.column("number").to_pylist() == [0, 1, 2, 3]
    assert summary == {"documents": 4, "duplicates": 3, "clusters_by_size": {"2": 3}}


def test_generations_out_of_order_are_refused():
    def verdicts(name, *before, stage="dedup_exact"):
        inputs = [{"role": "documents", "fingerprint": "d"}, *({"role": "table", "fingerprint": b.fingerprint} for b in before)]
        return SimpleNamespace(name=name, fingerprint=name, manifest=SimpleNamespace(stage=stage, inputs=inputs))

    one = verdicts("one")
    two = verdicts("two", one)
    check_generations("dedup_exact", [one, two], [one, two])
    with pytest.raises(ValueError, match="two, given as generation 1, was not judged against the 0 before it"):
        check_generations("dedup_exact", [two, one], [two, one])
    with pytest.raises(ValueError, match="generation 2"):
        check_generations("dedup_exact", [one, verdicts("x")], [one, verdicts("x")])
    with pytest.raises(ValueError, match="give the verdicts of a dedup_minhash"):
        check_generations("dedup_minhash", [one], [one])
