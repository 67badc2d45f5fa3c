"""Train a decoder on token sequences, so that a killed run ends in the very weights of a run that was never killed.

    result = train(scale.model, scale.recipe, sequences, seed=0, num_threads=1, out_dir=path)

Writes into out_dir: `model.safetensors` and `config.json` when done, `losses.jsonl` (a line per step, without clock
times, so that it too is reproducible) and, while under way, `training.safetensors` to resume from.

Weights are a function of config, recipe, sequences and seed for the same torch, device class and num_threads. All that
is random is drawn from (seed) for the weights and (seed, epoch) for the order, so resuming needs no generator state.
fp32 on the CPU, bf16 autocast with fp32 weights on CUDA. One device: DCLM's FSDP is not reproduced here.
"""

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import load_tensors, replacing, save_model, save_tensors
from models.scales import Recipe
from models.transformer import Transformer, TransformerConfig

logger = logging.getLogger(__name__)

STATE_NAME = "training.safetensors"
LOSSES_NAME = "losses.jsonl"
FINAL_LOSS_STEPS = 20  # a single small batch is too noisy to be called a run's loss


class Sequences(Protocol):
    """What training reads: an array (num_sequences, seq_len + 1) of token ids; a numpy memmap will do."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A line of losses.jsonl."""

    step: int
    """Counted from 0."""
    num_tokens: int
    """Target tokens trained on, this step included."""
    loss: float
    """Cross-entropy in nats per token, z-loss left out, mean over the batch before its update."""
    z_loss: float
    """The z-loss term, already weighted."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    lr: float
    """Learning rate of the update."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run did."""

    checkpoint: Path
    """Directory of the final model, which is out_dir."""
    num_parameters: int
    """All trainable parameters."""
    num_steps: int
    """Optimiser steps of the whole run."""
    num_tokens: int
    """Target tokens trained on, repeats included."""
    epochs: float
    """num_tokens over the tokens that the sequences hold."""
    final_loss: float
    """Mean cross-entropy of the last 20 steps, nats per token."""
    first_step: int
    """Where this call began: 0, or the step it resumed from."""
    seconds: float
    """Wall time of this call."""
    tokens_per_second: float
    """Speed of this call alone, checkpoints included."""


