"""The page of a study in a browser: it opens from disk in light and dark, on narrow screens, asks nobody, and runs no stranger's code."""

import re

import pytest

from evaluation.page import render_site
from evaluation.studies.claims import VERDICTS, Claim, claims_table
from evaluation.studies.page import format_column, format_estimate, format_value, link_studies, render_study_page
from tests.evaluation.test_board import board as board
from tests.evaluation.test_board import entries as entries
from tests.evaluation.test_figure import SOAP, figure
from tests.evaluation.test_page import HOSTILE, Page, opened
from tests.evaluation.test_page import browser as browser


def study(word: str = "SOAP", **changes):
    """What stages.render_study hands over; `word` stands everywhere."""
    estimate = {"estimate": 0.0123, "low": -0.0041, "high": 0.0287, "unit": "nats", "num_seeds": 5, "method": f"TOST {word}"}
    claims = [
        Claim(claim=f"Claim {i} of {word}", source=f"arXiv 2409.11321 {word}", verdict=verdict, words=f"Seen {i} {word}", **estimate if i < 2 else {})
        for i, verdict in enumerate(VERDICTS)
    ]
    drawn = figure(SOAP | {"name": word}, SOAP | {"name": "lion", "y": [3, None, 2]}, lines=[{"y": 3.0, "label": word}]) | {"title": f"Losses {word}"}
    return {
        "study": "soap", "title": f"Does {word} need fewer steps?", "paragraph": f"{word} needs fewer.", "figures": [drawn, drawn | {"title": "Again"}],
        "tables": [{"title": f"Best {word}", "rows": [{"optimizer": word, "lr": 3e-3, "runs": 12_000}, {"optimizer": "lion", "diverged": True}]}],
        "analysis": {"first_committed": "2026-11-25T10:00:00+00:00", "committed": "2026-11-25T10:00:00+00:00", "confirmatory_started": "2026-11-25T11:00:00Z"},
        "claims": claims_table(claims).to_pylist(), "scale": "tiny", "nodes": ["sweep", "confirm"],
        "provenance": {"commit": ["abc"], "hardware": [word], "date": ["2026-11-24", "2026-11-25"], "runs": 80, "diverged": 3, "train_seconds": 1200.0},
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "index.html"
    path.write_text(render_study_page(study()), encoding="utf-8")
    return path


def test_the_page_is_well_formed_and_loads_nothing():
    html = render_study_page(study())
    parsed = Page(html)
    assert not parsed.open and len(parsed.ids) == len(set(parsed.ids))
    assert all(tag == "a" or (tag, name, value) == ("link", "href", "data:,") for tag, name, value in parsed.links)
    assert not any(tag in {"img", "iframe", "object", "embed", "base", "script"} for tag, _ in parsed.tags)
    assert "@import" not in html and not re.search(r"url\((?!#)", html)


def test_claims_figures_tables_and_commands_can_be_read(browser, page):
    with opened(browser, page) as shown:
        rows = shown.locator(".claims tbody tr")
        assert rows.count() == 4
        for i, verdict in enumerate(VERDICTS):
            assert f"Claim {i} of SOAP" in rows.nth(i).inner_text() and verdict in rows.nth(i).locator(".verdict").inner_text()
        assert "0.012 [−0.004, 0.029] nats" in rows.nth(0).inner_text()
        assert shown.locator("svg.figure").count() == 2 and shown.get_by_role("img", name="Losses SOAP").count() == 1
        assert shown.locator(".keys").first.inner_text().split("\n") == ["SOAP", "lion", "a run that diverged"]
        shown.locator("summary").first.press("Enter")
        assert "diverged" in shown.locator(".numbers").first.inner_text()
        assert "12,000" in shown.locator(".tables").inner_text() and "yes" in shown.locator(".tables").inner_text()
        code = " ".join(shown.locator("pre").all_inner_texts())
        assert "winnow study soap" in code and "--scale" not in code
        assert "winnow sql 'from study_soap.confirm'" in code
        assert "80, of which 3 diverged" in shown.locator(".provenance").inner_text()


def test_another_scale_names_its_views_and_a_changed_analysis_is_told():
    html = render_study_page(study(scale="smoke", analysis={"first_committed": None, "committed": None, "confirmatory_started": None}))
    assert "winnow study soap --scale smoke" in html and "from study_soap_smoke.verdicts" in html
    assert "may have been changed after the runs were seen" in html
    bare = study(figures=[], tables=[], nodes=[], analysis=None)
    assert "Figures" not in render_study_page(bare) and "Which came first" not in render_study_page(bare)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (800, "light"), (400, "dark")])
