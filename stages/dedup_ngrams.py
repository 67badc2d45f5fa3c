"""Find documents and paragraphs that consist of n-grams seen before, as DCLM does with its tool BFF (remove type old-both).

Source: mlfoundations/dclm, dedup/bff (Li et al. 2024). Documents are gone through in the order of shards and rows, their paragraphs
(split at newlines) from first to last. A paragraph with more than `threshold` of its n-grams in a Bloom filter is removed;
the n-grams of any other are inserted at once, so a repeat within the same document is found as well. A document of which more than
`threshold` of all n-grams had been seen is dropped whole. Paragraphs of fewer than `min_n_gram` tokens have no n-grams and stay.

Reads id, text -> writes verdicts for `remove_spans`: drop_reason duplicate_n_grams, value the share of the document's n-grams that
had been seen (null if it has none), limit the threshold, and `removed`, the stretches of bytes to cut from a document that stays; and
drop_reason no_text for a document without any token, which BFF leaves out without a word. Unlike BFF, whose seeds, file order and
threads are random, the result is a function of the documents alone.

Cost: 145 MB/s of text on one core with a filter of 16 MiB, 110 at 1 GiB, most of it segmentation, which `resources.threads` share; one
thread owns the filter, 350 MB/s at 1 GiB. Without `num_n_grams` up to 16 MiB of text is segmented twice; of more, a sixteenth is.
Memory: 9.9 bits an n-gram at 1 % false positives, 1.24 GB for 10**9 (some 7 GB of text), and two batches a thread. It is logged, and
refused if the machine lacks it, before the second pass.
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.memory import machine_bytes
from stages.core.ordered import in_order, shard_batches
from stages.core.schema import VERDICT, schema_of
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.kernels.bloom import BloomFilter, NGrams

logger = logging.getLogger(__name__)

REMOVED = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
"""Paragraphs to cut: bytes of the document's text, ascending."""

COUNTED_BYTES = 2**24
"""Up to so much text all n-grams are counted, beyond it those of one document in SAMPLE_ONE_IN."""

SAMPLE_ONE_IN = 16

_SCHEMA = schema_of({"id": pa.string(), **VERDICT, "removed": REMOVED})
_EMPTY = _SCHEMA.empty_table()

SURPRISING = 1000
"""Documents without a single repeated paragraph: so many rather mean that the texts were not what one thought."""


@config
class DedupNgrams:
    min_n_gram: int = 13
    """Paragraphs of fewer tokens (UAX#29 segments, punctuation too) are kept and never inserted; one of fewer than max_n_gram is one n-gram."""
    max_n_gram: int = 13
    """Tokens of an n-gram. DCLM's own command for BFF has 13 and 13, its ablations and BFF's defaults have 20 and 20."""
    threshold: float = 0.8
    """A paragraph or a document goes if more than this share of its n-grams was seen before."""
    false_positive_rate: float = 0.01
    """Share of new n-grams that may pass for seen once all are inserted: settles the size of the filter, and is never exceeded silently."""
    num_n_grams: int | None = None
    """N-grams to make room for; None counts them first (above 16 MiB of text those of 1 document in 16, plus 4 standard errors)."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_n_gram <= self.max_n_gram:
            raise ValueError(f"dedup_ngrams: min_n_gram is {self.min_n_gram} and max_n_gram {self.max_n_gram}; give 1 <= min_n_gram <= max_n_gram")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"dedup_ngrams: threshold is {self.threshold}; it is a share, from 0 to 1")
        if not 0 < self.false_positive_rate < 1:
            raise ValueError(f"dedup_ngrams: false_positive_rate is {self.false_positive_rate}; it must be above 0 and below 1")
        if self.num_n_grams is not None and self.num_n_grams < 1:
            raise ValueError(f"dedup_ngrams: num_n_grams is {self.num_n_grams}; give at least 1, or None to have them counted")


def _known_bytes(config: DedupNgrams) -> int:
    """Bytes of the filter where the config tells them."""
    if config.num_n_grams is None:
        return 0
    from stages.kernels.bloom import size_filter

    return size_filter(config.num_n_grams, config.false_positive_rate)[0] // 8


@stage(
    version=1,
    kind="reduce",
    needs={"id", "text"},
    adds={"id": pa.string(), **VERDICT, "removed": REMOVED},
    memory_bytes=_known_bytes,
)
def dedup_ngrams(config: DedupNgrams, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every document and paragraph of the dataset; ValueError if the filter does not fit in memory."""
    documents = inputs.documents
    room = config.num_n_grams if config.num_n_grams is not None else _count(config, documents, resources)
    bloom = _make_filter(config, room, resources)
    totals = dict.fromkeys(("documents", "documents_dropped", "paragraphs", "paragraphs_removed", "n_grams", "n_grams_seen"), 0)
    parts = [_EMPTY]
    for shard, batch in in_order(_hash(config), shard_batches(documents, ["id", "text"], resources.batch_rows), resources.threads):
        if batch is not None:
            parts.append(_judge(config, bloom, batch, totals))
            continue
        yield shard, pa.concat_tables(parts)
        parts = [_EMPTY]
        resources.report(0.1 + 0.9 * totals["documents"] / max(1, _num_documents(documents)), f"{totals['documents']:,} documents judged")
    return _summary(config, room, bloom, totals)


