"""The board of curation strategies as data: runs in, one strict-JSON board out.

`build_board` groups runs by suite, scale, metric version, pool, origin and state of the data (different ones are never ranked
together), asks `evaluation.statistics` what may be claimed and writes it down as plain data, equal for equal input in any
order. `table` turns a board into rows for a terminal; `evaluation.page` into a page.

An entry is one run: strategy, scale, seed, suite, eval_version (all needed) and, where they are known, pool, origin ("" is
measured here, else published, submitted, lm-eval), description, pipeline, fingerprint, card, documents, dataset_tokens,
train_tokens, params, epochs, recipe, val_bpb {text: bits}, tasks {label: accuracy, num_items, correct, random_baseline,
gold_bpb}, core, core_no_squad, extended, core_bpb, mmlu, scores {metric: number} with score_errors, items (`item_statistics.read_items`),
fewshot_seed, limited, reconstructed [labels], missing [labels], flags [{task, reason}], commit, hardware, date,
train_seconds, funnel, contamination.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evaluation.decisions import MIN_DATASETS, decide
from evaluation.heat_map import heat_map, mean_counts
from evaluation.item_statistics import (
    ItemDifference,
    ItemInterval,
    SuiteIntervals,
    compare_items,
    mean_items,
    suite_intervals,
)
from evaluation.ranking import (
    ITEM_SCORES,
    Run,
    Runs,
    finite,
    format_number,
    item_facts,
    join_names,
    mean,
    metrics_of,
    ranking,
)
from evaluation.statistics import TaskCount, centered_chance_test, chance_test
from evaluation.unpaired import compare_counts, suite_count_intervals

__all__ = ["BOARD_VERSION", "CORE_SCALES", "GROUP_FIELDS", "build_board", "format_number", "merge_boards", "table"]

BOARD_VERSION = 2
GROUP_FIELDS = ("suite", "scale", "eval_version", "pool", "origin", "data")
"""Runs that differ in one of these are never ranked together; the last three may be empty. `data` is "reconstructed" where a
task file is a reconstruction: right questions, unverified layout."""
CORE_SCALES = ("400m-1x", "1b-1x", "1b-5x", "3b-1x", "7b-1x", "7b-2x")
"""DCLM's scales rank by CORE; below them accuracies are at chance and held-out text ranks (2504.11393). Fixed here,
not chosen after seeing the numbers. Imported rows have no held-out text and rank by CORE at every scale."""
MAX_PAIRED = 12
"""Item-level comparisons are written out for all pairs of so many strategies; above, for those with the first one only."""


def build_board(entries: Sequence[Run], tasks: Sequence[Run] = (), title: str = "Curation strategies") -> dict:
    """Return the board of these runs, one entry a (strategy, scale, seed), as strict JSON data.

    `tasks` rows are {"label", "category", "task_type", "random_baseline", "in_core"}. Accuracies, baselines, CORE and
    EXTENDED are fractions. Raises ValueError when a run lacks a field, when two runs have the same seed in one group,
    and when a count or a baseline is impossible.
    """
    groups: dict[tuple[str, ...], dict[str, list[Run]]] = {}
    for entry in entries:
        _check_entry(entry)
        if entry.get("limited"):  # part of a task's questions is another measurement: it has no CORE
            entry = {**entry, **dict.fromkeys(ITEM_SCORES)}
        groups.setdefault(_key(entry), {}).setdefault(entry["strategy"], []).append(entry)
    built = []
    for key, by_strategy in groups.items():
        runs = {name: sorted(by_strategy[name], key=lambda run: run["seed"]) for name in sorted(by_strategy)}
        _check_seeds(key, runs)
        built.append(_group(key, runs, tasks))
    # Measured here before imported, then the largest comparison.
    built.sort(key=lambda group: (group["origin"] != "", -len(group["strategies"]), [group[field] for field in GROUP_FIELDS]))
    board = {
        "board_version": BOARD_VERSION,
        "title": title,
        "headline": built[0]["headline"] if built else "No runs yet.",
        "groups": built,
        "decisions": _decisions(groups),
    }
    # Through JSON and back: what render sees is what a reader of the file sees, and NaN can not hide.
    return json.loads(json.dumps(board, allow_nan=False, sort_keys=True))


def merge_boards(boards: Sequence[Mapping[str, Any]], title: str) -> dict:
    """One board with the groups of several, in their order: nothing is ranked anew, since groups are never compared.

    Raises ValueError where two boards hold the same group, and for a board of another version.
    """
    seen: set[tuple[str, ...]] = set()
    for board in boards:
        if board["board_version"] != BOARD_VERSION:
            raise ValueError(f"merge_boards: a board of version {board['board_version']}, this is {BOARD_VERSION}; build it again")
        for group in board["groups"]:
            key = tuple(group[field] for field in GROUP_FIELDS)
            if key in seen:
                raise ValueError(f"merge_boards: two boards have the group {key}; build one board from the runs of both")
            seen.add(key)
    groups = [group for board in boards for group in board["groups"]]
    return {
        "board_version": BOARD_VERSION,
        "title": title,
        "headline": groups[0]["headline"] if groups else "No runs yet.",
        "groups": groups,
        "decisions": [decision for board in boards for decision in board["decisions"]],
    }


def table(board: Mapping[str, Any]) -> list[dict]:
    """Return one row per (group, strategy), best first, with the ranking metric of its group."""
    rows = []
    for group in board["groups"]:
        metric = next(m for m in group["metrics"] if m["name"] == group["primary"])
        facts = {row["strategy"]: row for row in group["strategies"]}
        for arm in metric["arms"]:
            row = facts[arm["strategy"]]
            rows.append(
                {field: group[field] for field in GROUP_FIELDS}
                | {key: arm[key] for key in ("mark", "strategy", "mean", "low", "high", "status", "reason")}
                | {"metric": metric["name"], "seeds": len(row["seeds"]), "val_bpb": row["val_bpb"]}
                | {name: row[name]["mean"] if row[name] else None for name in ITEM_SCORES}
                | {f"{name}_at_chance": row[name]["at_chance"] if row[name] else None for name in ITEM_SCORES}
                | {key: row[key] for key in ("train_tokens", "epochs", "fingerprints")}
                | {"flags": len(row["flags"])}
            )
    return rows


def _key(entry: Run) -> tuple[str, ...]:
    data = "reconstructed" if entry.get("reconstructed") else entry.get("data")
    return tuple(str((data if field == "data" else entry.get(field)) or "") for field in GROUP_FIELDS)


def _check_entry(entry: Run) -> None:
    for field in ("strategy", "suite", "scale", "seed", "eval_version"):
        if entry.get(field) in (None, ""):
            name = f"{entry.get('strategy')!r} seed {entry.get('seed')!r}"
            raise ValueError(f"leaderboard: the run {name} has no {field!r}; every run names its group and seed")


def _check_seeds(key: tuple[str, ...], runs: Runs) -> None:
    for name, arm in runs.items():
        seeds = [run["seed"] for run in arm]
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise ValueError(
                    f"leaderboard: {name!r} has {seeds.count(seed)} runs with seed {seed} in {key}; "
                    "keep one (a repeated run is no new evidence)"
                )


def _group(key: tuple[str, ...], runs: Runs, tasks: Sequence[Run]) -> dict:
    everything = [run for arm in runs.values() for run in arm]
    texts = sorted({text for run in everything for text in run.get("val_bpb") or {}})
    names = sorted({name for run in everything for name in run.get("scores") or {}})
    # CORE-21 is a column only where somebody has no CORE: where all have it, it would be a second, poorer CORE.
    whole = all(run.get("core") is not None for run in everything)
    measured = [
        m for m in metrics_of(texts, names)
        if any(m.read(run) is not None for run in everything) and not (m.name == "core_no_squad" and whole)
    ]  # fmt: skip
    if not measured:
        raise ValueError(f"leaderboard: no run in {key} has val_bpb, core_bpb, core or extended; nothing to rank")
    facts = dict(zip(GROUP_FIELDS, key, strict=True))
    wanted = "core" if facts["scale"].lower() in CORE_SCALES or facts["origin"] else "val_bpb"
    fallback = next((m for m in measured if wanted == "core" and m.name == "core_no_squad"), measured[0])
    primary = next((m for m in measured if m.name == wanted), fallback)
    intervals = {name: {run["seed"]: _intervals(run) for run in arm} for name, arm in runs.items()}
    items = {
        name: {
            run["seed"]: {score: getattr(intervals[name][run["seed"]], score) for score in ITEM_SCORES} | _imported_intervals(run)
            for run in arm
        }
        for name, arm in runs.items()
    }
    metrics = [ranking(metric, runs, items) for metric in measured]
    chosen = next(m for m in metrics if m["name"] == primary.name)
    order = [arm["strategy"] for arm in chosen["arms"]]
    ranked_by = f"Ranked by {primary.label}" + ("" if primary.name == wanted else f", because no run has {wanted}")
    errors = {name: _task_errors(list(arm.values())) for name, arm in intervals.items()}
    return facts | {
        "primary": primary.name,
        "ranked_by": ranked_by + ".",
        "headline": chosen["headline"],
        "texts": texts,
        "metrics": metrics,
        "strategies": [_strategy(name, runs[name], texts, tasks, intervals[name]) for name in order],
        "heat_map": heat_map({name: runs[name] for name in order}, tasks, errors),
        "item_pairs": _item_pairs(order, runs, facts["eval_version"]),
        "notes": _notes(runs, chosen),
        "provenance": {
            "runs": len(everything),
            "seeds": sorted({run["seed"] for run in everything}),
            "train_seconds": math.fsum(run.get("train_seconds") or 0.0 for run in everything),
            **{f: _distinct(everything, f) for f in ("commit", "hardware", "date", "pipeline")},
        },
    }


def _intervals(run: Run) -> SuiteIntervals:
    seed, version = run.get("fewshot_seed", 1234), run["eval_version"]
    version = version if version in ("v1", "v2") else "v2"
    if run.get("items"):
        return suite_intervals(run["items"], version, seed)
    known = {label: row for label, row in (run.get("tasks") or {}).items() if row["num_items"] > 0}
    accuracies = {label: row["accuracy"] for label, row in known.items()}
    return suite_count_intervals(accuracies, {label: row["num_items"] for label, row in known.items()}, version, seed)


def _imported_intervals(run: Run) -> dict[str, ItemInterval]:
    """Item intervals of imported scores, by the standard errors that came with them."""
    found = {}
    for name, error in (run.get("score_errors") or {}).items():
        value = run["scores"][name]
        found[f"score:{name}"] = ItemInterval(
            estimate=value, standard_error=error, low=value - 1.96 * error, high=value + 1.96 * error, num_items=0, num_clusters=0,
            degrees=math.inf, few=(), condition="standard error as imported, questions taken as independent",
        )  # fmt: skip
    return found


def _task_errors(runs: Sequence[SuiteIntervals]) -> dict[str, float]:
    """The item standard error of one run a task: the mean of the runs' variances, its root (they answer the same questions)."""
    labels = {label for run in runs for label in run.tasks}
    found = {label: [run.tasks[label].standard_error for run in runs if label in run.tasks] for label in labels}
    return {label: math.sqrt(math.fsum(e * e for e in errors) / len(errors)) for label, errors in found.items()}


