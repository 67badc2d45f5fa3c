"""From `which document stands for this one` to tables of verdicts, one row per document in the order of the input.

Places number the documents of all generations, in their order and in that of shards and rows. Nothing here grows in memory with the
documents but mapped pages of files: 4 bytes for each document, 12 and its id for one that stands for others.
"""

import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.kernels.partitions import array_on_disk
from stages.kernels.text_view import text_view

SURPRISING = 1000
"""Documents of which not one is a duplicate: so many without any rather mean that the texts were not what one thought."""

STRETCH = 1 << 20
"""Documents that are gone through at a time."""


class Documents(Protocol):
    """What is asked of a dataset here: its shards in order, each with a name, and columns of a shard as a table."""

    @property
    def shards(self) -> Sequence[Any]: ...

    def table(self, shard: str, columns: list[str] | None = None) -> pa.Table: ...


def count_rows(documents: Documents) -> int:
    """Return the number of documents of a dataset."""
    return sum(shard.rows_out for shard in documents.shards)


def check_generations(stage: str, tables: Sequence[Any], verdicts: Sequence[Any]) -> None:
    """ValueError unless `verdicts`, those among `tables`, come oldest first and each was judged against exactly what precedes it."""
    for number, made in enumerate(verdicts, start=1):
        before = tables[: (number - 1) * len(tables) // len(verdicts)]
        judged = [given["fingerprint"] for given in made.manifest.inputs if given["role"] == "table"]
        if made.manifest.stage != stage:
            raise ValueError(f"{stage}: generation {number} is judged by {made.name}; give the verdicts of a {stage}")
        if judged != [table.fingerprint for table in before]:
            raise ValueError(
                f"{stage}: {made.name}, given as generation {number}, was not judged against the {number - 1} before it; "
                "give all generations, the oldest first, to each node as to those before it"
            )


def verdict_tables(
    documents: Documents,
    kept: np.ndarray,
    reason: str,
    values: np.ndarray | None = None,
    limit: float | None = None,
    *,
    scratch: str = "",
    earlier: Sequence[Documents] = (),
    more: Callable[[slice], dict[str, pa.Array]] | None = None,
    report: Callable[[float, str], None] = lambda fraction, words: None,
) -> Generator[tuple[str, pa.Table], None, dict[str, Any]]:
    """Yield (shard, table) for every shard, columns id and those of a verdict: a document stays if it stands for itself.

    Returns a summary: documents, duplicates, clusters of two and more by size (documents judged here, and the one that stands for
    them), and a warning where nothing was found.

    kept     int64[n]: place of the document that stands for each, at or before it; its place is the cluster
    values   number[n] or None: what was measured on a document that is dropped, beside its `limit`
    earlier  generations before these documents, any tables with their ids in order: places begin with them
    more     gives further columns for a stretch of the documents
    report   is told of the reading of earlier generations
    """
    start = sum(map(count_rows, earlier))
    with tempfile.TemporaryDirectory(dir=scratch or None) as directory:
        members, duplicates = _count_members(kept, start, Path(directory))
        heads = _Ids(Path(directory), start + len(kept))
        place = 0
        for generation in earlier:
            for shard in generation.shards:
                stand = np.flatnonzero(members[place : place + shard.rows_out])
                if len(stand):
                    heads.put(stand + place, generation.table(shard.name, columns=["id"]).column("id").take(pa.array(stand)))
                place += shard.rows_out
                report(place / start, "ids of earlier generations read")
        for shard in documents.shards:
            ids = documents.table(shard.name, columns=["id"]).column("id").combine_chunks()
            places = np.arange(place, place + len(ids))
            mine = slice(place - start, place - start + len(ids))
            stand = np.flatnonzero(members[place : place + len(ids)])
            heads.put(stand + place, ids.take(pa.array(stand)))
            stays = np.asarray(kept[mine]) == places
            columns = {
                "id": ids,
                "keep": pa.array(stays),
                "drop_reason": pa.array(np.full(len(ids), reason), pa.string(), mask=stays),
                "kept_id": heads.take(kept[mine], stays),
                "cluster": pa.array(np.asarray(kept[mine]), pa.int64()),
                "value": _numbers(len(ids), None if values is None else np.asarray(values[mine], np.float64), stays),
                "limit": _numbers(len(ids), None if limit is None else np.full(len(ids), limit), stays),
            }
            yield shard.name, pa.table(columns | (more(mine) if more else {}))
            place += len(ids)
        summary = {"documents": len(kept), "duplicates": duplicates, "clusters_by_size": _sizes(members)}
    if not duplicates and len(kept) >= SURPRISING:
        summary["warnings"] = [f"0 duplicates found among {len(kept):,} documents; of a crawl one expects some"]
    return summary


def _numbers(length: int, values: np.ndarray | None, null: np.ndarray) -> pa.Array:
    return pa.nulls(length, pa.float64()) if values is None else pa.array(values, pa.float64(), mask=null)


def _count_members(kept: np.ndarray, start: int, directory: Path) -> tuple[np.ndarray, int]:
    """Return how many others each place stands for, and how many these are together."""
    members, duplicates = array_on_disk(directory / "members", start + len(kept), np.int32), 0
    for begin in range(0, len(kept), STRETCH):
        mine = np.asarray(kept[begin : begin + STRETCH])
        dropped = mine[mine != np.arange(start + begin, start + begin + len(mine))]
        np.add.at(members, dropped, 1)
        duplicates += len(dropped)
    return members, duplicates


def _sizes(members: np.ndarray) -> dict[str, int]:
    """Count the clusters of two and more by size."""
    counts: dict[int, int] = {}
    for begin in range(0, len(members), STRETCH):
        stretch = members[begin : begin + STRETCH]
        for size, count in zip(*np.unique(stretch[stretch > 0] + 1, return_counts=True), strict=True):
            counts[int(size)] = counts.get(int(size), 0) + int(count)
    return {str(size): counts[size] for size in sorted(counts)}


class _Ids:
    """Ids of some documents in a file, found by place."""

    def __init__(self, directory: Path, length: int) -> None:
        self._path = directory / "ids"
        self._starts = array_on_disk(directory / "starts", length, np.int64)
        self._lengths = array_on_disk(directory / "lengths", length, np.int32)
        self._size = 0

    def put(self, places: np.ndarray, ids: pa.Array | pa.ChunkedArray) -> None:
        """Append ids, one for each of `places`."""
        text = text_view(ids)
        self._starts[places] = text.offsets[:-1] - text.offsets[0] + self._size
        self._lengths[places] = np.diff(text.offsets)
        with open(self._path, "ab") as file:
            text.data[text.offsets[0] : text.offsets[-1]].tofile(file)
        self._size += int(text.offsets[-1] - text.offsets[0])

    def take(self, places: np.ndarray, null: np.ndarray) -> pa.Array:
        """Return the ids of `places`, which must be there where `null` is false."""
        lengths = np.where(null, 0, self._lengths[places]).astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        data = np.empty(0, np.uint8)
        if offsets[-1]:
            shift = np.repeat(self._starts[places] - offsets[:-1], lengths)
            data = np.asarray(np.memmap(self._path, np.uint8, "r")[shift + np.arange(offsets[-1])])
        made = pa.LargeStringArray.from_buffers(len(places), pa.py_buffer(offsets), pa.py_buffer(data)).cast(pa.string())
        return pc.if_else(pa.array(null), pa.scalar(None, pa.string()), made)
