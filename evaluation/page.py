"""The site of a board: static pages that open from disk, with everything in them and no request to anywhere.

    index.html                  one board per scale, suite and metric version; heat map, intervals, score against compute
    pair.html                   any two strategies of a board: #group=...&a=...&b=...
    datasets/<fingerprint>.html where a strategy's documents come from, what was dropped, samples, the SQL and the commands

Names, texts and links are strangers' words: Jinja escapes them in markup, `_json` in script elements, the scripts build elements
from text alone, and the pages' own policy allows no source but themselves.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.board import GROUP_FIELDS, format_number

SITE = Path(__file__).parent / "site"
SHORT = 12
"""Digits of a fingerprint in a file's name, as in the store."""
CELL_NUMBERS = ("centered", "accuracy", "gold_bpb", "standard_error", "p_adjusted")
COUNTS = (("parameters", "params"), ("documents", "documents"), ("dataset tokens", "dataset_tokens"))
SCORES = (("core", "CORE"), ("core_no_squad", "CORE-21 (no squad)"), ("extended", "EXTENDED"))
MMLU = ("mmlu", "MMLU")
"""Its column stands where CORE, CORE-21 or EXTENDED ranks: where held-out text does, models are at chance."""


def render_site(board: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """Return file name -> page. `datasets` are what `stages.leaderboard` found out about training sets, one a fingerprint."""
    environment = site_environment()
    pages = {data["fingerprint"]: f"datasets/{file_stem(data['fingerprint'])}.html" for data in datasets}
    views = [_view(group, pages) for group in board["groups"]]
    used = [_strategies_of(board, data["fingerprint"]) for data in datasets]

    def page(template: str, scripts: Sequence[str] = (), **values: Any) -> str:
        from markupsafe import Markup

        js = "\n".join((SITE / name).read_text(encoding="utf-8") for name in scripts)
        css = (SITE / "page.css").read_text(encoding="utf-8")
        return environment.get_template(template).render(board=board, css=Markup(css), js=Markup(js), **values)

    paired = [view | {"item_pairs": group["item_pairs"]["pairs"]} for view, group in zip(views, board["groups"], strict=True)]
    plain = [_without_pairs(view) for view in views]
    groups = list(zip(board["groups"], views, strict=True))
    return {
        "index.html": page("index.html.j2", ("dom.js", "board.js"), groups=groups, data=_json(plain)),
        "pair.html": page("pair.html.j2", ("dom.js", "pair.js"), data=_json(paired)),
        **{pages[data["fingerprint"]]: page("dataset.html.j2", dataset=data, rows=rows) for data, rows in zip(datasets, used, strict=True)},
    }


def file_stem(fingerprint: str) -> str:
    """The beginning of a fingerprint as a file name; whatever is no plain letter or digit is left out."""
    return re.sub(r"[^A-Za-z0-9]", "", fingerprint)[:SHORT] or "dataset"


def site_environment() -> Any:
    """The templates of the site with the filters that they use."""
    import jinja2
    from markupsafe import Markup, escape

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SITE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": format_number,
        "short": format_short,
        "grouped": lambda value: f"{value:,}",
        "duration": _duration,
        "href": safe_href,
        "soft": lambda text: Markup(str(escape(text)).replace("_", "_<wbr>")),  # long_names break at an underscore
        "quoted": shell_quoted,
        "literal": lambda text: "'" + str(text).replace("'", "''") + "'",  # of SQL
        "group_key": group_key,
    }
    environment.globals |= {"at": _position, "logarithmic": _logarithmic}
    return environment


def _json(value: Any) -> Any:
    from markupsafe import Markup

    data = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":  # so that no string can close the script element
        data = data.replace(character, f"\\u{ord(character):04x}")
    return Markup(data)


