"""A random order of documents, the same everywhere (XXH64 of the id under a seed), and choices made along it.

The order depends on seed and ids alone: not on batches, shards, workers or the machine.
"""

import hashlib

import numpy as np
import pyarrow as pa
from numba import njit

from stages.kernels.text_view import text_view
from stages.kernels.xxhash64 import hash_documents

WEYL = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, odd: the increment of SplitMix64."""


def derived_seed(*words: str | int) -> int:
    """Return a 64-bit seed for one purpose, such as `derived_seed("mix", 7, 0)`: other words, another order."""
    return int.from_bytes(hashlib.sha256("\0".join(str(word) for word in words).encode()).digest()[:8], "little")


def hash_ids(ids: pa.Array | pa.ChunkedArray, seed: int) -> np.ndarray:
    """Hash every id with XXH64 under `seed` (0 <= seed < 2^64): uint64, one per id. ValueError if an id is null."""
    if ids.null_count:
        raise ValueError(f"hash_ids: {ids.null_count} of {len(ids)} ids are null; every document needs an id")
    return hash_documents(text_view(ids), seed)


def hash_numbers(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Hash integers to uint64, different ones to different values, since every step is a bijection of 64-bit integers.

    A Weyl sequence from the seed, then the finalizer of SplitMix64 (Steele, Lea and Flood 2014, figure 14).
    """
    x = numbers.astype(np.uint64) * WEYL + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def smallest(hashes: np.ndarray, count: int) -> np.ndarray:
    """Choose the `count` documents of the smallest hashes, the earlier on a tie (all if fewer): boolean mask."""
    chosen = np.ones(len(hashes), bool)
    if count < len(hashes):
        chosen[np.argsort(hashes, kind="stable")[count:]] = False
    return chosen


def fill_budget(hashes: np.ndarray, sizes: np.ndarray, budget: int) -> np.ndarray:
    """Go through documents in order of hash and take each that still fits into `budget`: boolean mask.

    On a tie the earlier one comes first. The sizes taken add up to at most `budget`, and the gap is smaller than any
    document left out. (The subset that comes closest of all is a knapsack problem, and its answer would be no random
    sample.)
    """
    return _fill(np.argsort(hashes, kind="stable"), np.ascontiguousarray(sizes, dtype=np.int64), np.int64(budget))


@njit(nogil=True, cache=True)
def _fill(order, sizes, budget):
    taken = np.zeros(len(sizes), np.bool_)
    left = budget
    for i in order:
        if sizes[i] <= left:
            taken[i] = True
            left -= sizes[i]
    return taken