@dataclass(frozen=True)
class _Hashed:
    """A batch on its way to the filter; its texts are no longer needed."""

    ids: pa.Array
    offsets: np.ndarray
    has_tokens: np.ndarray
    n_grams: "NGrams"


def _hash(config: DedupNgrams) -> Callable[[pa.RecordBatch], _Hashed]:
    """Return the function that does all the work but the filter's; it may run in several threads."""
    from stages.kernels.bloom import hash_n_grams
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    def hash_batch(batch: pa.RecordBatch) -> _Hashed:
        text = text_view(batch.column("text"))
        tokens = segment_uax29(text)
        n_grams = hash_n_grams(text, tokens, config.min_n_gram, config.max_n_gram)
        return _Hashed(batch.column("id"), text.offsets, np.diff(tokens.bounds) > 0, n_grams)

    return hash_batch


def _num_documents(documents: Dataset) -> int:
    return sum(shard.rows_out for shard in documents.shards)


def _count(config: DedupNgrams, documents: Dataset, resources: Resources) -> int:
    """Count the n-grams of all documents; of much text those of one document in SAMPLE_ONE_IN, by its place, and a margin."""
    num_bytes = sum(shard.text_bytes for shard in documents.shards)
    one_in = 1 if num_bytes <= COUNTED_BYTES else SAMPLE_ONE_IN
    total = squares = place = 0

    def sampled() -> Iterator[tuple[str, pa.RecordBatch | None]]:
        place = 0
        for shard, batch in shard_batches(documents, ["id", "text"], resources.batch_rows):
            if batch is not None:
                rows = np.arange(-place % one_in, batch.num_rows, one_in)
                place += batch.num_rows
                yield shard, batch if one_in == 1 else batch.take(pa.array(rows))

    for _, batch in in_order(_hash(config), sampled(), resources.threads):
        counts = np.diff(batch.n_grams.hash_bounds[batch.n_grams.bounds])
        total, squares, place = total + int(counts.sum()), squares + int((counts**2).sum()), place + len(counts)
        resources.report(0.1 * place * one_in / max(1, _num_documents(documents)), f"{total * one_in:,} n-grams counted")
    margin = 4 * one_in * math.sqrt((1 - 1 / one_in) * squares)  # 0 if all were counted
    return max(1, total * one_in + math.ceil(margin))


