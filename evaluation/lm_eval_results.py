"""Results of EleutherAI's lm-evaluation-harness as an entry of the board.

Its prompts, normalisations and answer formats differ from DCLM's even where a task has the same name, so nothing becomes a
task of the suite or enters CORE: every number keeps its own name, with metric, filter and number of examples ("arc_easy
acc_norm, 25-shot"), in a suite of its own. Read: `results` (task -> "metric,filter" -> number, as version 0.4 writes it, or
"metric" of 0.3), `n-shot`, `config`, `model_name`, `git_hash`, `date`. The standard errors beside the metrics are the
harness's own. Source: lm-evaluation-harness, evaluator.py and loggers/evaluation_tracker.py.

Usage: `entry = lm_eval_entry("results_2026-01-01.json")`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .strict_json import quote, read_json

ORIGIN = "lm-eval"
SUITE = "lm-evaluation-harness"
MAX_SCORES = 5_000


def lm_eval_entry(path: str | Path, strategy: str | None = None, scale: str = "other models", seed: int = 0) -> dict[str, Any]:
    """The board entry of one result file; `strategy` defaults to the model's name.

    Raises ValueError for a file that is no such result, and for more than 5,000 numbers.
    """
    document = read_json(path, max_bytes=64 * 2**20)
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
        raise ValueError(f"{path}: no lm-evaluation-harness result: it has no object 'results'; give its results_*.json")
    shots = document.get("n-shot") if isinstance(document.get("n-shot"), dict) else {}
    config = document.get("config") if isinstance(document.get("config"), dict) else {}
    scores: dict[str, float] = {}
    errors: dict[str, float] = {}
    for task, row in document["results"].items():
        if not isinstance(row, dict):
            raise ValueError(f"{path}: results of {quote(task)} are {quote(row)}; expected an object of metrics")
        for key, value in row.items():
            metric, _, variant = key.partition(",")
            if metric.endswith("_stderr") or not isinstance(value, int | float) or isinstance(value, bool):
                continue  # "alias" and "N/A" are texts
            name = _name(task, metric, variant, shots.get(task))
            scores[name] = float(value)
            error = row.get(f"{metric}_stderr,{variant}" if variant else f"{metric}_stderr")
            if isinstance(error, int | float) and not isinstance(error, bool):
                errors[name] = float(error)
    if not scores or len(scores) > MAX_SCORES:
        raise ValueError(f"{path}: {len(scores)} numbers under 'results'; expected 1 to {MAX_SCORES}")
    limit = config.get("limit")
    return {
        "strategy": strategy or _model(document, config) or Path(path).stem,
        "description": "",
        "scale": scale,
        "seed": seed,
        "suite": SUITE if limit is None else f"{SUITE}-limit{limit:g}" if isinstance(limit, int | float) else f"{SUITE}-limit",
        "eval_version": _text(document.get("lm_eval_version")) or "lm-eval",
        "origin": ORIGIN,
        "scores": scores,
        "score_errors": errors,
        "limited": limit is not None,
        "commit": _text(document.get("git_hash")),
        "date": _day(document.get("date")),
        "fewshot_seed": config.get("fewshot_seed", 1234),
    }


def _name(task: str, metric: str, variant: str, shots: Any) -> str:
    name = f"{task} {metric}"
    if variant and variant != "none":
        name += f" ({variant})"
    return f"{name}, {shots}-shot" if isinstance(shots, int) and not isinstance(shots, bool) else name


def _model(document: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    named = _text(document.get("model_name"))
    found = re.search(r"pretrained=([^,]+)", _text(config.get("model_args")))
    return named or (found.group(1) if found else "")


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _day(value: Any) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e11:
        return ""
    return datetime.datetime.fromtimestamp(value, datetime.UTC).date().isoformat()
