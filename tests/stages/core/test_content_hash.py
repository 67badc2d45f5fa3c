"""Equal values hash alike however they are batched; different values do not."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.content_hash import ContentHash, content_hash

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("n", pa.int64()), ("x", pa.float32()), ("flag", pa.bool_()), ("list", pa.list_(pa.string())),
        ("pair", pa.list_(pa.uint16(), 2)), ("detail", pa.struct([("a", pa.string()), ("b", pa.float64())])),
    ]
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "id": st.none() | st.text(max_size=5), "n": st.none() | st.integers(-5, 5), "x": st.none() | st.floats(width=32, allow_nan=False),
        "flag": st.none() | st.booleans(), "list": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "pair": st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=2),
        "detail": st.none() | st.fixed_dictionaries({"a": st.none() | st.text(max_size=3), "b": st.none() | st.floats(-1, 1)}),
    }
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=8), st.integers(0, 8))
def test_batching_and_slicing_leave_no_trace(rows, cut):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    split = ContentHash(SCHEMA)
    padded = pa.concat_tables([table, table]).slice(len(rows), len(rows))  # the same rows at an offset
    split.update(padded.slice(0, cut))
    split.update(padded.slice(cut))
    assert split.hexdigest() == content_hash(table)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=5), st.lists(ROW, min_size=1, max_size=5))
def test_equal_hash_means_equal_values(a, b):
    one, two = pa.Table.from_pylist(a, schema=SCHEMA), pa.Table.from_pylist(b, schema=SCHEMA)
    assert (content_hash(one) == content_hash(two)) == (one.equals(two) or str(one.to_pylist()) == str(two.to_pylist()))


def test_boundaries_nulls_and_names_count():
    def of(values, name="a"):
        return content_hash(pa.table({name: pa.array(values, pa.string())}))

    assert len({of(["ab", "c"]), of(["a", "bc"]), of(["abc"]), of([None, "abc"]), of(["", "abc"]), of(["ab", "c"], "b")}) == 6


def test_dictionary_columns_hash_as_their_values():
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    assert content_hash(pa.table({"x": column})) != ""


def test_the_same_after_a_round_trip_through_parquet(tmp_path):
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([{"list": ["a", None], "pair": [1, 2], "detail": {"a": "x", "b": 0.5}}, {}], schema=SCHEMA)
    pq.write_table(table, tmp_path / "t.parquet")
    assert content_hash(pq.read_table(tmp_path / "t.parquet").replace_schema_metadata(None)) == content_hash(table)
