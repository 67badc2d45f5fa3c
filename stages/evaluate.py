"""Score a checkpoint: the 53 tasks of a suite, item by item, and bits per byte of the validation texts.

reads: a checkpoint, its tokenizer, validation documents   writes: one row per question and per validation document
cost: one forward pass over the suite's tokens, a context once for all its choices (mini-v1: about a million; the 53 tasks: about
140 million), and one over the validation text. What is finished lies in the scratch directory batch by batch: where that
outlives a kill, the next attempt goes on from there.
The suite and its prompts: DCLM (arXiv 2406.11794), scored as llm-foundry 0.9.0 does; see evaluation/.
"""

import json
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
    "cluster": pa.int64(),
}
"""As evaluation.scorer writes them; a validation document is an item of task `validation/<text>` with its own negative log-likelihood."""

MAX_SEQ_LEN = 2048  # llm-foundry's: a model that takes more is given no more, so that all are asked the same
END_OF_TEXT = "<|endoftext|>"  # that of a tokenizer which names none
REQUESTS = "_requests"
"""Directory of a store where compiled requests lie, by content: a suite is tokenised once for all models of one tokenizer."""
MAX_BATCH_TOKENS = {"cpu": 2**13, "cuda": 2**16}


@config
class Evaluate:
    eval_data: str = location(default="")
    """Directory of tasks in llm-foundry's layout, or a table (.csv) of tasks of one's own; "" = the embedded mini-v1 suite."""
    tasks: tuple[str, ...] = ()
    """Only these tasks, by label, or `core` (the 22); () = all of them. The suite's name then says which: it is ranked with no other part."""
    validation: tuple[str, ...] = ("prose", "reference")
    """Names of the validation texts, in the order of those inputs."""
    eval_version: str = "v2"
    """Baselines by which accuracies are centered."""
    fewshot_seed: int = 1234
    """Seed of the few-shot draws; llm-foundry's."""
    limit: int | None = None
    """At most so many questions a task (a nested subset by hash, spread over categories; few-shots as in the full run). The suite is then
    named -limitN, and limited tasks enter neither CORE nor EXTENDED."""
    num_threads: int = 1
    """Threads of torch: results are equal for equal numbers of threads."""


def _suite_identity(config: Evaluate) -> Mapping[str, Any]:
    from evaluation.subset import find_suite

    suite = find_suite(config.eval_data, config.tasks)
    return {"suite": suite.data_hash, "name": suite.name}