def _view(group: Mapping[str, Any], pages: Mapping[str, str]) -> dict[str, Any]:
    """A group as the scripts read it: rows by index, metrics and cells in the rows' order, no word that a page does not show."""
    names = [row["strategy"] for row in group["strategies"]]
    metrics = [_metric(metric, names) for metric in group["metrics"]]
    measured = {metric["name"] for metric in metrics}
    heat = group["heat_map"]
    tasks = [(task, category["name"]) for category in heat["categories"] for task in category["tasks"]]
    columns = {name: i for i, name in enumerate(heat["strategies"])}
    rows = [_row(i, row, group, metrics, pages) for i, row in enumerate(group["strategies"])]
    return {
        "key": group_key(group),
        "kind": " / ".join(group[field] for field in GROUP_FIELDS if field not in ("scale", "origin") and group[field]),
        "title": ", ".join(group[field] for field in ("scale", "suite", "eval_version", "pool", "origin", "data") if group[field]),
        "scale": ", ".join(group[field] for field in ("scale", "origin") if group[field]),
        "primary": next(i for i, metric in enumerate(metrics) if metric["name"] == group["primary"]),
        "metrics": metrics,
        "texts": group["texts"],
        # A column where somebody has the score; CORE-21 only where the board ranks by it, since CORE is absent.
        "scores": [{"key": key, "title": title} for key, title in (*SCORES, MMLU) if key in measured or (key == "mmlu" and _has_mmlu(group))],
        "seeds": group["provenance"]["seeds"],
        "rows": rows,
        "tasks": [{name: task[name] for name in ("label", "in_core", "random_baseline")} | {"category": name} for task, name in tasks],
        "cells": [
            [_cell(task["cells"][columns[row["strategy"]]], row["seeds"]) for task, _ in tasks] for row in group["strategies"]
        ],
        "category_means": [{c["name"]: c["means"][columns[name]] for c in heat["categories"]} for name in names],
        "full_tint_at": heat["full_tint_at"],
        "scope": group["item_pairs"]["scope"],
        "correction": group["item_pairs"]["correction"],
    }


def _metric(metric: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    arms = {arm["strategy"]: (order, arm) for order, arm in enumerate(metric["arms"])}
    kept = ("name", "label", "unit", "lower_is_better", "factor", "decimals", "pairs", "pair_test", "best")
    facts = ("mean", "low", "high", "rank", "mark", "status", "reason", "training")
    made = []
    for name in names:
        order, arm = arms[name]
        values = [
            {"seed": run["seed"], "value": run["value"]} | {end: run["item"][end] if run["item"] else None for end in ("low", "high")}
            for run in arm["values"]
        ]
        made.append({fact: arm[fact] for fact in facts} | {"order": order, "values": values})
    return {name: metric[name] for name in kept} | {"arms": made}


def _without_pairs(view: Mapping[str, Any]) -> dict[str, Any]:
    return {**view, "metrics": [{**metric, "pairs": []} for metric in view["metrics"]]}


def _row(
    index: int, row: Mapping[str, Any], group: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], pages: Mapping[str, str]
) -> dict[str, Any]:
    scores = {key: row[key] for key, _ in SCORES} | {"mmlu": _mmlu(row, group)}
    means = {metric["name"]: metric["arms"][index]["mean"] for metric in metrics}
    flags = sorted({(flag["task"], flag["reason"]) for flag in row["flags"]})
    recipe = _recipe(row["recipe"] or {})
    page = next((pages[name] for name in row["fingerprints"] if name in pages), None)
    counts = [(term, row[name] and format_short(row[name])) for term, name in COUNTS]
    known = [("recipe", recipe), ("dataset", ", ".join(row["fingerprints"])), *counts, ("pipeline", row["pipeline"])]
    facts = [[term, text] for term, text in known if text]
    return {
        "index": index,
        "name": row["strategy"],
        # A relative card leads somewhere from within a store only, and there every dataset has a page, which links it.
        "href": page or (safe_href(row["card"]) if str(row["card"]).startswith("http") else None),
        "origin": f"imported: {group['origin']}" if group["origin"] else "",
        "description": row["description"],
        "facts": facts,
        "flags": [list(flag) for flag in flags],
        "limited": row["limited"],
        "contamination": _contamination(row["contamination"]),
        "contaminated": not isinstance(row["contamination"], Mapping) or row["contamination"].get("contaminated") != 0,
        "recipe": recipe,
        "seeds": row["seeds"],
        "epochs": row["epochs"],
        "missing": row["missing"],
        "scores": scores,
        "errors": {key: _mean_error(row["runs"], key) for key, _ in SCORES},
        "items": {key: _only_interval(row["runs"], key) for key, _ in SCORES},
        "plotted": means | {key: score["mean"] if score else None for key, score in scores.items()} | {"core_bpb": row["core_bpb"]},
        "values": {"tokens": row["train_tokens"], "flops": row["flops"]}
        | {f"text:{text}": value for text, value in row["val_bpb"].items()}
        | {key: score["mean"] if score else None for key, score in scores.items()},
        "search": " ".join([row["strategy"], row["description"], recipe, *(word for flag in flags for word in flag)]).lower(),
    }


def _has_mmlu(group: Mapping[str, Any]) -> bool:
    return group["primary"] in dict(SCORES) and any(row["mmlu"] is not None for row in group["strategies"])


