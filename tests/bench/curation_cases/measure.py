"""The clock and the shape of a row.

A case runs alone on one core: the process is pinned, Arrow gets one thread, numba's kernels have one anyhow. Winnow runs once before
the clock starts (compilation, or reading the compiled kernel from the cache) and takes turns with its peer after that; medians count.
Two clocks run: the processor time of this process, which a busy neighbour hardly changes and which `value`, `peer_value` and `ratio` come
from, and the wall clock (`wall_value`, `wall_peer_value`). On a quiet machine they agree. `clock: wall` marks a row of wall clock alone.
"""

import contextlib
import gc
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flows.errors import UserError

PEERS = ("uniseg", "regex", "datatrove", "tokenizers", "spacy", "rensa", "datasketch", "xxhash", "fasttext", "trafilatura", "warcio")


@dataclass(frozen=True)
class Seconds:
    """What a call took: processor time of the process, and time on the wall."""

    cpu: float
    wall: float


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Pin this thread and those it starts to one core, and Arrow to one thread; restore both afterwards."""
    cores, threads, io_threads = os.sched_getaffinity(0), pa.cpu_count(), pa.io_thread_count()
    os.sched_setaffinity(0, {max(cores)})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        pa.set_cpu_count(threads)
        pa.set_io_thread_count(io_threads)


def clocked(call: Callable[[], Any]) -> tuple[Any, Seconds]:
    """Call once; return the result and the time, without the garbage of whatever ran before."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def in_turns(rounds: int, **calls: Callable[[], Any]) -> dict[str, Seconds]:
    """Call each once a round, in turns; return the median times by name."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(clocked(call)[1])
    return {
        name: Seconds(statistics.median(s.cpu for s in several), statistics.median(s.wall for s in several))
        for name, several in seconds.items()
    }


def over(call: Callable[[Any], Any], items: Iterable[Any]) -> None:
    """Call with each item and let go of the result at once, as the engine does: memory is used again, not asked of the system anew."""
    for item in items:
        call(item)


def row(
    case: str, metric: str, value: float, unit: str, *,
    peer: str, peer_value: float, ratio: float, target: float | None, met: bool | None, equal: bool, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """One row of the table; target and met are None where nothing was promised. `more` are further fields of it."""
    return {
        "case": case, "metric": metric, "value": round(value, 4), "unit": unit, "peer": peer, "peer_value": round(peer_value, 4),
        "ratio": round(ratio, 3), "target": target, "met": met, "equal": bool(equal), **more,
    }  # fmt: skip


def not_measured(case: str, metric: str, peer: str, why: str) -> dict[str, Any]:
    """A row for what this machine lacks the data for: it stands in the table without a value."""
    names = ("case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "equal")
    return dict.fromkeys(names) | {"case": case, "metric": metric, "peer": peer, "note": f"not measured: {why}"}


@dataclass(frozen=True)
class Speed:
    """Winnow's speed beside a peer's, each over as much text as it was given."""

    megabytes: float
    seconds: Seconds
    peer: str
    peer_megabytes: float
    peer_seconds: Seconds

    @property
    def value(self) -> float:
        """MB of UTF-8 text a second of one core."""
        return self.megabytes / self.seconds.cpu

    @property
    def peer_value(self) -> float:
        """The peer's."""
        return self.peer_megabytes / self.peer_seconds.cpu

    @property
    def ratio(self) -> float:
        """How many times as fast winnow is."""
        return self.value / self.peer_value

    def rows(
        self, case: str, *, equal: bool, at_least: float | None = None, times: float | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        """A row for the target in MB/s and one for the target in times the peer; one without a target where there is neither."""
        wall = {
            "wall_value": round(self.megabytes / self.seconds.wall, 4),
            "wall_peer_value": round(self.peer_megabytes / self.peer_seconds.wall, 4),
            "text_mb": round(self.megabytes, 2),
            "peer_text_mb": round(self.peer_megabytes, 3),
        }
        common = {"peer": self.peer, "ratio": self.ratio, "equal": equal, **wall, **more}
        rows = []
        if at_least is not None or times is None:
            met = None if at_least is None else self.value >= at_least
            rows.append(row(case, "speed", self.value, "MB/s", peer_value=self.peer_value, target=at_least, met=met, **common))
        if times is not None:
            met = self.ratio >= times
            rows.append(row(case, "times the peer's speed", self.ratio, "x", peer_value=1.0, target=times, met=met, **common))
        return rows


def need_peers() -> None:
    """UserError with the command to run if a peer is not installed: no row is left out in silence."""
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"bench curation: the peers {', '.join(missing)} are not installed; "
            "run .venv/bin/python -m pip install --no-deps --requirement requirements-bench.txt"
        )
