"""Memory and time of a map through the engine as documents grow a hundredfold: one shard of 1,000, 10,000 and 100,000, a process each.

Run as a program it is that process: `growth.py ROOT STORE ROOT STORE` filters the documents that were read into the first store, to have
everything imported and compiled, and then, on the clock, those of the second.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import Any

COUNTS, QUICK_COUNTS = (1_000, 10_000, 100_000), (300, 3_000)
WARM_UP = 50
CHARS = 2_000
"""A document is cut after so many characters: 100,000 of them are some 150 MB."""
FLAT, LINEAR = 1.4, 1.1
"""Most times the memory of the fewest documents, and highest exponent of time, that still count as flat and as linear. The first leaves
room for the writer's row group of 4,096 documents, which 1,000 do not fill; from 10,000 on nothing should grow."""


def run(corpus: "Corpus", quick: bool) -> list[dict[str, Any]]:  # noqa: F821 - typed without the import that a child would pay for
    """Measure each number of documents once in a fresh process; the exponent is the slope of log seconds over log documents."""
    from curation_cases.engine import plan_over, read_in, write_texts
    from curation_cases.measure import row

    counts = QUICK_COUNTS if quick else COUNTS
    found = []
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        for count in (WARM_UP, *counts):
            texts = islice(cycle(text[:CHARS] for text in corpus.texts), count)
            root = write_texts(((str(i), text) for i, text in enumerate(texts)), Path(name, f"in{count}"))
            store = Path(name, f"store{count}")
            read_in(plan_over("heuristic", root), store)
            if count == WARM_UP:
                warm = root, store
                continue
            warm_store = shutil.copytree(warm[1], Path(name, f"warm{count}"))
            command = [sys.executable, __file__, warm[0], warm_store, root, store]
            done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the run over {count} documents failed: {done.stderr[-2000:]}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    memory = [each["peak_mb"] for each in found]
    growth = max(memory) / min(memory)
    exponent = _slope([math.log(c) for c in counts], [math.log(each["cpu"]) for each in found])
    whole = all(each["rows"] == count for each, count in zip(found, counts, strict=True))
    listed = ", ".join(f"{count:,}" for count in counts)
    words = "equal: every document was kept or dropped"
    return [
        row(
            "memory/flat", f"peak resident memory, largest over smallest of {listed} documents", growth, "x", peer="as flat as can be",
            peer_value=1.0, ratio=1 / growth, target=FLAT, met=growth <= FLAT, equal=whole,
            peaks_mb=dict(zip(map(str, counts), memory, strict=True)), note=f"target: at most; {words}",
        ),
        row(
            "time/linear", "exponent of time over documents", exponent, "", peer="proportional", peer_value=1.0, ratio=1 / exponent,
            target=LINEAR, met=exponent <= LINEAR, equal=whole,
            seconds={str(c): round(each["cpu"], 3) for c, each in zip(counts, found, strict=True)},
            note=f"target: at most; processor time of filter_heuristic, Parquet in and out, compilation left out; {words}",
        ),
    ]  # fmt: skip


def _slope(x: list[float], y: list[float]) -> float:
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / sum((a - middle_x) ** 2 for a in x)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def _child(warm_root: str, warm_store: str, root: str, store: str) -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from curation_cases.engine import IN_PROCESS, plan_over
    from curation_cases.measure import clocked, one_core
    from stages.core.engine import run_plan
    from stages.core.store import Store

    with one_core():
        run_plan(plan_over("heuristic", Path(warm_root)), Store(warm_store), IN_PROCESS)
        plan = plan_over("heuristic", Path(root))
        outcomes, seconds = clocked(lambda: run_plan(plan, Store(store), IN_PROCESS))
    manifest = outcomes["filter_heuristic"].manifest
    print(json.dumps({"peak_mb": _peak_megabytes(), "cpu": seconds.cpu, "rows": manifest.rows_out + manifest.rows_dropped}))


def _peak_megabytes() -> float:
    """VmHWM, which exec sets to zero; what getrusage tells begins with the size of the process that started this one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1000, 1)


if __name__ == "__main__":
    _child(*sys.argv[1:])
