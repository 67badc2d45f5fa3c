"""What a step trains on: every row once an epoch, whatever the cuts, and tokens that the model knows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.data_order import DataOrder, check_sequences, load_batch
from models.transformer import TransformerConfig

CONFIG = TransformerConfig(vocab_size=23, d_model=16, num_layers=1, num_heads=2, ffn_dim=24, seq_len=8)


def sequences(count: int = 19) -> np.ndarray:
    return np.random.default_rng(0).integers(23, size=(count, 9)).astype(np.uint16)


@given(num_rows=st.integers(1, 12), seed=st.integers(0, 3), cuts=st.lists(st.integers(0, 50), max_size=6))
def test_order_gives_every_row_once_an_epoch_however_it_is_cut(num_rows, seed, cuts):
    order, marks = DataOrder(num_rows, seed), sorted({0, *cuts, 50})
    rows = np.concatenate([order.rows(a, b) for a, b in zip(marks, marks[1:], strict=False)])
    for epoch in range(50 // num_rows):
        assert sorted(rows[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))
    assert np.array_equal(rows[marks[-2] :], DataOrder(num_rows, seed).rows(marks[-2], 50))


def test_the_order_is_numpys_permutation_of_seed_and_epoch():
    expected = np.concatenate([np.random.default_rng([7, epoch]).permutation(19) for epoch in range(3)])
    assert np.array_equal(DataOrder(19, 7).rows(5, 50), expected[5:50])
    assert not np.array_equal(DataOrder(19, 0).rows(0, 19), DataOrder(19, 1).rows(0, 19))


def test_a_batch_is_the_rows_as_int64():
    batch_BT = load_batch(sequences(), np.array([4, 0, 4]), CONFIG, torch.device("cpu"))
    assert batch_BT.dtype == torch.int64 and batch_BT.tolist() == sequences()[[4, 0, 4]].tolist()


def test_a_token_outside_the_vocabulary_is_named():
    damaged = sequences()
    damaged[6, 3] = 99
    with pytest.raises(ValueError, match="sequence 6 holds token 99, the model's vocabulary ends at 22"):
        load_batch(damaged, np.array([2, 6]), CONFIG, torch.device("cpu"))


def test_what_can_not_be_trained_on_says_why():
    check_sequences(sequences(3), CONFIG, at_least=3)
    for given_sequences, message in (
        (sequences(3), "3 held-out sequences are too few for one batch of 4"),
        (sequences()[:, :8], r"held-out sequences have shape \(19, 8\), a model of seq_len 8 needs \(N, 9\)"),
        (sequences()[0], r"shape \(9,\)"),
        (sequences().astype(np.float32), "held-out sequences are float32"),
    ):
        with pytest.raises(ValueError, match=message):
            check_sequences(given_sequences, CONFIG, at_least=4, name="held-out sequences")
