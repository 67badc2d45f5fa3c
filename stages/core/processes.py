"""Many calls of one function, spread over processes that die with this one: for a reduce whose work falls into long, independent pieces.

    run_tasks(train_run, {"a": first, "b": second}, processes=2, logs=folder, done=keep, size=tokens_of, report=resources.report)

The function is one of a module, called as function(task, progress) with progress(fraction); task and result are pickled. Everything that it
prints goes to a log. Processes are spawned, never forked, so that threads of torch in this process do not matter.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from stages.core.worker import die_with_parent

LOG_CHARACTERS = 20_000

Work = Callable[[Any, Callable[[float], None]], Any]


class TaskFailed(Exception):
    """A task raised an error, or its process died; the notes hold the traceback or the log."""


@dataclass
class _Process:
    process: Any
    connection: Connection
    log: Path
    key: str | None = None
    """Of the task at work; None = idle."""


def run_tasks(
    function: Work,
    tasks: Mapping[str, Any],
    *,
    processes: int,
    logs: Path,
    done: Callable[[str, Any], Mapping[str, Any]],
    size: Callable[[Any], float],
    report: Callable[[float, str], None],
    noun: str = "tasks",
) -> None:
    """Call `function` on every task, in order, so many at a time; 0 processes = one after the other in this process.

    done(key, result) returns further tasks, {} for none. size(task) is its share of all work; report(fraction, words) hears how far all are
    and when they will be done. TaskFailed at the first task that fails: the others under way are killed.
    """
    progress = _Progress(report, noun)
    waiting: dict[str, Any] = {}

    def ask(more: Mapping[str, Any]) -> None:
        waiting.update(more)
        progress.sizes.update({key: size(task) for key, task in more.items()})

    def take(key: str, result: Any) -> None:
        ask(done(key, result))
        progress.tell(key, 1.0)

    ask(tasks)
    if not processes:
        while waiting:
            key, task = _first(waiting)
            take(key, function(task, partial(progress.tell, key)))
        return
    crew: list[_Process] = []
    try:
        while waiting or any(p.key is not None for p in crew):
            while waiting and (idle := _idle(crew, processes, function, logs)):
                idle.key, task = _first(waiting)
                with contextlib.suppress(OSError):  # it has just died: its end of the connection tells
                    idle.connection.send(task)
            for connection in wait([p.connection for p in crew]):
                worker = next(p for p in crew if p.connection is connection)
                kind, *words = _hear(worker)
                if kind == "progress":
                    progress.tell(worker.key, *words)
                elif kind == "done":
                    key, worker.key = worker.key, None
                    take(key, *words)
                else:
                    error = TaskFailed(f"{worker.key}: {words[0]}")
                    error.add_note(words[1])
                    raise error
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


class _Progress:
    """How much is done of what is known to be to do, and from its rate since the start the time that is left."""

    def __init__(self, report: Callable[[float, str], None], noun: str) -> None:
        self.report, self.noun, self.started = report, noun, time.monotonic()
        self.sizes: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.found: dict[str, float] = {}
        """Of each task, how far it was when it was first heard of: what an earlier attempt did took no time now."""

    def tell(self, key: str, share: float) -> None:
        """A task has come so far."""
        self.found.setdefault(key, share)
        self.shares[key] = share
        total = sum(self.sizes.values())
        done = sum(self.sizes[k] * part for k, part in self.shares.items())
        now = done - sum(self.sizes[k] * part for k, part in self.found.items())
        left = (total - done) * (time.monotonic() - self.started) / now if now > 0 else None
        words = "" if not left else f", about {max(1, round(left))} s left" if left < 90 else f", about {left / 60:.0f} min left"
        self.report(done / total, f"{sum(part == 1 for part in self.shares.values())} of {len(self.sizes)} {self.noun}{words}")


def _first(waiting: dict[str, Any]) -> tuple[str, Any]:
    key = next(iter(waiting))
    return key, waiting.pop(key)


def _idle(crew: list[_Process], most: int, function: Work, logs: Path) -> _Process | None:
    """A process without a task, a new one while there are fewer than `most`; None if all are busy."""
    found = next((p for p in crew if p.key is None), None)
    if found or len(crew) == most:
        return found
    logs.mkdir(parents=True, exist_ok=True)
    context, log = multiprocessing.get_context("spawn"), logs / f"process-{len(crew)}.log"
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(function, theirs, log, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    crew.append(_Process(process, ours, log))
    return crew[-1]


def _hear(worker: _Process) -> tuple[Any, ...]:
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        return "died", f"its process {how}", worker.log.read_text(errors="replace")[-LOG_CHARACTERS:] if worker.log.exists() else ""


def _serve(function: Work, connection: Connection, log: Path, parent: int) -> None:
    """A process: take tasks until the other end hangs up."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.enable()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("done", function(task, lambda fraction: connection.send(("progress", fraction)))))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}", traceback.format_exc()))
