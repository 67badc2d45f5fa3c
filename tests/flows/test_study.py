"""`winnow study`: what there is, one study from raw pages to its page, the same in Prefect, and its place beside a leaderboard."""

import json
from pathlib import Path

import pytest

from evaluation.board import build_board
from evaluation.page import render_site
from flows.studies import plan_study, put_beside, studies
from stages.core.store import Store

NAMES = ["critical_batch_size", "optimizers", "preconditioner", "soap"]
STUDY = "soap"
"""The one that is run here: it has every kind of node that a study has."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that all tests of this file share: the study runs once."""
    return tmp_path_factory.mktemp("studies") / "store"


def smoke(winnow, root: Path, *words: str):
    return winnow("study", STUDY, "--scale", "smoke", "--no-prefect", "--workers", "0", "--store", str(root), *words)


def test_the_studies_are_listed_with_their_cost(winnow):
    code, out, _ = winnow("study", "--json")
    rows = json.loads(out)
    assert code == 0 and rows == studies() and [row["study"] for row in rows] == NAMES
    assert all(row["about"].endswith((".", "?")) and "minutes" in row["cost"] for row in rows)


def test_an_unknown_study_or_scale_has_a_near_one(winnow):
    code, _, err = winnow("study", "optimisers")
    assert code == 2 and "there is no study 'optimisers'; did you mean 'optimizers'?" in err
    code, _, err = winnow("study", "soap", "--scale", "tinny")
    assert code == 2 and "studies have no scale 'tinny'; did you mean 'tiny'?" in err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["smoke", "tiny", "small", "medium"])
def test_every_study_is_a_plan_at_every_scale(name, scale):
    made = plan_study(name, scale)
    assert made.sql_name == f"study_{name}" + ("" if scale == "tiny" else f"_{scale}") and made.outputs == (made["page"],)
    assert made["page"].inputs[0] is made["verdicts"] and made["page"].config.scale == scale
    assert set(made["page"].config.nodes) <= {node.name for node in made.nodes}
    assert plan_study(name.replace("_", "-"), scale).recipe == made.recipe


def test_a_study_from_raw_pages_to_its_page(winnow, root):
    code, out, err = smoke(winnow, root, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["study"], found["scale"]) == (STUDY, "smoke") and found["paragraph"] and found["claims"]
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert "<svg" in page and f"winnow study {STUDY} --scale smoke" in page and f"study_{STUDY}_smoke.verdicts" in page

    code, out, _ = smoke(winnow, root)
    words = " ".join(out.split())
    assert code == 0 and found["claims"][0]["verdict"] in words and found["page"] in out.replace("\n", "")

    sql = f"select claim, verdict from study_{STUDY}_smoke.verdicts"
    rows = json.loads(winnow("sql", sql, "--store", str(root), "--json")[1])
    assert [row["verdict"] for row in rows] == [claim["verdict"] for claim in found["claims"]]
    runs = f"select count(distinct run) as runs, bool_and(val_loss is not null or diverged) as told from study_{STUDY}_smoke.confirm"
    (row,) = json.loads(winnow("sql", runs, "--store", str(root), "--json")[1])
    assert row["runs"] >= 2 and row["told"]


def test_the_flow_reuses_what_is_done(winnow, root, served):
    smoke(winnow, root)
    from flows.prefect_env import call

    events = []
    parameters = {"name": STUDY, "scale": "smoke", "store": str(root), "workers": 1}
    made = call("study", parameters, lambda node, event, fields: events.append(event))
    assert made["page"].startswith("render_study/") and made["verdicts"].startswith("judge_") and set(events) == {"node_reused"}


def test_finished_studies_stand_beside_a_board(winnow, root, tmp_path):
    smoke(winnow, root)
    for name, html in render_site(build_board([])).items():
        (tmp_path / name).write_text(html, encoding="utf-8")
    before = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert put_beside(tmp_path, Store(tmp_path / "empty")) == [] and (tmp_path / "index.html").read_text(encoding="utf-8") == before
    assert put_beside(tmp_path, Store(root)) == [f"studies/{STUDY}-smoke.html"]
    assert f'href="studies/{STUDY}-smoke.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="../index.html"' in (tmp_path / "studies" / f"{STUDY}-smoke.html").read_text(encoding="utf-8")
