"""Everything behind extraction in DCLM's recipe, Parquet read and written, beside a bare FastWARC + resiliparse loop over the same pages.

The recipe is dclm_baseline as it ships, in the variant that is given a classifier: one of DCLM's shape (bigrams, 2,000,000 buckets, 100
dimensions), trained here on lines of the corpus. It runs through the engine: first until `extract`, and the import of the classifier, which
like its training is done once for any number of pages; then, on the clock, all other nodes in the same store: listing, loading of models,
hashing, fsync of every file. Recipe and loop run in this one process on one core, with everything imported and compiled before. A second
row has the recipe in a worker process of its own, whose start and imports are then on the clock too.
"""

import hashlib
import os
import resource
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from curation_cases.corpus import Corpus
from curation_cases.fasttext_cases import QUICK_SHAPE, SHAPE, train
from curation_cases.measure import Seconds, clocked, row
from stages.core.engine import Outcome, run_plan
from stages.core.plan import Plan, PlanRef, load_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store

RECIPE = "dclm_baseline:published_classifier"
BEFORE = ("extract", "classifier")
"""Nodes that are not on the clock."""
MOST = 0.35
"""Of the time of the bare loop."""
HERE, PROCESS = Resources(workers=0), Resources(workers=1)


def run(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Time the loop and the recipe's rest in turns; equal: what `extract` handed over is what the loop found, and none was lost later."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        root = Path(name, "crawl")
        root.mkdir()
        for warc in corpus.warcs:
            (root / warc.name).symlink_to(warc.resolve())
        train(corpus.part(1_000_000 if quick else 10_000_000), Path(name), QUICK_SHAPE if quick else SHAPE)
        plan = _plan(root, Path(name, "model.bin"))
        run_plan(plan.until(*BEFORE), Store(f"{root}-extracted"), HERE)
        _rest(plan, HERE)  # compiles what no run has compiled yet
        rounds: list[dict[str, Seconds]] = []
        for _ in range(1 if quick else 5):
            theirs, loop = clocked(lambda: _bare(corpus.warcs))
            here, outcomes = _rest(plan, HERE)
            rounds.append({"loop": loop, "here": here, "process": _rest(plan, PROCESS)[0]})
        equal = _same(plan, Store(f"{root}-extracted"), theirs) and all(map(_accounts, outcomes.values()))
    wall = {name: median(seconds[name].wall for seconds in rounds) for name in rounds[0]}
    cpu = {name: median(seconds[name].cpu for seconds in rounds) for name in rounds[0]}
    nodes = {o.node: round(o.manifest.seconds, 3) for o in outcomes.values() if o.state == "ran"}
    more = {
        "clock": "wall", "wall_seconds": _rounded(wall), "cpu_seconds": _rounded(cpu), "cpu_share": round(cpu["here"] / cpu["loop"], 3),
        "node_seconds": nodes, "pages": len(theirs), "documents_kept": outcomes[plan.nodes[-1].name].manifest.rows_out,
    }  # fmt: skip
    share, with_start = wall["here"] / wall["loop"], wall["process"] / wall["loop"]
    same = "equal: extract's documents (plain HTML in UTF-8) are the loop's texts, and every node accounts for each of its documents"
    common = {"peer": "bare FastWARC + resiliparse loop", "peer_value": 1.0, "equal": equal, **more}
    return [
        row(
            "after_extraction/total", "share of the loop's time", share, "", ratio=1 / share, target=MOST, met=share <= MOST, **common,
            note=f"target: at most; {len(nodes)} nodes in one process, the classifier ready-made; {same}",
        ),
        row(
            "after_extraction/total", "the same, with a worker's start", with_start, "", ratio=1 / with_start, target=None, met=None, **common,
            note=f"in a worker process that is started for it; {same}",
        ),
    ]  # fmt: skip


def _rest(plan: Plan, resources: Resources) -> tuple[Seconds, dict[str, Outcome]]:
    """Run what is not in BEFORE in a copy of the store that holds that; return the time (the worker's is in it) and the outcomes."""
    extracted = Path(f"{_root(plan)}-extracted")
    with tempfile.TemporaryDirectory(dir=extracted.parent) as name:
        store = Store(shutil.copytree(extracted, Path(name, "store"), copy_function=_copy))
        before = _children()
        outcomes, seconds = clocked(lambda: run_plan(plan, store, resources))
    return Seconds(seconds.cpu + _children() - before, seconds.wall), outcomes


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


def _root(plan: Plan) -> str:
    return plan["extract"].inputs[0].config.root


def _plan(root: Path, model: Path) -> Plan:
    """The recipe over the WARC files in `root`, with the classifier in `model`."""
    with model.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # given, as the hub gives it; else every plan would read the whole file
    return load_plan(PlanRef(RECIPE, {"root": str(root)}, (("classifier.model", str(model)), ("classifier.sha256", sha256))))


def _copy(source: str, target: str) -> None:
    """Link what the store never writes to again, copy the rest."""
    (shutil.copy2 if os.stat(source).st_mode & 0o222 else os.link)(source, target)


def _bare(warcs: tuple[Path, ...]) -> dict[str, tuple[int, str]]:
    """Size of the payload and text by record id: no accounting, no decompression, no charset detection, no sniffing."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str

    found: dict[str, tuple[int, str]] = {}
    for warc in warcs:
        for record in ArchiveIterator(str(warc), record_types=WarcRecordType.response, fsspec_args=False):
            payload = record.reader.read()
            text = extract_plain_text(bytes_to_str(payload, "utf-8"), main_content=True)
            found[record.record_id.strip("<>").removeprefix("urn:uuid:")] = len(payload), text.strip()
    return found


def _same(plan: Plan, store: Store, theirs: dict[str, tuple[int, str]]) -> bool:
    """Whether extract's documents have the loop's texts, for pages of plain HTML in valid UTF-8, at least nine in ten."""
    found = open_node(store, plan, "extract")
    pages = [page for shard in found.shards for page in found.table(shard.name).to_pylist()]
    plain = [page for page in pages if page["content_type"] == "text/html" and page["charset"] == "utf-8"]
    plain = [page for page in plain if "\ufffd" not in page["text"]]
    plain = [page for page in plain if page["html_bytes"] == theirs[page["id"]][0]]  # others were compressed
    return len(plain) >= 0.9 * len(theirs) and all(page["text"] == theirs[page["id"]][1] for page in plain)


def _accounts(outcome: Outcome) -> bool:
    made = outcome.manifest
    return made is None or made.kind != "map" or made.rows_out + made.rows_dropped == made.rows_in
