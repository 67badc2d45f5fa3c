import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.gopher_ngrams import REPEATED, TOP, first_repetition
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import Tokens

NONE = (None,) * 9


def _hash(word):
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())


def tokens_of(documents, filler=" "):
    """Words of one's own choosing, as a text and the tokens that a splitter would give."""
    texts = [filler.join(words) for words in documents]
    view = text_view(pa.array(texts, pa.string()))
    starts, ends, chars, hashes, bounds = [], [], [], [], [0]
    for words, at in zip(documents, view.offsets, strict=False):
        for word in words:
            size = len(word.encode())
            starts.append(at), ends.append(at + size), chars.append(len(word)), hashes.append(_hash(word))
            at += size + len(filler)
        bounds.append(len(starts))
    arrays = (np.array(starts, np.int64), np.array(ends, np.int64), np.array(chars, np.int32), np.array(hashes, np.uint64))
    return texts, view, Tokens(np.array(bounds, np.int64), *arrays, np.ones(len(starts), np.bool_))


def twin(words, n, total):
    """Share of the text that the rule for n counts, in plain Python."""
    grams = [words[i : i + n] for i in range(len(words) - n + 1)]
    if n in TOP:
        counts = Counter(map(" ".join, grams))
        if not counts:
            return None
        best = max(counts.values())
        return len(next(gram for gram, times in counts.items() if times == best)) * best / total
    met, chars, i = set(), 0, 0
    while i < len(grams):
        gram = "".join(grams[i])
        chars += len(gram) if gram in met else 0
        i += n if gram in met else 1
        met.add(gram)
    return chars / total


def check(documents, filler=" "):
    """Every n alone, with no tolerance, just within and just beyond the limit; and all together."""
    texts, view, tokens = tokens_of(documents, filler)
    sizes = np.array([max(len(text), 1) for text in texts])
    wanted = np.ones(len(texts), np.bool_)
    for k, n in enumerate(TOP + REPEATED):
        values = [twin(words, n, size) or 0 for words, size in zip(documents, sizes, strict=True)]
        for limit in {0, *values, *(value * 0.99 for value in values)}:
            over, found = first_repetition(view, tokens, sizes, wanted, (*NONE[:k], limit, *NONE[k + 1 :]))
            for doc, value in enumerate(values):
                assert over[doc] == (n if value > limit else 0)
                assert value <= limit or found[doc] == value
    limits = (0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    over, found = first_repetition(view, tokens, sizes, wanted, limits)
    for doc, (words, size) in enumerate(zip(documents, sizes, strict=True)):
        shares = [(n, twin(words, n, size), limit) for n, limit in zip(TOP + REPEATED, limits, strict=True)]
        want = next(((n, share) for n, share, limit in shares if share is not None and share > limit), (0, None))
        assert over[doc] == want[0] and (want[1] is None or found[doc] == want[1])


WORD = st.sampled_from(
    ["a", "b", "ab", "ba", "aba", "bcd", "é", "🐎", ".", "word", "another", "quadruped", "q" * 16, "exactly8", "Pneumonoultramicroscopic"]
)


@settings(deadline=None, max_examples=150)  # the first call compiles
@given(
    st.lists(st.lists(WORD, max_size=40) | st.lists(st.sampled_from(["a", "b", "ab"]), max_size=40), max_size=3), st.sampled_from(["", " "])
)
def test_against_the_plain_twin(documents, filler):
    check(documents, filler)


def test_equal_bytes_split_differently_repeat():
    """Six words against six, no five of which are equal, neither from the front nor from the back."""
    one, other = ["online", "on", "the", "web", "site", "way"], ["on", "line", "on", "the", "website", "way"]
    assert "".join(one) == "".join(other)
    check([one + ["and", "then"] + other])
    texts, view, tokens = tokens_of([one + ["and"] + other])
    over, found = first_repetition(view, tokens, np.array([len(texts[0])]), np.ones(1, np.bool_), (*NONE[:4], 0.3, *NONE[5:]))
    assert over[0] == 6 and found[0] == len("".join(one)) / len(texts[0])


def test_prose_with_copies_of_every_length():
    rng = np.random.default_rng(5)
    vocabulary = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(1, 11))) for _ in range(400)]
    documents = []
    for _ in range(60):
        words = list(rng.choice(vocabulary, rng.integers(5, 500)))
        for _ in range(rng.integers(0, 12)):
            place, length = rng.integers(0, len(words)), rng.integers(1, 60)
            copied, to = words[place : place + length], rng.integers(0, len(words) + 1)
            words[to:to] = copied
        documents.append([str(word) for word in words])
    check(documents)


def test_only_the_wanted_documents_are_searched():
    texts, view, tokens = tokens_of([["a", "b"] * 10] * 3)
    over, found = first_repetition(view, tokens, np.array([39] * 3), np.array([True, False, True]), (0.2,) * 9)
    assert over.tolist() == [2, 0, 2] and found[1] == 0


def test_no_documents_and_no_words():
    for documents in ([], [[]], [[], []]):
        texts, view, tokens = tokens_of(documents)
        over, found = first_repetition(view, tokens, np.ones(len(texts), np.int64), np.ones(len(texts), np.bool_), (0.0,) * 9)
        assert not over.any() and not found.any()


def test_as_many_limits_as_ns():
    texts, view, tokens = tokens_of([["a"]])
    with pytest.raises(AssertionError):
        first_repetition(view, tokens, np.ones(1, np.int64), np.ones(1, np.bool_), (0.2,))
