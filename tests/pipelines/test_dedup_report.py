"""The report on the embedded sample: its planted duplicates are found, each by the methods that can."""

import pytest

from pipelines import dedup_report
from pipelines.sample import POOL
from stages.core.engine import run_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources


@pytest.fixture
def report(store):
    plan = dedup_report.plan(root=str(POOL), source="pool").replace({"warcs": {"limit_shards": 2}})
    run_plan(plan, store, Resources(workers=0))
    rows = open_node(store, plan, "compare").table("report").to_pylist()
    return {tuple(row[key] for key in ("measure", "method", "other", "size")): row["documents"] for row in rows}


def test_the_methods_include_one_another(report):
    dropped = {method: report["dropped", method, None, None] for method in ("url", "text", "normalised_text", "minhash", "n_grams")}
    assert 0 < dropped["text"] <= dropped["normalised_text"] <= dropped["minhash"] <= report["dropped_any", None, None, None]
    assert report["dropped_any", None, None, None] < report["all", None, None, None]
    assert report["dropped_both", "text", "normalised_text", None] == dropped["text"] and report["dropped_only", "text", None, None] == 0
    assert report["dropped_both", "text", "n_grams", None] > 0 and report["dropped_both", "minhash", "n_grams", None] > 0
    assert any(measure == "cluster_size" and method == "minhash" for measure, method, _, _ in report)
