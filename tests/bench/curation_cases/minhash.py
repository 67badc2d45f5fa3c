"""MinHash: signatures beside rensa and datasketch, text to kept documents beside datatrove, and pairs found of those that were planted."""

import re
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation_cases.corpus import SHARED, Corpus
from curation_cases.engine import IN_PROCESS, column, plan_over, read_in, write_texts
from curation_cases.measure import Speed, clocked, in_turns, not_measured, over, row
from curation_cases.peer_datatrove import minhash_kept
from stages.core.engine import run_plan
from stages.core.stage import Inputs, Resources

NUM_BUCKETS, HASHES_PER_BUCKET, N_GRAMS = 14, 8, 5
PERMUTATIONS = NUM_BUCKETS * HASHES_PER_BUCKET
WORD = re.compile(r"[^\W_]+")
"""The fastest way in Python to nearly winnow's words (combining marks aside)."""
ARTICLES = SHARED / "neardup"


def signatures(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Text to signatures of 112 hashes. Equal: both estimate known Jaccard similarities as well as 112 independent hashes can."""
    from stages.sign_minhash import SignMinhash, sign_minhash

    sign = sign_minhash(SignMinhash(), Inputs(), Resources())
    signed = sign_minhash(SignMinhash(keep_signature=True), Inputs(), Resources())
    peers = {"rensa, shingles included": (_rensa, 5.0, 2_000_000), "datasketch, shingles included": (_datasketch, 20.0, 500_000)}
    sign(corpus.batches[0])
    parts = {name: corpus.part(size // (10 if quick else 1)) for name, (_, _, size) in peers.items()}
    calls = {name: (lambda call=call, name=name: call(parts[name].texts)) for name, (call, _, _) in peers.items()}
    for call, _, _ in peers.values():
        call(corpus.texts[:2])
    seconds = in_turns(1 if quick else 5, winnow=lambda: over(sign, corpus.batches), **calls)

    pairs, truth = _pairs(corpus.part(2_000_000).texts[: 40 if quick else 200])
    expected = float(np.sqrt(np.mean(truth * (1 - truth)) / PERMUTATIONS))
    flat = signed(pa.record_batch({"text": pa.array([text for pair in pairs for text in pair])})).columns["signature"]
    ours = np.array([np.mean(a == b) for a, b in _by_two([np.array(s) for s in flat.to_pylist()])])
    good = _error(ours, truth) <= 1.4 * expected
    width = flat.type.value_type.bit_width
    rows = []
    for name, (call, times, _) in peers.items():
        theirs = np.array([a.jaccard(b) for a, b in _by_two(call([text for pair in pairs for text in pair]))])
        error = _error(theirs, truth)
        rows += Speed(corpus.megabytes, seconds["winnow"], name, parts[name].megabytes, seconds[name]).rows(
            "minhash/signatures", equal=good and error <= 1.4 * expected, times=times, at_least=60.0 if not rows else None,
            hash_bits=width, permutations=PERMUTATIONS,
            note=f"equal: error of {len(truth)} estimated similarities {_error(ours, truth):.3f}, peer's {error:.3f}; "
            f"112 independent hashes would have {expected:.3f}",
        )  # fmt: skip
    return rows


def dedup(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Text to kept documents, through the engine and Parquet, beside datatrove's four stages on the same texts, every ninth planted again.

    The two differ in words, normalisation and hash functions, so pairs near the threshold may fall otherwise; equal: the planted copies
    are dropped by both, and the kept sets differ in at most one document in fifty.
    """
    texts = corpus.part(150_000 if quick else 3_000_000).texts
    planted = [len(texts) + i for i in range(len(texts[::9]))]
    texts = texts + [f"{text} Last changed a moment ago." for text in texts[::9]]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        run, kept = _engine_dedup(texts, Path(name))
        run()
        seconds = in_turns(1 if quick else 3, winnow=run)["winnow"]
        ours = {int(identity) for identity in kept()}
    minhash_kept(texts[:2], N_GRAMS, NUM_BUCKETS, HASHES_PER_BUCKET)  # loads spaCy
    theirs, peer_seconds = clocked(lambda: set(minhash_kept(texts, N_GRAMS, NUM_BUCKETS, HASHES_PER_BUCKET)))
    long = [place for place in planted if len(texts[place]) >= 2_000]  # a short text changes much by one sentence
    equal = not (set(long) & (ours | theirs)) and len(ours ^ theirs) <= len(texts) / 50
    return Speed(megabytes, seconds, "datatrove's four stages", megabytes, peer_seconds).rows(
        "minhash/dedup", equal=equal, times=20.0,
        note=f"equal: of {len(texts)} documents {len(ours)} kept, by datatrove {len(theirs)}, by one alone {len(ours ^ theirs)}; "
        "winnow's time holds the writing of Parquet, datatrove's none",
    )  # fmt: skip


def neardup(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Pairs found of those planted in chrisjmccormick/MinHash's articles: 3-grams in 20 x 5, as they differ by a few words a sentence."""
    size = 100 if quick else 2500
    path = ARTICLES / f"articles_{size}.train"
    if not path.exists():
        return [not_measured("dedup/neardup", "planted pairs found", "datatrove, same parameters", f"{path} is not there")]
    articles = dict(line.split(" ", 1) for line in path.read_text().splitlines() if line.strip())
    pairs = [tuple(line.split()) for line in path.with_suffix(".truth").read_text().splitlines() if line.strip()]
    names, texts = list(articles), list(articles.values())
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        run, kept = _engine_dedup(texts, Path(name), n_grams=3, num_buckets=20, hashes_per_bucket=5)
        run()
        dropped = set(range(len(texts))) - {int(identity) for identity in kept()}
    theirs = set(range(len(texts))) - set(minhash_kept(texts, 3, 20, 5))
    place = {name: number for number, name in enumerate(names)}

    def found(gone: set[int]) -> int:
        return sum((place[a] in gone) != (place[b] in gone) for a, b in pairs)

    ours_found, theirs_found = found(dropped), found(theirs)
    return [
        row(
            "dedup/neardup", "planted pairs found", ours_found, f"of {len(pairs)} pairs", peer="datatrove, same parameters",
            peer_value=theirs_found, ratio=ours_found / max(1, theirs_found), target=len(pairs), met=ours_found == len(pairs),
            equal=ours_found == theirs_found,
            dropped=len(dropped), peer_dropped=len(theirs), note=f"equal: both found as many; {len(texts)} articles",
        )
    ]  # fmt: skip


def _engine_dedup(texts: list[str], scratch: Path, **fields: int) -> tuple[Callable[[], None], Callable[[], list[str]]]:
    """A call that deduplicates the texts in the next of many stores, and one that lists the ids that stayed in the last."""
    plan = plan_over("minhash", write_texts([(str(i), text) for i, text in enumerate(texts)], scratch / "in"), **fields)
    stores = (read_in(plan, scratch / f"store{number}") for number in count())
    waiting = [next(stores) for _ in range(4)]
    used: list[Any] = []

    def run() -> None:
        used.append(waiting.pop())
        run_plan(plan, used[-1], IN_PROCESS)

    return run, lambda: column(plan, used[-1], "kept", "id")


def _shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + N_GRAMS]) for i in range(max(1, len(words) - N_GRAMS + 1))]


def _rensa(texts: list[str]) -> list[Any]:
    import rensa

    made = []
    for text in texts:
        made.append(rensa.RMinHash(PERMUTATIONS, 1))
        made[-1].update(_shingles(text))
        made[-1].digest()
    return made


def _datasketch(texts: list[str]) -> list[Any]:
    import datasketch

    return datasketch.MinHash.bulk(([shingle.encode() for shingle in _shingles(text)] for text in texts), num_perm=PERMUTATIONS, seed=1)


def _pairs(texts: list[str]) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Texts beside themselves with every n-th word changed, n from 3 to 60, and their true Jaccard similarity."""
    pairs = []
    for number, text in enumerate(texts):
        words = WORD.findall(text.lower())[:1000]
        step = 3 + number % 58
        pairs.append((" ".join(words), " ".join(f"{w}q" if i % step == step - 1 else w for i, w in enumerate(words))))
    sets = [(set(_shingles(a)), set(_shingles(b))) for a, b in pairs]
    return pairs, np.array([len(a & b) / len(a | b) for a, b in sets])


def _by_two(items: list) -> list[tuple]:
    return list(zip(items[::2], items[1::2], strict=True))


def _error(estimated: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((estimated - truth) ** 2)))
