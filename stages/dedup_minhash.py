"""Find near-duplicates by the bands of `sign_minhash` and keep the earliest of each cluster, in the order of generations, shards and rows.

Reads documents (id) and a sidecar (bands) -> writes verdicts for `apply_verdicts`: drop_reason near_duplicate, kept_id the document
that stays, cluster its place, value the number of buckets that both share (0: joined through others), limit 1. Documents with an
equal band are joined, clusters are the connected components.

Further inputs are earlier generations, oldest first, each as its sidecar of bands and the verdicts on it: nothing is signed again.
A new document joins the cluster of every document that shares a band, and is dropped if anything in it is old. What was kept before
stays, even where new documents connect two old clusters: the first of them then lists in `connects` the places of kept documents that
one run over all generations together would drop. The summary counts these (full_run_would_drop), and how many earlier verdicts such a
run would revise, in keep or kept_id (full_run_would_revise). Apart from them the result is that of such a run.

Memory: nothing that grows with the documents but mapped pages: 8 bytes a document, 16 more for one in a cluster; see verdicts.py,
partitions.py for the rest. Scratch disk: 16 bytes a document and bucket, the same again for pairs that meet. Of earlier generations
the bands are read once, 8 bytes a document and bucket, and only those that tonight's may equal are spilled.
"""

import logging
import tempfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.core.dataset import Dataset
    from stages.kernels.partitions import Partitions

logger = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 2**20
"""What sorting holds at most (160 MB measured), whatever the number of documents; mapped pages of scratch files come and go."""

Generation = tuple["Dataset", "Dataset"]
"""Bands and verdicts."""


@config
class DedupMinhash:
    """Nothing to choose: similarity is settled by `sign_minhash`."""


