"""The dataset of a source: one shard, `listing`, whose rows are the raw shards that a run found."""

import dataclasses
import time

import pyarrow as pa

from stages.core.job import write_mark
from stages.core.manifest import ShardRecord
from stages.core.resolve import Resolved
from stages.core.schema import schema_of
from stages.core.store import commit_file, temporary_name
from stages.core.writer import ShardWriter

LISTING = schema_of({"name": pa.string(), "path": pa.string(), "size_bytes": pa.int64(), "identity": pa.string()})


def write_listing(found: Resolved) -> ShardRecord:
    """Commit the listing of a source and return its record."""
    started = time.perf_counter()
    final = found.where.documents / "listing.parquet"
    writer = ShardWriter(temporary_name(final), LISTING)
    rows = [{name: getattr(shard, name) for name in LISTING.names} for shard in found.listing]
    writer.write(pa.Table.from_pylist(rows, schema=LISTING))
    file, content_hash = writer.close()
    commit_file(writer.path, final)
    record = ShardRecord(
        name="listing",
        key=found.fingerprint,
        rows_in=len(rows),
        rows_out=len(rows),
        rows_dropped=0,
        drops={},
        counters={"size_bytes": sum(shard.size_bytes for shard in found.listing)},
        text_bytes=0,
        content_hash=content_hash,
        dropped_hash="",
        dropped_text="",
        files=[dataclasses.replace(file, path="documents/listing.parquet")],
        seconds=round(time.perf_counter() - started, 4),
    )
    write_mark(found.where, record)
    return record
