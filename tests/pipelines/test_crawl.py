"""The recipe for one's own crawl: the demo's cleaning, on any directory."""

from pipelines import crawl, demo
from pipelines.sample import POOL
from stages.core.plan import load_plan


def shape(node):
    return node.stage.name, node.config, [shape(parent) for parent in node.inputs]


def test_it_cleans_as_the_demo_does():
    own, clean = crawl.plan(root=str(POOL), source="pool")["clean"], demo.plan()["clean"]
    assert shape(own) == shape(clean)


def test_place_and_source_can_be_set():
    plan = crawl.plan().replace({"warcs": {"root": "elsewhere", "source": "mine"}})
    assert (plan["warcs"].config.root, plan["warcs"].config.source) == ("elsewhere", "mine")
    assert plan.name == "crawl" and [node.name for node in plan.outputs] == ["clean"]


def test_it_loads_by_name():
    assert load_plan("crawl").recipe == crawl.plan().recipe
