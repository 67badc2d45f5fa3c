"""The kernel against old-both written out in plain Python, once over a set (no false positives) and once over the same Bloom filter."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.bloom import (
    BLOCK_BITS,
    FACTOR,
    MOST_HASHES,
    PRIME,
    BloomFilter,
    NGrams,
    false_positive_rate,
    hash_n_grams,
    size_filter,
)
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29

MASK = (1 << 64) - 1


def mix(h):
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ h >> 33


def hash_of(tokens):
    x = 0
    for token in tokens:
        x = (x * int(PRIME) + token) & MASK
    return mix(x)


class PlainBloom(set):
    """The blocked filter as a set of bit numbers."""

    def __init__(self, bits, k):
        super().__init__()
        self.num_blocks, self.k = -(-bits // BLOCK_BITS), k

    def places(self, n_gram):
        h = hash_of(n_gram)
        g = h * int(FACTOR) & MASK
        g ^= g >> 32
        return [(h * self.num_blocks >> 64) * BLOCK_BITS + (g >> 9 * j & 511) for j in range(self.k)]

    def __contains__(self, n_gram):
        return all(super(PlainBloom, self).__contains__(place) for place in self.places(n_gram))

    def add(self, n_gram):
        self.update(self.places(n_gram))


def plain_paragraphs(text, tokens, doc):
    """(start, end, tokens) of every paragraph of a document: windows between newlines, each led by its own."""
    low, high = int(text.offsets[doc]), int(text.offsets[doc + 1])
    edges = [low, *(i for i in range(low, high) if text.data[i] == 10), high]
    mine = range(tokens.bounds[doc], tokens.bounds[doc + 1])
    for start, end in zip(edges, edges[1:], strict=False):
        yield start, end, [int(tokens.hashes[t]) for t in mine if start <= tokens.starts[t] < end]


def plain_n_grams(words, least, most):
    if least <= len(words) < most:
        return [tuple(words)]
    return [tuple(words[i : i + most]) for i in range(len(words) - most + 1)]


def plain_old_both(text, tokens, least, most, threshold, seen):
    """Per document: n-grams, contained ones, and the (start, end) of the paragraphs to remove."""
    results = []
    for doc in range(len(text)):
        total = contained = 0
        removed = []
        for start, end, words in plain_paragraphs(text, tokens, doc):
            n_grams = plain_n_grams(words, least, most)
            hits = sum(n_gram in seen for n_gram in n_grams)
            total, contained = total + len(n_grams), contained + hits
            if n_grams and hits / len(n_grams) > threshold:
                removed.append((start, end))
            else:
                for n_gram in n_grams:
                    seen.add(n_gram)
        results.append((total, contained, removed))
    return results


def kernel_old_both(text, tokens, least, most, threshold, bloom):
    n_grams = hash_n_grams(text, tokens, least, most)
    found = bloom.judge(n_grams, threshold)
    results = []
    for doc in range(len(text)):
        mine = range(n_grams.bounds[doc], n_grams.bounds[doc + 1])
        removed = [(int(n_grams.starts[p]), int(n_grams.ends[p])) for p in mine if found.removed[p]]
        results.append((int(found.n_grams[doc]), int(found.contained[doc]), removed))
    return results


LINES = st.lists(st.lists(st.sampled_from(["a", "bb", "é", "日本", "1.5", "…", "\r", "\u2028", "\U0001f468\u200d\U0001f469"]), max_size=7).map(" ".join), max_size=6)


@settings(deadline=None)  # the first call compiles
@given(st.lists(LINES.map("\n".join), max_size=6), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 0.5, 0.8, 1.0]), st.integers(1, 7))
def test_against_the_plain_twin(texts, least, longer, threshold, k):
    most = least + longer
    text = text_view(pa.array(["ahead\nof the slice", *texts], pa.string()).slice(1))
    tokens = segment_uax29(text)
    n_grams = hash_n_grams(text, tokens, least, most)
    windows = [w for doc in range(len(texts)) for w in plain_paragraphs(text, tokens, doc)]
    assert n_grams.num_paragraphs == len(windows)
    expected = [(start, end, grams) for start, end, words in windows if (grams := plain_n_grams(words, least, most))]
    assert list(zip(n_grams.starts.tolist(), n_grams.ends.tolist(), strict=True)) == [(start, end) for start, end, _ in expected]
    assert n_grams.hashes.tolist() == [hash_of(gram) for *_, grams in expected for gram in grams]
    assert n_grams.hash_bounds.tolist() == np.cumsum([0, *(len(grams) for *_, grams in expected)]).tolist()
    bloom, plain = BloomFilter(1000, k), PlainBloom(1000, k)
    assert kernel_old_both(text, tokens, least, most, threshold, bloom) == plain_old_both(text, tokens, least, most, threshold, plain)
    assert bloom.measure()[0] == pytest.approx(len(set(iter(plain))) / 1024)


def repeated_corpus():
    """Documents of paragraphs that come again, in other documents and in their own, some of them changed a little."""
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(3000)]
    pool = [" ".join(rng.choice(words, rng.integers(3, 60))) for _ in range(150)]
    documents = []
    for _ in range(300):
        lines = [pool[i] for i in rng.integers(0, len(pool), rng.integers(0, 6))]
        lines = [line if rng.random() < 0.7 else f"{line} {rng.choice(words)}. {rng.choice(words)}" for line in lines]
        documents.append("\n".join(lines + [""] * rng.integers(0, 3)))
    return documents


@pytest.mark.parametrize("least, most", [(13, 13), (5, 20)])
def test_a_large_filter_decides_as_a_set_does(least, most):
    text = text_view(pa.array(repeated_corpus()))
    tokens = segment_uax29(text)
    exact = plain_old_both(text, tokens, least, most, 0.8, set())
    assert kernel_old_both(text, tokens, least, most, 0.8, BloomFilter(1 << 23, 7)) == exact
    assert sum(bool(removed) for *_, removed in exact) > 100 and sum(contained / total > 0.8 for total, contained, _ in exact if total) > 50


def test_real_texts_decide_as_a_set_does(shared):
    documents = []
    for path in sorted((shared / "text").rglob("*.txt"))[:40]:
        lines = path.read_text(encoding="utf-8", errors="replace")[:60_000].split("\n")
        documents += ["\n".join(lines[i : i + 40]) for i in range(0, len(lines), 30)]  # neighbours share ten lines
    if not documents:
        pytest.skip("no *.txt below ../shared/data/text")
    text = text_view(pa.array(documents))
    tokens = segment_uax29(text)
    exact = plain_old_both(text, tokens, 13, 13, 0.8, set())
    assert kernel_old_both(text, tokens, 13, 13, 0.8, BloomFilter(1 << 26, 7)) == exact
    assert any(removed for *_, removed in exact)


def test_batches_change_nothing():
    documents = repeated_corpus()
    whole, parts = BloomFilter(1 << 14, 3), BloomFilter(1 << 14, 3)  # small: false positives must be the same ones
    for bloom, size in ((whole, len(documents)), (parts, 7)):
        bloom.results = []
        for start in range(0, len(documents), size):
            text = text_view(pa.array(documents[start : start + size]))
            bloom.results += [r[:2] for r in kernel_old_both(text, segment_uax29(text), 13, 13, 0.8, bloom)]
    assert whole.results == parts.results and whole.measure() == parts.measure()


def single_grams(hashes):
    """Every hash a paragraph of its own, all in one document."""
    count = len(hashes)
    places = np.arange(count + 1)
    return NGrams(np.array([0, count]), np.zeros(count, np.int64), np.zeros(count, np.int64), places, hashes, count)


@pytest.mark.parametrize("load, k", [(20.0, 7), (51.6, 6), (51.6, 7), (80.0, 4), (200.0, 1), (5.0, 2)])
def test_false_positives_are_as_many_as_expected(load, k):
    """Within 4 standard deviations of the formula for blocked filters; and what went in is always found."""
    blocks, queries = 4096, 500_000
    rng = np.random.default_rng(int(load) + k)
    bloom = BloomFilter(blocks * BLOCK_BITS, k)
    members = single_grams(rng.integers(0, 2**64, int(load * blocks), np.uint64))
    bloom.judge(members, 1.0)  # above a threshold of 1 is nothing: all are inserted
    assert bloom.judge(members, 1.0).contained.tolist() == [len(members.hashes)]
    contained = int(bloom.judge(single_grams(rng.integers(0, 2**64, queries, np.uint64)), -1.0).contained[0])  # removes, so inserts nothing
    expected = false_positive_rate(load, k)
    filled, rate = bloom.measure()
    # blocks vary: the rate of this very filter lies about the expected one, and the queries about that
    assert rate == pytest.approx(expected, rel=0.05)
    assert abs(contained - queries * rate) < 4 * np.sqrt(queries * rate) + 1
    assert filled == pytest.approx(1 - (1 - 1 / BLOCK_BITS) ** (load * k), rel=0.02)


def test_rates_of_the_formula():
    """E[X**k] to second order against balls thrown, and the sizes that the head of the file names."""
    rng = np.random.default_rng(1)
    for load, k in ((30.0, 7), (60.0, 5)):
        cells = np.zeros((20_000, BLOCK_BITS), bool)
        balls = rng.poisson(load, len(cells)) * k
        rows = np.repeat(np.arange(len(cells)), balls)
        cells[rows, rng.integers(0, BLOCK_BITS, len(rows))] = True
        simulated = (cells.mean(axis=1) ** k).mean()
        assert false_positive_rate(load, k) == pytest.approx(simulated, rel=0.03)
    for target, bits, num_hashes in ((0.01, 9.92, 6), (0.001, 16.0, 7), (0.0001, 24.9, 7)):
        size, k = size_filter(10**9, target)
        assert (round(size / 1e9, 3 - len(str(int(bits)))) , k) == (bits, num_hashes)
        assert false_positive_rate(10**9 / (size / BLOCK_BITS), k) <= target < false_positive_rate(1.01 * 10**9 / (size / BLOCK_BITS), k)


def test_sizes_are_pinned():
    """They decide which false positives there are, so they are part of the content."""
    assert size_filter(10**9, 0.01) == (9918060032, 6)
    assert size_filter(1, 0.01) == (512, 6) and size_filter(0, 0.5) == (512, 1)


def test_what_makes_no_sense_is_refused():
    text = text_view(pa.array(["a"]))
    with pytest.raises(ValueError, match="3 to 2 tokens"):
        hash_n_grams(text, segment_uax29(text), 3, 2)
    with pytest.raises(ValueError, match="1 to 7 functions"):
        BloomFilter(100, MOST_HASHES + 1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        size_filter(5, 0)
