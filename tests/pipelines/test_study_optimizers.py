"""The studies of optimizers and of SOAP: plans that share runs, arms that their judges know, and a whole study at the scale "smoke"."""

import json
from html import unescape

from evaluation.studies import optimizers as optimizer_claims
from evaluation.studies import soap as soap_claims
from evaluation.studies.runs import SANITY
from models.optim.choose import MAKERS
from models.study_scales import STUDY_SCALES
from pipelines import study_optimizers, study_soap
from pipelines.study_optimizers import CENTRES, HALF_DECADE, NUM_TOKENS, grid
from stages.core.engine import run_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store


def arms(plan, node):
    return plan[node].config.arms


def test_numbers_agree_with_the_scales():
    assert {name: scale.num_tokens for name, scale in STUDY_SCALES.items()} == NUM_TOKENS


def test_grids_are_half_decades_around_their_centre():
    assert grid(1e-2, 5) == [1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1] and grid(0.3, 3)[1] == 0.3
    for arm in (*arms(study_optimizers.plan(), "sweep"), *arms(study_optimizers.plan(), "sweep_matrix")):
        assert arm.seed == 0 and arm.lr and max(arm.lr / CENTRES[arm.group], CENTRES[arm.group] / arm.lr) < 1.01 * HALF_DECADE**2


def test_every_optimizer_has_equal_budgets_and_fresh_seeds():
    plan = study_optimizers.plan()
    swept = [arm for node in ("sweep_matrix", "sweep") for arm in arms(plan, node)]
    fresh = [arm for node in ("confirm_matrix", "confirm") for arm in arms(plan, node) if arm.group not in SANITY]
    optimizers = {optimizer_claims.BASE, optimizer_claims.WORST, *optimizer_claims.PAPER, *optimizer_claims.OTHERS}
    assert optimizers == set(MAKERS) - {"sgd_adalayer"}
    for name in optimizers:
        assert sum(arm.group == name for arm in swept) == 5
        assert sorted(arm.seed for arm in fresh if arm.group == name) == [1, 2, 3, 4, 5]
    assert all(arm.lr is None and arm.seed > 0 for arm in fresh)
    groups = {arm.group for arm in fresh}
    assert {optimizer_claims.ADAPTIVE, *optimizer_claims.DROPPED} <= groups
    assert {sum(arm.group == group for arm in fresh) for group in groups} == {5}
    for group in study_optimizers.LINES:  # what the judge reads from the name is what the arm does
        (arm, *_) = [arm for arm in fresh if arm.group == group]
        option, _, value = group.partition("/")[2].partition("=")
        betas = dict(zip(("beta1", "beta2"), dict(arm.options)["betas"], strict=True))
        assert betas == {"beta1": 0.9, "beta2": 0.95, option: float(value)} and arm.lr_from == arm.optimizer == group.partition("/")[0]


def test_the_study_of_soap_shares_its_tuning():
    both = study_optimizers.plan(), study_soap.plan()
    for node in ("sweep_matrix", "confirm_matrix"):
        assert both[0][node].recipe == both[1][node].recipe
    own = arms(both[1], "confirm")
    assert {arm.num_tokens / NUM_TOKENS["tiny"] for arm in own if "data=" in arm.group} == set(study_soap.FRACTIONS)
    assert {soap_claims.ONE_SIDED, soap_claims.FACTORIZED, "soap/f=1", "shampoo/f=1", "soap/f=100", "shampoo/f=100"} <= {arm.group for arm in own}
    for arm in own:
        frequency = arm.group.partition("/f=")[2]
        assert not frequency or dict(arm.options) == {"precondition_frequency": int(frequency)}


def test_scales_are_told_apart_in_sql():
    assert study_soap.plan().sql_name == "study_soap" and study_soap.plan("smoke").sql_name == "study_soap_smoke"


def test_a_whole_study(tmp_path):
    """That of SOAP, which shares its runs, is run in tests/flows/test_study.py."""
    plan, store = study_optimizers.plan("smoke"), Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    verdicts, page = open_node(store, plan, "verdicts"), open_node(store, plan, "page")
    claims = verdicts.table("claims").to_pylist()
    assert {claim["verdict"] for claim in claims} >= {"not tested here"} and len(claims) > 10
    assert verdicts.summary["analysis"]["confirmatory_started"]
    html = (page.path / "files" / "index.html").read_text()
    assert "<svg" in html and claims[0]["claim"] in unescape(html)
    assert json.loads((page.path / "files" / "study.json").read_text())["paragraph"] == verdicts.summary["paragraph"]
