"""The one writer of Parquet: fixed row groups, combined chunks, pinned options, so that equal content gives equal bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.content_hash import ContentHash
from stages.core.fingerprint import file_digest
from stages.core.manifest import FileRecord
from stages.core.schema import conform

ROW_GROUP_ROWS = 4096
"""4,096 documents of 5 KB are 20 MB of text a row group: small enough to buffer, large enough for zstd to find its repeats."""

_LOW_CARDINALITY = ("drop_stage", "drop_reason", "language", "source", "charset", "content_type", "task")


class ShardWriter:
    """Writes one Parquet file; `close` gives its record. A shard without rows is a file with the full schema and no row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema.remove_metadata()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._hash = ContentHash(self.schema)
        self._buffer: list[pa.Table] = []
        self._buffered = 0
        self.rows = 0
        self.text_bytes = 0
        self._writer = pq.ParquetWriter(
            path,
            self.schema,
            version="2.6",
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in _LOW_CARDINALITY if name in schema.names],
            write_statistics=True,
            store_schema=True,
        )

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows, cast to the schema; whole row groups go out as they fill."""
        table = conform(rows, self.schema, str(self.path.name))
        if not table.num_rows:
            return
        self.rows += table.num_rows
        if "text" in table.column_names:
            self.text_bytes += pc.sum(pc.binary_length(table.column("text"))).as_py() or 0
        self._buffer.append(table)
        self._buffered += table.num_rows
        if self._buffered >= ROW_GROUP_ROWS:
            self._flush(whole_groups_only=True)

    def _flush(self, whole_groups_only: bool) -> None:
        table = pa.concat_tables(self._buffer)
        taken = table.num_rows - table.num_rows % ROW_GROUP_ROWS if whole_groups_only else table.num_rows
        for start in range(0, taken, ROW_GROUP_ROWS):
            group = table.slice(start, min(ROW_GROUP_ROWS, taken - start)).combine_chunks()
            self._hash.update(group)
            self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        rest = table.slice(taken)
        self._buffer, self._buffered = ([rest] if rest.num_rows else []), rest.num_rows

    def close(self) -> tuple[FileRecord, str]:
        """Finish the file; return its record (path = file name) and its content hash."""
        if self._buffer:
            self._flush(whole_groups_only=False)
        self._writer.close()
        record = FileRecord(self.path.name, self.path.stat().st_size, file_digest(self.path), self.rows)
        return record, self._hash.hexdigest()

    def abandon(self) -> None:
        """Close without a record: the caller gives the file up."""
        self._writer.close()
