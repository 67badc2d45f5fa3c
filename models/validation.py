"""Held-out loss: mean cross-entropy, nats per token, of a model's weights and of each average of them."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models.data_order import Sequences, check_sequences, load_batch
from models.ewa import WeightAverages
from models.transformer import Transformer, TransformerConfig

LOGITS_PER_BATCH = {"cpu": 2**22, "cuda": 2**28}  # 16 MiB and 1 GiB of fp32


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """The loss of one set of weights."""

    step: int
    """Updates done: 0 is the start."""
    num_tokens: int
    """Target tokens trained on by then."""
    ewa_decay: float | None
    """Decay of the average that was evaluated; None for the weights themselves."""
    val_loss: float
    """Mean cross-entropy over the validation sequences, nats per token, z-loss left out."""


def evaluated_weights(step: int, decays: tuple[float, ...]) -> tuple[float | None, ...]:
    """What is evaluated after `step` updates: the weights (None), then each average, of which the start has none."""
    return (None, *decays) if step else (None,)


def evaluate(model: Transformer, averages: WeightAverages, sequences: Sequences, step: int, num_tokens: int) -> list[EvalRecord]:
    """Validation losses after `step` updates, in the order of `evaluated_weights`."""
    records = []
    for decay in evaluated_weights(step, tuple(averages.sums)):
        with nullcontext() if decay is None else averages.swapped(decay):
            records.append(EvalRecord(step, num_tokens, decay, validation_loss(model, sequences)))
    return records


@torch.no_grad()
def validation_loss(model: Transformer, sequences: Sequences) -> float:
    """Mean cross-entropy over every target of `sequences` (N, seq_len + 1), in the precision that training has.

    Batches depend on the model's shape and device alone, so that the same weights give the same bits in any run.
    """
    config, device = model.config, model.output.weight.device
    num_rows = max(1, LOGITS_PER_BATCH[device.type] // (config.seq_len * config.vocab_size))
    total = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, len(sequences), num_rows):
        rows = np.arange(start, min(start + num_rows, len(sequences)))
        batch_BT = load_batch(sequences, rows, config, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits_BTV = model(batch_BT[:, :-1])
        losses_N = F.cross_entropy(logits_BTV.flatten(0, 1), batch_BT[:, 1:].flatten(), reduction="none")
        total += losses_N.sum(dtype=torch.float64)
    return total.item() / (len(sequences) * config.seq_len)


def check_evaluations(validation: Sequences | None, eval_steps: tuple[int, ...], config: TransformerConfig, num_steps: int) -> None:
    """Refuse evaluations without sequences, and steps that are not rising or not of the run. Raises ValueError."""
    if (validation is None) != (not eval_steps):
        given, missing = ("eval_steps", "validation") if eval_steps else ("validation", "eval_steps")
        raise ValueError(f"train: {given} is given without {missing}; give both or neither")
    if validation is None:
        return
    check_sequences(validation, config, name="validation sequences")
    if list(eval_steps) != sorted(set(eval_steps)) or eval_steps[0] < 0 or eval_steps[-1] > num_steps:
        raise ValueError(
            f"train: eval_steps {tuple(eval_steps)} are not rising numbers from 0 to the run's {num_steps} steps; sort "
            "them and leave out the others"
        )
