"""Find every stretch of 50 tokens or more that occurs more than once, in any documents, at any place: exact substrings.

Source: Lee et al. 2022, "Deduplicating training data makes language models better" (ExactSubstr); RefinedWeb does it after MinHash
(Penedo et al. 2023), to cut what pages share that are not alike as wholes: licences, cookie notices, quotations. They build a suffix array;
here all windows of `min_tokens` tokens are hashed, and equal ones meet in files on scratch disk, which finds the same stretches.

A token is a UAX#29 segment that is not white space (50 are some 250 bytes of English; the papers count those of a BPE tokenizer), so a
stretch is found though it was wrapped or indented otherwise, and a cut never splits a character. Stretches end where a document does.
Equal means equal by 88 bits of hash: see kernels/substrings.py for the odds, 2e-5 for one wrong pair in half a terabyte.

Reads id, text -> writes verdicts for `remove_spans`: `removed`, the stretches of bytes to cut from a document that stays, and
drop_reason duplicate_substrings for one of which too little would be left; value the characters that are left, white space aside (null
where nothing is cut), limit min_remaining_chars. White space around a stretch stays.

Cost: 75 MB/s of text on one core, half of it segmentation, which `resources.threads` share (documents to cut from are segmented twice); a
suffix array of the same text with the lengths of what its neighbours share, in memory, takes 9 MB/s (libdivsufsort, Kasai et al.).
Scratch disk: 16 bytes a token, 3 to 3.5 a byte of English, and 8 for each token that begins a repeated window. Memory: 256 MB and two
batches a thread; beyond 85 GB of text (16,384 files) 1 MB more for each GB. Writing to many files costs: some 30 MB/s from 40 GB on.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.ordered import in_order, shard_batches
from stages.core.schema import VERDICT, schema_of
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.kernels.substrings import MarkedWindows

logger = logging.getLogger(__name__)

REMOVED = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
"""Stretches to cut: bytes of the document's text, ascending."""

MEMORY_BYTES = 256 * 2**20
"""What grouping and comparing windows hold at most, whatever the number of documents."""

BYTES_PER_WINDOW = 5
"""Of text, for each token of English; it only settles how many files there are."""

SURPRISING = 1000
"""Documents that share nothing: so many rather mean that the texts were not what one thought."""

_SCHEMA = schema_of({"id": pa.string(), **VERDICT, "removed": REMOVED})
_EMPTY = _SCHEMA.empty_table()


@config
class DedupSubstrings:
    min_tokens: int = 50
    """Tokens (UAX#29 segments, punctuation too) from which on a repeated stretch is cut; Lee et al. chose 50 by statistics of their own."""
    keep_first: bool = True
    """Cut all copies but the earliest, by shard, row and place: whatever is cut still stands once, as Lee et al. write. False cuts every
    copy, which is what their tool does, and so RefinedWeb: what stood in two documents then stands in none."""
    min_remaining_chars: int = 20
    """Drop a document from which something is cut and fewer characters (without white space) are left; 20 is RefinedWeb's, 0 drops none."""

    def __post_init__(self) -> None:
        if self.min_tokens < 1:
            raise ValueError(f"dedup_substrings: min_tokens is {self.min_tokens}; give 1 or more")
        if self.min_remaining_chars < 0:
            raise ValueError(f"dedup_substrings: min_remaining_chars is {self.min_remaining_chars}; give 0 or more")


