"""Weights on disk: safetensors beside a config.json, written so that no reader ever sees half a file.

A model is a directory with `model.safetensors` and `config.json`. The same weights give the same bytes: safetensors
orders tensors by type and name, and its metadata holds one key at most, because several come in no fixed order.
"""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.transformer import Transformer, TransformerConfig

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
FACTS_KEY = "winnow"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which becomes `path` by one rename once the block ends without an error."""
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield aside
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.chmod(0o644)  # safetensors makes files that only their owner can read
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write named tensors and JSON facts about them as one safetensors file, whole or not at all."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as aside:
        save_file(whole, aside, metadata={FACTS_KEY: json.dumps(facts, sort_keys=True)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read back what `save_tensors` wrote, on the CPU. Raises ValueError for a file that it did not write."""
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is not a readable safetensors file ({error}); delete it") from error
    if FACTS_KEY not in metadata:
        raise ValueError(f"checkpoint: {path} has no '{FACTS_KEY}' metadata (has: {sorted(metadata)}); delete it")
    return tensors, json.loads(metadata[FACTS_KEY])


def save_model(model: Transformer, directory: Path | str) -> Path:
    """Write weights and configuration into `directory`, made if absent; the weights come last and complete it."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / CONFIG_NAME) as aside:
        aside.write_text(json.dumps(asdict(model.config), indent=2, sort_keys=True) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(directory / WEIGHTS_NAME) as aside:
        save_file(weights, aside, metadata={"format": "pt"})
    return directory


def load_config(directory: Path | str) -> TransformerConfig:
    """The configuration of a saved model. Raises ValueError where there is none or where it names other fields."""
    path = Path(directory) / CONFIG_NAME
    if not path.is_file():
        raise ValueError(f"checkpoint: {path} does not exist; give the directory that training wrote")
    values = json.loads(path.read_text())
    known = {field.name for field in fields(TransformerConfig)}
    if set(values) != known:
        raise ValueError(
            f"checkpoint: {path} has fields {sorted(values)}, a decoder has {sorted(known)}; was it saved by another "
            "program or version?"
        )
    return TransformerConfig(**values)


def load_model(directory: Path | str, device: torch.device | str = "cpu") -> Transformer:
    """A saved model, on `device` and in evaluation mode. Raises ValueError where config and weights disagree."""
    config = load_config(directory)
    path = Path(directory) / WEIGHTS_NAME
    if not path.is_file():
        raise ValueError(f"checkpoint: {path} does not exist; training has not finished there")
    with torch.device("meta"):
        model = Transformer(config)
    weights = load_file(path, device=str(device))
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        first = differing[0]
        raise ValueError(
            f"checkpoint: {path} does not fit {CONFIG_NAME}: {len(differing)} tensors differ, the first is '{first}' "
            f"(config {expected.get(first)}, file {found.get(first)}); the two files are from different models"
        )
    model.load_state_dict(weights, assign=True)
    return model.eval()
