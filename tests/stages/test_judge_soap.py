import json

import numpy as np
import pytest

from evaluation.figure import check_figure
from evaluation.studies.claims import COLUMNS
from stages.core.stage import Inputs, Resources
from stages.judge_soap import JudgeSoap, judge_soap
from tests.evaluation.studies import made_runs as made
from tests.stages.memory_dataset import Memory

FULL = 655_360


def curve(n):
    return 2.9 + 0.4 * n**-0.6


MEANS = {"adamw": curve(0.6), "shampoo": curve(0.8), "soap": curve(1.0), "soap/f=100": 3.33, "soap/factorized": 3.301}


def judged(shares=(0.5, 0.75), sanity=None, seconds=0.05):
    rng = np.random.default_rng(0)
    rows = made.sanity_rows() if sanity is None else sanity
    rows = [*rows, *(row for group, mean in MEANS.items() for row in made.fresh_rows(rng, group, mean, 0.002))]
    for share in shares:
        rows += made.fresh_rows(rng, f"soap/data={share:g}", curve(share), 0.002, seeds=(1, 2, 3), num_tokens=round(share * FULL))
    table = Memory({"runs": made.table_of(rows)})
    of_group = {"adamw": 0.8 * seconds, "shampoo": 1.1 * seconds}
    table.summary = {
        "runs": [
            {"run": run, "started": "2026-03-01T10:00:00Z", "step_seconds": of_group.get(run.partition("|")[0], seconds) * (1 + 0.01 * rng.normal())}
            for run in {row["run"]: None for row in rows}
        ]
    }
    made_by = judge_soap(JudgeSoap(), Inputs((table,), ("table",)), Resources())
    name, claims = next(made_by)
    with pytest.raises(StopIteration) as end:
        next(made_by)
    assert name == "claims"
    return claims, json.loads(json.dumps(end.value.value, allow_nan=False))


def test_the_saving_is_read_off_where_it_was_built():
    table, summary = judged()
    assert {field.name: field.type for field in table.schema} == COLUMNS
    rows = {row["claim"]: row for row in table.to_pylist()}
    steps, time = rows["SOAP reaches AdamW's loss in fewer steps."], rows["SOAP reaches AdamW's loss in less time."]
    assert steps["verdict"] == time["verdict"] == "supported"
    assert steps["estimate"] == pytest.approx(40, abs=2) and time["estimate"] == pytest.approx(25, abs=3)
    assert sum(row["verdict"] == "not tested here" for row in rows.values()) >= 5
    assert summary["study"] == "soap" and summary["analysis"]["confirmatory_started"] == "2026-03-01T10:00:00Z"
    efficiency, frequency, variants = summary["figures"]
    for figure in summary["figures"]:
        check_figure(figure)
    assert len(efficiency["series"][0]["x"]) == 3 + 3 + 5  # every seed a dot
    assert [line.get("label") for line in efficiency["lines"]][::2] == ["AdamW on all of it", "Shampoo on all of it"]
    assert efficiency["lines"][1]["x"] == pytest.approx(0.6, abs=0.02)
    assert sorted(set(frequency["series"][0]["x"])) == [10, 100] and variants["x"]["categories"][-1] == "soap/factorized"


def test_counter_evidence_stands_beside_the_result():
    _, summary = judged()
    for paper in ("2509.02046", "2512.05620", "2510.25000", "2509.22938", "not tested here"):
        assert paper in summary["paragraph"]
    assert len(summary["tables"][1]["rows"]) == 4
    rows = {row["arm"]: row for row in summary["tables"][0]["rows"]}
    assert rows["soap"]["step, ms"] == pytest.approx(50, rel=0.02) and rows["soap/data=0.5"]["share of the data"] == 0.5


def test_a_study_without_shares_draws_and_says_so():
    table, summary = judged(shares=())
    rows = {row["claim"]: row["verdict"] for row in table.to_pylist()}
    assert rows["SOAP reaches AdamW's loss in fewer steps."] == "not tested here"
    check_figure(summary["figures"][0])


def test_a_failed_sanity_arm_stops_it():
    with pytest.raises(ValueError, match="the sign of an update is wrong"):
        judged(sanity=made.sanity_rows(ascent=5.0))
