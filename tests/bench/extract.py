"""Extraction beside a bare FastWARC + resiliparse loop over the same file, in one process on one core, in turns.

The bare loop reads each response, decodes it as UTF-8 and extracts its main text: no accounting, no charset detection, no sniffing.
"""

import statistics
import time
from pathlib import Path
from typing import Any

from stages.core.stage import Guard, Inputs, Resources, SourceShard
from stages.extract import Extract, extract

ROOT = Path(__file__).resolve().parents[2]
PREFERRED = ROOT / ".." / "shared" / "data" / "warc" / "packed" / "debdocs-prose-000.warc.gz"
TARGET = 0.8
"""Winnow's share of the bare loop's speed, at least."""


def run(quick: bool = False) -> dict[str, Any]:
    """Measure documents/s and HTML MB/s; quick stops after one round in place of five. ValueError if there is no WARC to read."""
    path = _input()
    timed: dict[str, list[float]] = {"winnow": [], "bare": []}
    found: dict[str, dict[str, str]] = {}
    html_bytes = 0
    for _ in range(1 if quick else 5):
        started = time.perf_counter()
        found["winnow"], html_bytes = _winnow(path)
        middle = time.perf_counter()
        found["bare"] = _bare(path)
        timed["winnow"].append(middle - started)
        timed["bare"].append(time.perf_counter() - middle)
    seconds = {name: statistics.median(values) for name, values in timed.items()}
    documents = len(found["winnow"])
    equal = documents > 0 and all(found["bare"].get(identity) == text for identity, text in found["winnow"].items())
    rows = []
    for metric, amount, unit in (("documents", documents, "documents/s"), ("html", html_bytes / 1e6, "MB/s")):
        value, peer_value = amount / seconds["winnow"], amount / seconds["bare"]
        rows.append(
            {
                "case": path.name,
                "metric": f"{metric}_per_second",
                "value": round(value, 2),
                "unit": unit,
                "peer": "bare FastWARC + resiliparse loop",
                "peer_value": round(peer_value, 2),
                "ratio": round(value / peer_value, 4),
                "target": TARGET,
                "met": value / peer_value >= TARGET,
                "equal": equal,
            }
        )
    return {"name": "extract", "rows": rows}


def _input() -> Path:
    if PREFERRED.exists():
        return PREFERRED
    own = sorted((ROOT / "pipelines" / "sample" / "pool").glob("*.warc.gz"))
    if not own:
        raise ValueError(f"bench extract: neither {PREFERRED} nor pipelines/sample/pool/*.warc.gz is there")
    return max(own, key=lambda path: path.stat().st_size)


def _winnow(path: Path) -> tuple[dict[str, str], int]:
    texts: dict[str, str] = {}
    html_bytes = 0
    shard = SourceShard(path.name, path.name, path.stat().st_size, "", str(path))
    for made in extract(Extract(), Inputs(), Resources())(shard, Guard(beat=lambda offset: None)):
        if made.documents is not None:
            texts.update(zip(made.documents["id"].to_pylist(), made.documents["text"].to_pylist(), strict=True))
            html_bytes += sum(made.documents["html_bytes"].to_pylist())
    return texts, html_bytes


def _bare(path: Path) -> dict[str, str]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str

    texts: dict[str, str] = {}
    for record in ArchiveIterator(str(path), record_types=WarcRecordType.response, fsspec_args=False):
        text = extract_plain_text(bytes_to_str(record.reader.read(), "utf-8"), main_content=True)
        texts[record.record_id.strip("<>").removeprefix("urn:uuid:")] = text.strip()
    return texts
