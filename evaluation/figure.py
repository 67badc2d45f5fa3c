"""Plots as inline SVG from plain data: axes with round ticks, lines, dots, intervals, reference lines, a legend.

    figure = {"title": "...", "caption": "...", "x": {"label": "learning rate", "log": True}, "y": {"label": "validation loss", "log": False},
              "series": [{"name": "soap", "x": [1e-3, 3e-3], "y": [3.1, 2.9], "marks": "both"}], "lines": [{"y": 3.0, "label": "AdamW"}]}
    check_figure(figure)
    svg, names = figure_svg(figure, "losses"), legend(figure)

A series has `low` and `high` (intervals: a band along a line, bars at dots), `marks` line | dots | both, and `dashed`. An axis may have
`categories` (places 0, 1, ... with these words), `min` and `max`. A dot whose y is None is a run that diverged: a cross at the upper edge.
Colours are variables of the page (--hue-0 to --hue-7); a shape for each name tells series apart without them. Text is text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 620, 380
TOP, RIGHT, BOTTOM, LEFT = 16, 18, 50, 64
HUES = 8
CHARACTER = 6.7
"""Width of a letter at the size of the ticks, on average."""
SHAPES = ("circle", "square", "triangle", "diamond", "down", "plus", "ring", "star")
PATHS = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "square": "M-3.6 -3.6h7.2v7.2h-7.2Z",
    "triangle": "M0 -4.8L4.6 3.4H-4.6Z",
    "diamond": "M0 -5L4.4 0L0 5L-4.4 0Z",
    "down": "M0 4.8L4.6 -3.4H-4.6Z",
    "plus": "M-1.5 -4.8h3v3.3h3.3v3h-3.3v3.3h-3v-3.3h-3.3v-3h3.3Z",
    "ring": "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0 -8.8 0ZM-1.8 0a1.8 1.8 0 1 1 3.6 0a1.8 1.8 0 1 1 -3.6 0Z",
    "star": "M0 -5.2L1.4 -1.6L5.2 -1.6L2.2 0.8L3.3 4.6L0 2.4L-3.3 4.6L-2.2 0.8L-5.2 -1.6L-1.4 -1.6Z",
    "cross": "M-4 -4L4 4M-4 4L4 -4",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers laid out over pixels."""

    low: float
    high: float
    log: bool
    start: float
    end: float
    """Pixels of low and of high."""
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Pixel of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend."""

    name: str
    svg: str


def check_figure(figure: Mapping[str, Any]) -> None:
    """Raise ValueError for what can not be drawn, naming figure, series and value."""
    where = f"figure '{figure.get('title', '')}'"
    for name in ("title", "caption", "x", "y", "series"):
        if name not in figure:
            raise ValueError(f"{where}: '{name}' is missing (has: {', '.join(figure)})")
    for series in figure["series"]:
        here = f"{where}, series '{series.get('name', '')}'"
        if series.get("marks", "both") not in ("line", "dots", "both"):
            raise ValueError(f"{here}: marks is '{series['marks']}'; the marks are line, dots and both")
        for key in ("y", "low", "high"):
            if key in series and len(series[key]) != len(series["x"]):
                raise ValueError(f"{here}: {len(series[key])} values of {key} for {len(series['x'])} of x")
        if ("low" in series) != ("high" in series):
            raise ValueError(f"{here}: an interval needs low and high")
    for name in ("x", "y"):
        values = [*_values(figure, name)]
        wrong = next((v for v in values if not math.isfinite(v) or (figure[name].get("log") and v <= 0)), None)
        if wrong is not None:
            raise ValueError(f"{where}: {name} has the value {wrong}, which has no place on a {'logarithmic' if figure[name].get('log') else 'linear'} axis")


def figure_svg(figure: Mapping[str, Any], identity: str) -> str:
    """The plot as an <svg> element whose ids begin with `identity`. A figure without any value says so."""
    check_figure(figure)
    head = (
        f'<svg class="figure" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity}-title {identity}-desc">'
        f'<title id="{identity}-title">{escape(figure["title"])}</title><desc id="{identity}-desc">{escape(describe(figure))}</desc>'
    )
    if not [*_values(figure, "x")] or not [*_values(figure, "y")]:
        return head + f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT / 2}">There are no values to draw.</text></svg>'
    slanted = _slanted(figure)
    bottom = HEIGHT - (BOTTOM if figure["x"]["label"] else BOTTOM - 20)
    bottom -= min(110.0, CHARACTER * 0.55 * max(map(len, figure["x"]["categories"]))) if slanted else 0.0
    left = max([LEFT, *(20 + CHARACTER * len(word) for word in figure["y"].get("categories", ()))])
    x = _axis(figure, "x", left, WIDTH - RIGHT)
    y = _axis(figure, "y", bottom, TOP)
    parts = [head, *_frame(figure, x, y, slanted)]
    hues = {name: i for i, name in enumerate(_names(figure))}
    parts.append(f'<clipPath id="{identity}-clip"><rect x="{x.start}" y="{y.end - 6}" width="{x.end - x.start:.1f}" height="{y.start - y.end + 12:.1f}"/></clipPath>')
    parts.append(f'<g clip-path="url(#{identity}-clip)">')
    parts += [mark for series in figure["series"] for mark in _lines(series, hues[series["name"]], x, y)]
    parts.append("</g>")
    parts += _reference_lines(figure, x, y)
    parts += [mark for series in figure["series"] for mark in _dots(figure, series, hues[series["name"]], x, y)]
    return "".join(parts) + "</svg>"


def legend(figure: Mapping[str, Any]) -> list[Entry]:
    """One entry a name, with its mark as an svg; one more for crosses where a run diverged. Nothing for a single name."""
    names, entries = _names(figure), []
    for number, name in enumerate(names):
        of_name = [series for series in figure["series"] if series["name"] == name]
        parts = [f'<line class="{_line_class(s)}" x1="1" x2="27" y1="8" y2="8"/>' for s in of_name if s.get("marks", "both") != "dots"][:1]
        parts += [_mark(_shape(number), 14, 8)] if any(s.get("marks", "both") != "line" for s in of_name) else []
        entries.append(Entry(name, f'<svg width="28" height="16" aria-hidden="true"><g class="series hue-{number % HUES}">{"".join(parts)}</g></svg>'))
    entries = entries if len(entries) > 1 else []
    if any(_diverged(series) for series in figure["series"]):
        entries.append(Entry("a run that diverged", f'<svg width="28" height="16" aria-hidden="true">{_mark("cross", 14, 8)}</svg>'))
    return entries


def describe(figure: Mapping[str, Any]) -> str:
    """The plot in words, for those who do not see it: axes, and of each series its ends and extremes."""
    words = [f"{figure['y']['label'] or 'values'} against {figure['x']['label'] or 'categories'}."]
    for series in figure["series"]:
        points = [(x, y) for x, y in zip(series["x"], series["y"], strict=True) if x is not None and y is not None]
        if points:
            low, high = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
            words.append(
                f"{series['name']}: {len(points)} points, lowest {format_tick(low[1])} at {_word(figure, low[0])}, "
                f"highest {format_tick(high[1])} at {_word(figure, high[0])}."
            )
        if lost := _diverged(series):
            words.append(f"{series['name']}: {len(lost)} diverged.")
    return " ".join(words)


def figure_rows(figure: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a plot as rows of a table: series, x, y, and low and high where a series has them."""
    rows = []
    for series in figure["series"]:
        for i, x in enumerate(series["x"]):
            row = {"series": series["name"], "x": _word(figure, x) if figure["x"].get("categories") else x, "y": series["y"][i]}
            rows.append(row | {end: series[end][i] for end in ("low", "high") if end in series})
    return rows


