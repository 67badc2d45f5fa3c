"""Kill it and see: the driver at random moments, workers in three ways, other numbers of workers and batch sizes.

Every case ends with the same question: are the content hashes those of an undisturbed run?
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stages.core.engine import run_plan
from stages.core.plan import PlanRef, load_plan
from stages.core.stage import Resources
from stages.core.store import Store
from stages.core.verify import verify

TOY = Path(__file__).resolve().parents[1] / "stages" / "core" / "toy.py"
SEED = 20
"""Of the moments at which the driver is killed."""


def run(quick: bool = False) -> dict:
    """Measure all cases over the demo's curation (quick: over toy documents); ten kills (quick: three)."""
    with tempfile.TemporaryDirectory(prefix="winnow-kill-") as name:
        root = Path(name)
        corpus = _toy_corpus(root)
        plan = PlanRef(f"{TOY}:plan", {"root": str(corpus)}) if quick else PlanRef("demo")
        calm_started = time.perf_counter()
        calm = _hashes(plan, root / "calm", Resources(workers=2))
        seconds = time.perf_counter() - calm_started
        rows = [_driver_killed(plan, root / "killed", calm, seconds, 3 if quick else 10)]
        rows += [_worker_fault(fault, root) for fault in ("segfault", "hang", "memory")]
        for workers, batch_rows in ((1, 1024), (2, 64), (4, 4096)):
            found = _hashes(plan, root / f"w{workers}", Resources(workers=workers, batch_rows=batch_rows))
            rows.append(_row(f"{workers} workers, batches of {batch_rows}", len(calm), _equal(found, calm), calm == found))
    return {"rows": rows}


def _hashes(ref: PlanRef, store: Path, resources: Resources) -> dict[str, str]:
    return {name: outcome.manifest.content_hash for name, outcome in run_plan(load_plan(ref), Store(store), resources).items()}


def _equal(found: dict[str, str], calm: dict[str, str]) -> int:
    return sum(found.get(name) == value for name, value in calm.items())


def _row(case: str, nodes: int, equal: int, same: bool) -> dict:
    return {
        "case": case, "metric": "nodes with the content of an undisturbed run", "value": equal, "unit": "nodes", "peer": "undisturbed run",
        "peer_value": nodes, "ratio": equal / nodes, "target": 1.0, "met": same, "equal": same,
    }  # fmt: skip


def _driver_killed(ref: PlanRef, store: Path, calm: dict[str, str], seconds: float, times: int) -> dict:
    """SIGKILL the driver `times` times, each at a random moment of the run, and start it again at once."""
    moments = random.Random(SEED)
    code = (
        "import json, sys\nfrom stages.core.plan import *\nfrom stages.core.engine import run_plan\nfrom stages.core.store import Store\n"
        "from stages.core.stage import Resources\nr = json.loads(sys.argv[1])\n"
        "run_plan(load_plan(PlanRef(r['target'], r['arguments'])), Store(r['store']), Resources(workers=2))"
    )
    words = json.dumps({"target": ref.target, "arguments": dict(ref.arguments), "store": str(store)})
    killed = 0
    while killed < times:
        driver = subprocess.Popen([sys.executable, "-c", code, words], stderr=subprocess.DEVNULL)
        try:
            driver.wait(timeout=moments.uniform(0.5, max(1.0, seconds / 2)))
            if driver.returncode:
                raise RuntimeError(f"the restarted run failed with exit code {driver.returncode}")
            subprocess.run(["rm", "-rf", str(store)], check=True)  # it finished between two kills: begin anew
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            killed += 1
    found = _hashes(ref, store, Resources(workers=2))
    same = found == calm and not list(verify(Store(store)))
    return _row(f"driver killed {times} times", len(calm), _equal(found, calm), same)


def _worker_fault(fault: str, root: Path) -> dict:
    """Let one worker segfault, loop or run out of memory, once, while it extracts."""
    marker = root / f"{fault}.marker"
    corpus = _toy_corpus(root, fault, marker)
    ref = PlanRef(f"{TOY}:plan", {"root": str(corpus)})
    resources = Resources(workers=2, page_timeout_seconds=3.0)
    marker.touch()
    calm = _hashes(ref, root / f"{fault}-calm", resources)
    marker.unlink()
    found = _hashes(ref, root / f"{fault}-rough", resources)
    if not marker.exists():
        raise RuntimeError(f"the {fault} did not happen: this would have measured nothing")
    return _row({"segfault": "a worker segfaults", "hang": "a worker hangs", "memory": "a worker runs out of memory"}[fault], len(calm), _equal(found, calm), calm == found)


def _toy_corpus(root: Path, fault: str = "", marker: Path | None = None) -> Path:
    corpus = root / f"corpus-{fault or 'plain'}"
    corpus.mkdir()
    texts = range(300)
    for s in range(6):
        rows = [{"id": f"{s}-{i}", "text": f"document {i % 50} of some shard"} for i in texts]
        if fault and s == 2:
            rows[100] |= {"fault": fault, "marker": str(marker)}
        (corpus / f"s{s}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return corpus
