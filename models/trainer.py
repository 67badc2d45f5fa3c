"""Train a decoder on token sequences, so that a killed run ends in the very weights of a run that was never killed.

    result = train(scale.model, scale.recipe, sequences, seed=0, num_threads=1, out_dir=path)

Writes into out_dir: `model.safetensors` and `config.json` when done, and the same in `ewa_<decay>/` for each average of
the recipe; `losses.jsonl`, a line per step, and `evaluations.jsonl`, a line per evaluation and set of weights, both
without clock times, so that they too are reproducible; while under way, `training.safetensors` to resume from.

Outputs are a function of config, recipe, sequences and seed for the same torch, device class and num_threads. Weights
are drawn from (seed), the order from (seed, epoch), and what an optimizer draws from torch's generator, seeded here.
fp32 on the CPU, bf16 autocast with fp32 weights on CUDA. One device: DCLM's FSDP is not reproduced here.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import replacing, save_model
from models.data_order import DataOrder, Sequences, check_sequences, load_batch
from models.ewa import WeightAverages
from models.scales import Recipe
from models.schedule import check_schedule, learning_rate
from models.train_step import check_noise, make_recipe_optimizer, train_step
from models.training_state import describe_run, load_state, save_state
from models.transformer import Transformer, TransformerConfig
from models.validation import EvalRecord, check_evaluations, evaluate, evaluated_weights

logger = logging.getLogger(__name__)

STATE_NAME = "training.safetensors"
LOSSES_NAME = "losses.jsonl"
EVALUATIONS_NAME = "evaluations.jsonl"
FINAL_LOSS_STEPS = 20  # a single small batch is too noisy to be called a run's loss


class Diverged(ValueError):
    """A loss or gradient is not finite, after `step` updates."""

    def __init__(self, message: str, step: int = -1) -> None:
        super().__init__(message)
        self.step = step


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
    """Learning rate of the update, before a parameter group's own factor."""
    part_grad_sq: float | None = None
    """Mean over the batch's equal parts of the squared norm of each part's gradient, before clipping; None, and no
    field of the line, where the recipe does not measure noise."""

    def line(self) -> str:
        """The record as JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}) + "\n"


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
    step_seconds: float
    """Mean wall time of a step of this call, batch and update alone: no averages, evaluations or checkpoints."""
    tokens_per_second: float
    """Speed of this call alone, checkpoints and evaluations included."""


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
    validation: Sequences | None = None,
    eval_steps: tuple[int, ...] = (),
) -> TrainResult:
    """Train on exactly `recipe.num_tokens` target tokens and save the model in `out_dir`.

    sequences: unsigned integers (N, seq_len + 1); inputs are all but the last of a row, targets all but the first.
    device: "cpu" or "cuda"; by default CUDA where there is one. A saved state of the same run is continued, unless
    `resume` is false. `on_step` sees every record; what it raises ends the run, which can then be resumed.
    `validation`, in the form of `sequences`, is evaluated after each number of steps in `eval_steps`; 0 is the start.
    Raises ValueError for unusable sequences, recipe or eval_steps and for a saved state of another run, and Diverged
    for a loss or gradient that is not finite.
    Source: DCLM's training recipes (OpenLM `main.py` and its `411m_1x` and sister configs).
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    num_steps, num_sequences = recipe.num_steps(config.seq_len), recipe.num_sequences(config.seq_len)
    check_schedule(recipe, num_steps)
    check_noise(recipe, config.seq_len)
    check_sequences(sequences, config, at_least=recipe.batch_size)
    check_evaluations(validation, eval_steps, config, num_steps)
    state_path, losses_path, evaluations_path = (out_dir / name for name in (STATE_NAME, LOSSES_NAME, EVALUATIONS_NAME))

    with exact_arithmetic(device, num_threads, seed):
        model = Transformer(config, seed=seed).to(device)
        optimizer = make_recipe_optimizer(recipe, model)
        averages = WeightAverages(model.parameters(), recipe.ewa_decays)
        run = describe_run(config, recipe, sequences, validation, eval_steps, seed, num_threads, device)
        if not resume:
            state_path.unlink(missing_ok=True)
        resumes = state_path.exists()
        first_step = load_state(state_path, run, model, optimizer, averages, device) if resumes else 0
        if resumes:
            logger.info("train: resuming %s at step %d of %d", out_dir, first_step, num_steps)
        losses = [record["loss"] for record in keep_records(losses_path, range(first_step))]
        if eval_steps:
            done = [step for step in eval_steps if resumes and step <= first_step]
            keep_records(evaluations_path, [step for step in done for _ in evaluated_weights(step, recipe.ewa_decays)])
            if eval_steps[0] == 0 and not resumes:
                append_evaluations(evaluations_path, evaluate(model, averages, validation, 0, 0))
        order = DataOrder(len(sequences), seed)
        begun, step_seconds = time.perf_counter(), 0.0

        with losses_path.open("a") as log:
            for step in range(first_step, num_steps):
                # Places of the order are shared out evenly: batches differ by one at most and the sum is exact.
                start, stop = step * num_sequences // num_steps, (step + 1) * num_sequences // num_steps
                lr = learning_rate(recipe, step, num_steps)
                step_begun = time.perf_counter()
                batch_BT = load_batch(sequences, order.rows(start, stop), config, device)
                update = train_step(model, optimizer, recipe, batch_BT, lr)
                step_seconds += time.perf_counter() - step_begun
                if not (math.isfinite(update.loss) and math.isfinite(update.grad_norm)):
                    raise Diverged(
                        f"train: step {step} of {num_steps} at lr {lr:.3g} gave loss {update.loss} and gradient norm "
                        f"{update.grad_norm}; lower lr ({recipe.lr:g}) or lengthen warmup_steps ({recipe.warmup_steps})",
                        step,
                    )
                averages.update()
                record = StepRecord(step, stop * config.seq_len, *update[:3], lr, update.part_grad_sq)
                log.write(record.line())
                losses.append(update.loss)
                if step + 1 in eval_steps:
                    append_evaluations(evaluations_path, evaluate(model, averages, validation, step + 1, record.num_tokens))
                if is_checkpoint(step + 1, num_steps, recipe.num_checkpoints) and step + 1 < num_steps:
                    log.flush()
                    os.fsync(log.fileno())  # the state must never be ahead of the log
                    save_state(state_path, run, step + 1, model, optimizer, averages, device)
                if on_step is not None:
                    on_step(record)

        for decay in recipe.ewa_decays:
            with averages.swapped(decay):
                save_model(model, out_dir / f"ewa_{decay}")
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
        step_seconds=step_seconds / (num_steps - first_step),
        tokens_per_second=trained_here / seconds,
    )