def format_tick(value: float) -> str:
    """A number as an axis shows it: 0.003, 12, 2.5K, 3M, 2\N{MULTIPLICATION SIGN}10\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT FIVE}."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e12):
        exponent = math.floor(math.log10(size) + 1e-9)
        power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        mantissa = f"{value / 10**exponent:.3g}"
        return (power if mantissa == "1" else f"{mantissa}×{power}").replace("-", "\N{MINUS SIGN}")
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e4, "K")):
        if size >= limit:
            return f"{value / (1e3 if suffix == 'K' else limit):.4g}{suffix}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def linear_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], at most so many."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10, 20) if (high - low) / (m * power) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Powers of ten in [low, high]; with their doubles and quintuples, or their multiples, where they would be few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def among(multiples: Sequence[float], every: int = 1) -> list[float]:
        found = [float(f"{m * 10.0**e:.12g}") for e in range(first, last + 1) if e % every == 0 for m in multiples]
        return [v for v in found if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]

    for multiples in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = among(multiples)
        if len(ticks) <= most:
            return ticks if len(ticks) > 1 else linear_ticks(low, high, most)
    return among((1,), math.ceil((last - first + 1) / most))


def _axis(figure: Mapping[str, Any], name: str, start: float, end: float) -> Axis:
    spec = figure[name]
    categories = spec.get("categories")
    if categories:
        ticks = tuple((float(i), str(word)) for i, word in enumerate(categories))
        return Axis(-0.6, len(categories) - 0.4, False, start, end, ticks)
    log, floor, ceiling = bool(spec.get("log")), spec.get("min", -math.inf), spec.get("max", math.inf)
    values = [min(max(value, floor), ceiling) for value in _values(figure, name)]
    low, high = min(values), max(values)
    if log:
        room = max(0.04 * math.log10(high / low), 0.02)
        low, high = low / 10**room, high * 10**room
    else:
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - room, high + room
    low, high = spec.get("min", low), spec.get("max", high)
    ticks = log_ticks(low, high) if log else linear_ticks(low, high)
    return Axis(low, high, log, start, end, tuple((tick, format_tick(tick)) for tick in ticks))


def _values(figure: Mapping[str, Any], name: str) -> Iterator[float]:
    for series in figure["series"]:
        keys = ("y", "low", "high") if name == "y" else ("x",)
        yield from (v for key in keys if key in series for v in series[key] if v is not None)
    yield from (line[name] for line in figure.get("lines", ()) if line.get(name) is not None)


def _frame(figure: Mapping[str, Any], x: Axis, y: Axis, slanted: bool) -> Iterator[str]:
    for value, word in y.ticks:
        at = y.at(value)
        yield f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick end" x="{x.start - 8}" y="{at + 4:.1f}">{escape(word)}</text>'
    for value, word in x.ticks:
        at = x.at(value)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{y.end}" y2="{y.start}"/>'
        turned = f' transform="rotate(-32 {at:.1f} {y.start + 16})"' if slanted else ""
        yield f'<text class="tick{" end" if slanted else ""}" x="{at:.1f}" y="{y.start + 18}"{turned}>{escape(word)}</text>'
    yield f'<path class="frame" d="M{x.start} {y.end}V{y.start}H{x.end}"/>'
    middle = (y.start + y.end) / 2
    yield f'<text class="label" x="{(x.start + x.end) / 2:.1f}" y="{HEIGHT - 10}">{escape(figure["x"]["label"])}</text>'
    yield f'<text class="label" transform="translate(15 {middle:.1f}) rotate(-90)">{escape(figure["y"]["label"])}</text>'


def _reference_lines(figure: Mapping[str, Any], x: Axis, y: Axis) -> Iterator[str]:
    row, right = 0, []
    for line in figure.get("lines", ()):
        label = escape(str(line.get("label", "")))
        if line.get("x") is not None:
            at = x.at(line["x"])
            side = "end" if at > (x.start + x.end) / 2 else "start"
            yield f'<line class="reference" x1="{at:.1f}" x2="{at:.1f}" y1="{y.end}" y2="{y.start}"/>'
            yield f'<text class="note {side}" x="{at + (-5 if side == "end" else 5):.1f}" y="{y.end + 12 + 15 * row}">{label}</text>'
            row += 1  # labels of lines side by side stand one below the other
        else:
            at = y.at(line["y"])
            yield f'<line class="reference" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
            crowded = any(abs(at - other) < 15 for other in right)  # its label would cover that of another line
            side, place = ("start", x.start + 5) if crowded else ("end", x.end - 4)
            right += [] if crowded else [at]
            yield f'<text class="note {side}" x="{place}" y="{at - 5:.1f}">{label}</text>'


def _lines(series: Mapping[str, Any], number: int, x: Axis, y: Axis) -> Iterator[str]:
    """Line and band of a series; a missing value interrupts them."""
    if series.get("marks", "both") == "dots":
        return
    for stretch in _stretches(series):
        points = [(x.at(series["x"][i]), y.at(series["y"][i])) for i in stretch]
        if "low" in series and series.get("marks") == "line":
            edge = [i for i in stretch if series["low"][i] is not None and series["high"][i] is not None]
            around = [(i, "high") for i in edge] + [(i, "low") for i in reversed(edge)]
            band = " ".join(f"{x.at(series['x'][i]):.1f},{y.at(series[end][i]):.1f}" for i, end in around)
            yield f'<polygon class="series around hue-{number % HUES}" points="{band}"/>'
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        yield f'<polyline class="series {_line_class(series)} hue-{number % HUES}" points="{path}"><title>{escape(series["name"])}</title></polyline>'


def _dots(figure: Mapping[str, Any], series: Mapping[str, Any], number: int, x: Axis, y: Axis) -> Iterator[str]:
    """Dots and their intervals; a cross at the upper edge for each run that diverged."""
    if series.get("marks", "both") == "line":
        return
    yield f'<g class="series hue-{number % HUES}">'
    for i, (px, py) in enumerate(zip(series["x"], series["y"], strict=True)):
        if px is None or py is None or not y.low <= py <= y.high or not x.low <= px <= x.high:
            continue
        words = f"{series['name']}: {_word(figure, px)}, {format_tick(py)}"
        if "low" in series and series["low"][i] is not None and series["high"][i] is not None:
            at, low, high = x.at(px), y.at(max(series["low"][i], y.low)), y.at(min(series["high"][i], y.high))
            words += f" [{format_tick(series['low'][i])}, {format_tick(series['high'][i])}]"
            yield f'<path class="bar" d="M{at:.1f} {low:.1f}V{high:.1f}M{at - 4:.1f} {low:.1f}h8M{at - 4:.1f} {high:.1f}h8"/>'
        yield _mark(_shape(number), x.at(px), y.at(py), words)
    for px in _diverged(series):
        yield _mark("cross", x.at(px), y.end + 2, f"{series['name']}: {_word(figure, px)}, diverged")
    yield "</g>"


def _shape(number: int) -> str:
    """Shapes go on where hues begin again, so that a ninth series does not look like the first."""
    return SHAPES[(number + number // HUES) % len(SHAPES)]


def _mark(shape: str, px: float, py: float, words: str = "") -> str:
    inside = f"<title>{escape(words)}</title>" if words else ""
    return f'<path class="mark{" cross" if shape == "cross" else ""}" transform="translate({px:.1f} {py:.1f})" d="{PATHS[shape]}">{inside}</path>'


def _line_class(series: Mapping[str, Any]) -> str:
    return "curve dashed" if series.get("dashed") else "curve"


def _stretches(series: Mapping[str, Any]) -> list[list[int]]:
    """Indices of unbroken runs of points."""
    runs: list[list[int]] = [[]]
    for i, (px, py) in enumerate(zip(series["x"], series["y"], strict=True)):
        if px is None or py is None:
            runs.append([])
        else:
            runs[-1].append(i)
    return [run for run in runs if run]


def _diverged(series: Mapping[str, Any]) -> list[float]:
    if series.get("marks", "both") == "line":
        return []
    return [px for px, py in zip(series["x"], series["y"], strict=True) if px is not None and py is None]


def _names(figure: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(series["name"] for series in figure["series"]))


def _word(figure: Mapping[str, Any], px: float) -> str:
    categories = figure["x"].get("categories")
    return str(categories[min(max(round(px), 0), len(categories) - 1)]) if categories else format_tick(px)


def _slanted(figure: Mapping[str, Any]) -> bool:
    words = [str(word) for word in figure["x"].get("categories", ())]
    return bool(words) and CHARACTER * (2 + max(map(len, words))) > (WIDTH - LEFT - RIGHT) / len(words)
