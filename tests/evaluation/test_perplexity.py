import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.perplexity import DOCUMENT_SCHEMA, bits_per_byte, val_bpb


class ByteTokenizer:
    eos_token_id = 256

    def encode(self, text, add_special_tokens=False):
        return list(text.encode("utf-8"))

    def decode(self, ids):
        return bytes(ids).decode("utf-8")


class PrefixModel:
    """log p depends on the last two tokens in view and on how many are in view."""

    max_seq_len = 16
    vocab_size = 257

    def __init__(self):
        self.shapes = []

    def log_prob(self, prefix, target):
        before = prefix[-2] if len(prefix) > 1 else 999
        return np.float32(-1 - ((7 * int(prefix[-1]) + 3 * int(before) + 11 * len(prefix) + int(target)) % 50) / 10)

    def score(self, tokens_BT, rows_N, cols_N, targets_N):
        self.shapes.append(tokens_BT.shape)
        triples = zip(rows_N, cols_N, targets_N, strict=True)
        values = [self.log_prob(tokens_BT[row, : col + 1], target) for row, col, target in triples]
        return np.array(values, dtype=np.float32), np.zeros(len(values), dtype=np.int64)


class UniformModel(PrefixModel):
    def log_prob(self, prefix, target):
        return np.float32(-math.log(256))


def twin(model, tokenizer, text, max_seq_len):
    """One token at a time: what is in view starts over after max_seq_len inputs."""
    view, total = [tokenizer.eos_token_id], 0.0
    for token in tokenizer.encode(text):
        total -= float(model.log_prob(view, token))
        view = [*view, token] if len(view) < max_seq_len else [token]
    return total


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(max_size=40), min_size=1, max_size=6),
    max_seq_len=st.integers(1, 16),
    budget=st.sampled_from([1, 30, 1000]),
)
def test_losses_equal_one_token_at_a_time_whatever_the_batches(texts, max_seq_len, budget):
    model, tokenizer = PrefixModel(), ByteTokenizer()
    table = bits_per_byte(model, tokenizer, texts, max_seq_len, max_batch_tokens=budget)
    assert table.schema == DOCUMENT_SCHEMA
    assert table.column("document").to_pylist() == list(range(len(texts)))
    assert table.column("num_bytes").to_pylist() == [len(text.encode()) for text in texts]
    assert table.column("num_tokens").to_pylist() == [len(tokenizer.encode(text)) for text in texts]
    expected = [twin(model, tokenizer, text, max_seq_len) for text in texts]
    assert table.column("nll_nats").to_pylist() == pytest.approx(expected, abs=1e-4)
    assert all(width <= max_seq_len for _, width in model.shapes)


def test_a_uniform_model_over_bytes_needs_eight_bits():
    table = bits_per_byte(UniformModel(), ByteTokenizer(), ["a", "long text of more than one window", "été"])
    assert val_bpb(table) == pytest.approx(8, rel=1e-6)


def test_long_documents_weigh_more():
    columns = {"document": [0, 1], "nll_nats": [math.log(2) * 30, math.log(2) * 2], "num_tokens": [1, 1]}
    table = pa.table(columns | {"num_bytes": [10, 6]})
    assert val_bpb(table) == pytest.approx(32 / 16)


def test_an_empty_document_counts_nothing():
    table = bits_per_byte(PrefixModel(), ByteTokenizer(), ["", "x"])
    assert table.column("nll_nats").to_pylist()[0] == 0 and table.column("num_bytes").to_pylist() == [0, 1]
    empty = bits_per_byte(PrefixModel(), ByteTokenizer(), [])
    assert empty.num_rows == 0
    with pytest.raises(ValueError, match="no bytes"):
        val_bpb(empty)


def test_a_batching_tokenizer_gives_the_same_table():
    class Batching(ByteTokenizer):
        def encode_batch(self, texts, add_special_tokens=False):
            return [self.encode(text) for text in texts]

    texts = ["one", "and another one", ""] * 200
    assert bits_per_byte(PrefixModel(), Batching(), iter(texts)) == bits_per_byte(PrefixModel(), ByteTokenizer(), texts)


def test_what_does_not_fit_is_an_error():
    tokenizer = ByteTokenizer()
    with pytest.raises(ValueError, match="17; the model takes 1 to 16"):
        bits_per_byte(PrefixModel(), tokenizer, ["x"], 17)
    tokenizer.eos_token_id = 257
    with pytest.raises(ValueError, match="token id 257"):
        bits_per_byte(PrefixModel(), tokenizer, ["x"])
    tokenizer.eos_token_id = None
    with pytest.raises(ValueError, match="eos_token_id"):
        bits_per_byte(PrefixModel(), tokenizer, ["x"])


def test_a_diverged_model_is_an_error():
    class Diverged(PrefixModel):
        def log_prob(self, prefix, target):
            return np.float32("nan")

    with pytest.raises(ValueError, match="NaN"):
        bits_per_byte(Diverged(), ByteTokenizer(), ["x"])
