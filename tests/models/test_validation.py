"""The held-out loss against a plain fp64 loop, whole and batched, of weights and of averages."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models import validation
from models.ewa import WeightAverages
from models.transformer import Transformer, TransformerConfig
from models.validation import EvalRecord, check_evaluations, evaluate, validation_loss

CONFIG = TransformerConfig(vocab_size=23, d_model=16, num_layers=2, num_heads=2, ffn_dim=24, seq_len=8)
SEQUENCES = np.random.default_rng(0).integers(23, size=(19, 9)).astype(np.uint16)


def plain_loss(model: Transformer) -> float:
    """Row by row in fp64."""
    double = Transformer(CONFIG).double()
    double.load_state_dict(model.state_dict())
    tokens = torch.from_numpy(SEQUENCES.astype(np.int64))
    with torch.no_grad():
        logits = [double.output(double.hidden(row[None, :-1]))[0] for row in tokens]
    return np.mean([F.cross_entropy(each, row[1:]).item() for each, row in zip(logits, tokens, strict=True)])


@pytest.mark.parametrize("logits_per_batch", [1, 3 * 8 * 23, 2**22])
def test_equal_to_a_plain_loop_in_batches_of_any_size(monkeypatch, logits_per_batch):
    monkeypatch.setitem(validation.LOGITS_PER_BATCH, "cpu", logits_per_batch)  # batches of 1, of 3 with a remnant, of all
    model = Transformer(CONFIG, seed=4)
    assert validation_loss(model, SEQUENCES) == pytest.approx(plain_loss(model), rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_averages_are_evaluated_after_the_weights_and_leave_them_alone():
    model, other = Transformer(CONFIG, seed=4), Transformer(CONFIG, seed=5)
    averages = WeightAverages(model.parameters(), (0.0, 0.25))
    averages.update()
    model.load_state_dict(other.state_dict())
    averages.update()
    records = evaluate(model, averages, SEQUENCES, step=2, num_tokens=64)
    assert [record.ewa_decay for record in records] == [None, 0.0, 0.25]
    assert records[0] == EvalRecord(2, 64, None, validation_loss(other, SEQUENCES))
    assert records[1].val_loss == records[0].val_loss  # a decay of 0 remembers nothing
    mixed = Transformer(CONFIG)
    with torch.no_grad():  # (0.25 * 0.75 a + 0.75 b) / (1 - 0.25^2) = 0.2 a + 0.8 b
        for target, a, b in zip(mixed.parameters(), Transformer(CONFIG, seed=4).parameters(), other.parameters(), strict=True):
            target.copy_(0.2 * a + 0.8 * b)
    assert records[2].val_loss == pytest.approx(plain_loss(mixed), rel=1e-6)
    assert validation_loss(model, SEQUENCES) == records[0].val_loss
    assert [record.ewa_decay for record in evaluate(model, averages, SEQUENCES, step=0, num_tokens=0)] == [None]


@pytest.mark.parametrize(
    ("sequences", "steps", "message"),
    [
        (None, (1,), "eval_steps is given without validation"),
        (SEQUENCES, (), "validation is given without eval_steps"),
        (SEQUENCES, (2, 1), r"eval_steps \(2, 1\) are not rising numbers from 0 to the run's 5 steps"),
        (SEQUENCES, (1, 1), "not rising"),
        (SEQUENCES, (-1, 2), "not rising"),
        (SEQUENCES, (1, 6), "not rising"),
        (SEQUENCES[:, :5], (1,), r"validation sequences have shape \(19, 5\)"),
        (SEQUENCES[:0], (1,), "0 validation sequences are too few"),
    ],
)
def test_what_can_not_be_evaluated_says_why(sequences, steps, message):
    check_evaluations(SEQUENCES, (0, 3, 5), CONFIG, 5)
    with pytest.raises(ValueError, match=message):
        check_evaluations(sequences, steps, CONFIG, 5)
