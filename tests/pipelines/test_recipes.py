"""The shipped recipes: identities and contents as pinned in tests/golden, what they say of themselves, every drop accounted for."""

import json

import pytest

from stages.core.engine import run_plan
from stages.core.fingerprint import changed_fields
from stages.core.plan import load_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store
from tests.pipelines.golden import COMMAND, CURATED, RECIPES, contents, identities, identity_changes, pinned, recipe, run_recipe


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """One store for all recipes: they share the extraction of the embedded pool."""
    return Store(tmp_path_factory.mktemp("recipes") / "store")


@pytest.mark.parametrize("name", [*CURATED, "benchmark"])
def test_fingerprints_are_pinned(name, tmp_path):
    found = json.loads(json.dumps(identities(recipe(name), Store(tmp_path / "store"))))
    told = "\n  ".join(identity_changes(pinned("fingerprints", name), found))
    assert not told, f"identities of {name} changed:\n  {told}\nIf outputs change, bump the stage's version; if this is wanted: {COMMAND}"


@pytest.mark.parametrize("name", CURATED)
def test_contents_are_pinned(name, store):
    plan = run_recipe(name, store)
    told = "\n  ".join(changed_fields(pinned("content", name), contents(plan, store)))
    assert not told, (
        f"contents of {name} changed:\n  {told}\nThe first in the order of the plan made the others differ: bump its stage's version, then: {COMMAND}"
    )
    for node in contents(plan, store):
        manifest = open_node(store, plan, node).manifest
        if manifest.kind in ("map", "extract"):
            assert manifest.rows_in == manifest.rows_out + manifest.rows_dropped, node
            assert sum(manifest.drops.values()) == sum(manifest.steps.values()) == manifest.rows_dropped, node


def test_addresses_are_replaced_alike_by_any_number_of_workers(store, tmp_path):
    """datatrove's own rotation of replacements depends on what a process saw before."""
    alone = Store(tmp_path / "alone")
    run_plan(recipe("fineweb"), store, Resources(workers=2))
    run_plan(recipe("fineweb"), alone, Resources(workers=0, batch_rows=100))
    found = [open_node(place, recipe("fineweb"), "anonymous").manifest.content_hash for place in (store, alone)]
    assert found[0] == found[1]


def test_changes_are_named():
    old = {
        "a": {"fingerprint": "1", "payload": {"version": 1, "inputs": []}},
        "b": {"fingerprint": "2", "payload": {"inputs": ["1"]}},
    }
    new = {
        "a": {"fingerprint": "3", "payload": {"version": 2, "inputs": []}},
        "b": {"fingerprint": "4", "payload": {"inputs": ["3"]}},
    }
    assert identity_changes(old, new) == ["a: version: 1 -> 2", "1 more nodes have other inputs by that"]
    assert identity_changes(old, old) == [] and identity_changes({}, {"c": {}}) == ["c is new"]


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "dedup_report"])
def test_a_recipe_says_what_is_exact_and_what_is_not(name):
    plan = load_plan(name)
    assert plan.about.exact and plan.substitutes() and plan.about.source
    published = [step for item in plan.about.published for step in item.steps]
    for place in (*plan.about.exact, *[item.place for item in plan.about.substitutes], *published):
        node, _, step = place.partition(".")
        assert node in plan and (not step or step in plan[node].stage.parts), place


def test_a_list_or_a_model_of_ones_own_ends_a_substitution():
    plan = load_plan("dclm_baseline")
    assert {"extract", "refined.filter_url", "refined.filter_language", "classifier"} <= {item.place for item in plan.substitutes()}
    given = plan.replace({"refined": {"filter_url.lists": "lists", "filter_language.model": "lid.176.bin"}})
    assert not {"refined.filter_url", "refined.filter_language"} & {item.place for item in given.substitutes()}
    assert "classifier" not in {item.place for item in load_plan("dclm_baseline:published_classifier").substitutes()}


def test_a_crawl_is_set_where_it_is_read():
    plan = load_plan("dclm_baseline")
    assert plan.place("extract.crawl") == ("warcs", "crawl")
    source = plan.replace({"warcs": {"crawl": "CC-MAIN-2024-10"}})["warcs"].config
    assert source.place == "https://data.commoncrawl.org/" and source.prefix == "CC-MAIN-2024-10"
