"""Find near-duplicates by the bands of `sign_minhash` and keep the earliest of each cluster, in the order of shards and rows.

Reads documents (id) and a sidecar (bands) -> writes verdicts for `apply_verdicts`: drop_reason near_duplicate, kept_id the document
that stays, cluster its place in the dataset, value the number of buckets that both share (0: joined through others), limit 1.
Documents with an equal band are joined, clusters are the connected components. One bucket is sorted at a time: at most 60 bytes of
memory a document (57 measured), the kept ids, and 8 bytes of scratch disk a document and bucket.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage

logger = logging.getLogger(__name__)

BYTES_PER_DOCUMENT = 60
"""Peak memory of the arrays; the ids of documents that stand for others come on top."""


@config
class DedupMinhash:
    """Nothing to choose: similarity is settled by `sign_minhash`."""


@stage(
    version=1, kind="reduce", takes=("documents", "sidecar"), needs={"id", "bands"}, adds={"id": pa.string(), **VERDICT}
)
def dedup_minhash(config: DedupMinhash, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document of the dataset: the earliest of its cluster stays. ValueError for a document without a row in the sidecar."""
    from stages.kernels.components import find_roots, join_equal
    from stages.kernels.verdicts import verdict_tables

    num_docs = sum(shard.rows_out for shard in inputs.documents.shards)
    logger.info("dedup_minhash: %d documents, %.1f MB of memory", num_docs, num_docs * BYTES_PER_DOCUMENT / 1e6)
    parents, shared = np.arange(num_docs), np.zeros(num_docs)
    with tempfile.TemporaryDirectory(dir=resources.scratch or None) as scratch:
        members, num_buckets = _spill(inputs, Path(scratch), resources)
        for bucket in range(num_buckets):
            join_equal(parents, members, np.fromfile(_file(scratch, bucket), np.uint64))
            resources.report((bucket + 1) / num_buckets, f"bucket {bucket + 1} of {num_buckets}")
        find_roots(parents)
        roots = np.searchsorted(members, parents[members])  # row of each member's root in the files
        for bucket in range(num_buckets):
            keys = np.fromfile(_file(scratch, bucket), np.uint64)
            shared[members] += keys == keys[roots]
    return (yield from verdict_tables(inputs.documents, parents, "near_duplicate", values=shared, limit=1.0))


def _file(scratch: str | Path, bucket: int) -> Path:
    return Path(scratch) / f"bucket_{bucket:03d}.u64"


def _spill(inputs: Inputs, scratch: Path, resources: Resources) -> tuple[np.ndarray, int]:
    """Write one file of hashes per bucket; return the places of the documents that have bands, int64[m], and the number of buckets."""
    from stages.core.dataset import Sidecar

    documents, bands = inputs.documents, inputs.one("sidecar")
    members, start, num_buckets = [np.empty(0, np.int64)], 0, 0
    with ExitStack() as stack:
        files = []
        for shard in documents.shards:
            sidecar = Sidecar(bands, shard.name, ["bands"])
            for batch in documents.batches(shard.name, columns=["id"], batch_rows=resources.batch_rows):
                for column in sidecar.rows_for(batch.column("id")).column("bands").chunks:
                    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
                    signed = np.flatnonzero(lengths)
                    if len(signed) and not files:
                        num_buckets = int(lengths[signed[0]])
                        files = [
                            stack.enter_context(open(_file(scratch, bucket), "wb")) for bucket in range(num_buckets)
                        ]
                    if (lengths[signed] != num_buckets).any():
                        odd = int(lengths[signed][lengths[signed] != num_buckets][0])
                        raise ValueError(
                            f"dedup_minhash: {bands.name}/{shard.name} has documents of {odd} bands and of {num_buckets}; run sign_minhash again"
                        )
                    if len(signed):
                        hashes = column.flatten().to_numpy().reshape(-1, num_buckets)
                        for bucket, file in enumerate(files):
                            np.ascontiguousarray(hashes[:, bucket]).tofile(file)
                        members.append(signed + start)
                    start += len(lengths)
    return np.concatenate(members), num_buckets
