"""Workers may die, hang, raise or eat all memory: the run goes on, and ends with the content of an undisturbed one."""

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.core.engine import RunFailed, run_plan
from stages.core.plan import load_plan
from stages.core.stage import Resources
from stages.core.store import Store
from stages.core.worker import PULSE

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"id": f"f{i}", "text": f"document number {i}"} for i in range(12)]
TWO = Resources(workers=2, page_timeout_seconds=1.5, stall_timeout_seconds=30)


def with_fault(fault, marker=None):
    rows = [dict(row) for row in ROWS]
    rows[5] |= {"fault": fault} | ({"marker": str(marker)} if marker else {})
    return rows


@pytest.mark.parametrize("fault", ["segfault", "hang", "memory"])
def test_a_fault_that_passes_leaves_no_trace(tmp_path, toy, corpus, shard_writer, fault):
    marker = tmp_path / "marker"
    shard_writer(corpus, "s1", with_fault(fault, marker))
    marker.touch()
    calm = run_plan(load_plan(toy()), Store(tmp_path / "calm"), TWO)
    marker.unlink()
    rough = run_plan(load_plan(toy()), Store(tmp_path / "rough"), TWO)
    assert marker.exists()
    assert {n: o.manifest.content_hash for n, o in calm.items()} == {n: o.manifest.content_hash for n, o in rough.items()}


@pytest.mark.parametrize(("fault", "reason"), [("segfault", "quarantined_crash"), ("hang", "quarantined_timeout")])
def test_a_page_that_kills_twice_is_quarantined(store, toy, corpus, shard_writer, fault, reason):
    shard_writer(corpus, "s1", with_fault(fault))
    manifest = run_plan(load_plan(toy()), store, TWO)["toy_extract"].manifest
    assert manifest.drops[reason] == 1
    shard = next(s for s in manifest.shards if s.name == "s1.jsonl")
    assert (shard.rows_in, shard.rows_out, shard.drops) == (12, 11, {reason: 1})


def test_a_worker_that_raises_fails_its_shard_alone(store, toy, corpus, shard_writer):
    shard_writer(corpus, "s1", with_fault("raise"))
    with pytest.raises(RunFailed, match="toy_extract: 1 of 3 shards failed"):
        run_plan(load_plan(toy()), store, TWO)


def test_a_changed_plan_is_noticed(store, corpus, tmp_path):
    recipe = tmp_path / "recipe.py"
    toy = os.path.join(os.path.dirname(__file__), "toy.py")
    text = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('toy_copy', {toy!r}); toy = importlib.util.module_from_spec(spec)\n"
        "sys.modules['toy_copy'] = toy; spec.loader.exec_module(toy)\n"
        f"def plan(): return toy.plan(root={str(corpus)!r}, min_length=LENGTH)\n"
    )
    recipe.write_text(text.replace("LENGTH", "5"))
    plan = load_plan(f"{recipe}:plan")
    recipe.write_text(text.replace("LENGTH", "6"))
    with pytest.raises(RunFailed, match="another plan"):
        run_plan(plan, store, TWO)


def test_workers_die_with_their_parent_and_a_rerun_goes_on(tmp_path, toy, corpus, shard_writer):
    marker = tmp_path / "marker"
    shard_writer(corpus, "s1", with_fault("hang", marker))
    code = (
        "import sys; from stages.core.plan import *; from stages.core.engine import run_plan; from stages.core.store import Store\n"
        "from stages.core.stage import Resources\n"
        f"run_plan(load_plan(PlanRef({toy().target!r}, {dict(toy().arguments)!r})), Store({str(tmp_path / 'store')!r}), Resources(workers=2))"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.time() + 60
    while not marker.exists() and time.time() < deadline:
        time.sleep(0.02)
    assert marker.exists()
    children = subprocess.run(["pgrep", "-P", str(driver.pid)], capture_output=True, text=True).stdout.split()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    again = run_plan(load_plan(toy()), Store(tmp_path / "store"), TWO)  # at once
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}") and "stages.core.worker" in open(f"/proc/{pid}/cmdline").read()]
    fresh = run_plan(load_plan(toy()), Store(tmp_path / "fresh"), Resources(workers=0))
    assert {n: o.manifest.content_hash for n, o in again.items()} == {n: o.manifest.content_hash for n, o in fresh.items()}


def test_a_part_of_a_plan_and_a_changed_one_run_on_workers(store, toy):
    part = load_plan(toy()).replace({"toy_filter": {"min_length": 6}}).until("toy_filter")
    made = run_plan(part, store, Resources(workers=1))
    assert set(made) == {"toy_source", "toy_extract", "toy_filter"}
    assert made["toy_filter"].manifest.config == {"min_length": 6}


def test_the_working_directory_does_not_shadow_the_house(store, toy, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "stages.py").write_text("raise RuntimeError('not this one')\n")
    monkeypatch.chdir(tmp_path / "cwd")
    assert run_plan(load_plan(toy()), store, Resources(workers=1))["toy_apply"].state == "ran"


def test_workers_that_can_not_start_end_the_run(store, toy, monkeypatch):
    from stages.core import pool

    monkeypatch.setattr(pool.sys, "executable", "/bin/false")
    with pytest.raises(RunFailed, match="workers can not start"):
        run_plan(load_plan(toy()), store, Resources(workers=2))


def test_a_pool_that_stopped_answers(store, toy):
    from stages.core.job import Job
    from stages.core.pool import JobFailed, LocalPool

    pool = LocalPool(load_plan(toy()), store, Resources(workers=1))
    pool.close()
    with pytest.raises(JobFailed, match="closed"):
        pool.submit(Job("toy_extract", "s0.jsonl", "t", "k", {})).result(timeout=5)


def test_a_pulse_is_never_read_half_written(tmp_path):
    """A process beats as fast as it can; one that saw the time blank would take its worker for one that stalled long ago."""
    path = tmp_path / "pulse"
    path.write_bytes(bytes(PULSE.size))
    script = (
        "import mmap, sys\nfrom stages.core.worker import write_pulse\n"
        "with open(sys.argv[1], 'r+b') as file:\n    pulse = mmap.mmap(file.fileno(), 16)\n"
        "write_pulse(pulse, 1)\nprint('ready', flush=True)\nwhile True:\n    write_pulse(pulse, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process, open(path, "r+b") as file:
        try:
            assert process.stdout.readline() == b"ready\n"
            pulse = mmap.mmap(file.fileno(), PULSE.size)
            seen, end = set(), time.monotonic() + 1
            while time.monotonic() < end:
                seen.update(PULSE.unpack_from(pulse, 0) for _ in range(1000))
        finally:
            process.kill()
    assert {offset for offset, _ in seen} == {1} and min(since for _, since in seen) > 0
