"""Put evaluated models on one board: the table of strategies, the 53-task heat map, the funnel behind every row.

reads: evaluations (their manifests, and through them the lineage of every model)   writes: index.html, board.json, results.parquet
cost: milliseconds a run. What may be claimed is decided by evaluation/statistics.py.
"""

from pathlib import Path
from typing import Any

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Artifact, Inputs, Resources, stage


@config
class Leaderboard:
    strategies: tuple[str, ...]
    """Name of the strategy of each evaluation, in the order of the inputs."""
    descriptions: tuple[tuple[str, str], ...] = ()
    """(strategy, one sentence)."""
    pipeline: str = ""
    """The pipeline whose strategies these are."""
    title: str = "Curation strategies compared"


@stage(version=1, kind="artifact", takes=("table*",), needs={"task", "correct"}, reproducible="given its evaluations; the page names date and machine")
def leaderboard(config: Leaderboard, inputs: Inputs, resources: Resources) -> Artifact:
    """Build the page, the board as JSON and the results as a table from evaluations of several strategies and seeds."""
    import json

    from evaluation.leaderboard import build_board, render

    runs = inputs.of("table")
    if len(runs) != len(config.strategies):
        raise ValueError(f"leaderboard: {len(config.strategies)} strategies are named for {len(runs)} evaluations; name one for each")
    descriptions = dict(config.descriptions)
    entries = [_entry(run, name, descriptions.get(name, ""), config.pipeline) for run, name in zip(runs, config.strategies, strict=True)]
    board = build_board(entries, _tasks(entries[0]["eval_version"]), title=config.title)
    out = Path(resources.scratch)
    (out / "board.json").write_text(json.dumps(board, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "index.html").write_text(render(board), encoding="utf-8")
    results = list(_results(entries))
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    headline = " ".join(group["headline"] for group in board["groups"])
    return Artifact(("index.html", "board.json", "results.json"), {"headline": headline, "results": results})


def _entry(run: Dataset, strategy: str, description: str, pipeline: str) -> dict[str, Any]:
    """Describe one evaluated model as evaluation.leaderboard wants it, following its lineage back to the extraction."""
    model = run.inputs("artifact")[0]
    sequences = model.inputs("table")[0]
    documents = sequences.inputs("documents")[0]
    score, fit, made = run.summary, model.summary, run.manifest.provenance
    tasks = _tasks(score["eval_version"])
    baselines = {task["label"]: task["random_baseline"] for task in tasks}
    in_core = {task["label"] for task in tasks if task["in_core"]}
    core_bpb = [row["gold_bpb"] for label, row in score["tasks"].items() if label in in_core and row["gold_bpb"] is not None]
    return {
        "strategy": strategy, "description": description, "scale": fit["scale"], "seed": fit["seed"], "suite": score["suite"],
        "eval_version": score["eval_version"], "pipeline": pipeline, "fingerprint": documents.fingerprint,
        "card": f"../../../{documents.name}/README.md",  # from <store>/leaderboard/<fingerprint>/files/
        "documents": documents.manifest.rows_out, "dataset_tokens": fit["dataset_tokens"], "train_tokens": fit["train_tokens"],
        "epochs": fit["epochs"], "val_bpb": score["val_bpb"],
        "tasks": {label: {**row, "random_baseline": baselines[label]} for label, row in score["tasks"].items()},
        "core": score["core"], "extended": score["extended"], "core_bpb": sum(core_bpb) / len(core_bpb) if core_bpb else None,
        "missing": score["missing"], "commit": made["commit"], "hardware": made["hardware"], "date": made["started"][:10],
        "train_seconds": fit["train_seconds"], "funnel": funnel(documents),
    }  # fmt: skip


def funnel(documents: Dataset) -> list[dict[str, Any]]:
    """Walk from a dataset back to its extraction; return the steps that can drop, first to last, with their reasons."""
    steps: list[dict[str, Any]] = []
    while True:
        manifest = documents.manifest
        judges = documents.inputs("sidecar")
        name = judges[0].manifest.stage if manifest.stage == "apply_verdicts" and judges else manifest.stage
        steps.append(
            {"node": name, "stage": manifest.stage, "documents_in": manifest.rows_in, "documents_out": manifest.rows_out, "dropped": manifest.drops}
        )
        parents = documents.inputs("documents")
        if not parents:
            return steps[::-1]
        documents = parents[0]


def _tasks(eval_version: str) -> list[dict[str, Any]]:
    from evaluation.tasks import load_tasks

    return [
        {"label": t.label, "category": t.category, "task_type": t.task_type, "random_baseline": getattr(t, f"baseline_{eval_version}") / 100, "in_core": t.in_core}
        for t in load_tasks().values()
    ]


def _results(entries: list[dict[str, Any]]) -> Any:
    """Yield one row per run and metric: what `meta.results` holds."""
    for entry in entries:
        key = {name: entry[name] for name in ("strategy", "scale", "seed", "suite", "eval_version")}
        numbers = {f"val_bpb/{name}": value for name, value in entry["val_bpb"].items()}
        numbers |= {"core": entry["core"], "extended": entry["extended"], "core_bpb": entry["core_bpb"], "epochs": entry["epochs"]}
        numbers |= {f"accuracy/{label}": row["accuracy"] for label, row in entry["tasks"].items()}
        for metric, value in numbers.items():
            if value is not None:
                yield {**key, "metric": metric, "value": value}
