"""The curation bench in its quick form: every case and target is in the table, every row computed what its peer did. No speed is asked."""

import importlib.util
import json
from pathlib import Path

import pytest

from flows import benches
from flows.errors import UserError

TARGETS = {
    ("segment/uax29", "speed", 150.0),
    ("heuristics/gopher", "speed", 50.0),
    ("heuristics/gopher", "times the peer's speed", 25.0),
    ("heuristics/dclm", "speed", 30.0),
    ("minhash/signatures", "speed", 60.0),
    ("minhash/signatures", "times the peer's speed", 5.0),
    ("minhash/signatures", "times the peer's speed", 20.0),
    ("minhash/dedup", "times the peer's speed", 20.0),
    ("bloom/dedup, 2^27 bits", "speed", 50.0),
    ("fasttext/score", "speed", 80.0),
    ("fasttext/score", "times the peer's speed", 8.0),
    ("after_extraction/total", "share of the loop's time", 0.35),
}
"""(case, metric, target): what was promised; a target that changes or goes missing is a failure, one that is not met is not."""

MORE = {"dedup/neardup", "filter_language", "extract/f1", "extract/precision", "extract/recall", "memory/flat", "time/linear"}


def test_quick_run(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(benches.BENCHES))
    from curation_cases.measure import PEERS

    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"peers are not installed: {', '.join(missing)}; see requirements-bench.txt")
    benches.run("curation", quick=True, to=tmp_path / "curation.json")
    result = json.loads((tmp_path / "curation.json").read_text())
    rows = result["rows"]
    promised = {case for case, _, _ in TARGETS}
    assert {(r["case"], r["metric"], r["target"]) for r in rows if r["case"] in promised and r["target"] is not None} == TARGETS
    assert {row["case"] for row in rows} == promised | MORE
    assert not [row for row in rows if not row["equal"] and row["value"] is not None]
    for row in rows:
        assert (row["met"] is None) == (row["target"] is None)
        assert {"case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "equal"} <= set(row)
    signatures = [row for row in rows if row["case"] == "minhash/signatures"]
    assert all(row["permutations"] == 112 and row["hash_bits"] in (32, 64) for row in signatures)
    assert result["corpus"]["documents"] > 100


def test_a_missing_peer_is_an_error_that_says_what_to_run(monkeypatch):
    monkeypatch.syspath_prepend(str(benches.BENCHES))
    from curation_cases import measure

    monkeypatch.setattr(measure, "PEERS", ("json", "no_such_peer"))
    with pytest.raises(UserError, match=r"peers no_such_peer are .*pip install --no-deps --requirement requirements-bench\.txt"):
        measure.need_peers()
