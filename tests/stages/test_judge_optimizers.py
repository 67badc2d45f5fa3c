import inspect
import json

import numpy as np
import pytest

from evaluation.figure import check_figure
from evaluation.studies.claims import COLUMNS
from stages.core.stage import Inputs, Resources
from stages.judge_optimizers import DEFAULTS, JudgeOptimizers, judge_optimizers
from tests.evaluation.studies import made_runs as made
from tests.stages.memory_dataset import Memory

MEANS = {
    "adamw": 3.30,
    "soap": 3.20,
    "lion": 3.304,
    "signum": 3.31,
    "sgd": 3.8,
    "sgd_adalayer": 3.35,
    "sgd_adalayer/norms=False": 3.5,
    "adamw/beta1=0": 3.5,
}


def dataset(rows, started="2026-03-01T10:00:00Z"):
    table = Memory({"runs": made.table_of(rows)})
    table.summary = {"runs": [{"run": row["run"], "started": started, "step_seconds": 0.05} for row in rows], "diverged": 0}
    return table


def inputs(sanity=None, change=()):
    rng = np.random.default_rng(0)
    sweep = [row for group, mean in MEANS.items() for row in made.sweep_rows(group, mean, lost_above=0.05 if group == "sgd" else None)]
    fresh = [row for group, mean in MEANS.items() for row in made.fresh_rows(rng, group, mean, 0.004)]
    fresh = [{**row, "val_loss": None, "diverged": True} if (row["group"], row["seed"]) in change else row for row in fresh]
    tables = (dataset(sweep, "2026-03-01T09:00:00Z"), dataset([*fresh, *(made.sanity_rows() if sanity is None else sanity)]))
    return Inputs(tables, ("table",) * len(tables))


def judged(**changes):
    made_by = judge_optimizers(JudgeOptimizers(), inputs(**changes), Resources())
    name, table = next(made_by)
    with pytest.raises(StopIteration) as end:
        next(made_by)
    assert name == "claims"
    return table, json.loads(json.dumps(end.value.value, allow_nan=False))


def test_claims_are_rows_and_what_they_rest_on_is_shown():
    table, summary = judged()
    assert {field.name: field.type for field in table.schema} == COLUMNS and table.num_rows == len(set(table.column("claim").to_pylist()))
    found = dict(zip(table.column("claim").to_pylist(), table.column("verdict").to_pylist(), strict=True))
    assert found["SGD ends worst of all."] == "supported" and found["Leaving the last layer to SGD hurts."] == "not tested here"
    assert set(summary) == {"study", "title", "paragraph", "figures", "tables", "analysis"} and summary["study"] == "optimizers"
    assert [figure["title"] for figure in summary["figures"]] == [
        "Final validation loss over the learning rate", "Each optimizer at its best learning rate, on fresh seeds", "What has to adapt", "Momentum, beta1",
    ]  # fmt: skip
    for figure in summary["figures"]:
        check_figure(figure)
    for words in ("lion +0.0", "(comparable)", "sgd +0.50", "(different)", "1 runs of the sweeps", "Supported (9)"):
        assert words in summary["paragraph"], words
    assert summary["analysis"]["confirmatory_started"] == "2026-03-01T10:00:00Z"


def test_every_seed_is_a_dot_and_diverged_runs_are_marked():
    _, summary = judged(change={("sgd", 3)})
    sweeps, best, *_ = summary["figures"]
    (sgd,) = [series for series in sweeps["series"] if series["name"] == "sgd"]
    assert sgd["y"].count(None) == 1 and sweeps["y"]["max"] == pytest.approx(3.8 + 0.6)
    assert best["x"]["categories"] == ["soap", "adamw", "lion", "signum", "sgd_adalayer", "sgd"]
    dots, means = best["series"]
    assert len(dots["x"]) == 6 * 5 and dots["y"].count(None) == 1 and len(means["low"]) == 6
    arms, swept = summary["tables"]
    rows = {row["arm"]: row for row in arms["rows"]}
    assert rows["sgd"]["diverged"] == 1 and rows["sgd"]["verdict"] == "different" and "verdict" not in rows["adamw"]
    assert {row["group"]: row["diverged"] for row in swept["rows"]}["sgd"] == 1


@pytest.mark.parametrize(
    ("sanity", "says"),
    [
        (made.sanity_rows(end=6.0), "at lr 0"),
        (made.sanity_rows(ascent=5.0), "the sign of an update is wrong"),
        (made.sanity_rows()[:2], "run both"),
    ],
)
def test_only_sanity_arms_fail_a_study(sanity, says):
    with pytest.raises(ValueError, match=says):
        judged(sanity=sanity)


def test_lines_go_through_the_defaults_of_the_optimizers():
    import torch

    from models.optim import Lion
    from models.optim.choose import make_optimizer
    from models.study_scales import STUDY_SCALES
    from models.transformer import Transformer

    torch.set_num_threads(1)
    adamw = make_optimizer("adamw", Transformer(STUDY_SCALES["tiny"].model, seed=0), lr=0.1)
    assert adamw.defaults["betas"] == (DEFAULTS["adamw"]["beta1"], DEFAULTS["adamw"]["beta2"])
    assert inspect.signature(Lion).parameters["betas"].default == (DEFAULTS["lion"]["beta1"], DEFAULTS["lion"]["beta2"])
