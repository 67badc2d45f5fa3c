"""Plots as SVG: ticks that people would choose, points where they belong, everything named, nothing of a stranger's markup."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.figure import check_figure, describe, figure_rows, figure_svg, format_tick, legend, linear_ticks, log_ticks

HOSTILE = "</svg><script>alert(1)</script>\"'&"


def figure(*series, x=None, y=None, lines=()):
    """A figure with these series."""
    return {
        "title": "Losses", "caption": "By rate.", "x": {"label": "rate", "log": True} | (x or {}), "y": {"label": "loss", "log": False} | (y or {}),
        "series": list(series), "lines": list(lines),
    }  # fmt: skip


SOAP = {"name": "soap", "x": [1e-3, 1e-2, 1e-1], "y": [3.0, 2.0, 4.0], "low": [2.9, 1.9, 3.5], "high": [3.1, 2.1, 4.5], "marks": "both"}


def draw(made, identity="f"):
    """The svg as a tree; every mark with its position."""
    tree = ElementTree.fromstring(figure_svg(made, identity))
    marks = [
        (*map(float, re.findall(r"-?[\d.]+", mark.get("transform"))), mark.findtext("title"))
        for mark in tree.iter("path")
        if "mark" in mark.get("class", "")
    ]
    return tree, marks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (2.31, 2.58, [2.35, 2.4, 2.45, 2.5, 2.55]), (-30, 30, [-30, -20, -10, 0, 10, 20, 30]), (0, 655_360, [0, 2e5, 4e5, 6e5])],
)  # fmt: skip
def test_linear_ticks(low, high, ticks):
    assert linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1e-4, 1e-1, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]), (300, 1100, [300, 400, 500, 600, 700, 800, 900, 1000]), (1e-4, 1, [1e-4, 1e-3, 1e-2, 1e-1, 1]), (1, 50, [1, 2, 5, 10, 20, 50]),
        (1e-8, 1e8, [1e-6, 1e-3, 1, 1e3, 1e6]), (2.1, 2.9, [2.2, 2.4, 2.6, 2.8]),
    ],
)  # fmt: skip
def test_log_ticks(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_linear_ticks_are_few_inside_and_equally_far(low, width):
    width = max(width, 1e-6 * abs(low))
    ticks = linear_ticks(low, low + width)
    assert 1 <= len(ticks) <= 7 and all(low - 1e-6 * width <= t <= low + width * (1 + 1e-6) for t in ticks)
    gaps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert all(gap == pytest.approx(gaps[0], rel=1e-3) for gap in gaps)


@given(st.floats(-9, 9), st.floats(0.05, 12))
def test_log_ticks_are_few_and_inside(low, decades):
    low, high = 10**low, 10 ** (low + decades)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 9 and ticks == sorted(set(ticks)) and low * 0.999999 <= ticks[0] and ticks[-1] <= high * 1.000001


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0.003, "0.003"), (3e-5, "3×10⁻⁵"), (1e-4, "10⁻⁴"), (-2e-4, "−2×10⁻⁴"), (0, "0"), (1500, "1500"), (655_360, "655.4K"), (2e6, "2M"),
        (3.2e9, "3.2B"), (-0.25, "−0.25"), (1e15, "10¹⁵"),
    ],
)  # fmt: skip
def test_numbers_on_an_axis(value, word):
    assert format_tick(value) == word


def test_points_stand_where_their_values_are():
    tree, marks = draw(figure(SOAP))
    (x1, y1, _), (x2, y2, _), (x3, y3, words) = marks
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2), "equal ratios are equally far"
    assert y2 - y1 == pytest.approx(y1 - y3, abs=0.2) and y2 > y1 > y3, "up is more"
    assert words == "soap: 0.1, 4 [3.5, 4.5]"
    ticks = {text.text: float(text.get("x")) for text in tree.iter("text") if text.get("class") == "tick"}
    assert ticks["0.01"] == pytest.approx(x2, abs=0.11)
    bars = [path for path in tree.iter("path") if path.get("class") == "bar"]
    line = next(tree.iter("polyline")).get("points").split()
    assert len(bars) == 3 and line == [f"{x:.1f},{y:.1f}" for x, y, _ in marks]


def test_categories_are_places_with_words():
    made = figure(
        {"name": "seeds", "x": [0, 0.1, 1, 1.1], "y": [1, 2, 3, 4], "marks": "dots"}, x={"label": "", "log": False, "categories": ["adamw", "soap"]}
    )
    tree, marks = draw(made)
    ticks = {text.text: float(text.get("x")) for text in tree.iter("text") if text.get("class") == "tick"}
    assert marks[0][0] == pytest.approx(ticks["adamw"], abs=0.1) and marks[2][0] == pytest.approx(ticks["soap"], abs=0.1)
    assert [words for *_, words in marks] == ["seeds: adamw, 1", "seeds: adamw, 2", "seeds: soap, 3", "seeds: soap, 4"]
    assert figure_rows(made)[2] == {"series": "seeds", "x": "soap", "y": 3}
    long = draw(figure({"name": "s", "x": [0, 1], "y": [1, 2]}, x={"log": False, "categories": ["a long name for one place" * 2, "b"]}))[0]
    assert any("rotate(-32" in text.get("transform", "") for text in long.iter("text"))


def test_a_diverged_run_is_a_cross_and_interrupts_the_line():
    made = figure({"name": "sgd", "x": [1e-3, 1e-2, 1e-1, 1.0], "y": [3, None, 2, 2.5], "marks": "both"})
    tree, marks = draw(made)
    assert [words for *_, words in marks if "diverged" in words] == ["sgd: 0.01, diverged"]
    assert [len(line.get("points").split()) for line in tree.iter("polyline")] == [1, 2]
    assert "sgd: 1 diverged." in describe(made) and legend(made)[-1].name == "a run that diverged"
    assert figure_rows(made)[1] == {"series": "sgd", "x": 1e-2, "y": None}


def test_a_band_follows_a_line():
    tree, marks = draw(figure(SOAP | {"marks": "line", "dashed": True}))
    assert not marks and len(next(tree.iter("polygon")).get("points").split()) == 6
    assert "dashed" in next(tree.iter("polyline")).get("class")


def test_reference_lines_have_their_labels():
    tree, _ = draw(figure(SOAP, lines=[{"y": 3.0, "label": "AdamW"}, {"y": 3.01, "label": "Shampoo"}, {"x": 5e-3, "label": "B*"}, {"x": 6e-3, "label": "b/a"}]))
    notes = {text.text: (float(text.get("x")), float(text.get("y"))) for text in tree.iter("text") if "note" in text.get("class")}
    assert set(notes) == {"AdamW", "Shampoo", "B*", "b/a"}
    assert notes["B*"][1] != notes["b/a"][1] and notes["AdamW"][0] > notes["Shampoo"][0] + 300, "labels of neighbours do not cover each other"
    assert len([line for line in tree.iter("line") if line.get("class") == "reference"]) == 4


def test_series_of_one_name_share_a_look_and_others_differ():
    names = ["adamw", "soap", "shampoo", "lion", "signum", "sgd", "adafactor", "muon", "adalayer"]
    made = figure(*({"name": name, "x": [1e-3, 1e-2], "y": [i, i + 1], "marks": marks} for i, name in enumerate(names) for marks in ("dots", "line")))
    tree, _ = draw(made)
    looks = {}
    for group in tree.iter("g"):
        if "hue" in group.get("class", ""):
            first = group.find("path")
            looks.setdefault(first.findtext("title").split(":")[0], set()).add((group.get("class"), first.get("d")))
    assert len(looks) == 9 and all(len(look) == 1 for look in looks.values())
    assert len({next(iter(look)) for look in looks.values()}) == 9, "a ninth series has the hue of the first and another shape"
    lines = [line.get("class") for line in tree.iter("polyline")]
    assert [line.split()[-1] for line in lines] == [f"hue-{i % 8}" for i in range(9)]
    assert [entry.name for entry in legend(made)] == names
    assert legend(figure(SOAP)) == [], "one series needs no legend"


def test_a_reader_hears_what_is_drawn():
    tree, _ = draw(figure(SOAP), "losses")
    title, desc = tree.find("title"), tree.find("desc")
    assert tree.get("role") == "img" and tree.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text == "Losses" and desc.text == "loss against rate. soap: 3 points, lowest 2 at 0.01, highest 4 at 0.1."


def test_words_are_only_words():
    made = figure(SOAP | {"name": HOSTILE}, SOAP, x={"label": HOSTILE}, lines=[{"y": 3.0, "label": HOSTILE}]) | {"title": HOSTILE}
    tree, _ = draw(made)
    assert not list(tree.iter("script")) and tree.findtext("title") == HOSTILE
    categories = figure(SOAP | {"x": [0, 1, 2]}, x={"log": False, "categories": [HOSTILE, "b", "c"]})
    assert not list(draw(categories)[0].iter("script"))


def test_nothing_to_draw_is_said():
    for made in (figure(), figure({"name": "a", "x": [], "y": []}), figure({"name": "a", "x": [1.0], "y": [None]})):
        assert "There are no values to draw." in figure_svg(made, "f")


def test_one_point_has_an_axis():
    for log in (False, True):
        _, marks = draw(figure({"name": "a", "x": [3.0], "y": [5.0]}, x={"log": log}, y={"log": log}))
        assert len(marks) == 1 and all(math.isfinite(v) for v in marks[0][:2])


def test_what_lies_outside_given_limits_is_left_out():
    tree, marks = draw(figure(SOAP, y={"min": 1.5, "max": 3.5}))
    assert [words.split(" [")[0] for *_, words in marks] == ["soap: 0.001, 3", "soap: 0.01, 2"]
    assert tree.find("clipPath") is not None


def test_a_value_beyond_a_limit_does_not_stretch_the_axis():
    _, near = draw(figure(SOAP | {"low": [3.0, 2.0, 4.0], "high": [3.0, 2.0, 4.0]}, y={"max": 4.0}))
    _, far = draw(figure(SOAP | {"low": [3.0, 2.0, 4.0], "high": [3.0, 2.0, 400.0]}, y={"max": 4.0}))
    assert [mark[:2] for mark in near] == [mark[:2] for mark in far]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.0]}, "figure 'Losses', series 'soap': 1 values of y for 3 of x"),
        ({"marks": "bars"}, "marks is 'bars'; the marks are line, dots and both"),
        ({"x": [0.0, 1.0, 2.0]}, "x has the value 0.0, which has no place on a logarithmic axis"),
        ({"y": [1.0, math.nan, 2.0]}, "y has the value nan, which has no place on a linear axis"),
        ({"low": [1.0]}, "1 values of low for 3 of x"),
    ],
)
def test_bad_figures(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_figure(figure(SOAP | change))
    with pytest.raises(ValueError, match="'caption' is missing"):
        check_figure({name: value for name, value in figure(SOAP).items() if name != "caption"})
    with pytest.raises(ValueError, match="needs low and high"):
        check_figure(figure({name: value for name, value in SOAP.items() if name != "low"}))