def _make_filter(config: DedupNgrams, room: int, resources: Resources) -> "BloomFilter":
    """Say how much memory the filter takes, and make it; ValueError if the machine, or the worker's limit, has less."""
    from stages.kernels.bloom import BloomFilter, size_filter

    bits, num_hashes = size_filter(room, config.false_positive_rate)
    limit = min(resources.memory_bytes or machine_bytes(), machine_bytes())
    logger.info(
        "dedup_ngrams: %d n-grams at %g false positives: %d bits (%.1f MB of memory), %d hash functions",
        room, config.false_positive_rate, bits, bits / 8e6, num_hashes,
    )  # fmt: skip
    if bits // 8 > limit:
        raise ValueError(
            f"dedup_ngrams: {room:,} n-grams at a false_positive_rate of {config.false_positive_rate:g} need a filter of {bits / 8e9:.1f} GB, and "
            f"there are {limit / 1e9:.1f} GB; deduplicate parts of the dataset apart, use a larger machine, or choose a higher false_positive_rate"
        )
    return BloomFilter(bits, num_hashes)


def _judge(config: DedupNgrams, bloom: "BloomFilter", batch: _Hashed, totals: dict[str, int]) -> pa.Table:
    """Let the filter judge a batch, and write down what that means for its documents."""
    n_grams, found, num_docs = batch.n_grams, bloom.judge(batch.n_grams, config.threshold), len(batch.ids)
    share = np.divide(found.contained, found.n_grams, out=np.full(num_docs, np.nan), where=found.n_grams > 0)
    emptied = share > config.threshold
    dropped = emptied | ~batch.has_tokens
    doc_of = np.repeat(np.arange(num_docs), np.diff(n_grams.bounds))
    cut = found.removed & ~emptied[doc_of]
    docs = doc_of[cut]
    spans = [pa.array(edge[cut] - batch.offsets[docs], pa.int32()) for edge in (n_grams.starts, n_grams.ends)]
    bounds = np.concatenate(([0], np.cumsum(np.bincount(docs, minlength=num_docs)))).astype(np.int32)
    for name, count in (
        ("documents", num_docs),
        ("documents_dropped", dropped.sum()),
        ("paragraphs", n_grams.num_paragraphs),
        ("paragraphs_removed", found.removed.sum()),
        ("n_grams", found.n_grams.sum()),
        ("n_grams_seen", found.contained.sum()),
    ):
        totals[name] += int(count)
    columns = {
        "id": batch.ids,
        "keep": pa.array(~dropped),
        "drop_reason": pa.array(np.where(emptied, "duplicate_n_grams", "no_text"), pa.string(), mask=~dropped),
        "kept_id": pa.nulls(num_docs, pa.string()),
        "cluster": pa.nulls(num_docs, pa.int64()),
        "value": pa.array(share, pa.float64(), mask=np.isnan(share)),
        "limit": pa.array(np.full(num_docs, config.threshold), pa.float64()),
        "removed": pa.ListArray.from_arrays(pa.array(bounds), pa.StructArray.from_arrays(spans, fields=list(REMOVED.value_type))),
    }
    return pa.table(columns, schema=_SCHEMA)


def _summary(config: DedupNgrams, room: int, bloom: "BloomFilter", totals: dict[str, int]) -> dict[str, Any]:
    """What the manifest will say: the counts, the filter, the rate of false positives that it ended with, and what looks wrong."""
    filled, rate = bloom.measure()
    shape = {"sized_for_n_grams": room, "bits": bloom.bits, "num_hashes": bloom.num_hashes, "bits_set": filled, "false_positive_rate": rate}
    warnings = []
    if not totals["paragraphs_removed"] and totals["documents"] >= SURPRISING:
        warnings.append(f"no repeated paragraph found among {totals['documents']:,} documents; of a crawl one expects some")
    if totals["documents"] and totals["documents_dropped"] == totals["documents"]:
        warnings.append(f"all of {totals['documents']:,} documents are to be dropped")
    if totals["n_grams"] > room and rate > config.false_positive_rate:
        warnings.append(
            f"the filter ended with a false positive rate of {rate:.3g}, above the {config.false_positive_rate:g} asked for: it was sized for "
            f"{room:,} n-grams and met {totals['n_grams']:,}; give num_n_grams that, or None to have them counted"
        )
    return {**totals, **shape, **({"warnings": warnings} if warnings else {})}
