"""From `which document stands for this one` to tables of verdicts, one row per document in the order of the input."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

SURPRISING = 1000
"""Documents of which not one is a duplicate: so many without any rather mean that the texts were not what one thought."""


class Documents(Protocol):
    """What is asked of a dataset here: its shards in order, each with a name, and columns of a shard as a table."""

    @property
    def shards(self) -> Sequence[Any]: ...

    def table(self, shard: str, columns: list[str] | None = None) -> pa.Table: ...


def verdict_tables(
    documents: Documents, kept: np.ndarray, reason: str, values: np.ndarray | None = None, limit: float | None = None
) -> Generator[tuple[str, pa.Table], None, dict[str, Any]]:
    """Yield (shard, table) for every shard, columns id and those of a verdict: a document stays if it stands for itself.

    Returns a summary: documents, duplicates, clusters of two and more by size, and a warning where nothing was found.

    kept    int64[n]: place, in the order of shards and rows, of the document that stands for each; its place is the cluster
    values  float64[n] or None: what was measured on a document that is dropped, beside its `limit`
    Memory: `kept` and `values`, and the ids of those that stand for others.
    """
    places = np.arange(len(kept))
    heads = np.unique(kept[kept != places])  # ascending, so each is met once on the way
    head_ids = _take_ids(documents, heads)
    start = 0
    for shard in documents.shards:
        ids = documents.table(shard.name, columns=["id"]).column("id").combine_chunks()
        mine = slice(start, start + len(ids))
        stays = kept[mine] == places[mine]
        index = pa.array(np.searchsorted(heads, kept[mine]), pa.int64(), mask=stays)
        columns = {
            "id": ids,
            "keep": pa.array(stays),
            "drop_reason": pa.array(np.full(len(ids), reason), pa.string(), mask=stays),
            "kept_id": head_ids.take(index),
            "cluster": pa.array(kept[mine], pa.int64()),
            "value": pa.nulls(len(ids), pa.float64())
            if values is None
            else pa.array(values[mine], pa.float64(), mask=stays),
            "limit": pa.nulls(len(ids), pa.float64())
            if limit is None
            else pa.array(np.full(len(ids), limit), pa.float64(), mask=stays),
        }
        yield shard.name, pa.table(columns)
        start += len(ids)
    sizes, counts = np.unique(np.unique(kept[np.isin(kept, heads)], return_counts=True)[1], return_counts=True)
    duplicates = int((kept != places).sum())
    summary = {
        "documents": len(kept),
        "duplicates": duplicates,
        "clusters_by_size": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
    }
    if not duplicates and len(kept) >= SURPRISING:
        summary["warnings"] = [f"0 duplicates found among {len(kept):,} documents; of a crawl one expects some"]
    return summary


def _take_ids(documents: Documents, places: np.ndarray) -> pa.Array:
    """Return the ids at `places`, which ascend."""
    parts, start = [pa.array([], pa.string())], 0
    for shard in documents.shards:
        ids = documents.table(shard.name, columns=["id"]).column("id").combine_chunks()
        low, high = np.searchsorted(places, [start, start + len(ids)])
        parts.append(ids.take(pa.array(places[low:high] - start)))
        start += len(ids)
    return pa.concat_arrays(parts)
