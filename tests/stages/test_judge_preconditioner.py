"""The judge of the preconditioner study on made cosines: claims as a table, figures that can be drawn, every seed a dot."""

import json

import pyarrow as pa
import pytest

from evaluation.figure import check_figure
from evaluation.studies.claims import COLUMNS
from stages.core.stage import Inputs, Resources
from stages.judge_preconditioner import JudgePreconditioner, judge_preconditioner
from stages.measure_preconditioner import COSINES
from tests.evaluation.studies.test_preconditioner import NETWORKS, SEEDS, STEPS, rows
from tests.stages.memory_dataset import Memory


def judged(changes=None):
    table = Memory({"cosines": pa.Table.from_pylist(rows(changes), schema=pa.schema(list(COSINES.items())))})
    table.summary = {"runs": [{"run": f"mlp/{day}", "started": f"2026-03-0{day}T10:00:00Z", "seconds": 1.0} for day in (2, 1)]}
    made = judge_preconditioner(JudgePreconditioner(), Inputs((table,), ("table",)), Resources())
    name, claims = next(made)
    with pytest.raises(StopIteration) as end:
        next(made)
    assert name == "claims"
    return claims, json.loads(json.dumps(end.value.value, allow_nan=False))


def test_claims_figures_and_tables():
    claims, summary = judged()
    assert {field.name: field.type for field in claims.schema} == COLUMNS
    assert set(claims.column("verdict").to_pylist()) == {"supported", "not tested here"}
    assert summary["study"] == "preconditioner" and summary["analysis"]["confirmatory_started"] == "2026-03-01T10:00:00Z"
    assert len(summary["figures"]) == 3 * len(NETWORKS)
    for figure in summary["figures"]:
        check_figure(figure)
        for line, dots in zip(figure["series"][::2], figure["series"][1::2], strict=True):
            assert line["name"] == dots["name"] and (line["marks"], dots["marks"]) == ("line", "dots")
            assert len(dots["x"]) == len(SEEDS) * len(line["x"])
            assert all(low < y < high for low, y, high in zip(line["low"], line["y"], line["high"], strict=True))
    gauss_newton, adagrad, batches = summary["figures"][:: len(NETWORKS)]
    assert [s["name"] for s in gauss_newton["series"][::2]] == ["Shampoo", "Shampoo squared", "K-FAC", "best product"]
    assert gauss_newton["x"]["categories"] == [str(step) for step in STEPS]
    assert [s["name"] for s in adagrad["series"][::2]] == ["Shampoo", "Shampoo squared", "best product"]
    assert batches["series"][0]["x"] == [1, 64] and batches["series"][0]["y"] == pytest.approx([0.76, 0.78], abs=0.005)
    layers, twice, from_batches, losses = summary["tables"]
    assert layers["rows"][0]["Shampoo squared"] == pytest.approx(0.8, abs=0.005) and layers["rows"][0]["effective rank"] == 50
    assert [row["gradients"] for row in twice["rows"][:2]] == [100, 200]
    assert twice["rows"][1]["best product"] == pytest.approx(0.87, abs=0.005)
    assert from_batches["rows"][1]["real, batch 64"] == pytest.approx(0.5, abs=0.005)
    assert losses["rows"] == [{"network": network, "step 0": 3.0, "step 10": 2.5} for network in NETWORKS]


def test_the_paragraph_tells_what_was_found_and_what_was_not():
    _, summary = judged({("mlp", ("real", 64), "shampoo"): 0.55, ("linear", "gn", "kfac"): 0.9})
    words = summary["paragraph"]
    assert "On 3 seeds" in words and "Contradicted (1): K-FAC is no closer" in words
    assert "squaring does harm" in words and "mlp at step 0, mlp at step 10" in words and "linear at step" not in words
    _, summary = judged()
    assert "the square is the closer one at every step" in summary["paragraph"]
