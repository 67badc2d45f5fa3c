"""Tokenise documents into sequences of one length and shuffle all of them: what training reads.

As DCLM packs (Li et al. 2024, section 3): an end-of-text token after every document, documents concatenated in the
dataset's order and cut without regard to their borders; but the shuffle is global. A sequence has seq_len + 1 tokens,
inputs [:-1] and targets [1:]; sequences do not overlap, so of every seq_len + 1 tokens one is never an input and one
never a target.
Read: text, and a tokenizer -> written: tokens.
Cost: about 1 MB of text a CPU second; the tokens once on scratch disk.
"""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

logger = logging.getLogger(__name__)

BUCKET_BYTES = 128 << 20
"""Expected size of a bucket of sequences on disk, one of which at a time is sorted in memory."""

MAX_BUCKETS = 512
BYTES_PER_TOKEN = 3
"""A low guess, to size the buckets: English has 4 to 5."""


@config
class TokenizeShuffle:
    seq_len: int = 2048
    """Tokens that a model sees at once; sequences have one more."""
    sequences_per_shard: int = 8192
    """Rows of every shard but the last."""
    seed: int = 0
    """Of the shuffle."""
    end_of_text: str = "<|endoftext|>"
    """Token put after every document; in the text of a document the same characters are ordinary text."""
    token_type: Literal["uint16", "uint32"] = "uint16"
    """uint16 holds vocabularies of up to 65,536 tokens."""

    def __post_init__(self) -> None:
        for name in ("seq_len", "sequences_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenize_shuffle: {name} is {getattr(self, name)}; it must be at least 1")

    @property
    def tokens_type(self) -> pa.DataType:
        """Type of the column `tokens`."""
        return pa.list_(pa.uint16() if self.token_type == "uint16" else pa.uint32(), self.seq_len + 1)