def _strategy(
    name: str, arm: Sequence[Run], texts: Sequence[str], tasks: Sequence[Run], intervals: Mapping[int, SuiteIntervals]
) -> dict:
    first = arm[0]
    core = {task["label"] for task in tasks if task["in_core"]}
    counts = mean_counts(arm)
    parts = {
        "core": [count for label, count in counts.items() if label in core],
        "core_no_squad": [count for label, count in counts.items() if label in core and label != "squad"],
        "extended": list(counts.values()),
    }
    params, tokens = first.get("params"), first.get("train_tokens")
    return {
        "strategy": name,
        "description": first.get("description") or "",
        "card": first.get("card"),
        "fingerprints": _distinct(arm, "fingerprint"),
        **{f: first.get(f) for f in ("pipeline", "documents", "dataset_tokens", "train_tokens", "epochs", "params")},
        "flops": 6 * params * tokens if params and tokens else None,  # the estimate that DCLM publishes
        "recipe": first.get("recipe"),
        "contamination": first.get("contamination"),
        "seeds": [run["seed"] for run in arm],
        "runs": [_run(run, intervals[run["seed"]]) for run in arm],
        "val_bpb": {text: mean((run.get("val_bpb") or {}).get(text) for run in arm) for text in texts},
        "core_bpb": mean(run.get("core_bpb") for run in arm),
        "mmlu": mean(run.get("mmlu") for run in arm),
        **{score: _aggregate(mean(run.get(score) for run in arm), parts[score]) for score in ITEM_SCORES},
        "limited": any(run.get("limited") for run in arm),
        "missing": sorted({label for run in arm for label in run.get("missing") or ()}),
        "flags": [
            {"task": flag["task"], "reason": flag["reason"], "seed": run["seed"]} for run in arm for flag in run.get("flags") or ()
        ],
        "funnel": [
            {key: step[key] for key in ("node", "stage", "documents_in", "documents_out")}
            | {"dropped": [list(item) for item in sorted(step["dropped"].items(), key=lambda kv: (-kv[1], kv[0]))]}
            for step in first.get("funnel") or ()
        ],
    }


