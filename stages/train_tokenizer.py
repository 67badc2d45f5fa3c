"""Train a byte-level BPE tokenizer (Sennrich et al. 2016; byte-level as in GPT-2, Radford et al. 2019).

Bytes in, bytes out: no normalisation, no prefix space, every byte has a token, so a text is the concatenation of its
tokens.
Read: id, text -> written: tokenizer.json.
Cost: about 1.4 CPU seconds per MB of text; its distinct words in memory.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Artifact, Inputs, Resources, stage

END_OF_TEXT = "<|endoftext|>"

MEASURED_TEXT_BYTES = 16 << 20
"""Bytes per token are measured on the first so many bytes of the training text."""


@config
class TrainTokenizer:
    vocab_size: int = 32_768
    """Tokens, the 256 bytes and the special token included."""
    max_text_bytes: int = 1 << 30
    """Train on a random sample of whole documents of at most so many UTF-8 bytes over all inputs."""
    seed: int = 0
    """Of the sample."""

    def __post_init__(self) -> None:
        if self.vocab_size < 257:
            raise ValueError(
                f"train_tokenizer: vocab_size is {self.vocab_size}; 256 bytes and {END_OF_TEXT} need at least 257"
            )
        if self.max_text_bytes < 1:
            raise ValueError(f"train_tokenizer: max_text_bytes is {self.max_text_bytes}; it must be at least 1")


@stage(version=1, kind="artifact", takes=("documents*",), needs={"id", "text"}, uses=("tokenizers",))
def train_tokenizer(config: TrainTokenizer, inputs: Inputs, resources: Resources) -> Artifact:
    """Train on documents of all inputs, and write tokenizer.json; `<|endoftext|>` has id 0.

    Summary: documents and bytes trained on, the vocabulary's true size (smaller than asked for if the text has too few
    pairs) and bytes per token on the training text. Raises ValueError if the sample is empty.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    datasets = inputs.of("documents")
    chosen, sample_bytes = _choose(config, datasets)
    num_documents = sum(int(mask.sum()) for mask in chosen)
    if not sample_bytes:
        names = ", ".join(dataset.name for dataset in datasets)
        raise ValueError(
            f"train_tokenizer: no text of at most max_text_bytes={config.max_text_bytes} in {names}; raise it"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(datasets, chosen, resources), trainer=trainer)
    resources.report(0.9, f"trained on {sample_bytes:,} bytes")
    tokenizer.save(str(Path(resources.scratch) / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    measured, tokens = 0, 0
    for texts in _texts(datasets, chosen, resources):
        measured += sum(len(text.encode()) for text in texts)
        tokens += sum(len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        if measured >= MEASURED_TEXT_BYTES:
            break
    return Artifact(
        ("tokenizer.json",),
        {
            "vocab_size": tokenizer.get_vocab_size(),
            "num_documents": num_documents,
            "num_text_bytes": sample_bytes,
            "bytes_per_token": round(measured / tokens, 4),
            "measured_text_bytes": measured,
        },
    )


def _choose(config: TrainTokenizer, datasets: tuple[Dataset, ...]) -> tuple[list[np.ndarray], int]:
    """A mask of the chosen documents of every dataset, and their bytes."""
    from stages.kernels.seeded_order import derived_seed, fill_budget, hash_ids

    hashes, sizes, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], []
    for number, dataset in enumerate(datasets):
        seed = derived_seed("train_tokenizer", config.seed, number)
        for shard in dataset.shards:
            for batch in dataset.batches(shard.name, ["id", "text"]):
                hashes.append(hash_ids(batch.column("id"), seed))
                sizes.append(pc.binary_length(batch.column("text")).cast(pa.int64()).fill_null(0).to_numpy())
        lengths.append(sum(shard.rows_out for shard in dataset.shards))
    size = np.concatenate(sizes)
    chosen = fill_budget(np.concatenate(hashes), size, config.max_text_bytes)
    return np.split(chosen, np.cumsum(lengths)[:-1]), int(size[chosen].sum())


def _texts(datasets: tuple[Dataset, ...], chosen: list[np.ndarray], resources: Resources) -> Iterator[list[str]]:
    """The chosen texts, a batch at a time."""
    for dataset, mask in zip(datasets, chosen, strict=True):
        row = 0
        for shard in dataset.shards:
            for batch in dataset.batches(shard.name, ["text"]):
                texts = batch.column("text").filter(pa.array(mask[row : row + batch.num_rows], pa.bool_()))
                row += batch.num_rows
                if len(texts):
                    yield texts.drop_null().to_pylist()
            resources.report(0.0, f"read {shard.name}")