def test_it_fits_the_window_in_light_and_dark(browser, page, width, scheme):
    with opened(browser, page, width, scheme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        paper, hue = shown.evaluate(
            """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.hue-0 .mark')).fill]"""
        )
        dark = sum(map(int, re.findall(r"\d+", paper))) < 200
        assert dark == (scheme == "dark") and hue == ("rgb(99, 174, 232)" if dark else "rgb(11, 111, 179)")
        sizes = shown.evaluate("[...document.querySelectorAll('svg.figure')].map(e => 12.5 * e.getBoundingClientRect().width / 620)")
        assert min(sizes) > 9.5, "text of a figure stays readable; on a narrow screen the figure scrolls"


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def test_colours_of_series_stand_out_from_the_paper():
    """WCAG asks 3:1 of what is no text."""
    html = render_study_page(study())
    light, dark = (re.findall(r"--hue-\d: (#\w{6})", part) for part in re.findall(r":root \{ --hue-0.*", html))
    surfaces = ("#ffffff", "#161e1b")
    for colours, surface in zip((light, dark), surfaces, strict=True):
        assert len(set(colours)) == 8 and surface in html
        for colour in colours:
            high, low = sorted((_luminance(colour), _luminance(surface)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, surface)


def test_strangers_words_are_only_words(browser, tmp_path):
    (tmp_path / "index.html").write_text(render_study_page(study(HOSTILE)), encoding="utf-8")
    Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    with opened(browser, tmp_path / "index.html") as shown:
        assert shown.locator("script, img").count() == 0 and "<img" in shown.locator(".claims").inner_text()


def test_a_board_links_its_studies(browser, board, tmp_path):
    from tests.evaluation.test_page import write_site

    write_site(tmp_path, board)
    index = tmp_path / "index.html"
    html = index.read_text(encoding="utf-8")
    assert link_studies(html, []) == html
    index.write_text(link_studies(html, [("studies/soap.html", "SOAP & steps <1>")]), encoding="utf-8")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "soap.html").write_text(render_study_page(study(), board="../index.html"), encoding="utf-8")
    Page(index.read_text(encoding="utf-8"))
    with opened(browser, index) as shown:
        shown.get_by_role("link", name="SOAP & steps <1>").click()
        assert shown.locator("h1").inner_text().startswith("Does SOAP need")
        shown.get_by_role("link", name="All strategies").click()
        assert shown.locator("h2", has_text="Studies").count() == 1
    with pytest.raises(ValueError, match="it is not the index.html of a leaderboard"):
        link_studies(render_site(board)["pair.html"], [("a", "b")])


@pytest.mark.parametrize(
    ("estimate", "low", "high", "unit", "words"),
    [
        (0.0123, -0.0041, 0.0287, "nats", "0.012 [−0.004, 0.029] nats"), (31.24, 22.01, 39.94, "%", "31 [22, 40] %"), (0.5, None, None, "", "0.5"),
        (1234.5, 1200.0, 1300.0, "tokens", "1,234 [1,200, 1,300] tokens"), (2e-9, 1e-9, 3e-9, "", "2e−09 [1e−09, 3e−09]"), (None, None, None, "", ""),
        (1.0, 1.0, 1.0, "", "1 [1, 1]"),
    ],
)  # fmt: skip
def test_estimates(estimate, low, high, unit, words):
    assert format_estimate({"estimate": estimate, "low": low, "high": high, "unit": unit}) == words


def test_cells_of_tables():
    assert [format_value(v) for v in (None, True, 12_345, -2, 0.00321, 123_456.7, "a", (1, 2.5))] == [
        "–", "yes", "12,345", "−2", "0.00321", "123,457", "a", "1, 2.5",
    ]  # fmt: skip


def test_columns_of_tables():
    assert format_column([5.3, 5.4012, None, ""]) == ["5.300", "5.401", "–", ""]
    assert format_column([0.01, 0.0316]) == ["0.0100", "0.0316"] and format_column([0.01, 0.01]) == ["0.01", "0.01"]
    assert format_column([1e-4, 10.0]) == ["0.0001", "10"] and format_column([-0.25, 0.0]) == ["−0.25", "0.00"]
    assert format_column([12_345.6, 2.0]) == ["12,346", "2"] and format_column([True, 3]) == ["yes", "3"]
