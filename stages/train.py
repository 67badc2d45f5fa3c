"""Train a decoder from scratch on tokenised sequences.

reads: sequences of seq_len + 1 tokens, the tokenizer they came from   writes: a checkpoint (safetensors + config.json), its losses
cost: 6 x parameters x tokens FLOPs. Recipes per scale: models/scales.py (DCLM, arXiv 2406.11794, appendix).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Artifact, Inputs, Resources, stage


@config
class Train:
    scale: str = "nano"
    """Architecture and recipe: nano, 400m-1x, 1b-1x, 3b-1x, 7b-1x, 7b-2x."""
    seed: int = 0
    """Seed of the initialisation and of the order of sequences."""
    num_tokens: int | None = None
    """Tokens to train on; None = the scale's own budget. Every arm of a comparison gets the same."""
    lr: float | None = None
    """Peak learning rate; None = the scale's own."""
    num_threads: int = 1
    """Threads of torch: it never follows the number of workers, because sums over threads differ in their last bits."""


@stage(
    version=1, kind="artifact", takes=("table", "artifact"), needs={"tokens"}, uses=("torch",), reproducible="torch, device class, num_threads"
)  # fmt: skip
def train(config: Train, inputs: Inputs, resources: Resources) -> Artifact:
    """Train a model of a scale on the sequences, resuming from the last checkpoint after a kill."""
    from models.scales import SCALES
    from models.trainer import StepRecord
    from models.trainer import train as fit

    scale = SCALES.get(config.scale)
    if scale is None:
        raise ValueError(f"train.scale is '{config.scale}'; the scales are {', '.join(SCALES)}")
    sequences = load_sequences(inputs.one("table"))
    vocabulary = inputs.artifact.summary["vocab_size"]
    if vocabulary > scale.model.vocab_size:
        raise ValueError(f"scale {config.scale} has {scale.model.vocab_size} token ids, the tokenizer {vocabulary}; train a smaller tokenizer")
    recipe = scale.recipe
    if config.num_tokens is not None:
        recipe = replace(recipe, num_tokens=config.num_tokens)
    if config.lr is not None:
        recipe = replace(recipe, lr=config.lr)

    num_steps = recipe.num_steps(scale.model.seq_len)

    def on_step(record: StepRecord) -> None:
        resources.report((record.step + 1) / num_steps, f"step {record.step + 1}/{num_steps}, loss {record.loss:.3f}")

    out = Path(resources.scratch)
    result = fit(
        scale.model, recipe, sequences, seed=config.seed, num_threads=config.num_threads, out_dir=out, on_step=on_step, device=resources.device
    )
    summary = {
        "scale": config.scale,
        "seed": config.seed,
        "params": result.num_parameters,
        "train_tokens": result.num_tokens,
        "steps": result.num_steps,
        "epochs": result.epochs,
        "final_loss": result.final_loss,
        "dataset_tokens": int(sequences.shape[0]) * (int(sequences.shape[1]) - 1),
        "train_seconds": round(result.seconds, 1),
    }
    return Artifact(("model.safetensors", "config.json", "losses.jsonl"), summary)


def load_sequences(dataset: Dataset) -> np.ndarray:
    """Return the `tokens` of all shards in order as an array (N, seq_len + 1) of unsigned integers."""
    parts = [dataset.sequences(shard.name) for shard in dataset.shards]
    if not parts or not sum(len(part) for part in parts):
        raise ValueError(f"train: {dataset.name} holds no sequence; the documents before it are too few or were all dropped")
    return np.concatenate(parts)
