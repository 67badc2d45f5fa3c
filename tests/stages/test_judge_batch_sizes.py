import json

import pyarrow as pa
import pytest

from evaluation.figure import check_figure
from evaluation.studies.claims import COLUMNS
from stages.core.config import ConfigError
from stages.core.stage import Inputs, Resources
from stages.judge_batch_sizes import JudgeBatchSizes, judge_batch_sizes
from stages.train_arms import RUNS
from tests.models.made_batch_sizes import SIZES, rows_of
from tests.stages.memory_dataset import Memory


def runs(rows):
    table = Memory({"runs": pa.Table.from_pylist(rows, schema=pa.schema(list(RUNS.items())))})
    table.summary = {"runs": [{"run": run, "started": "2026-03-01T10:00:00Z"} for run in {row["run"]: None for row in rows}]}
    return table


def judged(sizes=SIZES, seeds=(1, 2, 3, 4, 5), extra=(), share=1.3, **made):
    sweep = [row for size in sizes for lr in (0.005, 0.01) for row in rows_of(size, 0, lr=lr, share=1.0 if size == max(sizes) else share, **made)]
    confirm = [row for size in sizes for seed in seeds for row in rows_of(size, seed, share=1.0 if size == max(sizes) else share, **made)]
    made_by = judge_batch_sizes(JudgeBatchSizes(), Inputs((runs(sweep), runs([*confirm, *extra])), ("table", "table")), Resources())
    name, claims = next(made_by)
    with pytest.raises(StopIteration) as end:
        next(made_by)
    assert name == "claims" and {field.name: field.type for field in claims.schema} == COLUMNS
    summary = json.loads(json.dumps(end.value.value, allow_nan=False))
    for figure in summary["figures"]:
        check_figure(figure)
    return claims.to_pylist(), summary


def test_runs_that_follow_the_law_support_it():
    claims, summary = judged(spread=0.02)
    law, critical, growth, order, noise, published, theory, *rest = claims
    assert [claim["verdict"] for claim in claims[:7]] == ["supported"] * 7, [claim["words"] for claim in claims]
    assert {claim["verdict"] for claim in rest} == {"not tested here"} and len(rest) == 3
    assert critical["low"] < critical["estimate"] < critical["high"] and 18 < critical["estimate"] < 27 and critical["num_seeds"] == 5
    assert growth["low"] > 1 and order["high"] < 1.5
    assert summary["study"] == "critical_batch_size" and summary["analysis"]["confirmatory_started"] == "2026-03-01T10:00:00Z"
    assert summary["paragraph"].startswith("42 runs at 6 batch sizes from 4 to 512 sequences") and "0 diverged" in summary["paragraph"]
    assert "Of these 4.8 are the convention 1.2 b_opt with b_opt = 4" in summary["paragraph"]
    steps, noise_figure, *_ = summary["figures"]
    assert sum(len(series["x"]) for series in steps["series"] if series["marks"] == "dots") == 3 * 6 * 5, "every seed a dot"
    assert len(steps["lines"]) == len(noise_figure["lines"]) == 3
    fits, by_size, sensitivity, exponents, theories = (table["rows"] for table in summary["tables"])
    assert [row["b_opt"] for row in fits] == [4, 4, 4] and all(row["noise scale, sequences"] > 0 for row in fits)
    assert [row["batch size"] for row in by_size] == list(SIZES)
    assert sensitivity[-1]["overhead"] == 0.5 and sensitivity[1]["b_opt = 32"] == "refused" and sensitivity[1]["b_opt = 4"] == pytest.approx(fits[-1]["B*, sequences"])
    assert [round(row["exponent"], 3) for row in exponents] == [0.468, 0.392, 0.501, 0.532, 0.572, 0.532, 0.380]
    assert len(theories) == 5


def test_without_a_linear_regime_or_points_beyond_nothing_is_claimed():
    claims, summary = judged(sizes=(64, 128, 512), noisy=False)
    verdicts = [claim["verdict"] for claim in claims[:7]]
    assert verdicts[1] == "undecided" and "no batch is linear" in claims[1]["words"] and claims[1]["estimate"] is None
    assert verdicts[3:7] == ["undecided", "undecided", "supported", "supported"], "the noise was not measured"
    assert "no critical batch size can be given" in summary["paragraph"]
    claims, _ = judged(sizes=(4, 8, 16, 32))
    assert claims[1]["verdict"] == "undecided" and "needed to know the floor" in claims[1]["words"]


def test_a_diverged_seed_is_counted_and_censors_its_targets():
    claims, summary = judged(extra=rows_of(128, 6, diverged=True))
    assert "1 diverged" in summary["paragraph"]
    assert [claim["verdict"] for claim in claims[:4]] == ["undecided"] * 4
    assert "batch size 128, seed 6 had not reached it after 3 steps" in claims[1]["words"]
    assert summary["tables"][1]["rows"][4]["seeds"] == 6


def test_shares_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="give shares of the steps between 0 and 1"):
        JudgeBatchSizes(fractions=(0.5, 1.5))
