"""Files that are no longer what their manifest says are found."""

from stages.core.engine import run_plan
from stages.core.plan import load_plan
from stages.core.stage import Resources
from stages.core.verify import verify


def test_verify_finds_a_changed_file(store, toy):
    made = run_plan(load_plan(toy()), store, Resources(workers=0))["toy_filter"]
    path = next((store.root / made.dataset / "documents").glob("*.parquet"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    assert [(name, "has changed" in problem) for name, problem in verify(store)] == [(made.dataset, True)]


def test_verify_finds_a_missing_file(store, toy):
    made = run_plan(load_plan(toy()), store, Resources(workers=0))["toy_filter"]
    path = sorted((store.root / made.dataset / "dropped").glob("*.parquet"))[0]
    path.unlink()
    assert list(verify(store)) == [(made.dataset, f"dropped/{path.name} is missing")]
