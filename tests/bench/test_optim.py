"""The optimizer bench in its quick form: every case and target is there, every SOAP moved as ours did. No speed is asked."""

import importlib.util
import json
from pathlib import Path

import pytest

from flows import benches
from flows.errors import UserError

TARGETS = {("step/whole", 1.3), ("step/between_refreshes", 0.9), ("step/gpu_d1024", 5.0), ("step/gpu_overhead", 0.05)}
"""(case, target): what was promised; a target that changes or goes missing is a failure, one that is not met is not."""


def test_quick_run(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(benches.BENCHES))
    from peers_soap import PACKAGES, PEERS

    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"peers are not installed: {', '.join(missing)}; see requirements-bench.txt")
    benches.run("optim", quick=True, to=tmp_path / "optim.json")
    rows = json.loads((tmp_path / "optim.json").read_text())["rows"]
    assert {(row["case"], row["target"]) for row in rows if row["target"] is not None} == TARGETS
    assert {row["peer"] for row in rows if row["case"] == "step/whole"} == {*PEERS, "torch's AdamW"}
    assert {row["case"] for row in rows} == {case for case, _ in TARGETS} | {"refresh/cholesky"}
    for row in rows:
        assert {"case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "equal"} <= set(row)
        assert row["equal"] or row["equal"] is None and row["note"], (row["case"], row["peer"])
    (between,) = (row for row in rows if row["case"] == "step/between_refreshes")
    assert between["flop_ratio"] == pytest.approx(10 / 6, abs=1e-3), "below a strip's width a Gram matrix is one product"


def test_flops_are_those_of_the_products(monkeypatch):
    monkeypatch.syspath_prepend(str(benches.BENCHES))
    import optim

    d = 256  # shapes (3d, d), (d, d), (4d, d), (d, 4d): sums of m n (m + n) over d cubed are 12, 2, 20, 20
    assert optim.num_flops(((d, 1),), released=True) == 10 * d**3 * (12 + 2 + 20 + 20)
    strips = {1: 1.0, 3: 6 / 9, 4: 10 / 16}  # sides of so many strips: of their blocks those on and right of the diagonal
    sides = [(3, 3), (1, 3), (1, 1), (1, 1), (4, 4), (1, 4), (1, 4), (4, 4)]  # side over d, and elements over d squared
    assert optim.num_flops(((d, 1),)) == pytest.approx(sum(2 * side * elements * d**3 * (2 + strips[side]) for side, elements in sides))


def test_a_missing_peer_is_an_error_that_says_what_to_run(monkeypatch):
    monkeypatch.syspath_prepend(str(benches.BENCHES))
    import peers_soap

    monkeypatch.setattr(peers_soap, "PACKAGES", ("json", "no_such_peer"))
    with pytest.raises(UserError, match=r"peers no_such_peer are .*pip install --no-deps --requirement requirements-bench\.txt"):
        peers_soap.need_peers()
