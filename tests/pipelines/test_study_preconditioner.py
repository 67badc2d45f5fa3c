"""The study of Shampoo's preconditioner: its plan, and the whole of it at the scale "smoke"."""

import json

import pytest

from models.small_networks import NETWORKS
from pipelines import study_preconditioner
from stages.core.engine import run_plan
from stages.core.plan import PlanError
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store
from stages.measure_preconditioner import MeasurePreconditioner


def test_the_plan_of_each_scale():
    plans = {scale: study_preconditioner.plan(scale) for scale in ("smoke", "tiny", "small")}
    assert {scale: plan.variant for scale, plan in plans.items()} == {"smoke": "smoke", "tiny": "default", "small": "small"}
    config = plans["tiny"]["measure"].config
    assert config == MeasurePreconditioner() and len(config.seeds) >= 3 and 0 not in config.seeds
    assert set(config.networks) == set(NETWORKS)
    with pytest.raises(PlanError, match="did you mean 'tiny'"):
        study_preconditioner.plan("tny")


def test_the_whole_study_at_the_scale_smoke(tmp_path):
    plan, store = study_preconditioner.plan("smoke"), Store(tmp_path)
    outcomes = run_plan(plan, store, Resources(workers=0))
    assert all(outcome.state == "ran" for outcome in outcomes.values())
    claims = [
        row
        for shard in open_node(store, plan, "verdicts").shards
        for row in open_node(store, plan, "verdicts").table(shard.name).to_pylist()
    ]
    assert claims[0]["claim"].startswith("Shampoo squared is closer to the Gauss-Newton matrix") and claims[0]["verdict"] == "supported"
    page = open_node(store, plan, "page")
    study = json.loads(open(page.file("study.json")).read())
    assert study["study"] == "preconditioner" and len(study["figures"]) == 9 and study["analysis"]["confirmatory_started"]
    assert "<svg" in open(page.file("index.html")).read()
