"""Find exact duplicates and keep the earliest of each, in the order of shards and rows.

Reads id and the column of the key -> writes verdicts for `apply_verdicts`: drop_reason exact_duplicate, kept_id the document that
stays, cluster its place in the dataset. Keys are compared by two XXH64 of different seeds: 128 bits, so among 10**9 documents two
different ones collide with probability 10**18 / 2**129 = 1.5e-21. A null key has no duplicate; two empty texts are duplicates.
Memory: at most 70 bytes a document (66 measured: hashes 16, verdict 8, the rest while sorting) and the kept ids; no texts.
"""

import logging
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage

logger = logging.getLogger(__name__)

BYTES_PER_DOCUMENT = 70
"""Peak memory of the arrays; the ids of documents that stand for others come on top."""

SEEDS = (0, 0x9E3779B185EBCA87)


@config
class DedupExact:
    key: Literal["text", "url", "normalised_text"] = "text"
    """What must be equal, byte for byte; normalised_text is the text in lower case with runs of white space as one space."""


@stage(
    version=1,
    kind="reduce",
    takes=("documents",),
    needs=lambda config: {"id", "url" if config.key == "url" else "text"},
    adds={"id": pa.string(), **VERDICT},
)
def dedup_exact(config: DedupExact, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document of the dataset: the earliest with its key stays."""
    from stages.kernels.verdicts import verdict_tables

    documents = inputs.documents
    num_docs = sum(shard.rows_out for shard in documents.shards)
    logger.info("dedup_exact: %d documents, %.1f MB of memory", num_docs, num_docs * BYTES_PER_DOCUMENT / 1e6)
    kept = np.arange(num_docs)
    hashes, places = _key_hashes(documents, config.key, num_docs, resources)
    order = np.lexsort(hashes)  # stable: documents of one key stay in their order
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(hashes[0][order]) != 0) | (np.diff(hashes[1][order]) != 0)
    first = order[np.flatnonzero(new)[np.cumsum(new) - 1]] if len(order) else order
    kept[places[order]] = places[first]
    return (yield from verdict_tables(documents, kept, "exact_duplicate"))


def _key_hashes(documents, key: str, num_docs: int, resources: Resources) -> tuple[np.ndarray, np.ndarray]:
    """Return uint64[2, m] hashes and int64[m] places of the documents that have a key."""
    from stages.kernels.fold import fold_text
    from stages.kernels.text_view import text_view
    from stages.kernels.xxhash64 import hash_documents

    name = "url" if key == "url" else "text"
    hashes, filled, start = np.empty((2, num_docs), np.uint64), np.ones(num_docs, bool), 0
    for number, shard in enumerate(documents.shards):
        for batch in documents.batches(shard.name, columns=[name], batch_rows=resources.batch_rows):
            column = batch.column(name)
            text = text_view(column)
            text = fold_text(text) if key == "normalised_text" else text
            mine = slice(start, start + len(text))
            for row, seed in enumerate(SEEDS):
                hashes[row, mine] = hash_documents(text, seed)
            filled[mine] = column.is_valid().to_numpy(zero_copy_only=False)
            start += len(text)
        resources.report((number + 1) / len(documents.shards), f"{start} documents hashed")
    if filled.all():
        return hashes, np.arange(num_docs)
    return hashes[:, filled], np.flatnonzero(filled)
