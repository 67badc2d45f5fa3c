"""The one writer: equal content gives equal bytes, and a shard without rows is a file that everybody can read."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.fingerprint import file_digest
from stages.core.schema import DETAIL
from stages.core.writer import ROW_GROUP_ROWS, ShardWriter

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("detail", DETAIL)])


def rows(n):
    return pa.Table.from_pylist([{"id": str(i), "text": "x" * (i % 50), "detail": {"value": float(i)}} for i in range(n)], schema=SCHEMA)


@pytest.mark.parametrize("n", [0, 1, ROW_GROUP_ROWS, ROW_GROUP_ROWS * 2 + 17])
def test_batches_leave_no_trace_in_the_bytes(tmp_path, n):
    made = []
    for name, size in (("a", 7), ("b", 1000), ("c", 10**9)):
        writer = ShardWriter(tmp_path / f"{name}.parquet", SCHEMA.with_metadata({"noise": name}))
        table = rows(n)
        for start in range(0, max(n, 1), size):
            writer.write(table.slice(start, size))
        made.append(writer.close())
    assert len({record.sha256 for record, _ in made}) == 1 and len({content for _, content in made}) == 1
    assert pq.read_table(tmp_path / "a.parquet").num_rows == n
    assert made[0][0].sha256 == file_digest(tmp_path / "a.parquet")


def test_empty_shard_has_the_schema_and_no_row_group(tmp_path):
    writer = ShardWriter(tmp_path / "e.parquet", SCHEMA)
    writer.close()
    assert pq.ParquetFile(tmp_path / "e.parquet").metadata.num_row_groups == 0
    full = ShardWriter(tmp_path / "f.parquet", SCHEMA)
    full.write(rows(3))
    full.close()
    files = [str(tmp_path / "e.parquet"), str(tmp_path / "f.parquet")]
    assert datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")).num_rows == 3


def test_types_are_cast_and_missing_columns_named(tmp_path):
    writer = ShardWriter(tmp_path / "t.parquet", pa.schema([("id", pa.string())]))
    writer.write(pa.table({"id": pa.array(["a"], pa.large_string())}))
    writer.write(pa.table({"id": pa.array(["b"]).dictionary_encode()}))
    with pytest.raises(ValueError, match="column 'id' is missing .has: other"):
        writer.write(pa.table({"other": ["x"]}))
    assert writer.close()[0].rows == 2
