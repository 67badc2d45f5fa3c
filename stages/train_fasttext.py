"""Train a fastText classifier that tells wanted documents from ordinary ones, with DCLM's settings.

DCLM (Li et al. 2024, section 4.3): 200k positives (OpenHermes 2.5 and ELI5) against 200k random documents of the pool,
bigrams, everything else fastText's default (Joulin et al. 2017, "Bag of tricks for efficient text classification").
Read: id, text of positives and of negatives -> written: model.bin.
Cost: about 1.5 CPU seconds per MB of text for 5 epochs; (bucket + words) * dim * 4 bytes of memory and of disk, 0.8 GB
by default.
"""

import heapq
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Artifact, Inputs, Resources, stage

LABELS = ("__label__hq", "__label__cc")

LABEL_WORD = re.compile(r"(?<![^ \t\v\f\r\0])__label__[^ \t\v\f\r\0]*")
"""A word of a page that fastText would take for a label of the example; prediction passes over such words as well."""

LEARNT = 0.01
"""Share of its own examples that a classifier must get right beyond those of the larger label."""

RUN_LINES = 20_000
"""Examples that are sorted in memory at once; sorted runs are merged from disk."""


@config
class TrainFasttext:
    num_positives: int | None = 200_000
    """Most positives, sampled by the hash of their ids; None takes all."""
    num_negatives: int | None = 200_000
    """Most negatives, likewise."""
    seed: int = 0
    """Of the samples, of the order of the examples and of fastText itself."""
    word_n_grams: int = 2
    """Longest n-gram of words that is a feature."""
    lr: float = 0.1
    """Learning rate at the start; it falls linearly to 0."""
    dim: int = 100
    """Size of the word vectors."""
    epoch: int = 5
    """Passes over the examples."""
    min_count: int = 1
    """Words that are rarer are left out."""
    bucket: int = 2_000_000
    """Buckets that n-grams are hashed into."""
    loss: Literal["softmax", "ova", "hs", "ns"] = "softmax"
    """Loss of the classifier."""

    def __post_init__(self) -> None:
        for name in ("num_positives", "num_negatives", "word_n_grams", "dim", "epoch", "min_count", "bucket"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"train_fasttext: {name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"train_fasttext: seed is {self.seed}; fastText takes 0 to 2^31 - 1")


@stage(
    version=1,
    kind="artifact",
    takes=("documents", "documents"),
    needs={"id", "text"},
    uses=("fasttext-community",),
    memory_bytes=lambda config: config.bucket * config.dim * 4,  # the n-gram vectors; those of the words come on top
    reproducible="one thread, same processor features",
)
def train_fasttext(config: TrainFasttext, inputs: Inputs, resources: Resources) -> Artifact:
    """Train on positives (first input, `__label__hq`) and negatives (second, `__label__cc`), and write model.bin.

    One thread. A text is stripped and its lines are joined with spaces; words that look like labels are left out. The
    examples are mixed in the order of a hash, because fastText reads its file in order. Summary: examples per label,
    accuracy on them and the share of the larger label, which is what always guessing it would score; both in [0, 1].
    Raises ValueError if either input has no text.
    """
    import fasttext

    scratch = Path(resources.scratch)
    examples, model_file = scratch / "examples.txt", scratch / "model.bin"
    counts = _write_examples(config, inputs.of("documents"), examples, resources)
    resources.report(0.1, f"training on {sum(counts):,} examples")
    try:
        model = fasttext.train_supervised(
            str(examples),
            wordNgrams=config.word_n_grams,
            lr=config.lr,
            dim=config.dim,
            epoch=config.epoch,
            minCount=config.min_count,
            bucket=config.bucket,
            loss=config.loss,
            seed=config.seed,
            thread=1,
            verbose=0,
        )
        tested, precision, _ = model.test(str(examples))
    finally:
        examples.unlink()
    model.save_model(str(model_file))
    accuracy, majority = round(float(precision), 6), round(max(counts) / sum(counts), 6)
    summary = {
        "num_positives": counts[0],
        "num_negatives": counts[1],
        "num_examples_tested": tested,
        "training_accuracy": accuracy,
        "majority_share": majority,
        "num_words": len(model.get_words()),
        "labels": sorted(model.get_labels()),
    }
    if accuracy < majority + LEARNT:
        told = f"the classifier is right about {accuracy:.1%} of its own examples, and always guessing the larger label would be right about"
        summary["warnings"] = [f"{told} {majority:.1%}: it learnt next to nothing; raise epoch or lr, or give it more pages"]
    return Artifact(("model.bin",), summary)


def _write_examples(
    config: TrainFasttext, datasets: tuple[Dataset, ...], target: Path, resources: Resources
) -> list[int]:
    """Write one line per example in the order of hashes; return the examples per label."""
    counts, runs, lines = [0, 0], [], []

    def close_run() -> None:
        runs.append(target.with_name(f"run-{len(runs):05d}.txt"))
        runs[-1].write_text("".join(sorted(lines)), encoding="utf-8", newline="")
        lines.clear()

    for number, (dataset, most) in enumerate(zip(datasets, (config.num_positives, config.num_negatives), strict=True)):
        for hash_, text in _sample(dataset, most, config.seed, LABELS[number], resources):
            words = LABEL_WORD.sub("", " ".join(text.strip().splitlines()))
            if words.strip():
                counts[number] += 1
                lines.append(f"{hash_:016x} {LABELS[number]} {words}\n")
            if len(lines) >= RUN_LINES:
                close_run()
        if not counts[number]:
            raise ValueError(f"train_fasttext: {dataset.name} has no text for {LABELS[number]}; give it documents")
    close_run()
    with ExitStack() as stack, open(target, "w", encoding="utf-8", newline="") as file:
        opened = [stack.enter_context(open(run, encoding="utf-8", newline="\n")) for run in runs]
        for line in heapq.merge(*opened):
            file.write(line[17:])
    for run in runs:
        run.unlink()
    return counts


def _sample(
    dataset: Dataset, most: int | None, seed: int, label: str, resources: Resources
) -> Iterator[tuple[int, str]]:
    """Place in the order of examples, and text, of the `most` documents of the smallest hashes.

    The place is a second hash: the one that chose the sample would put the rarer label first.
    """
    from stages.kernels.seeded_order import derived_seed, hash_ids, smallest

    choosing, ordering = (
        derived_seed("train_fasttext", "sample", seed, label),
        derived_seed("train_fasttext", "order", seed, label),
    )
    hashed = [hash_ids(dataset.table(shard.name, ["id"]).column("id"), choosing) for shard in dataset.shards]
    hashes = np.concatenate([np.zeros(0, np.uint64), *hashed])
    chosen = smallest(hashes, len(hashes) if most is None else most)
    row = 0
    for shard in dataset.shards:
        for batch in dataset.batches(shard.name, ["id", "text"], resources.batch_rows):
            places = hash_ids(batch.column("id"), ordering)
            for i in np.flatnonzero(chosen[row : row + batch.num_rows]):
                yield int(places[i]), batch.column("text")[int(i)].as_py() or ""
            row += batch.num_rows
        resources.report(0.0, f"read {shard.name}")
