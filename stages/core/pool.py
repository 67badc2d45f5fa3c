"""The local executor: worker processes of its own, which may die, hang or raise without taking the run along.

A shard whose worker died or stalled is tried once more alone. An extraction that dies or hangs on the same page again has that page
quarantined and goes on; any other shard is recorded as failed, with the worker's last words, while the others finish.
"""

import contextlib
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from mmap import mmap
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from stages.core.job import Job, JobRunner
from stages.core.plan import Plan
from stages.core.stage import Resources
from stages.core.store import Store
from stages.core.worker import PULSE, write_pulse

logger = logging.getLogger(__name__)

MAX_DEATHS = 100
"""Deaths of workers on pages of one shard before it counts as failed: more than that is no bad page but a bad build."""


class JobFailed(Exception):
    """A job did not come to its end; `log` holds the traceback or the dead worker's output."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


@dataclass
class _Task:
    job: Job
    future: Future
    progress: Callable[[float, str], None] | None
    pages: bool
    """The job is an extraction: it beats per page and can quarantine one."""
    alone: bool = False
    last_fault: tuple[int, str] | None = None
    """Page offset and reason of the previous death."""
    deaths: int = 0


@dataclass
class _Worker:
    process: subprocess.Popen
    connection: Connection
    pulse: mmap
    log: Path
    task: _Task | None = None
    ready: bool = False
    killed_for: str = ""
    log_start: int = 0

    def beat(self) -> tuple[int, float]:
        return PULSE.unpack_from(self.pulse, 0)


@dataclass
class _State:
    waiting: list[_Task] = field(default_factory=list)
    retries: list[_Task] = field(default_factory=list)
    workers: list[_Worker] = field(default_factory=list)


class LocalPool:
    """`resources.workers` processes for one plan. Thread-safe: many nodes may submit at once."""

    def __init__(self, plan: Plan, store: Store, resources: Resources) -> None:
        if plan.ref is None:
            raise ValueError(f"plan {plan.name} was built by hand: workers can not load it; use load_plan('module:function') or workers=0")
        self.plan, self.store, self.resources = plan, store, resources
        self._logs = tempfile.TemporaryDirectory(prefix="winnow-workers-")
        self._inbox: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._wake_read, self._wake_write = socket.socketpair()
        self._lock, self._stopped = threading.Lock(), ""
        self._stillborn = 0
        # One thread starts all workers and outlives them: PR_SET_PDEATHSIG fires when the starting thread ends, not the process.
        self._thread = threading.Thread(target=self._loop, name="winnow-pool", daemon=True)
        self._thread.start()

    def submit(self, job: Job, progress: Callable[[float, str], None] | None = None) -> Future:
        """Queue a job; the future gives what JobRunner.run returns, or raises JobFailed."""
        task = _Task(job, Future(), progress, pages=self.plan[job.node].stage.kind == "extract")
        with self._lock:
            if self._stopped:
                task.future.set_exception(JobFailed(self._stopped))
                return task.future
            self._inbox.put(task)
        self._wake_write.send(b"x")
        return task.future

    def close(self) -> None:
        """Stop the workers; jobs that still run are abandoned. Closing twice does no harm."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._wake_write.send(b"x")
            self._thread.join(timeout=30)
        self._wake_read.close()
        self._wake_write.close()
        self._logs.cleanup()

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _loop(self) -> None:
        state = _State()
        try:
            while True:
                ready = wait([self._wake_read, *[w.connection for w in state.workers]], timeout=0.25)
                if self._wake_read in ready:
                    self._wake_read.recv(4096)
                while not self._inbox.empty():
                    task = self._inbox.get()
                    if task is None:
                        return
                    state.waiting.append(task)
                for worker in [w for w in state.workers if w.connection in ready]:
                    self._hear(state, worker)
                self._kill_stalled(state)
                self._dispatch(state)
        except Exception as error:  # a bug here must not leave callers waiting for ever
            logger.exception("the worker pool stopped")
            self._fail_all(state, f"the worker pool stopped: {error}")
        finally:
            for worker in state.workers:
                worker.process.kill()
                worker.process.wait()
                worker.connection.close()
            self._fail_all(state, "the worker pool was closed")

    def _fail_all(self, state: _State, message: str) -> None:
        with self._lock:
            self._stopped = self._stopped or message
        tasks = state.waiting + state.retries + [w.task for w in state.workers if w.task]
        while not self._inbox.empty():
            tasks += [t for t in [self._inbox.get()] if t]
        for task in tasks:
            if not task.future.done():
                task.future.set_exception(JobFailed(message))

    def _dispatch(self, state: _State) -> None:
        busy = [w for w in state.workers if w.task]
        if state.retries:  # alone: beside no other shard (a training may take hours and is not waited for)
            if not [w for w in busy if w.task.job.shard is not None]:
                task = state.retries.pop(0)
                task.alone = True
                self._give(self._idle(state), task)
            return
        if any(w.task.alone for w in busy):
            return
        while state.waiting and len([w for w in state.workers if w.task]) < self.resources.workers:
            self._give(self._idle(state), state.waiting.pop(0))

    def _idle(self, state: _State) -> _Worker:
        for worker in state.workers:
            if not worker.task:
                return worker
        state.workers.append(self._start())
        return state.workers[-1]

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        log = Path(self._logs.name) / f"worker-{time.monotonic_ns()}.log"
        with tempfile.TemporaryFile() as pulse_file, open(log, "wb") as log_file:
            pulse_file.truncate(PULSE.size)
            fds = (theirs.fileno(), pulse_file.fileno())
            command = [sys.executable, "-P", "-m", "stages.core.worker", str(fds[0]), str(fds[1]), str(os.getpid())]
            root = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
            process = subprocess.Popen(
                command, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, env={**os.environ, "PYTHONPATH": path}
            )
            pulse = mmap(pulse_file.fileno(), PULSE.size)
        theirs.close()
        connection = Connection(ours.detach())
        setup = {"ref": self.plan.ref, "recipe": self.plan.recipe, "store": str(self.store.root), "resources": replace(self.resources, progress=None)}
        with contextlib.suppress(OSError):  # it has died already: its end of the connection tells
            connection.send(setup)
        return _Worker(process, connection, pulse, log)

    def _give(self, worker: _Worker, task: _Task) -> None:
        worker.task, worker.log_start = task, worker.log.stat().st_size
        write_pulse(worker.pulse, -1)
        try:
            worker.connection.send(task.job)
        except OSError:
            pass  # it has just died: its end of the connection tells us in the next round

    def _hear(self, state: _State, worker: _Worker) -> None:
        try:
            kind, *words = worker.connection.recv()
        except (EOFError, OSError):  # an end in the middle of a message is a plain OSError
            self._bury(state, worker)
            return
        task = worker.task
        if kind == "ready":
            worker.ready = True
        elif kind == "progress" and task and task.progress:
            task.progress(*words)
        elif kind == "done":
            worker.task = None
            task.future.set_result(words[0])
        elif kind == "failed":
            worker.task = None
            if task:
                task.future.set_exception(JobFailed(words[0], words[1]))

    def _kill_stalled(self, state: _State) -> None:
        now = time.monotonic()
        for worker in state.workers:
            task = worker.task
            if not task or (worker.ready and task.job.shard is None) or worker.killed_for:
                continue
            offset, since = worker.beat()
            limit = self.resources.page_timeout_seconds if task.pages and offset >= 0 else self.resources.stall_timeout_seconds
            if now - since > limit:
                worker.killed_for = f"no progress for {limit:g} s"
                worker.process.kill()

    def _bury(self, state: _State, worker: _Worker) -> None:
        """Find out how a worker died and what becomes of its task."""
        state.workers.remove(worker)
        worker.connection.close()
        code = worker.process.wait()
        task = worker.task
        if not task:
            return
        how = worker.killed_for or _how(code)
        with open(worker.log, "rb") as file:
            file.seek(worker.log_start)
            words = file.read()[-20_000:].decode(errors="replace")
        offset = worker.beat()[0] if task.pages else -1
        fault = (offset, "quarantined_timeout" if worker.killed_for else "quarantined_crash")
        logger.warning("%s: worker %s%s", task.job.label, how, f" at byte {offset}" if offset >= 0 else "")
        self._stillborn = 0 if worker.ready else self._stillborn + 1
        if self._stillborn >= 2:
            last = words.strip().rpartition("\n")[2]
            task.future.set_exception(JobFailed(f"workers can not start: {last or how}", words))
            return
        task.deaths += 1
        on_a_page = offset >= 0 and task.deaths <= MAX_DEATHS
        if not task.alone or on_a_page:
            if task.alone and task.last_fault and task.last_fault[0] == offset:  # twice on one page, alone: it is the page
                task.job = replace(task.job, quarantined={**task.job.quarantined, offset: fault[1]})
                task.last_fault = None
            else:
                task.last_fault = fault
            state.retries.append(task)
        else:
            task.future.set_exception(JobFailed(f"worker {how}, {task.deaths} times, at last alone", words))


class InlinePool:
    """Runs each job at once in this process: for tests, notebooks and debuggers. A crash is a crash."""

    def __init__(self, plan: Plan, store: Store, resources: Resources) -> None:
        self._runner = JobRunner(plan, store, resources)

    def submit(self, job: Job, progress: Callable[[float, str], None] | None = None) -> Future:
        """Run the job and return a finished future."""
        import traceback

        future: Future = Future()
        try:
            future.set_result(self._runner.run(job, progress=progress))
        except Exception as error:
            failure = JobFailed(f"{type(error).__name__}: {error}", traceback.format_exc())
            failure.__cause__ = error
            future.set_exception(failure)
        return future

    def close(self) -> None:
        """Nothing to stop."""

    def __enter__(self) -> "InlinePool":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def open_pool(plan: Plan, store: Store, resources: Resources) -> LocalPool | InlinePool:
    """Open the executor that `resources.workers` asks for: 0 = in this process."""
    return LocalPool(plan, store, resources) if resources.workers else InlinePool(plan, store, resources)


def _how(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return "ran out of memory" if code == 137 else f"left with exit code {code}"