@stage(
    version=1,
    kind="reduce",
    needs={"id", "text"},
    adds={"id": pa.string(), **VERDICT, "removed": REMOVED},
    memory_bytes=lambda config: MEMORY_BYTES,
)
def dedup_substrings(config: DedupSubstrings, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document of the dataset, and say what to cut from it."""
    from stages.kernels.partitions import array_on_disk

    documents = inputs.documents
    names = ("documents", "documents_cut", "documents_dropped", "windows", "windows_marked", "stretches_removed", "bytes_removed")
    totals = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory(dir=resources.scratch or None) as directory:
        scratch = Path(directory)
        counts = array_on_disk(scratch / "counts", _num_documents(documents), np.int32)
        marked = _mark(config, documents, counts, scratch, totals, resources)
        parts, judged = [_EMPTY], 0
        for shard, found in in_order(_judge(config), _with_marks(documents, counts, marked, resources), resources.threads):
            if found is not None:
                table, added = found
                parts.append(table)
                judged += len(table)
                for name, count in added.items():
                    totals[name] += count
                continue
            yield shard, pa.concat_tables(parts)
            parts = [_EMPTY]
            resources.report(0.7 + 0.3 * judged / max(1, len(counts)), f"{judged:,} documents judged")
    warnings = []
    if not totals["windows_marked"] and totals["documents"] >= SURPRISING:
        warnings.append(f"no repeated stretch of {config.min_tokens} tokens among {totals['documents']:,} documents; of a crawl one expects some")
    if totals["documents"] and totals["documents_dropped"] == totals["documents"]:
        warnings.append(f"all of {totals['documents']:,} documents are to be dropped")
    return {**totals, **({"warnings": warnings} if warnings else {})}


def _mark(
    config: DedupSubstrings, documents: Dataset, counts: np.ndarray, scratch: Path, totals: dict[str, int], resources: Resources
) -> "MarkedWindows":
    """Write down how many windows each document has, and return those that are to be cut."""
    from stages.kernels.partitions import Partitions
    from stages.kernels.substrings import MOST_WINDOWS, MarkedWindows, repeated_windows

    expected = sum(shard.text_bytes for shard in documents.shards) // BYTES_PER_WINDOW
    windows, place, num_windows = Partitions(scratch / "windows", 2, 1, expected), 0, 0
    for _, found in in_order(_hash(config), shard_batches(documents, ["text"], resources.batch_rows), resources.threads):
        if found is None:
            resources.report(0.5 * place / max(1, len(counts)), f"{num_windows:,} windows of {place:,} documents hashed")
            continue
        mine, rows = found
        if num_windows + len(rows) > MOST_WINDOWS:
            raise ValueError(f"dedup_substrings: more than {MOST_WINDOWS:,} windows of {config.min_tokens} tokens; deduplicate parts of the dataset apart")
        rows[:, 1] += np.uint64(num_windows)
        windows.add(rows)
        counts[place : place + len(mine)] = mine
        place, num_windows = place + len(mine), num_windows + len(rows)
    logger.info("dedup_substrings: %d windows of %d documents, %.1f MB of scratch disk", num_windows, place, 16 * num_windows / 1e6)
    marked = MarkedWindows(scratch / "marked", num_windows)
    for part in range(len(windows)):
        for numbers in repeated_windows(windows.pieces(part), config.keep_first):
            marked.add(numbers)
            totals["windows_marked"] += len(numbers)
        resources.report(0.5 + 0.2 * (part + 1) / len(windows), f"part {part + 1} of {len(windows)} compared")
    totals["windows"] = num_windows
    return marked


def _hash(config: DedupSubstrings) -> Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]:
    """Return the function that counts and hashes the windows of a batch; it may run in several threads."""
    from stages.kernels.substrings import window_bounds, window_rows
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    def hash_batch(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        tokens = segment_uax29(text_view(batch.column("text")))
        return np.diff(window_bounds(tokens, config.min_tokens)), window_rows(tokens, config.min_tokens)

    return hash_batch


def _judge(config: DedupSubstrings) -> Callable[[tuple[pa.RecordBatch, np.ndarray, np.ndarray]], tuple[pa.Table, dict[str, int]]]:
    """Return the function that turns a batch, its documents' numbers of windows and the marks on these into verdicts and counts."""
    from stages.kernels.substrings import marked_spans
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    def judge(given: tuple[pa.RecordBatch, np.ndarray, np.ndarray]) -> tuple[pa.Table, dict[str, int]]:
        batch, counts, marked = given
        num_docs = len(counts)
        touched = np.zeros(num_docs, np.bool_)
        touched[np.repeat(np.arange(num_docs), counts)[marked]] = True
        text = text_view(batch.column("text").filter(pa.array(touched)))
        spans, left = marked_spans(segment_uax29(text), config.min_tokens, marked[np.repeat(touched, counts)])
        chars = np.full(num_docs, np.nan)
        chars[touched] = left
        dropped = chars < config.min_remaining_chars
        docs = np.repeat(np.arange(len(left)), np.diff(spans.bounds))
        cut = ~dropped[touched][docs]
        starts, ends = (pa.array((edge - text.offsets[docs])[cut], pa.int32()) for edge in (spans.starts, spans.ends))
        lengths = np.zeros(num_docs, np.int64)
        lengths[touched] = np.bincount(docs[cut], minlength=len(left))
        bounds = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        columns = {
            "id": batch.column("id"),
            "keep": pa.array(~dropped),
            "drop_reason": pa.array(np.full(num_docs, "duplicate_substrings"), pa.string(), mask=~dropped),
            "kept_id": pa.nulls(num_docs, pa.string()),
            "cluster": pa.nulls(num_docs, pa.int64()),
            "value": pa.array(chars, pa.float64(), mask=~touched),
            "limit": pa.array(np.full(num_docs, config.min_remaining_chars), pa.float64()),
            "removed": pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays([starts, ends], fields=list(REMOVED.value_type))),
        }
        added = {
            "documents": num_docs,
            "documents_cut": int((touched & ~dropped).sum()),
            "documents_dropped": int(dropped.sum()),
            "stretches_removed": int(cut.sum()),
            "bytes_removed": int((spans.ends - spans.starts)[cut].sum()),
        }
        return pa.table(columns, schema=_SCHEMA), added

    return judge


def _with_marks(documents: Dataset, counts: np.ndarray, marked: "MarkedWindows", resources: Resources) -> Iterator[tuple[str, Any]]:
    """Yield what `shard_batches` does, each batch with its documents' numbers of windows and the marks on these."""
    place = number = 0
    for shard, batch in shard_batches(documents, ["id", "text"], resources.batch_rows):
        if batch is None:
            yield shard, None
            continue
        mine = np.array(counts[place : place + batch.num_rows])
        end = number + int(mine.sum())
        yield shard, (batch, mine, marked.between(number, end))
        place, number = place + batch.num_rows, end


def _num_documents(documents: Dataset) -> int:
    return sum(shard.rows_out for shard in documents.shards)
