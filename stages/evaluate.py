"""Score a checkpoint: the 53 tasks of a suite, item by item, and bits per byte of the validation texts.

reads: a checkpoint, its tokenizer, validation documents   writes: one row per question and per validation document
cost: one forward pass over the suite's tokens (mini-v1: about a million) and one over the validation text
The suite and its prompts: DCLM (arXiv 2406.11794), scored as llm-foundry 0.9.0 does; see evaluation/.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.stage import Inputs, Resources, stage

ITEMS = {
    "task": pa.string(),
    "category": pa.string(),
    "row": pa.int32(),
    "log_probs": pa.list_(pa.float64()),
    "num_tokens": pa.list_(pa.int32()),
    "greedy": pa.list_(pa.bool_()),
    "prediction": pa.int32(),
    "gold": pa.int32(),
    "generated": pa.string(),
    "correct": pa.bool_(),
    "gold_bpb": pa.float64(),
    "gold_prob": pa.float64(),
    "truncated": pa.int32(),
}
"""As evaluation.scorer writes them; a validation document is an item of task `validation/<text>` with its own negative log-likelihood."""


@config
class Evaluate:
    eval_data: str = location(default="")
    """Directory of tasks in llm-foundry's layout; "" = the embedded mini-v1 suite."""
    validation: tuple[str, ...] = ("prose", "reference")
    """Names of the validation texts, in the order of those inputs."""
    eval_version: str = "v2"
    """Baselines by which accuracies are centered."""
    fewshot_seed: int = 1234
    """Seed of the few-shot draws; llm-foundry's."""
    limit: int | None = None
    """At most so many questions a task (a nested subset by hash; few-shots as in the full run). The suite is then named -limitN."""
    num_threads: int = 1
    """Threads of torch: results are equal for equal numbers of threads."""


def _suite_identity(config: Evaluate) -> Mapping[str, Any]:
    from evaluation.tasks import load_suite

    return {"suite": load_suite(_suite_dir(config)).data_hash}


def _suite_dir(config: Evaluate) -> Path:
    import evaluation

    return Path(config.eval_data) if config.eval_data else Path(evaluation.__file__).parent / "mini_v1"


@stage(
    version=1, kind="reduce", takes=("artifact", "artifact", "documents*"), needs=lambda config: {"text"} if config.validation else set(),
    adds=ITEMS, uses=("torch", "tokenizers"), identity=_suite_identity, reproducible="torch, device class, num_threads",
)  # fmt: skip
def evaluate(config: Evaluate, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Score a checkpoint on every task of a suite and on the validation texts."""
    import torch

    from evaluation.aggregate import accuracies, aggregate
    from evaluation.perplexity import bits_per_byte, val_bpb
    from evaluation.protocol import HuggingFaceTokenizer
    from evaluation.requests import compile_requests
    from evaluation.scorer import score_requests
    from evaluation.tasks import load_suite
    from models.language_model import TransformerLanguageModel

    validation = inputs.of("documents")
    if len(validation) != len(config.validation):
        raise ValueError(f"evaluate: {len(config.validation)} validation texts are named for {len(validation)} inputs; name one for each")
    torch.set_num_threads(config.num_threads)
    checkpoint, tokenizer_artifact = inputs.of("artifact")
    model = TransformerLanguageModel.load(checkpoint.path / "files", device=resources.device)
    tokenizer = HuggingFaceTokenizer(tokenizer_artifact.file("tokenizer.json"))
    suite = load_suite(_suite_dir(config))

    faithful = model.max_seq_len >= 2048  # a shorter context cannot hold what the reference feeds: its truncations are counted, not refused
    requests = []
    for label, task in suite.tasks.items():
        rows = suite.rows(label)
        only = nested_subset(label, len(rows), config.limit)
        requests += compile_requests(task, rows, tokenizer, config.fewshot_seed, model.max_seq_len, faithful=faithful, only_rows=only)
    items = score_requests(model, requests, tokenizer, progress=lambda done, total: resources.report(0.9 * done / max(1, total), "tasks"))
    items = items.cast(pa.schema(list(ITEMS.items())))
    for label in suite.tasks:
        yield label, items.filter(pc.equal(items.column("task"), label))

    bpb: dict[str, float] = {}
    for name, documents in zip(config.validation, validation, strict=True):
        texts = [text for shard in documents.shards for text in documents.table(shard.name, ["text"]).column("text").to_pylist()]
        scored = bits_per_byte(model, tokenizer, texts)
        bpb[name] = val_bpb(scored)
        yield f"validation-{name}", _as_items(f"validation/{name}", scored)

    right = accuracies(items)
    whole = aggregate(right, config.eval_version)
    return {
        "suite": suite.name if config.limit is None else f"{suite.name}-limit{config.limit}",
        "suite_hash": suite.data_hash,
        "eval_version": config.eval_version,
        "core": whole.core,
        "extended": whole.extended,
        "missing": list(whole.missing),
        "missing_why": dict(suite.missing),
        "reconstructed": list(suite.reconstructed),
        "val_bpb": bpb,
        "tasks": {label: _task_summary(items, label, accuracy) for label, accuracy in right.items()},
    }


def nested_subset(label: str, num_rows: int, limit: int | None) -> set[int] | None:
    """Choose `limit` rows of a task by hash of (task, row): a smaller limit chooses a subset of a larger one. None = all."""
    if limit is None or limit >= num_rows:
        return None
    ranked = sorted(range(num_rows), key=lambda row: hashlib.sha256(f"{label}:{row}".encode()).digest())
    return set(ranked[:limit])


def _task_summary(items: pa.Table, label: str, accuracy: float) -> dict[str, Any]:
    of_task = items.filter(pc.equal(items.column("task"), label))
    return {
        "accuracy": accuracy,
        "num_items": of_task.num_rows,
        "correct": pc.sum(of_task.column("correct").cast(pa.int64())).as_py() or 0,
        "gold_bpb": pc.mean(of_task.column("gold_bpb")).as_py(),
        "truncated": pc.sum(of_task.column("truncated")).as_py() or 0,
    }


def _as_items(task: str, scored: pa.Table) -> pa.Table:
    """Write scored validation documents in the columns of items: bits per byte of the document is its gold_bpb."""
    import math

    rows = [
        {"task": task, "row": r["document"], "log_probs": [-r["nll_nats"]], "num_tokens": [r["num_tokens"]],
         "gold_bpb": r["nll_nats"] / math.log(2) / r["num_bytes"] if r["num_bytes"] else None}
        for r in scored.to_pylist()
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(list(ITEMS.items())))
