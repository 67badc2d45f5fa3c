"""Find exact duplicates and keep the earliest of each, in the order of generations, shards and rows.

Reads id and the column of the key -> writes verdicts for `apply_verdicts`: drop_reason exact_duplicate, kept_id the document that
stays, cluster its place; and key_hash, 16 bytes, by which later generations know these documents. Keys are compared by two XXH64 of
different seeds: 128 bits, so among 10**9 documents two different ones collide with probability 10**18 / 2**129 = 1.5e-21. A null key
has no duplicate; two empty texts are duplicates.

Further inputs are the verdicts of earlier generations, oldest first: tonight's documents are also dropped for equalling one of those,
of which only the hashes are read. What was kept before stays: the earliest of a key is the earliest whatever comes later, so
the result is that of one run over all generations together.

Memory: no texts, and nothing that grows with the documents but mapped pages of scratch files, 33 bytes a document and those of
verdicts.py, which the system may take back. Scratch disk: these, and 24 bytes a document while sorting. Cost: the hashing, 1.2 GB/s of
text a core (normalised_text 350 MB/s), and 1 microsecond a document.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.core.dataset import Dataset

logger = logging.getLogger(__name__)

SEEDS = (0, 0x9E3779B185EBCA87)
KEY_HASH = pa.binary(16)
MEMORY_BYTES = 256 * 2**20
"""What sorting holds at most (130 MB measured), whatever the number of documents; mapped pages of scratch files come and go."""


@config
class DedupExact:
    key: Literal["text", "url", "normalised_text"] = "text"
    """What must be equal, byte for byte; normalised_text is the text in lower case with runs of white space as one space."""


@stage(
    version=2,
    kind="reduce",
    takes=("documents", "table*"),
    needs=lambda config: {"id", "url" if config.key == "url" else "text"},
    adds={"id": pa.string(), **VERDICT, "key_hash": KEY_HASH},
    memory_bytes=lambda config: MEMORY_BYTES,
)
def dedup_exact(config: DedupExact, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document of the dataset: the earliest with its key stays, be it here or in an earlier generation."""
    from stages.kernels.components import find_roots, join_pairs
    from stages.kernels.partitions import KeyMap, Partitions, array_on_disk, equal_keys
    from stages.kernels.verdicts import STRETCH, check_generations, count_rows, verdict_tables

    documents, earlier = inputs.documents, inputs.of("table")
    check_generations("dedup_exact", earlier, earlier)
    for verdicts in earlier:
        if verdicts.manifest.config["key"] != config.key:
            theirs = verdicts.manifest.config["key"]
            raise ValueError(f"dedup_exact: {verdicts.name} compared {theirs}, this node compares {config.key}; give both one key")
    start, num_docs = sum(map(count_rows, earlier)), count_rows(documents)
    logger.info("dedup_exact: %d documents, %d in %d earlier generations", num_docs, start, len(earlier))
    with tempfile.TemporaryDirectory(dir=resources.scratch or None) as directory:
        scratch = Path(directory)
        hashes = array_on_disk(scratch / "hashes", 2 * num_docs, np.uint64).reshape(-1, 2)
        filled = array_on_disk(scratch / "filled", num_docs, np.bool_)
        seen, now = KeyMap(num_docs if earlier else 0), Partitions(scratch / "now", 3, 1, num_docs)
        for place, keys, valid in _hash_keys(documents, config.key, resources):
            hashes[place : place + len(keys)], filled[place : place + len(keys)] = keys, valid
            places = np.arange(start + place, start + place + len(keys), dtype=np.uint64)
            now.add(np.column_stack((keys, places))[valid])
            if earlier:
                seen.add(keys[valid, 0])
        before = Partitions(scratch / "before", 3, 1, num_docs)  # of these only the few that may be met again are spilled
        for rows in _earlier_keys(earlier, resources):
            before.add(rows[seen.may_hold(np.ascontiguousarray(rows[:, 0]))])
        forest = array_on_disk(scratch / "forest", start + num_docs, np.int64)
        for part in range(len(now)):
            for first, other in equal_keys(piece for half in (before, now) for piece in half.pieces(part)):
                join_pairs(forest, first, other)
            resources.report((part + 1) / len(now), f"part {part + 1} of {len(now)} compared")
        kept = array_on_disk(scratch / "kept", num_docs, np.int64)
        for begin in range(0, num_docs, STRETCH):
            end = min(begin + STRETCH, num_docs)
            kept[begin:end] = find_roots(forest, np.arange(start + begin, start + end))

        def key_hash(mine: slice) -> dict[str, pa.Array]:
            valid, data = pa.array(filled[mine]).buffers()[1], pa.py_buffer(np.ascontiguousarray(hashes[mine]))
            return {"key_hash": pa.Array.from_buffers(KEY_HASH, mine.stop - mine.start, [valid, data])}

        where = {"scratch": directory, "earlier": earlier, "more": key_hash, "report": resources.report}
        return (yield from verdict_tables(documents, kept, "exact_duplicate", **where))


def _hash_keys(documents: "Dataset", key: str, resources: Resources) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each batch the place of its first document, uint64[m, 2] hashes, and bool[m]: whether there is a key."""
    from stages.kernels.fold import fold_text
    from stages.kernels.text_view import text_view
    from stages.kernels.xxhash64 import hash_documents

    name, place = "url" if key == "url" else "text", 0
    for number, shard in enumerate(documents.shards):
        for batch in documents.batches(shard.name, columns=[name], batch_rows=resources.batch_rows):
            column = batch.column(name)
            text = text_view(column)
            text = fold_text(text) if key == "normalised_text" else text
            hashes = np.column_stack([hash_documents(text, seed) for seed in SEEDS])
            yield place, hashes, column.is_valid().to_numpy(zero_copy_only=False)
            place += len(text)
        resources.report((number + 1) / len(documents.shards), f"{place} documents hashed")


def _earlier_keys(earlier: "tuple[Dataset, ...]", resources: Resources) -> Iterator[np.ndarray]:
    """Yield uint64[m, 3]: the hashes of earlier documents and their places."""
    place = 0
    for number, verdicts in enumerate(earlier, start=1):
        for shard in verdicts.shards:
            for batch in verdicts.batches(shard.name, columns=["key_hash"], batch_rows=resources.batch_rows):
                column = batch.column("key_hash")
                hashes = np.frombuffer(column.buffers()[1], np.uint64).reshape(-1, 2)[column.offset : column.offset + len(column)]
                there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
                yield np.column_stack((hashes[there], (there + place).astype(np.uint64)))
                place += len(column)
            resources.report(number / len(earlier), f"{place} hashes of {number} earlier generations read")
