"""Quality of extraction on the 181 articles of scrapinghub's article-extraction-benchmark, by that benchmark's own definition.

Words are runs of letters, digits and underscores (regular expression w+), shingles are 4 of them in a row (a shorter text is one), counted
with multiplicity. Precision and recall of a page are the shingles that are in both over those predicted and over those true; a page that
has none of the one or the other is left out there; the figures are means over pages, F1 is their harmonic mean. Beside winnow's `extract`,
which reads the pages from a WARC file: trafilatura with its defaults, and resiliparse alone.
"""

import gzip
import io
import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from curation_cases.corpus import SHARED, Corpus
from curation_cases.measure import not_measured, row

GOLD = SHARED / "html_gold" / "scrapinghub"
PUBLISHED_F1 = 0.958
"""trafilatura 2.0.0 as the benchmark's README has it: ours must come close, or the definition is not theirs."""
MEASURES = ("f1", "precision", "recall")
WORD = re.compile(r"\w+")


def run(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Score the three extractors on the same pages; quick takes every sixth."""
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    if not GOLD.is_dir():
        return [not_measured(f"extract/{measure}", measure, "trafilatura", f"{GOLD} is not there") for measure in MEASURES]
    gold = {name: page["articleBody"] for name, page in json.loads((GOLD / "ground-truth.json").read_text()).items()}
    names = sorted(gold)[:: 6 if quick else 1]
    pages = {name: gzip.decompress((GOLD / "html" / f"{name}.html.gz").read_bytes()).decode() for name in names}
    texts = {
        "winnow": _extracted(pages),
        "resiliparse, main_content=True": {name: extract_plain_text(html, main_content=True).strip() for name, html in pages.items()},
        "trafilatura": {name: trafilatura.extract(html) or "" for name, html in pages.items()},
    }
    scores = {who: score([(gold[name], made.get(name, "")) for name in names]) for who, made in texts.items()}
    bare = texts["resiliparse, main_content=True"]
    equal = {
        "resiliparse, main_content=True": all(texts["winnow"].get(name, "") == text for name, text in bare.items()),
        "trafilatura": quick or abs(scores["trafilatura"]["f1"] - PUBLISHED_F1) < 0.02,
    }
    notes = {
        "resiliparse, main_content=True": "equal: winnow's text of every page is resiliparse's",
        "trafilatura": f"equal: its F1 is within 0.02 of the published {PUBLISHED_F1} (not asked of a part of the pages)",
    }
    return [
        row(
            f"extract/{measure}", f"{measure} over {len(names)} pages, 4-word shingles", scores["winnow"][measure], "", peer=peer,
            peer_value=scores[peer][measure], ratio=scores["winnow"][measure] / scores[peer][measure], target=None, met=None,
            equal=equal[peer], note=notes[peer],
        )
        for peer in equal
        for measure in MEASURES
    ]  # fmt: skip


def score(pages: list[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 of (true, predicted) texts as the module says."""
    precisions, recalls = [], []
    for true, predicted in pages:
        wanted, found = _shingles(true), _shingles(predicted)
        both = (wanted & found).total()
        if found:
            precisions.append(both / found.total())
        if wanted:
            recalls.append(both / wanted.total())
    precision, recall = mean(precisions), mean(recalls)
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = WORD.findall(text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))) if words else Counter()


def _extracted(pages: dict[str, str]) -> dict[str, str]:
    """Pack the pages as WARC responses and run winnow's stage over them."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    from stages.core.stage import Guard, Inputs, Resources, SourceShard
    from stages.extract import Extract, extract

    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        path = Path(name) / "gold.warc.gz"
        with path.open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for page, html in pages.items():
                headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
                url = f"https://gold.example/{page}"
                writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(html.encode()), http_headers=headers))
        for made in extract(Extract(), Inputs(), Resources())(SourceShard("gold", "gold", path.stat().st_size, "", str(path)), Guard()):
            if made.documents is not None:
                urls = [url.rpartition("/")[2] for url in made.documents["url"].to_pylist()]
                texts.update(zip(urls, made.documents["text"].to_pylist(), strict=True))
    return texts
