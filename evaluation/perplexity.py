"""Bits per byte of texts: the loss of a model in a unit that does not depend on its tokenizer.

A document is cut into windows of max_seq_len tokens that do not overlap. Its first token is predicted from the end-of-text
token, as after any document in packed training; the first token of a later window is predicted from the last token of the
window before it alone. So every token is predicted exactly once and every byte counts; the end of the document is not
scored, since it has no bytes. Cost: one forward pass over the tokens. Legend: B rows, T positions, N scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from .protocol import LanguageModel, Tokenizer
from .scorer import plan_batches

_TOKENIZE_AT_ONCE = 256  # documents per tokenizer call

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("nll_nats", pa.float64(), nullable=False),
        pa.field("num_tokens", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
    ]
)
"""One row per text: its index, the sum of its tokens' negative log-probabilities, its tokens, its UTF-8 bytes."""


def bits_per_byte(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    max_seq_len: int | None = None,
    *,
    max_batch_tokens: int = 8_192,
) -> pa.Table:
    """Loss, tokens and bytes per document (`DOCUMENT_SCHEMA`), in the order of `texts`; `val_bpb` makes one number of it.

    `max_seq_len` defaults to the model's. Raises ValueError if the tokenizer has no end-of-text token, the window exceeds
    the model, an id is outside its vocabulary, or the model returns NaN.
    """
    start = tokenizer.eos_token_id
    if start is None:
        raise ValueError(
            "bits_per_byte: the tokenizer has no eos_token_id, from which a document's first token is predicted"
        )
    max_seq_len = model.max_seq_len if max_seq_len is None else max_seq_len
    if not 1 <= max_seq_len <= model.max_seq_len:
        raise ValueError(
            f"bits_per_byte: max_seq_len is {max_seq_len}; the model takes 1 to {model.max_seq_len} tokens"
        )
    num_tokens, num_bytes, windows = [], [], []  # windows: (document, inputs and the token after the last)
    for document, (text, ids) in enumerate(_tokenize(tokenizer, texts)):
        num_tokens.append(len(ids))
        num_bytes.append(len(text.encode("utf-8")))
        stream = np.array([start, *ids], dtype=np.int64)
        if stream.max() >= model.vocab_size:
            raise ValueError(
                f"bits_per_byte: token id {stream.max()} is outside the model's vocabulary of {model.vocab_size}; "
                "use the tokenizer that the model was trained with"
            )
        windows += [(document, stream[at : at + max_seq_len + 1]) for at in range(0, len(ids), max_seq_len)]
    nll_nats = np.zeros(len(num_tokens), dtype=np.float64)
    lengths = np.array([len(window) - 1 for _, window in windows], dtype=np.int64)
    window_nll = np.zeros(len(windows), dtype=np.float64)
    for batch in plan_batches(lengths, max_batch_tokens):
        window_nll[batch] = _score_windows(model, [windows[position][1] for position in batch])
    for (document, _), nll in zip(windows, window_nll, strict=True):  # in text order, whatever the batches were
        nll_nats[document] += nll
    columns = [np.arange(len(num_tokens)), nll_nats, num_tokens, num_bytes]
    return pa.table(
        [pa.array(c, t.type) for c, t in zip(columns, DOCUMENT_SCHEMA, strict=True)], schema=DOCUMENT_SCHEMA
    )


def val_bpb(table: pa.Table) -> float:
    """Bits per byte over all documents: sum of nats / ln 2 / sum of bytes. Raises ValueError where there are no bytes."""
    num_bytes = sum(table.column("num_bytes").to_pylist())
    if num_bytes == 0:
        raise ValueError(f"val_bpb: {table.num_rows} documents hold no bytes; give validation text")
    return math.fsum(table.column("nll_nats").to_pylist()) / math.log(2) / num_bytes


def _tokenize(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
    batch = getattr(tokenizer, "encode_batch", None)
    texts = iter(texts)
    while chunk := list(islice(texts, _TOKENIZE_AT_ONCE)):
        if batch is not None:
            yield from zip(chunk, batch(chunk, add_special_tokens=False), strict=True)
        else:
            yield from ((text, tokenizer.encode(text, add_special_tokens=False)) for text in chunk)


def _score_windows(model: LanguageModel, windows: list[np.ndarray]) -> np.ndarray:
    """Nats per window: each token after the first, given those before it."""
    counts = np.array([len(window) - 1 for window in windows])
    tokens_BT = np.zeros((len(windows), int(counts.max())), dtype=np.int64)
    for row, window in enumerate(windows):
        tokens_BT[row, : len(window) - 1] = window[:-1]
    rows_N = np.repeat(np.arange(len(windows)), counts)
    cols_N = np.concatenate([np.arange(count) for count in counts])
    targets_N = np.concatenate([window[1:] for window in windows])
    log_probs_N, _ = model.score(tokens_BT, rows_N, cols_N, targets_N)
    if np.isnan(log_probs_N).any():
        raise ValueError("bits_per_byte: the model returned NaN log-probabilities; its training diverged")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return -np.add.reduceat(log_probs_N.astype(np.float64), starts)