def _run(run: Run, intervals: SuiteIntervals) -> dict:
    """One run: its scores, and beside each the item interval, which says nothing about training."""
    categories = {name: item_facts(found) | {"mean": found.estimate} for name, found in sorted(intervals.categories.items())}
    return {
        "seed": run["seed"],
        "scores": {score: value if finite(value := run.get(score)) else None for score in (*ITEM_SCORES, "core_bpb", "mmlu")},
        "items": {score: item_facts(getattr(intervals, score)) for score in ITEM_SCORES if run.get(score) is not None},
        "categories": categories,
        "item_condition": next((found.condition for found in intervals.tasks.values()), None),
    }


def _aggregate(mean_score: float | None, counts: Sequence[TaskCount]) -> dict | None:
    if mean_score is None or not counts:
        return None if mean_score is None else {"mean": mean_score, "at_chance": None, "above": None, "num_tasks": None}
    above = sum(not chance_test(count).at_chance for count in counts)
    test = centered_chance_test(counts)
    return {"mean": mean_score, "at_chance": test.at_chance, "above": above, "num_tasks": len(counts)}


def _item_pairs(order: Sequence[str], runs: Runs, eval_version: str) -> dict:
    """Question-level comparisons of trained models, in columns: what differs between these models, whatever the seeds say."""
    wanted = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    if len(order) > MAX_PAIRED:
        wanted = wanted[: len(order) - 1]
    if eval_version not in ("v1", "v2"):
        wanted = []
    with_items = {
        name: mean_items([run["items"] for run in runs[name]]) for name in order if wanted and all(run.get("items") for run in runs[name])
    }
    accuracies = {
        name: {label: mean(run["tasks"][label]["accuracy"] for run in arm) for label in arm[0].get("tasks") or {}
               if all(label in (run.get("tasks") or {}) for run in arm)}
        for name, arm in runs.items()
    }  # fmt: skip
    sizes = {label: row["num_items"] for arm in runs.values() for run in arm for label, row in (run.get("tasks") or {}).items()}
    pairs = []
    for a, b in wanted:
        paired = a in with_items and b in with_items
        found = (
            compare_items(with_items[a], with_items[b], eval_version)
            if paired
            else compare_counts(accuracies[a], accuracies[b], sizes, eval_version)
        )
        if found:
            pairs.append({"first": a, "second": b, "paired": paired} | _columns(found))
    return {
        "scope": "these trained models on these questions; says nothing about another training seed",
        "correction": "task p-values are adjusted by Benjamini-Hochberg over the tasks of the pair",
        "complete": len(wanted) == len(order) * (len(order) - 1) // 2,
        "pairs": pairs,
    }


