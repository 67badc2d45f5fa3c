"""BFF's deduplication of paragraphs by 13-grams in a Bloom filter of 2^27 bits, beside the same in Python with xxhash.

DCLM's own tool, written in Rust, is not among the peers: its crates can not be had from the registries that this bench may use.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from peers_bloom import bloom_dedup

from curation_cases.corpus import Corpus
from curation_cases.measure import Speed, in_turns
from stages.core.stage import Inputs, Resources

BITS = 2**27
PEER_BYTES, QUICK_PEER_BYTES = 5_000_000, 300_000


class _InMemory:
    """Documents as a reduce sees them, one shard, without a store."""

    name = "bench/0123456789ab"

    def __init__(self, corpus: Corpus) -> None:
        self._table = corpus.table
        self.schema = self._table.schema
        self.shards = [SimpleNamespace(name="all", rows_out=self._table.num_rows, text_bytes=corpus.num_bytes)]

    def table(self, shard: str, columns: list[str] | None = None) -> pa.Table:
        """All documents."""
        return self._table.select(columns) if columns else self._table

    def batches(self, shard: str, columns: list[str] | None = None, batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
        """All documents in batches."""
        yield from self.table(shard, columns).to_batches(max_chunksize=batch_rows)


def run(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """dedup_ngrams and remove_spans, text to text, with room for as many n-grams as fill 2^27 bits at 1 %; equal: what stays."""
    from stages.kernels.bloom import size_filter

    bits_of_one = size_filter(10**6, 0.01)[0] / 10**6
    room = int(BITS / bits_of_one)
    part = corpus.part(QUICK_PEER_BYTES if quick else PEER_BYTES)
    ours = _texts(part, room)
    theirs = bloom_dedup(part.texts, BITS)
    seconds = in_turns(1 if quick else 3, winnow=lambda: _dedup(corpus, room), python=lambda: bloom_dedup(part.texts, BITS))
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    bits, num_hashes = size_filter(room, 0.01)
    return Speed(corpus.megabytes, seconds["winnow"], "Python, xxhash and a bytearray", part.megabytes, seconds["python"]).rows(
        "bloom/dedup, 2^27 bits", equal=same == len(ours), at_least=50.0, bits=bits, hash_functions=num_hashes,
        note=f"equal: what is left of {same} of {len(ours)} documents ({theirs.count(None)} dropped); DCLM's Rust tool could not be built",
    )  # fmt: skip


def _dedup(corpus: Corpus, room: int) -> list[tuple[pa.RecordBatch, Any]]:
    """Each batch with the verdict of remove_spans on it."""
    from stages.dedup_ngrams import DedupNgrams, dedup_ngrams
    from stages.remove_spans import RemoveSpans, remove_spans

    inputs = Inputs((_InMemory(corpus),), ("documents",))
    ((_, verdicts),) = dedup_ngrams(DedupNgrams(num_n_grams=room), inputs, Resources())
    judge = remove_spans(RemoveSpans(), Inputs(), Resources())
    table = corpus.table.select(["id", "text"])
    for name in ("keep", "drop_reason", "value", "limit", "removed"):
        table = table.append_column(name, verdicts.column(name))
    return [(batch, judge(batch)) for batch in table.combine_chunks().to_batches(max_chunksize=1024)]


def _texts(corpus: Corpus, room: int) -> list[str | None]:
    """What is left of each document; None where it is dropped."""
    left: list[str | None] = []
    for batch, verdict in _dedup(corpus, room):
        texts = verdict.columns.get("text", batch.column("text")).to_pylist()
        left += [text if keep else None for text, keep in zip(texts, verdict.keep.to_pylist(), strict=True)]
    return left
