"""Reading committed datasets: by the manifest's list of shards, never by a glob; sidecars merged on id."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.fingerprint import SHORT
from stages.core.manifest import ShardRecord
from stages.core.stage import SourceShard
from stages.core.store import DatasetDir


class Dataset:
    """A read-only handle on a committed dataset."""

    def __init__(self, where: DatasetDir, source_root: str = "") -> None:
        manifest = where.manifest()
        if manifest is None:
            raise FileNotFoundError(f"{where.name} has no manifest: it was never finished; run the pipeline that makes it")
        self.where, self.manifest, self._source_root = where, manifest, source_root

    @property
    def path(self) -> Path:
        """The dataset's directory."""
        return self.where.path

    @property
    def name(self) -> str:
        """`stage/fingerprint12`."""
        return self.where.name

    @property
    def fingerprint(self) -> str:
        """All 64 digits."""
        return self.manifest.fingerprint

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage said about its output."""
        return self.manifest.summary

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its documents."""
        return self.manifest.arrow_schema or pa.schema([])

    def inputs(self, role: str | None = None) -> "list[Dataset]":
        """Open the datasets that this one was made from, of one role or all, in order: its lineage, a step at a time."""
        root = self.where.path.parent.parent
        return [
            Dataset(DatasetDir(root / i["stage"] / i["fingerprint"][:SHORT])) for i in self.manifest.inputs if role in (None, i["role"])
        ]

    @property
    def shards(self) -> list[ShardRecord]:
        """Records of all shards in order: this order and the row within are the total order of documents."""
        return self.manifest.shards

    @cached_property
    def _by_name(self) -> dict[str, ShardRecord]:
        return {shard.name: shard for shard in self.shards}

    def shard(self, name: str) -> ShardRecord:
        """Return the record of a shard; ValueError if there is none of that name."""
        if name not in self._by_name:
            raise ValueError(f"{self.name} has no shard '{name}' (it has {len(self.shards)}, such as {next(iter(self._by_name), 'none')})")
        return self._by_name[name]

    def parquet_file(self, shard: str, kind: str = "documents") -> str:
        """Return the absolute path of a shard's file of kept (`documents`) or dropped (`dropped`) rows."""
        for file in self.shard(shard).files:
            if file.path.startswith(f"{kind}/"):
                return str(self.path / file.path)
        raise ValueError(f"{self.name}: shard '{shard}' has no {kind}")

    def batches(self, shard: str, columns: list[str] | None = None, batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a shard in order, at most `batch_rows` at a time."""
        with pq.ParquetFile(self.parquet_file(shard), pre_buffer=False) as file:  # or it would hold the whole file
            for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                yield batch.replace_schema_metadata(None)

    def table(self, shard: str, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a shard as one table."""
        return pq.read_table(self.parquet_file(shard), columns=columns, partitioning=None).replace_schema_metadata(None)

    def sequences(self, shard: str) -> np.ndarray:
        """Return the `tokens` of a shard as an array (N, seq_len + 1) of unsigned integers."""
        column = self.table(shard, ["tokens"]).column("tokens").combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)

    def file(self, name: str) -> str:
        """Return the local path of an artifact's file."""
        path = self.path / "files" / name
        if not path.exists():
            has = ", ".join(f.path.removeprefix("files/") for f in self.manifest.files)
            raise FileNotFoundError(f"{self.name} has no file '{name}' (has: {has or 'none'})")
        return str(path)

    def source_shards(self) -> list[SourceShard]:
        """Return the raw shards that a source listed, with URLs below the root of this run."""
        listed = []
        for shard in self.shards:
            for row in self.table(shard.name).to_pylist():
                url = f"{self._source_root.rstrip('/')}/{row['path']}" if row["path"] else self._source_root
                listed.append(SourceShard(row["name"], row["path"], row["size_bytes"], row["identity"], url))
        return listed


class Sidecar:
    """One shard of a sidecar in memory, looked up by the ids of document batches that come in the same order."""

    def __init__(self, dataset: Dataset, shard: str, columns: list[str]) -> None:
        self._name = f"{dataset.name}/{shard}"
        self._table = dataset.table(shard, columns=["id", *[c for c in columns if c != "id"]])
        self._ids = self._table.column("id").combine_chunks()
        self._next = 0

    def rows_for(self, ids: pa.Array) -> pa.Table:
        """Return the sidecar's rows for `ids`, which must follow those asked for before; ValueError for a missing id."""
        count = len(ids)
        run = self._ids.slice(self._next, count)
        if len(run) == count and run.equals(ids):  # nothing dropped in between: the common case costs one comparison
            start, self._next = self._next, self._next + count
            return self._table.slice(start, count)
        rest = self._ids.slice(self._next)
        index = pc.index_in(ids, value_set=rest)
        if index.null_count:
            missing = ids.filter(index.is_null())[0].as_py()
            raise ValueError(f"sidecar {self._name} has no row for document {missing}, or not in the documents' order; rerun the stage that scored it")
        rows = index.to_numpy()
        if count and (rows[1:] <= rows[:-1]).any():
            raise ValueError(f"sidecar {self._name} is not in the documents' order")
        taken = self._table.slice(self._next).take(index)
        self._next += int(rows[-1]) + 1 if count else 0
        return taken


def merged_batches(
    documents: Dataset, sidecars: tuple[Dataset, ...], shard: str, columns: list[str] | None = None, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a shard with the columns of all sidecars beside those of the documents, merged on id.

    `columns` limits the documents' columns (`id` is always read). ValueError if a sidecar lacks an id.
    """
    if columns is not None:
        columns = [name for name in documents.schema.names if name in {"id", *columns}]
    opened = [Sidecar(s, shard, [c for c in s.schema.names if c != "id"]) for s in sidecars]
    for batch in documents.batches(shard, columns, batch_rows):
        arrays, names = list(batch.columns), list(batch.schema.names)
        for sidecar in opened:
            rows = sidecar.rows_for(batch.column("id")).combine_chunks()
            for name in rows.column_names:
                if name != "id":
                    column = rows.column(name)
                    arrays.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
                    names.append(name)
        yield pa.RecordBatch.from_arrays(arrays, names)