def _columns(found: Sequence[ItemDifference]) -> dict[str, list]:
    tests = list(dict.fromkeys(difference.test for difference in found))
    numbers = ("effect", "low", "high", "p_value", "p_adjusted")
    return {
        "scores": [difference.score for difference in found],
        **{name: [float(f"{getattr(difference, name):.5g}") for difference in found] for name in numbers},
        "marked": [difference.marked for difference in found],
        "tests": tests,
        "test": [tests.index(difference.test) for difference in found],
    }


def _decisions(groups: Mapping[tuple[str, ...], Mapping[str, Sequence[Run]]]) -> list[dict]:
    """Decision accuracy between every two scales of one kind, by the metrics that both have."""
    by_kind: dict[tuple[str, ...], list[dict]] = {}
    place = GROUP_FIELDS.index("scale")
    for key, arms in groups.items():
        rows = by_kind.setdefault(key[:place] + key[place + 1 :], [])
        for name, arm in arms.items():
            bits = [mean((run.get("val_bpb") or {None: None}).values()) for run in arm]
            recipe = arm[0].get("recipe") or {}
            wrong = {flag["task"] for run in arm for flag in run.get("flags") or ()}
            rows.append(
                {"dataset": arm[0].get("dataset", name), "scale": key[place], "lr": recipe.get("lr"), "wd": recipe.get("wd")}
                | {"date": arm[0].get("date") or "", "source": name, "params": arm[0].get("params")}
                | {"tokens": max(run.get("train_tokens") or 0 for run in arm)}
                | {score: mean(run.get(score) for run in arm) for score in (*ITEM_SCORES, "core_bpb")}
                | {"val_bpb": mean(bits), "unusable": ["extended", *(["core"] if "squad" in wrong else [])] if wrong else []}
            )
    found = []
    for kind, rows in sorted(by_kind.items()):
        known = all(row["params"] for row in rows)  # a scale's size is its compute, or its tokens where a model's size is unknown
        size: dict[str, int] = {}
        for row in rows:
            size[row["scale"]] = max(size.get(row["scale"], 0), row["tokens"] * (row["params"] if known else 1))
        metrics = ["val_bpb", "core_bpb", "core", "extended"]
        if any(row["core"] is None for row in rows):
            metrics.append("core_no_squad")
        scales = sorted((scale for scale in size if size[scale]), key=lambda scale: (size[scale], scale))
        for i, small in enumerate(scales):
            for large in scales[i + 1 :]:
                for metric in metrics:
                    decisions = decide(rows, small, large, metric)
                    if len(decisions.datasets) >= 2:
                        facts = asdict(decisions)
                        if decisions.accuracy is not None:
                            facts["pairs"] = [pair for pair in facts["pairs"] if pair["agrees"] is not True]
                        fields = [field for field in GROUP_FIELDS if field != "scale"]
                        found.append(dict(zip(fields, kind, strict=True)) | facts | {"min_datasets": MIN_DATASETS})
    return found


