"""The evaluation bench in its quick form: every case and target is there, every way of scoring gave the same. No speed is asked."""

import json
from pathlib import Path

from flows import benches

TARGETS = {
    ("tokens/processed_over_minimum", 1.10),
    ("padding/waste", 0.05),
    ("speedup/pad2048", 0.75),
    ("speedup/batch_max", 0.75),
    ("throughput/of_forward_cpu", 0.6),
    ("throughput/of_forward_gpu", 0.8),
    ("compile/tokens_per_second", 1_000_000),
    ("compile/store_seconds", 2.0),
}
"""(case, target): what was promised; a target that changes or goes missing is a failure, one that is not met is not."""


def test_quick_run(shared: Path, tmp_path: Path):
    benches.run("eval", quick=True, to=tmp_path / "eval.json")
    rows = json.loads((tmp_path / "eval.json").read_text())["rows"]
    assert {(row["case"], row["target"]) for row in rows} == TARGETS and len(rows) == len(TARGETS)
    for row in rows:
        assert {"case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "equal"} <= set(row)
        assert row["equal"] if row["value"] is not None else row["note"], row["case"]
    found = {row["case"]: row for row in rows}
    assert found["tokens/processed_over_minimum"]["met"] and found["padding/waste"]["met"], "these two are no matter of time"
    assert found["speedup/pad2048"]["token_ratio"] > 5 and found["speedup/batch_max"]["token_ratio"] > 1.5