def learning_rate(recipe: Recipe, step: int, num_steps: int) -> float:
    """OpenLM's schedule: linear warm-up by (step + 1) / warmup_steps, then a cosine from lr down to cooldown_lr."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / (num_steps - recipe.warmup_steps)
    return recipe.cooldown_lr + (recipe.lr - recipe.cooldown_lr) * 0.5 * (1 + math.cos(math.pi * progress))


class DataOrder:
    """Which rows each step trains on: epoch after epoch, each a permutation of all rows drawn from (seed, epoch)."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows, self.seed = num_rows, seed
        self.epoch = -1
        self.permutation = np.empty(0, dtype=np.int64)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows at places start to stop of the endless order; a batch may straddle two epochs."""
        pieces = []
        while start < stop:
            epoch, offset = divmod(start, self.num_rows)
            if epoch != self.epoch:
                self.epoch = epoch
                self.permutation = np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)
            taken = self.permutation[offset : offset + stop - start]
            pieces.append(taken)
            start += len(taken)
        return np.concatenate(pieces)


def train(
    config: TransformerConfig,
    recipe: Recipe,
    sequences: Sequences,
    *,
    seed: int,
    num_threads: int,
    out_dir: Path | str,
    resume: bool = True,
    on_step: Callable[[StepRecord], None] | None = None,
    device: str | None = None,
) -> TrainResult:
    """Train on exactly `recipe.num_tokens` target tokens and save the model in `out_dir`.

    sequences: unsigned integers (N, seq_len + 1); inputs are all but the last of a row, targets all but the first.
    device: "cpu" or "cuda"; by default CUDA where there is one. A saved state of the same run is continued, unless
    `resume` is false. `on_step` sees every record; what it raises ends the run, which can then be resumed.
    Raises ValueError for unusable sequences or recipe, for a saved state of another run, and for a loss or gradient
    that is not finite. Source: DCLM's training recipes (OpenLM `main.py` and its `411m_1x` and sister configs).
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    num_steps, num_sequences = recipe.num_steps(config.seq_len), recipe.num_sequences(config.seq_len)
    check_recipe(recipe, num_steps)
    check_sequences(sequences, config, recipe)

    with exact_arithmetic(device, num_threads):
        model = Transformer(config, seed=seed).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=recipe.lr,
            betas=recipe.betas,
            eps=recipe.eps,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        run = describe_run(config, recipe, sequences, seed, num_threads, device)
        state_path, losses_path = out_dir / STATE_NAME, out_dir / LOSSES_NAME
        first_step = load_state(state_path, run, model, optimizer) if resume and state_path.exists() else 0
        losses = keep_losses(losses_path, first_step)
        if first_step:
            logger.info("train: resuming %s at step %d of %d", out_dir, first_step, num_steps)
        order = DataOrder(len(sequences), seed)
        begun = time.perf_counter()

        with losses_path.open("a") as log:
            for step in range(first_step, num_steps):
                # Places of the order are shared out evenly: batches differ by one at most and the sum is exact.
                start, stop = step * num_sequences // num_steps, (step + 1) * num_sequences // num_steps
                lr = learning_rate(recipe, step, num_steps)
                batch_BT = load_batch(sequences, order.rows(start, stop), config, device)
                loss, z_loss, grad_norm = train_step(model, optimizer, recipe, batch_BT, lr)
                if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                    raise ValueError(
                        f"train: step {step} of {num_steps} at lr {lr:.3g} gave loss {loss} and gradient norm "
                        f"{grad_norm}; lower lr ({recipe.lr:g}) or lengthen warmup_steps ({recipe.warmup_steps})"
                    )
                record = StepRecord(step, stop * config.seq_len, loss, z_loss, grad_norm, lr)
                log.write(json.dumps(asdict(record)) + "\n")
                losses.append(loss)
                if is_checkpoint(step + 1, num_steps, recipe.num_checkpoints) and step + 1 < num_steps:
                    log.flush()
                    os.fsync(log.fileno())  # the state must never be ahead of the log
                    save_state(state_path, run, model, optimizer, step + 1)
                if on_step is not None:
                    on_step(record)

        save_model(model, out_dir)
        state_path.unlink(missing_ok=True)

    seconds = time.perf_counter() - begun
    trained_here = (num_sequences - first_step * num_sequences // num_steps) * config.seq_len
    return TrainResult(
        checkpoint=out_dir,
        num_parameters=config.num_parameters,
        num_steps=num_steps,
        num_tokens=recipe.num_tokens,
        epochs=num_sequences / len(sequences),
        final_loss=float(np.mean(losses[-FINAL_LOSS_STEPS:])),
        first_step=first_step,
        seconds=seconds,
        tokens_per_second=trained_here / seconds,
    )


def train_step(
    model: Transformer, optimizer: torch.optim.Optimizer, recipe: Recipe, batch_BT: Tensor, lr: float
) -> tuple[float, float, float]:
    """One update on batch_BT (sequences, seq_len + 1): cross-entropy, z-loss, and gradient norm before clipping."""
    device = batch_BT.device.type
    cross_entropy = z_loss = torch.zeros((), device=device)
    for part_BT in batch_BT.tensor_split(min(recipe.accumulation_steps, len(batch_BT))):
        share = len(part_BT) / len(batch_BT)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            parts = model.loss(part_BT[:, :-1], part_BT[:, 1:], recipe.z_loss_weight)
        (parts.total * share).backward()
        cross_entropy, z_loss = cross_entropy + parts.cross_entropy * share, z_loss + parts.z_loss * share
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    return cross_entropy.item(), z_loss.item(), grad_norm.item()


def load_batch(sequences: Sequences, rows: np.ndarray, config: TransformerConfig, device: torch.device) -> Tensor:
    """Rows of the sequences as int64 tokens on the device. Raises ValueError for a token outside the vocabulary."""
    batch_BT = np.asarray(sequences[rows]).astype(np.int64)
    if batch_BT.max() >= config.vocab_size:
        row, column = np.argwhere(batch_BT >= config.vocab_size)[0]
        raise ValueError(
            f"train: sequence {rows[row]} holds token {batch_BT[row, column]}, the model's vocabulary ends at "
            f"{config.vocab_size - 1}; tokenise with the model's tokenizer or raise vocab_size"
        )
    return torch.from_numpy(batch_BT).to(device)


def check_recipe(recipe: Recipe, num_steps: int) -> None:
    """Refuse a recipe whose warm-up leaves no step for the cosine."""
    if recipe.warmup_steps >= num_steps:
        raise ValueError(
            f"train: warmup_steps {recipe.warmup_steps} leave nothing of {num_steps} steps; lower warmup_steps or "
            f"raise num_tokens ({recipe.num_tokens:,})"
        )


def check_sequences(sequences: Sequences, config: TransformerConfig, recipe: Recipe) -> None:
    """Refuse sequences of another shape or type than the model trains on, and fewer than a batch of them."""
    if len(sequences.shape) != 2 or sequences.shape[1] != config.seq_len + 1:
        raise ValueError(
            f"train: sequences have shape {tuple(sequences.shape)}, a model of seq_len {config.seq_len} needs "
            f"(N, {config.seq_len + 1}); tokenise with this seq_len"
        )
    if np.dtype(sequences.dtype).kind != "u":
        raise ValueError(f"train: sequences are {sequences.dtype}; give unsigned integers such as uint16")
    if sequences.shape[0] < recipe.batch_size:
        raise ValueError(
            f"train: {sequences.shape[0]} sequences are too few for one batch of {recipe.batch_size}; give at least "
            f"that many (num_tokens {recipe.num_tokens:,} is one epoch of {recipe.num_sequences(config.seq_len):,})"
        )


@contextmanager
def exact_arithmetic(device: torch.device, num_threads: int) -> Iterator[None]:
    """Fix what decides the order of additions, and put it back: thread count on the CPU, algorithms on CUDA."""
    if num_threads < 1:
        raise ValueError(f"train: num_threads is {num_threads}; give a positive number")
    threads_before, deterministic_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(num_threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic_before)


def is_checkpoint(steps_done: int, num_steps: int, num_checkpoints: int) -> bool:
    """Whether one of `num_checkpoints` evenly spread marks falls on this step."""
    return steps_done * num_checkpoints // num_steps > (steps_done - 1) * num_checkpoints // num_steps


def describe_run(
    config: TransformerConfig,
    recipe: Recipe,
    sequences: Sequences,
    seed: int,
    num_threads: int,
    device: torch.device,
) -> dict:
    """What the weights are a function of, as JSON values; of the data its shape and 64 rows, not every byte."""
    rows = np.unique(np.linspace(0, len(sequences) - 1, 64).astype(np.int64))
    sample = hashlib.sha256(np.asarray(sequences[rows]).astype("<u4").tobytes()).hexdigest()
    return {
        "config": asdict(config),
        "recipe": {**asdict(recipe), "betas": list(recipe.betas)},
        "sequences": {"shape": [int(n) for n in sequences.shape], "sample_sha256": sample},
        "seed": seed,
        "num_threads": num_threads,
        "device": device.type,
        "torch": torch.__version__,
    }


def save_state(path: Path, run: dict, model: Transformer, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights, Adam's moments and the number of steps done, whole or not at all."""
    tensors = {}
    for name, parameter in model.named_parameters():
        moments = optimizer.state[parameter]
        tensors[f"model.{name}"] = parameter
        tensors[f"exp_avg.{name}"], tensors[f"exp_avg_sq.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
    save_tensors(path, tensors, {"run": run, "step": step})


def load_state(path: Path, run: dict, model: Transformer, optimizer: torch.optim.Optimizer) -> int:
    """Take up a saved state and return its step. Raises ValueError, naming the field, for a state of another run."""
    tensors, facts = load_tensors(path)
    for field, value in run.items():
        if facts["run"][field] != value:
            raise ValueError(
                f"train: {path} is from a run with another {field} (saved {facts['run'][field]}, now {value}); pass "
                "resume=False to start anew or choose another out_dir"
            )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(facts["step"]), device=parameter.device),
                "exp_avg": tensors[f"exp_avg.{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(parameter.device),
            }
    return facts["step"]


def keep_losses(path: Path, num_steps: int) -> list[float]:
    """Cut the loss log back to the first `num_steps` records and return their losses."""
    lines = path.read_text().splitlines()[:num_steps] if num_steps else []
    if [json.loads(line)["step"] for line in lines] != list(range(num_steps)):
        raise ValueError(
            f"train: {path} lacks records of the first {num_steps} steps, which its state has done; pass resume=False"
        )
    with replacing(path) as aside:
        aside.write_text("".join(line + "\n" for line in lines))
    return [json.loads(line)["loss"] for line in lines]
