import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.minhash import MASK, PRIME, band_hashes, hash_family, minhash_signatures


def mix(h):
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ h >> 33


def polynomial(values, start=0):
    for value in values:
        start = (start * int(PRIME) + value) & MASK
    return start


def signature(words, n, a, b):
    shingles = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()
    hashed = [mix(polynomial(shingle)) for shingle in shingles]
    return [min(((x * int(p) + int(q)) & MASK for x in hashed), default=MASK) for p, q in zip(a, b, strict=True)]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=4), st.integers(1, 6), st.integers(0, 9))
def test_against_the_plain_twin(documents, n, seed):
    bounds = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    words = np.array([w for d in documents for w in d], np.uint64)
    a, b = hash_family(6, seed)
    signatures = minhash_signatures(bounds, words, n, a, b)
    assert signatures.tolist() == [signature(d, n, a, b) for d in documents]
    for row, bands in zip(signatures.tolist(), band_hashes(signatures, 3).tolist(), strict=True):
        want = []
        for bucket in range(3):
            h = bucket + 1
            for value in row[2 * bucket : 2 * bucket + 2]:
                h = mix((h * int(PRIME) + value) & MASK)
            want.append(h)
        assert bands == want


def test_family_is_splitmix64():
    # the generator's published first outputs for seed 1234567
    a, b = hash_family(2, 1234567)
    assert [int(a[0]), int(b[0]), int(a[1])] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert all(int(value) % 2 for value in hash_family(50, 3)[0])


@pytest.mark.parametrize("shared", [0.2, 0.5, 0.8])
def test_equal_values_estimate_jaccard_within_binomial_error(shared):
    rng = np.random.default_rng(5)
    size, trials, hashes = 400, 40, 112
    a, b = hash_family(hashes, 1)
    errors = []
    for _ in range(trials):
        both = int(round(size * shared))
        pool = rng.integers(0, 2**64, 2 * size - both, np.uint64)
        one, other = pool[:size], np.concatenate((pool[:both], pool[size:]))
        bounds = np.array([0, size, 2 * size], np.int64)
        first, second = minhash_signatures(bounds, np.concatenate((one, other)), 1, a, b)
        errors.append((first == second).mean() - both / (2 * size - both))
    true = both / (2 * size - both)
    spread = np.sqrt(true * (1 - true) / hashes)
    assert abs(np.mean(errors)) < 4 * spread / np.sqrt(trials)
    assert 0.6 * spread < np.std(errors) < 1.5 * spread


def test_spread_is_that_of_datasketch():
    datasketch = pytest.importorskip("datasketch")
    rng = np.random.default_rng(6)
    a, b = hash_family(128, 1)
    ours, theirs = [], []
    for _ in range(15):
        pool = rng.integers(0, 2**63, 300)
        one, other = pool[:200], pool[100:]  # Jaccard 1/3
        bounds = np.array([0, 200, 400], np.int64)
        first, second = minhash_signatures(bounds, np.concatenate((one, other)).astype(np.uint64), 1, a, b)
        ours.append((first == second).mean())
        sketches = [datasketch.MinHash(num_perm=128), datasketch.MinHash(num_perm=128)]
        for sketch, values in zip(sketches, (one, other), strict=True):
            sketch.update_batch([int(v).to_bytes(8, "little") for v in values])
        theirs.append(sketches[0].jaccard(sketches[1]))
    error = np.sqrt(1 / 3 * 2 / 3 / 128 / 15)
    assert abs(np.mean(ours) - 1 / 3) < 4 * error and abs(np.mean(ours) - np.mean(theirs)) < 6 * error


def test_documents_of_about_whole_vectors():
    rng = np.random.default_rng(8)
    sizes = [0, 1, 4, 5, 35, 36, 37, 0, 100, 31, 32, 33, 68]  # 5-grams: 31, 32 and 33 shingles among others
    documents = [rng.integers(0, 2**64, size, np.uint64).tolist() for size in sizes]
    bounds = np.cumsum([0, *sizes]).astype(np.int64)
    words = np.array([w for d in documents for w in d], np.uint64)
    a, b = hash_family(7, 1)
    assert minhash_signatures(bounds, words, 5, a, b).tolist() == [signature(d, 5, a, b) for d in documents]
