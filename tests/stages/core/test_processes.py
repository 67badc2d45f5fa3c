"""Tasks in processes: results as in one process, further tasks, and what is told when one raises, dies, or loses its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.core.processes import TaskFailed, _Progress, run_tasks

ROOT = Path(__file__).resolve().parents[3]


def double(task, progress):
    """Twice the task; a word in place of a number misbehaves."""
    progress(0.5)
    if task == "raise":
        raise ValueError("no such number")
    if task == "die":
        print("the last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "leave":
        os._exit(3)
    return 2 * task, os.getpid()


def sleep(task, progress):
    """Write the pid of this process to the file that the task names, then wait."""
    task.write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_results_progress_and_further_tasks(tmp_path, processes):
    results, told, pids = {}, [], set()

    def done(key, result):
        value, pid = result
        results[key], _ = value, pids.add(pid)
        return {f"{key}+": value} if value < 20 else {}

    run_tasks(double, {"a": 1, "b": 5}, processes=processes, logs=tmp_path, done=done, size=lambda task: 1, report=lambda *words: told.append(words), noun="numbers")
    assert results == {
        **{"a" + "+" * i: 2 ** (i + 1) for i in range(5)},
        **{"b" + "+" * i: 10 * 2**i for i in range(2)},
    }
    assert len(told) == 2 * len(results) and told[-1] == (1.0, "7 of 7 numbers")
    assert told[0][0] == 0.25, "half of one of two"
    assert len(pids) == max(1, processes) and (os.getpid() in pids) == (processes == 0)


@pytest.mark.parametrize(
    ("task", "message", "note"),
    [
        ("raise", "bad: ValueError: no such number", "in double"),
        ("die", "bad: its process was killed by SIGKILL", "the last words"),
        ("leave", "bad: its process left with exit code 3", ""),
    ],
)
def test_a_failure_tells_which_task_and_why(tmp_path, task, message, note):
    results = {}

    def done(key, result):
        results[key] = result[0]
        return {}

    with pytest.raises(TaskFailed) as error:
        run_tasks(double, {"good": 4, "bad": task}, processes=1, logs=tmp_path, done=done, size=lambda task: 1, report=lambda *words: None)
    assert str(error.value) == message and note in error.value.__notes__[0]
    assert results == {"good": 8}, "what was done before is told"


def test_processes_die_with_their_parent(tmp_path):
    code = (
        "from pathlib import Path; from stages.core.processes import run_tasks; from tests.stages.core.test_processes import sleep\n"
        f"run_tasks(sleep, {{'a': Path({str(tmp_path / 'pid')!r})}}, processes=1, logs=Path({str(tmp_path)!r}), done=None, size=lambda task: 1, report=None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    child = int(_wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait_for(lambda: not _alive(child))


def test_the_time_left_is_that_of_the_work_done_now(monkeypatch):
    """An earlier attempt's work is done, and says nothing about the speed."""
    clock, told = [0.0], []
    monkeypatch.setattr("stages.core.processes.time.monotonic", lambda: clock[0])
    progress = _Progress(lambda *words: told.append(words), "runs")
    progress.sizes = {"before": 100.0, "resumed": 100.0, "new": 100.0}
    for now, key, share in ((0, "before", 1.0), (0, "resumed", 0.5), (10, "resumed", 1.0), (30, "new", 0.02), (48, "new", 0.5), (400, "new", 0.9)):
        clock[0] = float(now)
        progress.tell(key, share)
    assert told == [
        (pytest.approx(1 / 3), "1 of 3 runs"), (0.5, "1 of 3 runs"), (pytest.approx(2 / 3), "2 of 3 runs, about 20 s left"),
        (pytest.approx(202 / 300), "2 of 3 runs, about 59 s left"), (pytest.approx(250 / 300), "2 of 3 runs, about 24 s left"),
        (pytest.approx(290 / 300), "2 of 3 runs, about 29 s left"),
    ]  # fmt: skip


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(found):
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value
