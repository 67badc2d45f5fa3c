"""Curation beside its peers: words, heuristics, MinHash, Bloom filter, fastText, language, extraction, the whole recipe after extraction.

Speeds are MB/s of UTF-8 text on one core, medians of several rounds in turns with the peer, compilation left out; a row's `equal` says
whether both computed the same (its `note` says what that means). A peer that is too slow for all texts gets a part of them, spread evenly,
and the slowest (uniseg, spaCy, datatrove's MinHash) get one round. A target that is not met stays in the table; a peer that is not
installed ends the run, with the command that installs it. Takes three minutes on a quiet machine, and 2.7 GB of scratch disk (three
times the classifier). The cases are files of curation_cases/.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))  # `winnow bench` loads this file by its path

from curation_cases import after_extraction, bloom, extraction, fasttext_cases, growth, heuristics, minhash, words  # noqa: E402
from curation_cases.corpus import load_corpus  # noqa: E402
from curation_cases.measure import need_peers, one_core  # noqa: E402

CASES = (
    words.run,
    heuristics.gopher,
    heuristics.dclm,
    minhash.signatures,
    minhash.dedup,
    minhash.neardup,
    bloom.run,
    fasttext_cases.score,
    fasttext_cases.language,
    extraction.run,
    growth.run,
    after_extraction.run,
)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure every case; quick takes one file of pages, small parts for the peers and single rounds: a minute, and no figures to quote."""
    need_peers()
    corpus = load_corpus(quick)
    rows = []
    for case in CASES:
        with one_core():
            rows += case(corpus, quick)
    about = {"source": corpus.source, "documents": len(corpus.texts), "text_mb": round(corpus.megabytes, 2)}
    return {"name": "curation", "corpus": about, "rows": rows}
