"""Select documents at random, as much text as another dataset holds: the control that a curation strategy must beat.

Arms of a comparison that differ in size can not tell quality from quantity, so the random arm takes its budget from the
other.
Read: id, text of the documents; the amount of text of the table -> written: id and verdicts for `apply_verdicts`.
Cost: one scan of id and text and one of the ids; 24 bytes of memory a document.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage


@config
class SelectMatching:
    seed: int = 0
    """Of the random order."""


@stage(
    version=1,
    kind="reduce",
    takes=("documents", "table"),
    needs={"id", "text"},
    adds={"id": pa.string(), **VERDICT},
)
def select_matching(config: SelectMatching, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Choose a random subset of the documents with as much text as the table: as many UTF-8 bytes, or a few less.

    Documents are taken in the order of XXH64 of their ids under the seed, each one that still fits: the total never
    exceeds the table's, and the gap is smaller than any document left out. drop_reason is `not_selected`, `value` the
    hash as a share of 2^64. Raises ValueError if the documents hold less text than the table: nothing could match.
    """
    from stages.kernels.seeded_order import derived_seed, fill_budget, hash_ids

    documents, table = inputs.documents, inputs.one("table")
    if "text" not in table.schema.names:
        raise ValueError(
            f"select_matching: {table.name} has no column 'text' to match (has: {', '.join(table.schema.names)})"
        )
    budget = sum(shard.text_bytes for shard in table.shards)
    seed = derived_seed("select_matching", config.seed)
    hashes, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for number, shard in enumerate(documents.shards):
        for batch in documents.batches(shard.name, ["id", "text"], resources.batch_rows):
            hashes.append(hash_ids(batch.column("id"), seed))
            sizes.append(pc.binary_length(batch.column("text")).cast(pa.int64()).fill_null(0).to_numpy())
        resources.report(number / len(documents.shards), f"read {shard.name}")
    hash_, size = np.concatenate(hashes), np.concatenate(sizes)
    if int(size.sum()) < budget:
        raise ValueError(
            f"select_matching: {documents.name} holds {int(size.sum()):,} bytes of text, fewer than the {budget:,} of "
            f"{table.name}; draw the control from a larger pool"
        )
    keep = fill_budget(hash_, size, budget)
    start = 0
    for shard in documents.shards:
        ids = documents.table(shard.name, ["id"]).column("id")
        rows = slice(start, start + len(ids))
        yield shard.name, _verdicts(ids, keep[rows], hash_[rows])
        start = rows.stop


def _verdicts(ids: pa.ChunkedArray, keep: np.ndarray, hashes: np.ndarray) -> pa.Table:
    kept = pa.array(keep, pa.bool_())
    columns = {
        "id": ids,
        "keep": kept,
        "drop_reason": pc.if_else(kept, pa.scalar(None, pa.string()), pa.scalar("not_selected")),
        "kept_id": pa.nulls(len(keep), pa.string()),
        "cluster": pa.nulls(len(keep), pa.int64()),
        "value": pa.array(hashes / 2.0**64, pa.float64()),
        "limit": pa.nulls(len(keep), pa.float64()),
    }
    return pa.table(columns)
