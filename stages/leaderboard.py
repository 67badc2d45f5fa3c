"""Put evaluated models on one board: the table of strategies, the 53-task heat map, the funnel behind every row.

reads: evaluations (items and manifests, and through them the lineage of every model), then flags of flag_contamination, if any
writes: index.html, pair.html, datasets/*.html, board.json, results.json
cost: half a second a run of the whole suite, and a tenth for every pair of strategies. What may be claimed is decided by
evaluation/statistics.py (training) and evaluation/item_statistics.py (questions).
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Artifact, Inputs, Resources, stage


@config
class Leaderboard:
    strategies: tuple[str, ...]
    """Name of the strategy of each evaluation, in the order of the inputs; flags of contamination stand behind the evaluations."""
    descriptions: tuple[tuple[str, str], ...] = ()
    """(strategy, one sentence)."""
    pipeline: str = ""
    """The pipeline whose strategies these are."""
    title: str = "Curation strategies compared"


ITEM_COLUMNS = ("task", "category", "row", "correct", "prediction", "gold", "generated")


@stage(version=3, kind="artifact", takes=("table*",), needs=set(ITEM_COLUMNS), reproducible="given its evaluations; the page names date and machine")
def leaderboard(config: Leaderboard, inputs: Inputs, resources: Resources) -> Artifact:
    """Build the page, the board as JSON and the results as a table from evaluations of several strategies and seeds.

    A row says how many of its questions its training set has where the flags of that set and suite are among the inputs.
    """
    import json

    from evaluation.board import build_board
    from evaluation.page import render_site

    runs = tuple(table for table in inputs.of("table") if table.manifest.stage != "flag_contamination")
    flags = {
        (table.inputs("documents")[0].fingerprint, table.summary["suite_hash"]): table
        for table in inputs.of("table")
        if table.manifest.stage == "flag_contamination"
    }
    if len(runs) != len(config.strategies):
        raise ValueError(f"leaderboard: {len(config.strategies)} strategies are named for {len(runs)} evaluations; name one for each")
    descriptions = dict(config.descriptions)
    entries = [_entry(run, name, descriptions.get(name, ""), config.pipeline, flags) for run, name in zip(runs, config.strategies, strict=True)]
    board = build_board(entries, _tasks(entries[0]["eval_version"]), title=config.title)
    out = Path(resources.scratch)
    (out / "board.json").write_text(json.dumps(board, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    pages = render_site(board, [_dataset_page(documents) for documents in _training_sets(runs)])
    for name, page in pages.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(page, encoding="utf-8")
    results = list(_results(entries))
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    headline = " ".join(group["headline"] for group in board["groups"])
    return Artifact((*pages, "board.json", "results.json"), {"headline": headline, "results": results})


def _entry(
    run: Dataset, strategy: str, description: str, pipeline: str, flags: Mapping[tuple[str, str], Dataset] = MappingProxyType({})
) -> dict[str, Any]:
    """Describe one evaluated model as evaluation.board wants it, following its lineage back to the extraction."""
    from evaluation.aggregate import aggregate
    from evaluation.item_statistics import degenerate_answers, read_items

    model = run.inputs("artifact")[0]
    sequences = model.inputs("table")[0]
    documents = sequences.inputs("documents")[0]
    score, fit, made = run.summary, model.summary, run.manifest.provenance
    tasks = _tasks(score["eval_version"])
    baselines = {task["label"]: task["random_baseline"] for task in tasks}
    in_core = {task["label"] for task in tasks if task["in_core"]}
    core_bpb = [row["gold_bpb"] for label, row in score["tasks"].items() if label in in_core and row["gold_bpb"] is not None]
    whole = aggregate({label: row["accuracy"] for label, row in score["tasks"].items() if label in baselines}, score["eval_version"])
    items = _items(run)
    limited = bool(score.get("limited", "-limit" in score["suite"]))  # a part of the questions is another measurement: no CORE
    core, core_no_squad, extended = (None,) * 3 if limited else (score["core"], whole.core_no_squad, score["extended"])
    return {
        "strategy": strategy, "description": description, "scale": fit["scale"], "seed": fit["seed"], "suite": score["suite"],
        "eval_version": score["eval_version"], "pipeline": pipeline, "fingerprint": documents.fingerprint,
        "card": f"../../../{documents.name}/README.md",  # from <store>/leaderboard/<fingerprint>/files/
        "documents": documents.manifest.rows_out, "dataset_tokens": fit["dataset_tokens"], "train_tokens": fit["train_tokens"],
        "params": fit["params"], "epochs": fit["epochs"], "val_bpb": score["val_bpb"],
        "tasks": {label: {**row, "random_baseline": baselines[label]} for label, row in score["tasks"].items() if label in baselines},
        "core": core, "core_no_squad": core_no_squad, "extended": extended, "mmlu": whole.mmlu, "limited": limited,
        "core_bpb": sum(core_bpb) / len(core_bpb) if core_bpb else None,
        "missing": score["missing"], "reconstructed": score.get("reconstructed") or [], "items": read_items(items),
        "flags": [{"task": label, "reason": reason} for label, reason in degenerate_answers(items).items()],
        "fewshot_seed": run.manifest.config.get("fewshot_seed", 1234), "commit": made["commit"], "hardware": made["hardware"],
        "date": made["started"][:10], "train_seconds": fit["train_seconds"], "funnel": funnel(documents),
        "contamination": _contamination(items, flags.get((documents.fingerprint, score["suite_hash"]))),
    }  # fmt: skip


def _contamination(items: Any, flags: Dataset | None) -> dict[str, int] | None:
    """Of the questions that were answered: how many could be looked for in the training set, and how many it has; None where nobody looked."""
    import pyarrow.compute as pc

    from evaluation.contamination import flag_items

    if flags is None:
        return None
    seen = flag_items(items, flags.table(flags.shards[0].name, ["task", "row", "contaminated"])).column("contaminated")
    return {"questions": len(seen), "judged": len(seen) - seen.null_count, "contaminated": pc.sum(seen).as_py() or 0}


def _items(run: Dataset) -> Any:
    """The answers to every question of an evaluation; `cluster` is read where the evaluation wrote it."""
    import pyarrow as pa

    columns = [*ITEM_COLUMNS, *(name for name in ("cluster",) if name in run.schema.names)]
    tables = [run.table(shard.name, columns) for shard in run.shards if not shard.name.startswith("validation-")]
    return pa.concat_tables(tables) if tables else run.schema.empty_table().select(columns)


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
        numbers |= {"core": entry["core"], "core_no_squad": entry["core_no_squad"], "extended": entry["extended"]}
        numbers |= {"core_bpb": entry["core_bpb"], "epochs": entry["epochs"]}
        numbers |= {f"contamination/{name}": value for name, value in (entry["contamination"] or {}).items()}
        numbers |= {f"accuracy/{label}": row["accuracy"] for label, row in entry["tasks"].items()}
        for metric, value in numbers.items():
            if value is not None:
                yield {**key, "metric": metric, "value": value}


def _training_sets(runs: tuple[Dataset, ...]) -> list[Dataset]:
    """The datasets that the evaluated models were trained on, each once, by fingerprint."""
    found = [run.inputs("artifact")[0].inputs("table")[0].inputs("documents")[0] for run in runs]
    return [documents for _, documents in sorted({documents.fingerprint: documents for documents in found}.items())]


def _dataset_page(documents: Dataset) -> dict[str, Any]:
    """What `evaluation.page` shows of a training set: its card, every step's drops with samples, lengths and scores."""
    from evaluation import dataset_profile as profile

    manifest = documents.manifest
    numbers = [field.name for field in documents.schema if str(field.type) in ("halffloat", "float", "double")]
    scores = [{"title": score["column"], **score} for score in profile.number_histograms(_rows(documents, ["id", *numbers]))]
    steps, step = [], documents
    while True:
        for judge in step.inputs("sidecar"):
            if "limit" in judge.schema.names and (found := profile.verdict_histogram(_rows(judge, ["keep", "value", "limit"]))):
                scores.append({"title": f"{judge.manifest.stage}: {judge.manifest.config.get('by') or 'value'}", **found})
        samples = profile.dropped_samples(_rows(step, None, "dropped")) if step.manifest.rows_dropped else {}
        drops, seen = step.manifest.drops, [reason for _, reason in samples]
        unseen = {(step.manifest.stage, reason): [] for reason in drops if reason not in seen}  # rare ones, beyond the rows looked at
        reasons = [  # two steps of a chain may give one reason: the manifest has their sum only
            {"step": where, "reason": reason, "samples": found, "documents": drops.get(reason) if seen.count(reason) < 2 else None}
            for (where, reason), found in sorted({**samples, **unseen}.items())
        ]
        steps.append({"name": step.name, "rows_dropped": step.manifest.rows_dropped, "reasons": reasons})
        parents = step.inputs("documents")
        if not parents:
            break
        step = parents[0]
    return {
        "name": documents.name, "fingerprint": documents.fingerprint, "stage": manifest.stage, "version": manifest.version,
        "documents": manifest.rows_out, "text_bytes": manifest.text_bytes, "columns": documents.schema.names,
        "commit": manifest.provenance["commit"], "argv": manifest.provenance["argv"], "card": f"../../../../{documents.name}/README.md",
        "funnel": [{**s, "dropped": sorted(s["dropped"].items(), key=lambda item: (-item[1], item[0]))} for s in funnel(documents)],
        "steps": steps[::-1], "lengths": profile.length_histogram(_rows(documents, ["text"])), "scores": scores,
        "kept": profile.kept_samples(_rows(documents, ["id", "url", "text"])), "excerpt": profile.EXCERPT,
    }  # fmt: skip


PAGE_SHARDS, PAGE_ROWS = 16, 2000
"""A page is about at most so many shards, evenly over a dataset, and the first rows of each: it says about how many documents."""


def _rows(dataset: Dataset, columns: list[str] | None, kind: str = "documents") -> Any:
    """Yield the batches of a dataset that its page is about."""
    import pyarrow.parquet as pq

    from evaluation.dataset_profile import spread

    for shard in spread(dataset.shards, PAGE_SHARDS):
        left = PAGE_ROWS
        with pq.ParquetFile(dataset.parquet_file(shard.name, kind)) as file:
            for batch in file.iter_batches(batch_size=PAGE_ROWS, columns=columns):
                yield batch.slice(0, left)
                left -= batch.num_rows
                if left <= 0:
                    break
