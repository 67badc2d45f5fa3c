"""The leaderboard of curation strategies: runs in, one strict-JSON board out, one HTML file from the board.

`build_board` groups runs by suite, scale, metric version and pool (different ones are never ranked together), asks
`evaluation.statistics` what may be claimed and writes it down as plain data, equal for equal input in any order.
`render` turns a board into a page that opens from disk without a network; `table` into rows for a terminal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.statistics import (
    Comparison,
    TaskCount,
    arm_intervals,
    centered_accuracy,
    centered_chance_test,
    chance_test,
    compare_arms,
)

BOARD_VERSION = 1
SITE = Path(__file__).parent / "site"
GROUP_FIELDS = ("suite", "scale", "eval_version", "pool")
"""Runs that differ in one of these are never ranked together; `pool` may be absent."""
CORE_SCALES = ("400m-1x", "1b-1x", "1b-5x", "3b-1x", "7b-1x", "7b-2x")
"""DCLM's scales rank by CORE; below them accuracies are at chance and held-out text ranks (2504.11393). Fixed here,
not chosen after seeing the numbers."""
MINUS = "\N{MINUS SIGN}"

Run = Mapping[str, Any]
Runs = Mapping[str, Sequence[Run]]
"""strategy -> its runs, by seed."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a run that strategies can be ranked by."""

    name: str
    label: str
    unit: str
    lower_is_better: bool
    factor: float
    """What the number is multiplied by for display: CORE is a fraction, shown in points out of 100."""
    read: Callable[[Run], float | None]


def build_board(entries: Sequence[Run], tasks: Sequence[Run] = (), title: str = "Curation strategies") -> dict:
    """Return the board of these runs, one entry a (strategy, scale, seed), as strict JSON data.

    `tasks` rows are {"label", "category", "task_type", "random_baseline", "in_core"}. Accuracies, baselines, CORE and
    EXTENDED are fractions. Raises ValueError when a run lacks a field, when two runs have the same seed in one group,
    and when a count or a baseline is impossible.
    """
    groups: dict[tuple[str, ...], dict[str, list[Run]]] = {}
    for entry in entries:
        _check_entry(entry)
        key = tuple(str(entry.get(field) or "") for field in GROUP_FIELDS)
        groups.setdefault(key, {}).setdefault(entry["strategy"], []).append(entry)
    built = []
    for key, by_strategy in groups.items():
        runs = {name: sorted(by_strategy[name], key=lambda run: run["seed"]) for name in sorted(by_strategy)}
        _check_seeds(key, runs)
        built.append(_group(key, runs, tasks))
    built.sort(key=lambda group: (-len(group["strategies"]), [group[field] for field in GROUP_FIELDS]))
    board = {
        "board_version": BOARD_VERSION,
        "title": title,
        "headline": built[0]["headline"] if built else "No runs yet.",
        "groups": built,
    }
    # Through JSON and back: what render sees is what a reader of the file sees, and NaN can not hide.
    return json.loads(json.dumps(board, allow_nan=False, sort_keys=True))


def render(board: Mapping[str, Any]) -> str:
    """Return the board as one self-contained HTML page: no network, no external font, script or image."""
    import jinja2
    from markupsafe import Markup, escape

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SITE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number,
        "short": format_short,
        "grouped": lambda value: f"{value:,}",
        "duration": _duration,
        "href": safe_href,
        "soft": lambda text: Markup(str(escape(text)).replace("_", "_<wbr>")),  # long_names break at an underscore
        "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
    }
    environment.globals |= {"at": _position, "tint": _tint, "lane": _lane}
    data = json.dumps(board, allow_nan=False, sort_keys=True, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # so that no string can close the script element
        data = data.replace(character, f"\\u{ord(character):04x}")
    return environment.get_template("page.html.j2").render(
        board=board,
        css=Markup((SITE / "page.css").read_text()),
        js=Markup((SITE / "page.js").read_text()),
        data=Markup(data),
    )


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
                | {name: row[name]["mean"] if row[name] else None for name in ("core", "extended")}
                | {f"{name}_at_chance": row[name]["at_chance"] if row[name] else None for name in ("core", "extended")}
                | {key: row[key] for key in ("train_tokens", "epochs", "fingerprints")}
            )
    return rows