def _notes(runs: Runs, metric: Mapping[str, Any]) -> list[str]:
    everything = [run for arm in runs.values() for run in arm]
    untested: dict[str, list[str]] = {}
    for arm in metric["arms"]:
        if arm["reason"]:
            untested.setdefault(arm["reason"], []).append(arm["strategy"])
    notes = [
        f"{join_names(names)} {'takes' if len(names) == 1 else 'take'} part in no test: {reason}." for reason, names in untested.items()
    ]
    budgets = _distinct(everything, "train_tokens")
    if len(budgets) > 1 and max(budgets) > 1.001 * min(budgets):
        shown = join_names([f"{budget:,}" for budget in budgets])
        notes.append(f"Token budgets differ ({shown}): part of a gap may be training length.")
    recipes = {json.dumps(run["recipe"], sort_keys=True) for run in everything if run.get("recipe")}
    if len(recipes) > 1:
        notes.append(f"Runs come from {len(recipes)} recipes (learning rate, weight decay), which move CORE by more than many filters do.")
    for name, arm in runs.items():
        prints = _distinct(arm, "fingerprint")
        if len(prints) > 1:
            notes.append(f"The seeds of {name} were trained on {len(prints)} different datasets ({join_names(prints)}).")
        left_out = sorted({run["seed"] for run in arm} - set(metric["common_seeds"]))
        if metric["best"] and left_out and any(a["strategy"] == name and a["rank"] for a in metric["arms"]):
            seeds = join_names([str(seed) for seed in left_out])
            notes.append(f"Seeds of {name} that others lack are left out of the paired comparison: {seeds}.")
    flagged = sorted({name for name, arm in runs.items() if any(run.get("flags") for run in arm)})
    if flagged:
        notes.append(f"{len(flagged)} of {len(runs)} strategies have a result that is flagged as defective; it is shown, not repaired.")
    if any(run.get("limited") for run in everything):
        notes.append("Limited runs answered a part of each task's questions: they have no CORE.")
    shots = sorted({run.get("fewshot_seed", 1234) for run in everything})
    if len(shots) > 1:
        notes.append(f"Runs were scored with different few-shot seeds ({join_names([str(s) for s in shots])}): not the same prompts.")
    if len({tuple(sorted(run.get("missing") or ())) for run in everything}) > 1:
        notes.append("The runs do not miss the same tasks; see the heat map before comparing aggregates.")
    for field in ("commit", "hardware"):
        if len(_distinct(everything, field)) > 1:
            notes.append(f"Runs come from {len(_distinct(everything, field))} different values of {field}.")
    return notes


def _distinct(runs: Iterable[Run], field: str) -> list:
    return sorted({run[field] for run in runs if run.get(field) not in (None, "")})
