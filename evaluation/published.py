"""Published results as rows of the board: DCLM's own evaluations, one CSV row a model.

Columns read: eval_file, creation_date, model_uuid, model_name, arch, dataset_name, dataset_uuid, scale, params, tokens, lr,
wd, seed, Core_v1, Core_v2, Extended_v1, Extended_v2 and one accuracy (a fraction) per task; other columns are ignored. CORE
and EXTENDED are recomputed from the accuracies and must agree with the published ones to 1e-12. Such rows have no items and
one run a recipe: they are shown, with item intervals from their counts, and take part in no test. Known defects of the
evaluator are flagged, never repaired. Source: DataComp-LM (arXiv 2406.11794), its published evaluation files.

Usage: `entries = published_entries(read_published("results.csv"))`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .aggregate import EVAL_VERSIONS, aggregate
from .tasks import DCLM, Task, load_tasks
from .unpaired import NUM_ITEMS

AGREEMENT = 1e-12
ORIGIN = "published"
NO_SCALE = "other models"
"""The scale of models that were trained elsewhere, on unknown or unequal budgets."""

DEFECTS = (
    ("triviaqa_sm_sub", 5e-4, "known defect: the evaluator's generation was broken (left padding), so EXTENDED is too low"),
    ("triviaqa_sm_sub", 1.1e-3, "suspected: at most 3 of 3,000, generation as broken as in the rows at 1"),
    ("squad", 0.0, "known defect: squad is 0, an artefact of tokenizer or prompt, so CORE is too low"),
    ("squad", 5e-4, "suspected: a handful of right answers of 10,570; the output is degenerate"),
    ("pubmed_qa_labeled", 0.0, "known defect: pubmed_qa_labeled is 0, an artefact of tokenizer or prompt"),
    ("pubmed_qa_labeled", 5e-3, "suspected: a handful of right answers of 1,000; the output is degenerate"),
)
"""(task, largest accuracy, what it means); the first that applies to a task is its flag."""

_NEEDED = ("eval_file", "creation_date", "model_name", "dataset_name", "scale", "params", "tokens", "lr", "wd", "seed")


def read_published(path: str | Path) -> list[dict[str, Any]]:
    """The rows of the file, checked: names, recipe, accuracies, both versions of CORE and EXTENDED, and flags.

    Raises ValueError naming the line for a missing column, a value that is no fraction, and for a published aggregate that
    differs from the recomputed one by more than 1e-12.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        missing = [name for name in _NEEDED if name not in header]
        if missing:
            raise ValueError(f"{path}: no column {missing[0]!r}; expected the published table (has: {', '.join(header[:8])}, ...)")
        tasks = load_tasks()
        return [_read_row(f"{path} line {reader.line_num}", row, tasks) for row in reader]


def defects(accuracies: Mapping[str, float]) -> dict[str, str]:
    """By task: what is known or suspected to be wrong with an accuracy of this size."""
    found: dict[str, str] = {}
    for label, limit, meaning in DEFECTS:
        if label not in found and accuracies.get(label, 1.0) <= limit:
            found[label] = meaning
    return found


def published_entries(rows: Sequence[Mapping[str, Any]], eval_version: str = "v2", suite: str = DCLM) -> list[dict[str, Any]]:
    """Board entries of the rows under one metric version.

    A strategy is a dataset; where a dataset was trained more than once at a scale, the name says with which recipe, and runs
    that still coincide are told apart by their date and, last, by their identifier. Raises ValueError for an unknown version.
    """
    if eval_version not in EVAL_VERSIONS:
        raise ValueError(f"eval_version is {eval_version!r}; expected one of {', '.join(EVAL_VERSIONS)}")
    baselines = {label: getattr(task, f"baseline_{eval_version}") / 100 for label, task in load_tasks().items()}
    names = _names(rows)
    return [
        {
            "strategy": name,
            "description": row["model"] if row["model"] != name else "",
            "scale": row["scale"].lower() or NO_SCALE,
            "seed": row["seed"],
            "suite": suite,
            "eval_version": eval_version,
            "origin": ORIGIN,
            "dataset": row["dataset"],
            "fingerprint": row["dataset_uuid"],
            "train_tokens": row["tokens"],
            "params": row["params"],
            "recipe": {"lr": row["lr"], "wd": row["wd"]},
            "tasks": {
                label: {
                    "accuracy": accuracy,
                    "num_items": NUM_ITEMS[label],
                    "correct": accuracy * NUM_ITEMS[label],
                    "random_baseline": baselines[label],
                    "gold_bpb": None,
                }
                for label, accuracy in row["accuracies"].items()
            },
            "core": row[f"core_{eval_version}"],
            "core_no_squad": row[f"core_no_squad_{eval_version}"],
            "extended": row[f"extended_{eval_version}"],
            "mmlu": row["accuracies"].get("mmlu_fewshot"),
            "missing": row["missing"],
            "flags": [{"task": label, "reason": reason} for label, reason in row["defects"].items()],
            "date": row["date"][:10],
        }
        for name, row in zip(names, rows, strict=True)
    ]


