"""Bring a Hugging Face causal language model into a plan, so that it is evaluated as our own models are.

Read: a directory as `save_pretrained` leaves it, or one GGUF file, whose weights are de-quantised (say so where a number of theirs is
shown: it is not the model that they were quantised from) -> written: config.json, model*.safetensors, tokenizer.json.
`evaluate` takes the result for both of its artifacts, checkpoint and tokenizer. Cost: one read and one write of the weights.
"""

import hashlib
import math
import shutil
from pathlib import Path

from stages.core.config import config, location
from stages.core.stage import Artifact, Inputs, Resources, stage

IDENTIFYING = ("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "*.model")
"""Files of a directory that decide what the model is and how it reads text."""
COPIED = ("config.json", "*.safetensors", "*.safetensors.index.json")


@config
class ImportLanguageModel:
    model: str = location()
    """A local directory with config.json, safetensors and a tokenizer, or a .gguf file."""


@stage(version=1, kind="artifact", takes=(), uses=("torch", "transformers", "tokenizers"), identity=lambda config: {"model": model_digest(config.model)})
def import_language_model(config: ImportLanguageModel, inputs: Inputs, resources: Resources) -> Artifact:
    """Copy or convert the model and its tokenizer. Summary: architecture, parameters, longest input, eos_token, de-quantised or not.

    Raises ValueError if there is no such model, or if its tokenizer names no end of text.
    """
    from transformers import AutoConfig, AutoTokenizer

    source, target = Path(config.model), Path(resources.scratch)
    _files(config.model)
    if source.suffix == ".gguf":
        from models.huggingface import read_gguf

        read = read_gguf(source)
        resources.report(0.5, "weights de-quantised")
        read.save_pretrained(target)
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    else:
        for path in (path for pattern in COPIED for path in sorted(source.glob(pattern))):
            shutil.copyfile(path, target / path.name)
        tokenizer = AutoTokenizer.from_pretrained(str(source))
    if tokenizer.eos_token is None:
        raise ValueError(f"import_language_model: the tokenizer of {source} has no eos_token; name it in its tokenizer_config.json")
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    shape = AutoConfig.from_pretrained(str(target))
    kept = (path.name for pattern in (*COPIED, "tokenizer.json") for path in sorted(target.glob(pattern)))
    return Artifact(
        tuple(kept),
        {
            "architecture": (shape.architectures or [shape.model_type])[0],
            "params": _num_parameters(target),
            "max_seq_len": getattr(shape, "max_position_embeddings", None),
            "eos_token": tokenizer.eos_token,
            "dequantised": source.suffix == ".gguf",
            "source_sha256": model_digest(config.model),
        },
    )


def model_digest(model: str) -> str:
    """Return the sha256 over names and bytes of the files that decide what the model is."""
    digest = hashlib.sha256()
    for path in _files(model):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(model: str) -> list[Path]:
    """Find the files of a model; ValueError where they are not all there."""
    source = Path(model)
    if source.suffix == ".gguf" and source.is_file():
        return [source]
    found = sorted({path for pattern in IDENTIFYING for path in source.glob(pattern)})
    if not (source / "config.json").is_file() or not any(path.suffix == ".safetensors" for path in found):
        raise ValueError(
            f"import_language_model: {model} is neither a .gguf file nor a directory with config.json and safetensors; fetch a model "
            "with `hf download OWNER/NAME --local-dir DIR`"
        )
    return found


def _num_parameters(directory: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="np") as opened:
            total += sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())
    return total
