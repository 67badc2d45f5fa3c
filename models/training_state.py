"""What a training under way needs to go on to the bit: weights, optimizer, averages, random generators, steps done.

    save_state(path, run, step, model, optimizer, averages, device)
    step = load_state(path, run, model, optimizer, averages, device)

One safetensors file (models/checkpoint.py). Any torch optimizer will do: its whole state_dict is kept, tensors by their
place in it and all else (integers, lists, fields of parameter groups) as JSON beside them. The place in the data needs
no state, because the order is a function of (seed, epoch). `run` says whose state it is.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import load_tensors, save_tensors
from models.data_order import Sequences
from models.ewa import WeightAverages
from models.scales import Recipe
from models.transformer import Transformer, TransformerConfig

SAMPLED_ROWS = 64


def describe_run(
    config: TransformerConfig,
    recipe: Recipe,
    sequences: Sequences,
    validation: Sequences | None,
    eval_steps: tuple[int, ...],
    seed: int,
    num_threads: int,
    device: torch.device,
) -> dict:
    """What the outputs are a function of, as JSON values; of the data its shape and 64 rows, not every byte."""
    run = {
        "config": asdict(config),
        "recipe": asdict(recipe),
        "sequences": describe_sequences(sequences),
        "validation": None if validation is None else describe_sequences(validation),
        "eval_steps": eval_steps,
        "seed": seed,
        "num_threads": num_threads,
        "device": device.type,
        "torch": torch.__version__,
    }
    return json.loads(json.dumps(run))  # as it comes back from disk: tuples are lists there


def describe_sequences(sequences: Sequences) -> dict:
    """Shape and a hash of rows spread evenly."""
    rows = np.unique(np.linspace(0, len(sequences) - 1, SAMPLED_ROWS).astype(np.int64))
    sample = hashlib.sha256(np.asarray(sequences[rows]).astype("<u4").tobytes()).hexdigest()
    return {"shape": [int(n) for n in sequences.shape], "sample_sha256": sample}


def save_state(
    path: Path,
    run: dict,
    step: int,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    averages: WeightAverages,
    device: torch.device,
) -> None:
    """Write the state after `step` steps, whole or not at all. Raises TypeError for an optimizer state that is no data."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "averages": averages.state_dict(),
        "generators": generator_states(device),
    }
    tensors: dict[str, Tensor] = {}
    form = pack(state, "", tensors)
    save_tensors(path, tensors, {"run": run, "step": step, "form": form})


def load_state(
    path: Path,
    run: dict,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    averages: WeightAverages,
    device: torch.device,
) -> int:
    """Take up a saved state and return its steps. Raises ValueError, naming the field, for a state of another run."""
    tensors, facts = load_tensors(path)
    difference = first_difference(facts["run"], run)
    if difference:
        field, saved, now = difference
        raise ValueError(
            f"train: {path} is from a run with another {field} (saved {saved}, now {now}); pass resume=False to start "
            "anew or choose another out_dir"
        )
    state = unpack(facts["form"], tensors)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    averages.load_state_dict(state["averages"])
    torch.set_rng_state(state["generators"]["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["generators"]["cuda"], device)
    return facts["step"]


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that a training on `device` could draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def first_difference(saved: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first field, dotted, in which two descriptions differ, with both values; None where they are equal."""
    if saved == now:
        return None
    if not (isinstance(saved, dict) and isinstance(now, dict)):
        return name, saved, now
    for key in [*now, *(key for key in saved if key not in now)]:
        dotted = f"{name}.{key}" if name else key
        if (key in saved) != (key in now):
            return dotted, saved.get(key, "without it"), now.get(key, "without it")
        difference = first_difference(saved[key], now[key], dotted)
        if difference:
            return difference
    return None


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON form of a nested state; its tensors go into `tensors` under their dotted place, each a copy on the CPU.

    Containers and tensors are tagged, {"dict": pairs}, {"list"}, {"tuple"} and {"tensor": name}, so that tuples and
    integer keys come back as what they were. Raises TypeError for anything that is not data.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().to("cpu", copy=True)  # views of one storage are refused by safetensors
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(each, f"{name}.{key}" if name else str(key), tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return {
            "list" if isinstance(value, list) else "tuple": [pack(each, f"{name}.{place}", tensors) for place, each in enumerate(value)]
        }
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"training state: {name} is a {type(value).__name__}, which no file can hold; keep tensors, numbers, strings, "
        "None, and lists, tuples and dicts of them in an optimizer's state"
    )


def unpack(form: Any, tensors: dict[str, Tensor]) -> Any:
    """The nested state that `pack` took apart."""
    if not isinstance(form, dict):
        return form
    ((kind, inside),) = form.items()
    if kind == "tensor":
        return tensors[inside].clone()  # into aligned memory, on which the last bits of a BLAS product depend
    if kind == "dict":
        return {key: unpack(each, tensors) for key, each in inside}
    return {"list": list, "tuple": tuple}[kind](unpack(each, tensors) for each in inside)
