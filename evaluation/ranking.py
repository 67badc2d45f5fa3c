"""One metric over the strategies of a group: order, intervals, ties and the sentence that the evidence supports.

Two intervals are kept apart and never merged: `training` of a strategy (t, its deviation pooled over the strategies, every
seed shown beside it) and `item` of each single run (`evaluation.item_statistics`). Differences are claimed from training
noise alone; a strategy with one run takes part in no test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.item_statistics import ItemInterval
from evaluation.statistics import VARIANCE_UNKNOWN, ArmInterval, Comparison, arm_intervals, compare_arms

MAX_PAIRS = 300
"""Pairs are written out for up to so many; above, only those with the best strategy. The correction is over all of them."""
PAIR_TEST = "t test on the two-way layout of strategies and seeds, Holm over all pairs of this group"
MINUS = "\N{MINUS SIGN}"
ITEM_SCORES = ("core", "core_no_squad", "extended")
"""Metrics whose runs have an item interval."""

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


def metrics_of(texts: Sequence[str], names: Sequence[str] = ()) -> list[Metric]:
    """Every metric that runs can be ranked by: bits per byte of `texts`, CORE and its kin, and imported scores `names`."""

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
            "core_bpb", "bits per byte of the right answers, mean of the CORE tasks present", bits, True, 1.0, lambda r: r.get("core_bpb")
        ),
        Metric("core", "CORE", "CORE points", False, 100.0, lambda r: r.get("core")),
        Metric("core_no_squad", "CORE-21 (no squad)", "CORE-21 points", False, 100.0, lambda r: r.get("core_no_squad")),
        Metric("extended", "EXTENDED", "EXTENDED points", False, 100.0, lambda r: r.get("extended")),
        *(Metric(f"score:{n}", n, n, False, 1.0, lambda r, n=n: (r.get("scores") or {}).get(n)) for n in names),
    ]


def ranking(metric: Metric, runs: Runs, items: Mapping[str, Mapping[int, Mapping[str, ItemInterval]]]) -> dict:
    """The metric's part of a group. `items`: strategy -> seed -> score -> its item interval, where there is one."""
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

    arms, sizes = [], Counter(comparison.ranks.values())
    for name in runs:
        interval = intervals.get(name)
        rank = comparison.ranks.get(name)
        shared = sizes[rank] > 1
        status = "untested" if rank is None else "behind" if name not in comparison.top else "tied"
        arms.append(
            {
                "strategy": name,
                "values": [
                    {"seed": seed, "value": value if finite(value) else None}
                    | {"item": item_facts(items.get(name, {}).get(seed, {}).get(metric.name))}
                    for seed, value in values[name].items()
                ],
                "mean": interval.mean if interval else None,
                # The training interval; an item interval is in the values above, one a run.
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "training": training_words(interval),
                "rank": rank,
                "mark": "\N{EN DASH}" if rank is None else f"{rank}=" if shared else str(rank),
                "status": "winner" if name == comparison.winner else status,
                "reason": reasons.get(name, ""),
            }
        )
    sign = 1 if metric.lower_is_better else -1
    arms.sort(key=lambda a: (a["rank"] is None, a["rank"] or 0, sign * (a["mean"] or 0), a["strategy"]))
    slots = ("better", "worse", "advantage", "low", "high", "p_value", "p_adjusted", "decisive")
    every = len(comparison.pairs) <= MAX_PAIRS
    pairs = [
        {slot: getattr(p, slot) for slot in slots}
        for p in comparison.pairs
        if every or comparison.best in (p.better, p.worse)
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
        "pairs_tested": len(comparison.pairs),
        "item_conditions": sorted({found.condition for arm in items.values() for run in arm.values() if (found := run.get(metric.name))}),
        "pair_test": PAIR_TEST if comparison.pairs else None,
        "best": comparison.best,
        "top": list(comparison.top),
        "common_seeds": list(comparison.seeds),
        "degrees_of_freedom": comparison.degrees_of_freedom,
        "residual_deviation": comparison.residual_deviation,
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
        text = f"{join_names(top)} can not be told apart"
        if len(top) == 2:
            text += f" ({_gap(metric, versus_best[top[1]])})"
        if behind:
            verb = "is" if len(behind) == 1 else "are"
            text += f"; {join_names(behind)} {verb} really worse than {best}"
    untested = [arm["strategy"] for arm in arms if arm["status"] == "untested"]
    return text + (f". Not compared: {join_names(untested)}." if untested else ".")


def _gap(metric: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    low, high = _show(metric, pair["low"]), _show(metric, pair["high"])
    return f"{_show(metric, pair['advantage'])} {metric['unit']} [{low}, {high}]"


def _show(metric: Mapping[str, Any], value: float) -> str:
    return format_number(value, metric["decimals"], metric["factor"])


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


def training_words(interval: ArmInterval | None) -> str:
    """What the training interval is, for the page."""
    if interval is None:
        return ""
    if interval.low is None:
        return f"{interval.num_seeds} run, {VARIANCE_UNKNOWN}" if interval.num_seeds == 1 else VARIANCE_UNKNOWN
    return f"95 % t interval over {interval.num_seeds} training runs, deviation pooled over the strategies"


def item_facts(interval: ItemInterval | None) -> dict | None:
    """An item interval as data, without its condition, which is the same for all of a run."""
    if interval is None:
        return None
    facts = ("standard_error", "low", "high", "num_items", "num_clusters")
    return {fact: getattr(interval, fact) for fact in facts}


def finite(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Their mean; None where one of them is missing or not finite."""
    found = list(values)
    return math.fsum(found) / len(found) if found and all(finite(value) for value in found) else None


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


def format_number(value: float | None, decimals: int, factor: float = 1.0, signed: bool = False) -> str:
    """Return a number with a real minus sign, or a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value * factor:{'+' if signed else ''}.{decimals}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text.replace("-", MINUS)


def join_names(names: Sequence[str]) -> str:
    """a, b and c; of more than six the first four and how many more."""
    if len(names) > 6:
        names = [*names[:4], f"{len(names) - 4} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
