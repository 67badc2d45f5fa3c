"""Seeded orders against the xxhash library and plain Python twins."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.seeded_order import derived_seed, fill_budget, hash_ids, hash_numbers, smallest

SEEDS = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(st.lists(st.text(max_size=120), max_size=20), SEEDS, st.integers(0, 3))
def test_hash_equals_the_xxhash_library(ids, seed, skip):
    array = pa.array(ids, pa.string())[skip:]
    expected = [xxhash.xxh64_intdigest(i.encode(), seed=seed) for i in ids[skip:]]
    assert hash_ids(array, seed).tolist() == expected


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 31, 32, 33, 63, 64, 100])
def test_hash_equals_the_xxhash_library_at_every_block_border(length):
    text = "abcdefghij" * 10
    assert hash_ids(pa.array([text[:length]]), 9)[0] == xxhash.xxh64_intdigest(text[:length].encode(), seed=9)


def test_hash_takes_chunks_and_large_strings_and_refuses_null():
    whole = hash_ids(pa.array(["a", "bc", "d"]), 1)
    assert (hash_ids(pa.chunked_array([["a"], ["bc", "d"]]), 1) == whole).all()
    assert (hash_ids(pa.array(["a", "bc", "d"], pa.large_string()), 1) == whole).all()
    assert len(hash_ids(pa.chunked_array([], pa.string()), 1)) == 0
    with pytest.raises(ValueError, match="1 of 2 ids are null"):
        hash_ids(pa.array(["a", None]), 1)


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 50), SEEDS)
def test_hashed_numbers_equal_a_plain_twin_and_never_collide(first, count, seed):
    whole = hash_numbers(np.arange(first, first + count), seed)
    assert len(set(whole.tolist())) == count

    def twin(number):
        x = (number * 0x9E3779B97F4A7C15 + seed) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    assert whole.tolist() == [twin(first + i) for i in range(count)]


def test_hashed_numbers_are_spread_evenly():
    buckets = np.bincount((hash_numbers(np.arange(64_000), 3) >> np.uint64(58)).astype(int), minlength=64)
    chi_squared = ((buckets - 1000) ** 2 / 1000).sum()  # 63 degrees of freedom: mean 63, standard deviation 11
    assert 20 < chi_squared < 130


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30), st.integers(0, 60), st.integers(0, 40))
def test_choices_equal_a_plain_loop(documents, budget, count):
    hashes = np.array([h for h, _ in documents], np.uint64)
    sizes = np.array([s for _, s in documents], np.int64)
    order = sorted(range(len(documents)), key=lambda i: (documents[i][0], i))
    assert np.flatnonzero(smallest(hashes, count)).tolist() == sorted(order[:count])
    taken, left = [], budget
    for i in order:
        if documents[i][1] <= left:
            taken.append(i)
            left -= documents[i][1]
    chosen = fill_budget(hashes, sizes, budget)
    assert np.flatnonzero(chosen).tolist() == sorted(taken)
    assert all(left < size for size in sizes[~chosen])


def test_derived_seeds_differ_by_any_word():
    seeds = {derived_seed("mix", 0, 1), derived_seed("mix", 1, 0), derived_seed("mix", 0), derived_seed("select", 0, 1)}
    assert len(seeds) == 4 and all(0 <= seed < 2**64 for seed in seeds)
