"""The page of a study: what was found, each claim with its verdict, the plots and the tables, and how to do it again.

    html = render_study_page(study)
    index = link_studies(index, [("studies/optimizers.html", "Is any optimizer better than AdamW?")])

One static file that opens from disk; it needs no script and asks nobody for anything. The words are those of the study's judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.figure import check_figure, figure_rows, figure_svg, legend
from evaluation.page import SITE, site_environment
from evaluation.studies.claims import VERDICTS

MARKS = dict(zip(VERDICTS, ("\N{CHECK MARK}", "\N{MULTIPLICATION SIGN}", "?", "\N{EN DASH}"), strict=True))
"""A sign for each verdict, so that colour is not what tells them apart."""

GUIDE = '<section class="guide"'
"""What the page of a board ends with."""


def render_study_page(study: Mapping[str, Any], board: str | None = None) -> str:
    """Return the page as HTML, with a link to the page of a leaderboard where it stands beside one.

    study: what a judge returns (study, title, paragraph, figures, tables, analysis), its `claims` as rows, `scale`, `nodes` (of the pipeline,
    whose rows SQL can show) and `provenance` (commit, hardware, date: lists; runs, diverged, train_seconds). ValueError for a figure that can
    not be drawn.
    """
    from markupsafe import Markup

    figures = []
    for number, figure in enumerate(study["figures"], start=1):
        check_figure(figure)
        figures.append(
            {
                "title": figure["title"],
                "caption": figure["caption"],
                "svg": Markup(figure_svg(figure, f"figure-{number}")),
                "legend": [{"name": entry.name, "svg": Markup(entry.svg)} for entry in legend(figure)],
                "rows": figure_rows(figure),
                "x": figure["x"]["label"] or "x",
                "y": figure["y"]["label"] or "y",
            }
        )
    tables = [{"title": table["title"], "columns": _columns(table["rows"]), "rows": range(len(table["rows"]))} for table in study["tables"]]
    css = "\n".join((SITE / name).read_text(encoding="utf-8") for name in ("page.css", "study.css"))
    environment = site_environment()
    environment.filters |= {"value": format_value, "estimate": format_estimate}
    return environment.get_template("study.html.j2").render(
        board={"title": "studies"}, back=board, css=Markup(css), js="", study=study, figures=figures, tables=tables, marks=MARKS,
        counts=[(verdict, sum(claim["verdict"] == verdict for claim in study["claims"])) for verdict in VERDICTS],
    )  # fmt: skip


def link_studies(index: str, studies: Sequence[tuple[str, str]]) -> str:
    """Return a leaderboard's index.html with a section that links studies, (href, title) each; as it is where there are none."""
    from markupsafe import escape

    if not studies:
        return index
    before, guide, after = index.partition(GUIDE)
    if not guide:
        raise ValueError(f"link_studies: the page has no {GUIDE}; it is not the index.html of a leaderboard")
    items = "".join(f'<li><a href="{escape(href)}">{escape(title)}</a></li>' for href, title in studies)
    return f'{before}<section class="group" aria-labelledby="studies">\n<h2 id="studies">Studies</h2>\n<ul>{items}</ul>\n</section>\n\n{guide}{after}'


def format_value(value: Any) -> str:
    """A cell of a table: four digits of a number, words as they are."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\N{MINUS SIGN}")
    if isinstance(value, float):
        whole = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
        return whole.replace("-", "\N{MINUS SIGN}")
    return ", ".join(map(format_value, value)) if isinstance(value, list | tuple) else str(value)


def format_column(values: Sequence[Any]) -> list[str]:
    """Cells of one column: numbers within a factor of 100 get the same decimals, four digits for the largest, so that they can be compared."""
    sizes = [abs(value) for value in values if isinstance(value, float) and value]
    cells = [format_value(value) for value in values]
    if not sizes or max(sizes) >= 10_000 or max(sizes) > 100 * min(sizes):
        return cells
    decimals = max(0, 3 - math.floor(math.log10(max(sizes))))
    while decimals and all(f"{size:.{decimals}f}".endswith("0") for size in sizes):
        decimals -= 1
    fixed = [f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}") if isinstance(value, float) else None for value in values]
    return [cell if number is None else number for cell, number in zip(cells, fixed, strict=True)]


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Columns of a table by name, in order of their first appearance: their cells, and whether these are numbers."""
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name, "") for row in rows]
        numbers = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        columns.append({"name": name, "cells": format_column(values), "right": numbers})
    return columns


def format_estimate(claim: Mapping[str, Any]) -> str:
    """`estimate [low, high] unit`, to two digits of the interval's width; "" where nothing was estimated."""
    estimate, low, high = claim["estimate"], claim["low"], claim["high"]
    if estimate is None:
        return ""
    width = high - low if low is not None and high is not None else 0
    decimals = max(0, 1 - math.floor(math.log10(width))) if width > 0 else None

    def number(value: float) -> str:
        text = format_value(float(value)) if decimals is None or abs(value) < 1e-6 or decimals > 6 else f"{value:,.{decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}")

    interval = f" [{number(low)}, {number(high)}]" if low is not None and high is not None else ""
    return f"{number(estimate)}{interval} {claim['unit'] or ''}".rstrip()