def format_number(value: float | None, decimals: int, factor: float = 1.0, signed: bool = False) -> str:
    """Return a number with a real minus sign, or a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value * factor:{'+' if signed else ''}.{decimals}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text.replace("-", MINUS)


def format_short(value: float | None) -> str:
    """Return a count in three digits: 999, 1.23K, 45.6M, 7.80B, 1.20T."""
    if value is None:
        return "\N{EN DASH}"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * limit:
            scaled = value / limit
            return f"{scaled:.{max(0, 2 - int(math.log10(max(scaled, 1))))}f}{suffix}"
    return f"{value:g}"


def safe_href(link: str | None) -> str | None:
    """Return a relative or http(s) link as it is, None for anything that a browser could run."""
    if link and re.fullmatch(r"https?://[^\s\"'<>\\]+|[^:\s\"'<>\\]+", link) and not link.startswith("//"):
        return link
    return None


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
    measured = [m for m in _metrics(texts) if any(m.read(run) is not None for run in everything)]
    if not measured:
        raise ValueError(f"leaderboard: no run in {key} has val_bpb, core_bpb, core or extended; nothing to rank")
    scale = key[GROUP_FIELDS.index("scale")].lower()
    wanted = "core" if scale in CORE_SCALES else "val_bpb"
    primary = next((m for m in measured if m.name == wanted), measured[0])
    metrics = [_ranking(metric, runs) for metric in measured]
    chosen = next(m for m in metrics if m["name"] == primary.name)
    order = [arm["strategy"] for arm in chosen["arms"]]
    ranked_by = f"Ranked by {primary.label}" + ("" if primary.name == wanted else f", because no run has {wanted}")
    return dict(zip(GROUP_FIELDS, key, strict=True)) | {
        "primary": primary.name,
        "ranked_by": ranked_by + ".",
        "headline": chosen["headline"],
        "texts": texts,
        "metrics": metrics,
        "strategies": [_strategy(name, runs[name], texts, tasks) for name in order],
        "heat_map": _heat_map({name: runs[name] for name in order}, tasks),
        "notes": _notes(runs, chosen),
        "provenance": {
            "runs": len(everything),
            "seeds": sorted({run["seed"] for run in everything}),
            "train_seconds": math.fsum(run.get("train_seconds") or 0.0 for run in everything),
            **{f: _distinct(everything, f) for f in ("commit", "hardware", "date", "pipeline")},
        },
    }


def _metrics(texts: Sequence[str]) -> list[Metric]:
    def mean_bpb(run: Run) -> float | None:
        values = [(run.get("val_bpb") or {}).get(text) for text in texts]
        # A mean over fewer texts is another metric: one missing text and the run has none.
        return None if not values or None in values else math.fsum(values) / len(values)

    over = f"mean of {len(texts)} texts" if len(texts) != 1 else texts[0]
    bits = "bits per byte"
    return [
        Metric("val_bpb", f"held-out bits per byte, {over}", bits, True, 1.0, mean_bpb),
        *(
            Metric(
                f"val_bpb:{t}",
                f"held-out bits per byte, {t}",
                bits,
                True,
                1.0,
                lambda r, t=t: (r.get("val_bpb") or {}).get(t),
            )
            for t in texts
            if len(texts) > 1
        ),
        Metric(
            "core_bpb", "bits per byte of the right answers, CORE tasks", bits, True, 1.0, lambda r: r.get("core_bpb")
        ),
        Metric("core", "CORE", "CORE points", False, 100.0, lambda r: r.get("core")),
        Metric("extended", "EXTENDED", "EXTENDED points", False, 100.0, lambda r: r.get("extended")),
    ]


def _ranking(metric: Metric, runs: Runs) -> dict:
    values = {name: {run["seed"]: metric.read(run) for run in arm} for name, arm in runs.items()}
    diverged = {
        name: [seed for seed, value in arm.items() if value is not None and not math.isfinite(value)]
        for name, arm in values.items()
    }
    # Leaving out only the diverged run would flatter its strategy, so the whole strategy stays out of the tests.
    scores = {
        name: {seed: value for seed, value in arm.items() if value is not None}
        for name, arm in values.items()
        if not diverged[name] and any(value is not None for value in arm.values())
    }
    intervals = arm_intervals(scores)
    comparison = compare_arms(scores, metric.lower_is_better)
    reasons = dict(comparison.excluded)
    reasons |= {name: f"seed {seeds[0]} is not finite: the run diverged" for name, seeds in diverged.items() if seeds}
    reasons |= {name: "not measured" for name in runs if name not in scores and name not in reasons}

    arms = []
    for name in runs:
        interval = intervals.get(name)
        rank = comparison.ranks.get(name)
        shared = list(comparison.ranks.values()).count(rank) > 1
        status = "untested" if rank is None else "behind" if name not in comparison.top else "tied"
        arms.append(
            {
                "strategy": name,
                "values": [{"seed": s, "value": v if _finite(v) else None} for s, v in values[name].items()],
                "mean": interval.mean if interval else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "rank": rank,
                "mark": "\N{EN DASH}" if rank is None else f"{rank}=" if shared else str(rank),
                "status": "winner" if name == comparison.winner else status,
                "reason": reasons.get(name, ""),
            }
        )
    sign = 1 if metric.lower_is_better else -1
    arms.sort(key=lambda a: (a["rank"] is None, a["rank"] or 0, sign * (a["mean"] or 0), a["strategy"]))
    pairs = [
        {slot: getattr(p, slot) for slot in ("better", "worse", "advantage", "low", "high", "p_adjusted", "decisive")}
        for p in comparison.pairs
    ]
    board = {
        "name": metric.name,
        "label": metric.label,
        "unit": metric.unit,
        "lower_is_better": metric.lower_is_better,
        "factor": metric.factor,
        "decimals": _decimals(comparison, metric.factor),
        "arms": arms,
        "pairs": pairs,
        "best": comparison.best,
        "top": list(comparison.top),
        "common_seeds": list(comparison.seeds),
        "degrees_of_freedom": comparison.degrees_of_freedom,
        "residual_deviation": comparison.residual_deviation,
        "axis": _axis([v for a in arms for v in (a["low"], a["high"], *(r["value"] for r in a["values"]))]),
        "pair_axis": _axis([0.0, *(v for p in pairs for v in (p["low"], p["high"]))]) if pairs else None,
    }
    return board | {"headline": _headline(board)}


def _headline(metric: Mapping[str, Any]) -> str:
    """Say in one sentence what the comparison supports, and no more."""
    arms, best, top = metric["arms"], metric["best"], metric["top"]
    means = [arm for arm in arms if arm["mean"] is not None]
    if not means:
        return f"No run has a finite {metric['label']}."
    if best is None:
        if len(arms) == 1:
            value = _show(metric, means[0]["mean"])
            return f"Only one strategy so far: {means[0]['strategy']} at {value} {metric['unit']}."
        word = "Lowest" if metric["lower_is_better"] else "Highest"
        reasons = sorted({arm["reason"] for arm in arms})
        why = reasons[0] if len(reasons) == 1 else "too few runs to compare"
        leader = f"{means[0]['strategy']} at {_show(metric, means[0]['mean'])} {metric['unit']}"
        return f"No winner can be named ({why}). {word}: {leader}."

    versus_best = {p["worse"]: p for p in metric["pairs"] if p["better"] == best}
    behind = [arm["strategy"] for arm in arms if arm["status"] == "behind"]
    if len(top) == 1:
        closest = min(versus_best.values(), key=lambda p: p["advantage"])
        text = f"{best} is best by {_gap(metric, closest)} over {closest['worse']}"
        text += "" if len(behind) == 1 else ", the runner-up"
    else:
        text = f"{_names(top)} can not be told apart"
        if len(top) == 2:
            text += f" ({_gap(metric, versus_best[top[1]])})"
        if behind:
            verb = "is" if len(behind) == 1 else "are"
            text += f"; {_names(behind)} {verb} really worse than {best}"
    untested = [arm["strategy"] for arm in arms if arm["status"] == "untested"]
    return text + (f". Not compared: {_names(untested)}." if untested else ".")


def _gap(metric: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    low, high = _show(metric, pair["low"]), _show(metric, pair["high"])
    return f"{_show(metric, pair['advantage'])} {metric['unit']} [{low}, {high}]"


def _show(metric: Mapping[str, Any], value: float) -> str:
    return format_number(value, metric["decimals"], metric["factor"])


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _strategy(name: str, arm: Sequence[Run], texts: Sequence[str], tasks: Sequence[Run]) -> dict:
    first = arm[0]
    core = {task["label"] for task in tasks if task["in_core"]}
    counts = _mean_counts(arm)
    return {
        "strategy": name,
        "description": first.get("description") or "",
        "card": first.get("card"),
        "fingerprints": _distinct(arm, "fingerprint"),
        **{f: first.get(f) for f in ("pipeline", "documents", "dataset_tokens", "train_tokens", "epochs")},
        "seeds": [run["seed"] for run in arm],
        "val_bpb": {text: _mean((run.get("val_bpb") or {}).get(text) for run in arm) for text in texts},
        "core": _aggregate(_mean(run.get("core") for run in arm), [c for label, c in counts.items() if label in core]),
        "extended": _aggregate(_mean(run.get("extended") for run in arm), list(counts.values())),
        "missing": sorted({label for run in arm for label in run.get("missing") or ()}),
        "funnel": [
            {key: step[key] for key in ("node", "stage", "documents_in", "documents_out")}
            | {"dropped": [list(item) for item in sorted(step["dropped"].items(), key=lambda kv: (-kv[1], kv[0]))]}
            for step in first.get("funnel") or ()
        ],
    }


def _aggregate(mean: float | None, counts: Sequence[TaskCount]) -> dict | None:
    if mean is None or not counts:
        return None if mean is None else {"mean": mean, "at_chance": None, "above": None, "num_tasks": None}
    above = sum(not chance_test(count).at_chance for count in counts)
    test = centered_chance_test(counts)
    return {"mean": mean, "at_chance": test.at_chance, "above": above, "num_tasks": len(counts)}


def _mean_counts(arm: Sequence[Run]) -> dict[str, TaskCount]:
    counts = {}
    for label in sorted({label for run in arm for label in run.get("tasks") or {}}):
        found = [run["tasks"][label] for run in arm if label in (run.get("tasks") or {})]
        correct = math.fsum(result["correct"] for result in found) / len(found)
        counts[label] = TaskCount(correct, found[0]["num_items"], found[0]["random_baseline"])
    return counts


def _heat_map(runs: Runs, tasks: Sequence[Run]) -> dict:
    known = {task["label"]: task for task in tasks}
    counts = {name: _mean_counts(arm) for name, arm in runs.items()}
    ran = {label for cells in counts.values() for label in cells}
    rows: dict[str, list[dict]] = {}
    for label in sorted(ran):
        task = known.get(label, {"category": "not in the task list", "task_type": "", "in_core": False})
        baseline = next(cells[label].random_baseline for cells in counts.values() if label in cells)
        cells = [_cell(label, runs[name], counts[name].get(label)) for name in runs]
        row = {"label": label, "task_type": task["task_type"], "in_core": bool(task["in_core"])}
        rows.setdefault(task["category"], []).append(row | {"random_baseline": baseline, "cells": cells})
    categories = []
    for category in sorted(rows):
        columns = zip(*(row["cells"] for row in rows[category]), strict=True)
        means = [_mean(cell["centered"] if cell else None for cell in column) for column in columns]
        categories.append({"name": category, "means": means, "tasks": rows[category]})
    shown = [c["centered"] for g in categories for t in g["tasks"] for c in t["cells"] if c and not c["at_chance"]]
    return {
        "strategies": list(runs),
        "categories": categories,
        "num_tasks": len(ran),
        "expected_by_luck": round(0.05 * len(ran), 1),
        "full_tint_at": max([0.05, *(abs(value) for value in shown)]),
        "not_run": sorted(set(known) - ran),
    }


def _cell(label: str, arm: Sequence[Run], count: TaskCount | None) -> dict | None:
    if count is None:
        return None
    test = chance_test(count)
    found = [run for run in arm if label in (run.get("tasks") or {})]
    results = [run["tasks"][label] for run in found]
    accuracy = _mean(result["accuracy"] for result in results)
    return {
        "centered": centered_accuracy(accuracy, count.random_baseline),
        "accuracy": accuracy,
        "correct": [[run["seed"], result["correct"]] for run, result in zip(found, results, strict=True)],
        "num_items": count.num_items,
        "gold_bpb": _mean(result.get("gold_bpb") for result in results),
        "p_value": test.p_value,
        "at_chance": test.at_chance,
    }


def _notes(runs: Runs, metric: Mapping[str, Any]) -> list[str]:
    everything = [run for arm in runs.values() for run in arm]
    notes = [f"{a['strategy']} takes part in no test: {a['reason']}." for a in metric["arms"] if a["reason"]]
    budgets = _distinct(everything, "train_tokens")
    if len(budgets) > 1 and max(budgets) > 1.001 * min(budgets):
        notes.append(
            f"Token budgets differ ({_names([f'{b:,}' for b in budgets])}): part of a gap may be training length."
        )
    for name, arm in runs.items():
        prints = _distinct(arm, "fingerprint")
        if len(prints) > 1:
            notes.append(f"The seeds of {name} were trained on {len(prints)} different datasets ({_names(prints)}).")
        left_out = sorted({run["seed"] for run in arm} - set(metric["common_seeds"]))
        if metric["best"] and left_out and any(a["strategy"] == name and a["rank"] for a in metric["arms"]):
            seeds = _names([str(seed) for seed in left_out])
            notes.append(f"Seeds of {name} that others lack are left out of the paired comparison: {seeds}.")
    if len({tuple(sorted(run.get("missing") or ())) for run in everything}) > 1:
        notes.append("The runs do not miss the same tasks; see the heat map before comparing aggregates.")
    for field in ("commit", "hardware"):
        if len(_distinct(everything, field)) > 1:
            notes.append(f"Runs come from {len(_distinct(everything, field))} different values of {field}.")
    return notes


def _distinct(runs: Iterable[Run], field: str) -> list:
    return sorted({run[field] for run in runs if run.get(field) not in (None, "")})


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return math.fsum(found) / len(found) if found and all(_finite(value) for value in found) else None


def _decimals(comparison: Comparison, factor: float) -> int:
    # Two digits of the half width of a paired interval: more would be noise, fewer would hide the comparison.
    if not comparison.pairs:
        return 3 if factor == 1.0 else 1
    half = factor * min(pair.high - pair.advantage for pair in comparison.pairs)
    decimals = min(5, max(1, 1 - math.floor(math.log10(half))))
    # Up to two more where an end that only just passes zero would be printed as zero: its sign is the verdict.
    while decimals < 5 and any(round(factor * pair.low, decimals) == 0 for pair in comparison.pairs):
        decimals += 1
    return decimals


def _axis(values: Iterable[float | None]) -> dict:
    found = [value for value in values if value is not None] or [0.0]
    low, high = min(found), max(found)
    if high - low < 1e-9:
        low, high = low - 0.01, high + 0.01
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next((m for m in (1, 2, 5) if (high - low) / (m * step) <= 5), 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [round(i * step, 10) for i in range(first, last + 1)]
    return {"low": low, "high": high, "ticks": ticks, "decimals": max(0, -math.floor(math.log10(step) + 1e-9))}


def _position(value: float, axis: Mapping[str, Any]) -> str:
    """Percent of the plot's width, 4 % of margin on both sides."""
    return f"{4 + 92 * (value - axis['low']) / (axis['high'] - axis['low']):.2f}%"


def _lane(index: int, num_seeds: int, height: int) -> str:
    """Height of a seed's own lane: the same seed is at the same height in every row."""
    return f"{height * (index + 1) / (num_seeds + 1):.1f}"


def _tint(centered: float, full_at: float) -> str:
    """Strength of a cell's colour; the square root keeps small effects visible beside large ones."""
    return f"{min(1.0, math.sqrt(abs(centered) / full_at)):.2f}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