@stage(
    version=2, kind="reduce", takes=("artifact", "artifact", "documents*"), needs=lambda config: {"text"} if config.validation else set(),
    adds=ITEMS, uses=("torch", "tokenizers"), identity=_suite_identity, reproducible="torch, device class, num_threads",
    resumes=True,
)  # fmt: skip
def evaluate(config: Evaluate, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Score a checkpoint on every task of a suite and on the validation texts."""
    import torch

    from evaluation.aggregate import accuracies, aggregate
    from evaluation.passages import add_clusters
    from evaluation.perplexity import bits_per_byte, val_bpb
    from evaluation.protocol import HuggingFaceTokenizer
    from evaluation.request_store import stored_requests
    from evaluation.requests import compile_requests
    from evaluation.scorer import Progress, score_requests
    from evaluation.smooth import core_bpb, gold_bpb
    from evaluation.subset import find_suite, limited_tasks, nested_subset, unlimited

    validation = inputs.of("documents")
    if len(validation) != len(config.validation):
        raise ValueError(f"evaluate: {len(config.validation)} validation texts are named for {len(validation)} inputs; name one for each")
    torch.set_num_threads(config.num_threads)
    checkpoint, tokenizer_artifact = inputs.of("artifact")
    model = _load_model(checkpoint.path / "files", resources.device)
    tokenizer = HuggingFaceTokenizer(tokenizer_artifact.file("tokenizer.json"), (tokenizer_artifact.summary or {}).get("eos_token", END_OF_TEXT))
    suite = find_suite(config.eval_data, config.tasks)

    max_seq_len = min(MAX_SEQ_LEN, model.max_seq_len)
    faithful = max_seq_len == MAX_SEQ_LEN  # a shorter context cannot hold what the reference feeds: its truncations are counted, not refused
    asked = {"fewshot_seed": config.fewshot_seed, "max_seq_len": max_seq_len, "faithful": faithful}
    suite_rows = {label: suite.rows(label) for label in suite.tasks}
    if config.limit is None:
        requests = stored_requests(suite, tokenizer, checkpoint.path.parents[1] / REQUESTS, **asked)
    else:
        requests = [
            request
            for label, task in suite.tasks.items()
            for request in compile_requests(task, suite_rows[label], tokenizer, only_rows=nested_subset(task, suite_rows[label], config.limit), **asked)
        ]

    def report(at: Progress) -> None:
        left = "" if at.eta_seconds is None else f", {_duration(at.eta_seconds)} left"
        kept = f" ({at.kept_tokens:,} kept from before)" if at.kept_tokens else ""
        resources.report(0.9 * at.done_tokens / max(1, at.total_tokens), f"tasks: {at.done_tokens:,} of {at.total_tokens:,} tokens{kept}{left}")

    items = score_requests(
        model, requests, tokenizer, max_batch_tokens=MAX_BATCH_TOKENS.get(model.device.type, 2**13), progress=report,
        resume=(Path(resources.scratch) / "scored", f"{checkpoint.fingerprint}/{model.device.type}") if resources.scratch else None,
    )  # fmt: skip
    items = add_clusters(items, suite_rows.__getitem__).cast(pa.schema(list(ITEMS.items())))
    for label in suite.tasks:
        yield label, items.filter(pc.equal(items.column("task"), label))

    bpb: dict[str, float] = {}
    for name, documents in zip(config.validation, validation, strict=True):
        texts = [text for shard in documents.shards for text in documents.table(shard.name, ["text"]).column("text").to_pylist()]
        scored = bits_per_byte(model, tokenizer, texts)
        bpb[name] = val_bpb(scored)
        yield f"validation-{name}", _as_items(f"validation/{name}", scored)

    right, by_task = accuracies(items), gold_bpb(items)
    limited = limited_tasks({label: len(rows) for label, rows in suite_rows.items()}, config.limit)
    whole = aggregate(unlimited(right, limited), config.eval_version)
    smooth, smooth_tasks = core_bpb(by_task)
    return {
        "suite": suite.name if config.limit is None else f"{suite.name}-limit{config.limit}",
        "suite_hash": suite.data_hash,
        "eval_version": config.eval_version,
        "core": whole.core,
        "extended": whole.extended,
        "missing": list(suite.missing),
        "missing_why": dict(suite.missing),
        "limit": config.limit,
        "fewshot_seed": config.fewshot_seed,
        "mmlu": whole.mmlu,
        "limited": {label: str(part) for label, part in limited.items()},
        "reconstructed": list(suite.reconstructed),
        "core_bpb": smooth,
        "core_bpb_tasks": smooth_tasks,
        "val_bpb": bpb,
        "tasks": {label: _task_summary(items, label, accuracy, by_task[label]) for label, accuracy in right.items()},
    }


def _load_model(directory: Path, device: str) -> Any:
    """Load what training wrote, or what import_language_model brought: its configuration names a model_type."""
    if "model_type" in json.loads((directory / "config.json").read_text()):
        from models.huggingface import HuggingFaceLanguageModel

        return HuggingFaceLanguageModel.load(directory, device)
    from models.language_model import TransformerLanguageModel

    return TransformerLanguageModel.load(directory, device=device)


def _duration(seconds: float) -> str:
    """Time left in words, no finer than it is known."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _task_summary(items: pa.Table, label: str, accuracy: float, bpb: float | None) -> dict[str, Any]:
    of_task = items.filter(pc.equal(items.column("task"), label))
    return {
        "accuracy": accuracy,
        "num_items": of_task.num_rows,
        "correct": pc.sum(of_task.column("correct").cast(pa.int64())).as_py() or 0,
        "gold_bpb": bpb,
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