@stage(
    version=1,
    kind="reduce",
    takes=("documents", "artifact"),
    needs={"text"},
    adds=lambda config: {"tokens": config.tokens_type},
    uses=("tokenizers",),
)
def tokenize_shuffle(config: TokenizeShuffle, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Yield shards `00000`, `00001`, ... of shuffled sequences: fixed-size lists of seq_len + 1 token ids.

    Sequence number i goes where hash_numbers(i) under the seed sorts it, a permutation that no setting of memory, batch
    or worker changes. num_tokens of the output = rows * (seq_len + 1); what is left at the end, fewer tokens than that,
    is dropped and counted in the summary. Raises ValueError if the tokenizer lacks `end_of_text`, or has more tokens than `token_type`
    holds.
    """
    text_bytes = sum(shard.text_bytes for shard in inputs.documents.shards)
    width = np.dtype(config.token_type).itemsize
    wanted = text_bytes / BYTES_PER_TOKEN * width / BUCKET_BYTES
    bits = min(max(int(np.ceil(np.log2(max(wanted, 1)))), 0), MAX_BUCKETS.bit_length() - 1)
    buckets = _Buckets(Path(resources.scratch), config, bits)
    rest = np.zeros(0, config.token_type)
    for ids in _token_ids(config, inputs, resources):
        rest = buckets.add(np.concatenate([rest, ids]))
    logger.info("tokenize_shuffle: %s sequences; %s tokens at the end dropped", f"{buckets.count:,}", f"{len(rest):,}")
    if not buckets.count:
        logger.warning(
            "tokenize_shuffle: %s has fewer than seq_len + 1 = %d tokens: no sequence",
            inputs.documents.name,
            config.seq_len + 1,
        )
    shard, waiting, rows = 0, [], 0
    for sequences in buckets.drain():
        start = 0
        while start < len(sequences):
            take = min(config.sequences_per_shard - rows, len(sequences) - start)
            waiting.append(sequences[start : start + take])
            start, rows = start + take, rows + take
            if rows == config.sequences_per_shard:
                yield f"{shard:05d}", _table(config, waiting)
                shard, waiting, rows = shard + 1, [], 0
    if rows or not shard:
        yield f"{shard:05d}", _table(config, waiting)
    return {"num_tokens": buckets.count * (config.seq_len + 1), "dropped_tokens": len(rest)}


class _Buckets:
    """Sequences on disk, in 2^bits buckets by the leading bits of their keys; a bucket is sorted when it is read."""

    def __init__(self, scratch: Path, config: TokenizeShuffle, bits: int) -> None:
        from stages.kernels.seeded_order import derived_seed

        self._config, self._bits = config, bits
        self._seed = derived_seed("tokenize_shuffle", config.seed)
        self._paths = [scratch / f"bucket-{i:04d}" for i in range(2**bits)]
        self._row = np.dtype([("number", np.uint64), ("tokens", config.token_type, config.seq_len + 1)])
        self.count = 0

    def add(self, tokens: np.ndarray) -> np.ndarray:
        """Spill as many whole sequences as `tokens` holds; return the rest."""
        from stages.kernels.seeded_order import hash_numbers

        length = self._config.seq_len + 1
        whole = len(tokens) // length
        rows = np.empty(whole, self._row)
        rows["number"] = np.arange(self.count, self.count + whole)
        rows["tokens"] = tokens[: whole * length].reshape(whole, length)
        bucket = self._bucket(hash_numbers(rows["number"], self._seed))
        for i in np.unique(bucket):
            with open(self._paths[i], "ab") as file:
                rows[bucket == i].tofile(file)
        self.count += whole
        return tokens[whole * length :]

    def drain(self) -> Iterator[np.ndarray]:
        """Yield the sequences in order of their keys, a bucket at a time; its file goes when it was read."""
        from stages.kernels.seeded_order import hash_numbers

        for path in self._paths:
            if path.exists():
                rows = np.fromfile(path, self._row)
                path.unlink()
                yield rows["tokens"][np.argsort(hash_numbers(rows["number"], self._seed))]

    def _bucket(self, keys: np.ndarray) -> np.ndarray:
        return (keys >> np.uint64(64 - self._bits)).astype(np.int64) if self._bits else np.zeros(len(keys), np.int64)


def _token_ids(config: TokenizeShuffle, inputs: Inputs, resources: Resources) -> Iterator[np.ndarray]:
    """Token ids of a batch of documents at a time, each document with its end of text."""
    from tokenizers import Tokenizer

    documents = inputs.documents
    tokenizer = Tokenizer.from_file(inputs.artifact.file("tokenizer.json"))
    end = tokenizer.token_to_id(config.end_of_text)
    if end is None:
        raise ValueError(
            f"tokenize_shuffle: {inputs.artifact.name} has no token {config.end_of_text}; set end_of_text to one of its"
        )
    largest = max(tokenizer.get_vocab().values())
    if largest > np.iinfo(config.token_type).max:
        raise ValueError(
            f"tokenize_shuffle: token ids reach {largest:,}, too large for {config.token_type}; set token_type='uint32'"
        )
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for number, shard in enumerate(documents.shards):
        for batch in documents.batches(shard.name, ["text"], resources.batch_rows):
            texts = batch.column("text").fill_null("").to_pylist()
            encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            ids = chain.from_iterable(chain(document.ids, (end,)) for document in encoded)
            yield np.fromiter(ids, config.token_type, sum(map(len, encoded)) + len(encoded))
        resources.report(0.9 * (number + 1) / len(documents.shards), f"tokenised {shard.name}")


def _table(config: TokenizeShuffle, pieces: list[np.ndarray]) -> pa.Table:
    flat = np.concatenate([piece.reshape(-1) for piece in pieces]) if pieces else np.zeros(0, config.token_type)
    return pa.table(
        {"tokens": pa.FixedSizeListArray.from_arrays(pa.array(flat), config.seq_len + 1).cast(config.tokens_type)}
    )
