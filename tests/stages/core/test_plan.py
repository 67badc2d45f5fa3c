"""Plans are inert, and what is wrong with one is said before anything runs."""

import importlib.util
import sys
from pathlib import Path

import pytest

from stages.core.config import ConfigError
from stages.core.plan import Plan, PlanError, PlanRef, load_plan

spec = importlib.util.spec_from_file_location("toy_for_plan", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(spec)
sys.modules["toy_for_plan"] = toy
spec.loader.exec_module(toy)


def test_building_does_no_io():
    plan = toy.plan(root="/does/not/exist")
    assert [n.name for n in plan.nodes] == ["toy_source", "toy_extract", "toy_filter", "toy_dedup", "toy_score", "toy_apply", "toy_count"]


def test_missing_column_is_found_and_explained():
    pages = toy.toy_extract.on(toy.toy_source.on(root="x"))
    dedup = toy.toy_dedup.on(pages)
    with pytest.raises(PlanError, match=r"toy_apply: column 'score_toy' is missing from toy_extract, toy_dedup \(has: .*\)"):
        Plan("p", [toy.toy_apply.on(pages, dedup)])


def test_roles_are_checked():
    source = toy.toy_source.on(root="x")
    with pytest.raises(PlanError, match="input 'toy_source' gives source, but stage toy_filter wants documents"):
        Plan("p", [toy.toy_filter.on(source)])
    with pytest.raises(PlanError, match="takes source, but 0 inputs"):
        Plan("p", [toy.toy_extract.on()])


def test_sidecar_must_belong():
    a = toy.toy_extract.on(toy.toy_source.on(root="x", name="source_a"), name="a")
    b = toy.toy_extract.on(toy.toy_source.on(root="y", name="source_b"), name="b")
    with pytest.raises(PlanError, match="sidecar 'score_b' scored 'b', which is not 'a'"):
        Plan("p", [toy.toy_apply.on(a, toy.toy_dedup.on(a), toy.toy_score.on(b, name="score_b"))])


def test_a_score_of_another_text_does_not_fit():
    pages = toy.toy_extract.on(toy.toy_source.on(root="x"))
    cut = toy.toy_cut.on(pages)
    verdicts = toy.toy_dedup.on(cut)
    with pytest.raises(PlanError, match="sidecar 'toy_score' scored 'toy_extract', which is not 'toy_cut'"):
        Plan("p", [toy.toy_apply.on(cut, verdicts, toy.toy_score.on(pages))])
    Plan("p", [toy.toy_apply.on(cut, verdicts, toy.toy_score.on(cut))])


def test_a_column_comes_from_one_place():
    pages = toy.toy_extract.on(toy.toy_source.on(root="x"))
    a, b = toy.toy_score.on(pages, name="a"), toy.toy_score.on(pages, name="b")
    with pytest.raises(PlanError, match="column 'score_toy' comes from both a and b"):
        Plan("p", [toy.toy_apply.on(pages, toy.toy_dedup.on(pages), a, b)])


def test_recipe_is_cheap_in_a_plan_of_diamonds():
    node = toy.toy_extract.on(toy.toy_source.on(root="x"))
    for i in range(40):
        node = toy.toy_apply.on(node, toy.toy_dedup.on(node, name=f"d{i}"), toy.toy_score.on(node, name=f"s{i}"), name=f"a{i}")
    assert len(Plan("p", [node]).recipe) == 64


def test_names_are_unique_and_sql():
    pages = toy.toy_extract.on(toy.toy_source.on(root="x"))
    with pytest.raises(PlanError, match="two nodes are called 'toy_filter'"):
        Plan("p", [toy.toy_filter.on(pages), toy.toy_filter.on(pages, min_length=9)])
    with pytest.raises(PlanError, match="letters, digits"):
        Plan("p", [toy.toy_filter.on(pages, name="a-b")])


def test_replace_changes_one_config_and_what_follows():
    plan = toy.plan(root="x")
    changed = plan.replace({"toy_filter": {"min_length": 9}})
    same = {n.name for n in plan.nodes if n.recipe == changed[n.name].recipe}
    assert same == {"toy_source", "toy_extract", "toy_score"}
    with pytest.raises(PlanError, match="did you mean 'toy_filter'"):
        plan.replace({"toy_filtr": {}})
    with pytest.raises(ConfigError, match="did you mean 'min_length'"):
        plan.replace({"toy_filter": {"min_lengt": 1}})


def test_load_plan_from_file_and_its_errors(tmp_path):
    path = Path(__file__).with_name("toy.py")
    plan = load_plan(PlanRef(f"{path}:plan", {"root": "x"}, (("toy_filter.min_length", 7),)))
    assert plan["toy_filter"].config.min_length == 7
    assert plan.recipe == load_plan(plan.ref).recipe
    for target, words in [("no/such.py:plan", "no file"), (f"{path}:nothing", "no function 'nothing'"), ("nowhere", "no pipeline 'nowhere'")]:
        with pytest.raises(PlanError, match=words):
            load_plan(target)


def test_until_keeps_what_is_needed():
    assert [n.name for n in toy.plan(root="x").until("toy_score").nodes] == ["toy_source", "toy_extract", "toy_score"]
