"""A worker process: loads the plan by its reference, checks that it is the same plan, then runs jobs until its parent hangs up.

Started by stages.core.pool as `python -m stages.core.worker CONNECTION_FD PULSE_FD PARENT_PID`; never by hand.
"""

import ctypes
import faulthandler
import os
import resource
import signal
import struct
import sys
import time
import traceback
from mmap import mmap
from multiprocessing.connection import Connection
from typing import Any

PULSE = struct.Struct("<qd")
"""What a worker last touched (page offset, or minus the batch number) and when (CLOCK_MONOTONIC, one clock for all processes)."""


PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends; leave at once if it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def write_pulse(pulse: mmap, offset: int) -> None:
    """Note what is touched and that it is now, in one piece: pack_into would blank the bytes first, and the pool might read them so."""
    pulse[: PULSE.size] = PULSE.pack(offset, time.monotonic())


def serve(connection: Connection, pulse: mmap) -> None:
    """Receive the set-up, then jobs, one at a time; answer each with ("done", result) or ("failed", message, traceback)."""
    from stages.core.job import JobRunner
    from stages.core.plan import load_plan
    from stages.core.store import Store

    setup = connection.recv()
    if setup["resources"].memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (setup["resources"].memory_bytes, setup["resources"].memory_bytes))
    plan = load_plan(setup["ref"])
    if plan.recipe != setup["recipe"]:
        connection.send(("failed", f"worker loaded another plan from {setup['ref'].target}: its code changed during the run; start again", ""))
        return
    runner = JobRunner(plan, Store(setup["store"]), setup["resources"])
    connection.send(("ready",))

    def beat(offset: int) -> None:
        write_pulse(pulse, offset)

    def progress(fraction: float, words: str) -> None:
        beat(-1)
        connection.send(("progress", fraction, words))

    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        beat(-1)
        connection.send(_answer(runner, job, beat, progress))


def _answer(runner: Any, job: Any, beat: Any, progress: Any) -> tuple[Any, ...]:
    try:
        return ("done", runner.run(job, beat, progress))
    except MemoryError:
        traceback.print_exc()
        os._exit(137)  # as if the kernel had killed it: the shard is tried once more, alone
    except Exception as error:
        return ("failed", f"{type(error).__name__}: {error}", traceback.format_exc())


def main() -> None:
    """Entry point of the process."""
    fd, pulse_fd, parent = (int(word) for word in sys.argv[1:4])
    faulthandler.enable()
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    serve(Connection(fd), mmap(pulse_fd, PULSE.size))


if __name__ == "__main__":
    main()