@stage(
    version=2,
    kind="reduce",
    takes=("documents", "sidecar", "table*"),
    needs={"id", "bands"},
    adds={"id": pa.string(), **VERDICT, "connects": pa.list_(pa.int64())},
    memory_bytes=lambda config: MEMORY_BYTES,
)
def dedup_minhash(config: DedupMinhash, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document of the dataset: the earliest of its cluster stays. ValueError for a document without a row in the sidecar."""
    from stages.kernels.components import find_roots, join_pairs
    from stages.kernels.partitions import ROWS_IN_MEMORY, array_on_disk, equal_keys
    from stages.kernels.verdicts import STRETCH, count_rows, verdict_tables

    documents, bands = inputs.documents, inputs.one("sidecar")
    generations = _generations(inputs.of("table"), bands)
    earlier = [verdicts for _, verdicts in generations]
    start, num_docs = sum(map(count_rows, earlier)), count_rows(documents)
    logger.info("dedup_minhash: %d documents, %d in %d earlier generations", num_docs, start, len(earlier))
    with tempfile.TemporaryDirectory(dir=resources.scratch or None) as directory:
        scratch = Path(directory)
        forest = array_on_disk(scratch / "forest", start + num_docs, np.int64)
        _replay(earlier, forest, resources)
        now, before = _spill(documents, bands, generations, scratch, resources)
        lost = [np.empty(0, np.int64)]  # roots of earlier clusters that tonight's documents connect to one still earlier
        with open(scratch / "pairs", "wb") as pairs:
            for part in range(len(now)):
                for first, other in equal_keys(piece for half in (before, now) for piece in half.pieces(part)):
                    roots = join_pairs(forest, first, other)
                    lost.append(roots[roots < start])
                    np.column_stack((first, other)).tofile(pairs)
                resources.report((part + 1) / len(now), f"part {part + 1} of {len(now)} joined")
        kept, shared = array_on_disk(scratch / "kept", num_docs, np.int64), array_on_disk(scratch / "shared", num_docs, np.int32)
        connects = _Connects(forest, np.concatenate(lost))
        for begin in range(0, num_docs, STRETCH):
            end = min(begin + STRETCH, num_docs)
            kept[begin:end] = roots = find_roots(forest, np.arange(start + begin, start + end))
            connects.look(roots, begin)
        with open(scratch / "pairs", "rb") as pairs:
            while len(found := np.fromfile(pairs, np.int64, 2 * ROWS_IN_MEMORY).reshape(-1, 2)):
                first, other = found[found[:, 1] >= start].T
                np.add.at(shared, other[kept[other - start] == first] - start, 1)  # the root is the first of its bucket, if it is there
        drops, revised = _revised(earlier, forest, resources)
        where = {"scratch": directory, "earlier": earlier, "more": connects.columns, "report": resources.report}
        summary = yield from verdict_tables(documents, kept, "near_duplicate", shared, 1.0, **where)
    if earlier:
        summary |= {"earlier_documents": start, "full_run_would_drop": drops, "full_run_would_revise": revised}
    return summary


def _generations(tables: "tuple[Dataset, ...]", bands: "Dataset") -> list[Generation]:
    """Pair what was given; ValueError if bands and verdicts do not belong together, or were signed otherwise than tonight's."""
    from stages.kernels.verdicts import check_generations

    if len(tables) % 2:
        raise ValueError(f"dedup_minhash: {len(tables)} tables of earlier generations; give the bands and the verdicts of each")
    generations = list(zip(tables[0::2], tables[1::2], strict=True))
    check_generations("dedup_minhash", tables, [verdicts for _, verdicts in generations])
    for signed, verdicts in generations:
        judged = [given["fingerprint"] for given in verdicts.manifest.inputs if given["role"] == "sidecar"]
        if judged != [signed.fingerprint]:
            raise ValueError(f"dedup_minhash: {verdicts.name} did not judge by {signed.name}; give the bands, then the verdicts, of each")
        ours, theirs = [(s.manifest.stage, s.manifest.version, s.manifest.config) for s in (bands, signed)]
        if ours != theirs:
            raise ValueError(f"dedup_minhash: {signed.name} was signed by {theirs}, {bands.name} by {ours}: such bands never meet")
    return generations


def _replay(earlier: "list[Dataset]", forest: np.ndarray, resources: Resources) -> None:
    """Join what the verdicts of earlier generations say belongs together."""
    from stages.kernels.components import join_pairs

    place = 0
    for verdicts in earlier:
        for shard in verdicts.shards:
            for batch in verdicts.batches(shard.name, columns=["cluster", "connects"], batch_rows=resources.batch_rows):
                cluster, connects = batch.column("cluster").to_numpy(), batch.column("connects")
                join_pairs(forest, cluster, np.arange(place, place + len(cluster)))
                lengths = connects.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
                if lengths.any():
                    join_pairs(forest, np.repeat(cluster, lengths), connects.flatten().to_numpy())
                place += len(cluster)
            resources.report(place / len(forest), f"verdicts on {place} earlier documents read")


def _revised(earlier: "list[Dataset]", forest: np.ndarray, resources: Resources) -> tuple[int, int]:
    """Count the earlier documents that a full run would drop though they were kept, and all whose verdict would be another."""
    from stages.kernels.components import find_roots

    place = drops = revised = 0
    for verdicts in earlier:
        for shard in verdicts.shards:
            for batch in verdicts.batches(shard.name, columns=["cluster"], batch_rows=resources.batch_rows):
                cluster = batch.column("cluster").to_numpy()
                other = find_roots(forest, cluster) != cluster
                drops += int((other & (cluster == np.arange(place, place + len(cluster)))).sum())
                revised += int(other.sum())
                place += len(cluster)
            resources.report(place / len(forest), f"verdicts on {place} earlier documents compared")
    return drops, revised


class _Connects:
    """Which kept documents of earlier generations are no roots any more, told by the first of tonight's documents in their cluster."""

    def __init__(self, forest: np.ndarray, lost: np.ndarray) -> None:
        from stages.kernels.components import find_roots

        roots = find_roots(forest, lost)
        order = np.lexsort((lost, roots))
        self._lost, self._roots = lost[order], roots[order]
        self._carrier = np.full(len(lost), -1)

    def look(self, roots: np.ndarray, begin: int) -> None:
        """Take the roots of the next stretch of tonight's documents, the first of which is number `begin`."""
        if (self._carrier < 0).any():
            found, first = np.unique(roots, return_index=True)
            at = np.minimum(np.searchsorted(found, self._roots), len(found) - 1)
            new = (self._carrier < 0) & (found[at] == self._roots)
            self._carrier[new] = first[at[new]] + begin

    def columns(self, mine: slice) -> dict[str, pa.Array]:
        """Return the column of a stretch of tonight's documents."""
        chosen = np.flatnonzero((self._carrier >= mine.start) & (self._carrier < mine.stop))
        chosen = chosen[np.argsort(self._carrier[chosen], kind="stable")]
        counts = np.bincount(self._carrier[chosen] - mine.start, minlength=mine.stop - mine.start)
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        return {"connects": pa.ListArray.from_arrays(pa.array(offsets), pa.array(self._lost[chosen]))}


def _spill(
    documents: "Dataset", bands: "Dataset", generations: list[Generation], scratch: Path, resources: Resources
) -> "tuple[Partitions, Partitions]":
    """Spill tonight's bands, then those of earlier generations that may equal one of them: rows of hash and place, grouped by bucket."""
    from stages.kernels.partitions import KeyMap, Partitions
    from stages.kernels.verdicts import count_rows

    num_docs, start = count_rows(documents), sum(count_rows(verdicts) for _, verdicts in generations)
    tonight = _bands(documents, bands, start, resources)
    first = list(islice(tonight, 1))
    num_buckets = first[0][0].shape[1] if first else 0
    now, before = (Partitions(scratch / name, 2, num_buckets, num_docs) for name in ("now", "before"))
    seen = KeyMap(num_docs * num_buckets if generations else 0)
    for hashes, places in chain(first, tonight):
        now.add(_rows(hashes, places), np.tile(np.arange(num_buckets), len(hashes)))
        if generations:
            seen.add(hashes.ravel())
    place = 0
    for signed, verdicts in generations if num_buckets else ():
        for hashes, places in _bands(verdicts, signed, place, resources):
            may = seen.may_hold(hashes.ravel())
            before.add(_rows(hashes, places)[may], np.flatnonzero(may) % num_buckets)
        place += count_rows(verdicts)
    return now, before


def _rows(hashes: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.column_stack((hashes.ravel(), np.repeat(places.astype(np.uint64), hashes.shape[1])))


def _bands(documents: "Dataset", bands: "Dataset", start: int, resources: Resources) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield uint64[m, num_buckets] bands and int64[m] places of the documents that have some, the first document's place being `start`."""
    from stages.core.dataset import Sidecar

    num_buckets = 0
    for number, shard in enumerate(documents.shards, start=1):
        sidecar = Sidecar(bands, shard.name, ["bands"])
        for batch in documents.batches(shard.name, columns=["id"], batch_rows=resources.batch_rows):
            for column in sidecar.rows_for(batch.column("id")).column("bands").chunks:
                lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
                signed = np.flatnonzero(lengths)
                if len(signed):
                    num_buckets = num_buckets or int(lengths[signed[0]])
                    odd = lengths[signed][lengths[signed] != num_buckets]
                    if len(odd):
                        where = f"{bands.name}/{shard.name}"
                        raise ValueError(f"dedup_minhash: {where} has documents of {odd[0]} bands and of {num_buckets}; sign them again")
                    yield column.flatten().to_numpy().reshape(-1, num_buckets), signed + start
                start += len(lengths)
        resources.report(number / len(documents.shards), f"bands of {start} documents read")