def decision_rows(rows: Sequence[Mapping[str, Any]], eval_version: str = "v2") -> list[dict[str, Any]]:
    """The rows as `decisions.decide` wants them: CORE and EXTENDED of one version under their plain names."""
    return [dict(row) | {name: row[f"{name}_{eval_version}"] for name in ("core", "extended")} for row in rows]


def _read_row(where: str, row: Mapping[str, str | None], tasks: Mapping[str, Task]) -> dict[str, Any]:
    accuracies = {}
    for label in tasks:
        value = _float(where, label, row.get(label))
        if value is not None:
            if not 0 <= value <= 1:
                raise ValueError(f"{where}: {label} is {value}; expected a fraction from 0 to 1, divide percents by 100")
            accuracies[label] = value
    wrong = defects(accuracies)
    found: dict[str, Any] = {
        "source": row["eval_file"] or "",
        "model": row["model_name"] or (row["eval_file"] or "").removesuffix(".json").removeprefix("evaluation_"),
        "dataset": row["dataset_name"] or "",
        "dataset_uuid": row.get("dataset_uuid") or "",
        "uuid": row.get("model_uuid") or row.get("eval_uuid") or "",
        "arch": row.get("arch") or "",
        "date": _date(row["creation_date"] or ""),
        "scale": row["scale"] or "",
        "params": _whole(where, "params", row["params"]),
        "tokens": _whole(where, "tokens", row["tokens"]),
        "lr": _float(where, "lr", row["lr"]),
        "wd": _float(where, "wd", row["wd"]),
        "seed": _whole(where, "seed", row["seed"]) or 0,
        "accuracies": accuracies,
        "defects": wrong,
        "unusable": sorted({"extended" for _ in wrong} | {"core" for label in wrong if tasks[label].in_core}),
    }
    for version in EVAL_VERSIONS:
        whole = aggregate(accuracies, version)
        found["missing"] = whole.missing
        found[f"core_no_squad_{version}"] = whole.core_no_squad
        for name, value in (("core", whole.core), ("extended", whole.extended)):
            stated = _float(where, name, row.get(f"{name.capitalize()}_{version}"))
            if stated is not None and value is not None and abs(stated - value) > AGREEMENT:
                raise ValueError(
                    f"{where}: {name} {version} is published as {stated!r}, its task accuracies give {value!r}; one of them was changed"
                )
            found[f"{name}_{version}"] = value
    return found


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One name a strategy: the dataset, and only as much more as tells it from its neighbours at the same scale.

    Runs share a name only if they differ in nothing but the seed: then they are seeds of one strategy.
    """
    names = [row["dataset"] or row["model"] for row in rows]
    unseeded = [re.sub(r"seed=\d+", "", row["model"]) for row in rows]
    recipes = [f"lr {r['lr']:g}, wd {r['wd']:g}" if None not in (r["lr"], r["wd"]) else "" for r in rows]
    dates = [row["date"][:10] for row in rows]
    identifiers = [row["uuid"][:8] or row["source"] for row in rows]

    def tell_apart(keys: Sequence[tuple[Any, ...]], facts: Sequence[str], labels: Sequence[str]) -> None:
        members: dict[tuple[Any, ...], list[int]] = {}
        for i, key in enumerate(keys):
            members.setdefault(key, []).append(i)
        for group in members.values():
            if len({facts[i] for i in group}) > 1:
                for i in group:
                    names[i] += f" ({labels[i]})" if labels[i] else ""

    scales = [row["scale"] for row in rows]
    tell_apart(list(zip(names, scales, strict=True)), recipes, recipes)
    for labels in (dates, identifiers):  # models of one recipe that are no seeds of each other: another code, a merged one
        tell_apart(list(zip(names, scales, strict=True)), unseeded, labels)
    seeds = [row["seed"] for row in rows]
    for labels in (dates, identifiers):  # the same recipe and seed twice: evaluated or trained again
        tell_apart(list(zip(names, scales, seeds, strict=True)), [str(i) for i in range(len(rows))], labels)
    return names


def _float(where: str, name: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {name} is {ascii(text[:40])}; expected a number, or nothing")
    return value


def _whole(where: str, name: str, text: str | None) -> int | None:
    value = _float(where, name, text)
    return None if value is None else int(value)


def _date(text: str) -> str:
    """2024_01_30-00_20_14 -> 2024-01-30 00:20:14 (the hour may have one digit); anything else as it is."""
    day, _, clock = text.partition("-")
    return f"{day.replace('_', '-')} {':'.join(part.zfill(2) for part in clock.split('_'))}" if day.count("_") == 2 else text