@contextmanager
def exact_arithmetic(device: torch.device, num_threads: int, seed: int) -> Iterator[None]:
    """Fix what decides the bits of a result, and put it back: threads on the CPU, algorithms on CUDA, torch's generators."""
    if num_threads < 1:
        raise ValueError(f"train: num_threads is {num_threads}; give a positive number")
    threads_before, deterministic_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(num_threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic_before)


def is_checkpoint(steps_done: int, num_steps: int, num_checkpoints: int) -> bool:
    """Whether one of `num_checkpoints` evenly spread marks falls on this step."""
    return steps_done * num_checkpoints // num_steps > (steps_done - 1) * num_checkpoints // num_steps


def keep_records(path: Path, steps: Sequence[int]) -> list[dict]:
    """Cut a log of JSON lines back to the records of these steps, which it must begin with, and return them."""
    lines = path.read_text().splitlines()[: len(steps)] if steps else []
    records = [json.loads(line) for line in lines]
    if [record["step"] for record in records] != list(steps):
        raise ValueError(f"train: {path} lacks its first {len(steps)} records, which the saved state is ahead of; pass resume=False")
    with replacing(path) as aside:
        aside.write_text("".join(line + "\n" for line in lines))
    return records


def append_evaluations(path: Path, records: list[EvalRecord]) -> None:
    """Add evaluations to the log for good. Raises Diverged for a loss that is not finite."""
    for record in records:
        if not math.isfinite(record.val_loss):
            weights = "the weights" if record.ewa_decay is None else f"the average of decay {record.ewa_decay}"
            raise Diverged(f"train: after {record.step} steps {weights} give validation loss {record.val_loss}; lower lr", record.step)
    with path.open("a") as log:
        log.write("".join(json.dumps(asdict(record)) + "\n" for record in records))
        log.flush()
        os.fsync(log.fileno())