def _mmlu(row: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any] | None:
    """Raw accuracy of mmlu_fewshot as the scripts read a score; whether it is at chance stands in the heat map."""
    if row["mmlu"] is None:
        return None
    heat = group["heat_map"]
    tasks = [task for category in heat["categories"] for task in category["tasks"] if task["label"] == "mmlu_fewshot"]
    cells = [task["cells"][heat["strategies"].index(row["strategy"])] for task in tasks]
    return {"mean": row["mmlu"], "at_chance": any(cell and cell["at_chance"] for cell in cells), "above": None, "num_tasks": None}


def _recipe(recipe: Mapping[str, Any]) -> str:
    known = ((name, value) for name, value in sorted(recipe.items()) if value is not None)
    return ", ".join(f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}" for name, value in known)


def _contamination(found: Any) -> str:
    """What is known about overlaps with the questions, in a few words; nothing where nobody looked."""
    if isinstance(found, Mapping) and {"contaminated", "judged"} <= set(found):
        found = f"{found['contaminated']:,} of {found['judged']:,} questions"
    elif isinstance(found, Mapping):
        plain = ((name, value) for name, value in sorted(found.items()) if isinstance(value, int | float | str))
        found = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plain)
    return f"contamination: {found}" if found not in (None, "") else ""


def _mean_error(runs: Sequence[Mapping[str, Any]], score: str) -> float | None:
    """Item standard error of a strategy's mean score: seeds answer the same questions, so it does not shrink with their number."""
    errors = [run["items"][score]["standard_error"] for run in runs if run["items"].get(score)]
    return math.sqrt(math.fsum(error**2 for error in errors) / len(errors)) if errors and len(errors) == len(runs) else None


def _only_interval(runs: Sequence[Mapping[str, Any]], score: str) -> list[float] | None:
    found = runs[0]["items"].get(score) if len(runs) == 1 else None
    return [found["low"], found["high"]] if found else None


def _cell(cell: Mapping[str, Any] | None, seeds: Sequence[int]) -> list[Any] | None:
    """A cell as a list, since a board has tens of thousands: `cellOf` in dom.js gives the names back."""
    if cell is None:
        return None
    numbers = [None if cell[name] is None else float(f"{cell[name]:.6g}") for name in CELL_NUMBERS]
    correct = dict(cell["correct"])
    return [*numbers, int(cell["at_chance"]), cell["num_items"], *(correct.get(seed) for seed in seeds)]


def _strategies_of(board: Mapping[str, Any], fingerprint: str) -> list[dict[str, Any]]:
    """Where a training set stands on the board: its rows, each with its group and primary metric."""
    found = []
    for group in board["groups"]:
        metric = next(m for m in group["metrics"] if m["name"] == group["primary"])
        for row in group["strategies"]:
            if fingerprint in row["fingerprints"]:
                arm = next(a for a in metric["arms"] if a["strategy"] == row["strategy"])
                found.append({"group": group, "row": row, "metric": metric, "arm": arm})
    return found


def group_key(group: Mapping[str, Any]) -> str:
    """What tells a group from all others, in one string."""
    return "/".join(group[field] for field in GROUP_FIELDS)


def format_short(value: float | None) -> str:
    """Return a count in three digits: 999, 1.23K, 45.6M, 7.80B, 1.20T."""
    if value is None:
        return "\N{EN DASH}"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * limit:
            scaled = value / limit
            return f"{scaled:.{max(0, 2 - int(math.log10(max(scaled, 1))))}f}{suffix}"
    return f"{value:g}"


def shell_quoted(text: str) -> str:
    """One word of a shell: in double quotes where nothing in it means anything there, since SQL is full of single ones."""
    return f'"{text}"' if "'" in text and not re.search(r'["$`\\!\n]', text) else shlex.quote(text)


def safe_href(link: str | None) -> str | None:
    """Return a relative or http(s) link as it is, None for anything that a browser could run."""
    if link and re.fullmatch(r"https?://[^\s\"'<>\\]+|[^:\s\"'<>\\]+", link) and not link.startswith("//"):
        return link
    return None


def _position(value: float, axis: Mapping[str, Any]) -> str:
    """Percent of the plot's width, 4 % of margin on both sides."""
    return f"{4 + 92 * (value - axis['low']) / (axis['high'] - axis['low']):.2f}%"


def _logarithmic(count: int, most: int) -> float:
    """Height of a bar in percent, on a scale on which one document is still seen beside a million."""
    return round(100 * math.log1p(count) / math.log1p(max(most, 1)), 2)


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
