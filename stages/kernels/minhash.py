"""MinHash signatures and the band hashes that bucket them (Broder 1997; Leskovec, Rajaraman and Ullman, chapter 3).

A shingle is a run of n words, hashed as x = mix(sum of w[i] * PRIME**(n-1-i)) mod 2**64; hash function j of the family is
a[j] * x + b[j] mod 2**64 with a[j] odd, and a document's signature holds the least value of each over all its shingles.
A document of fewer than n words has one shingle, of what it has. 60 to 120 MB/s a core with 112 functions.
"""

import numpy as np
from numba import njit

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
MASK = (1 << 64) - 1


def hash_family(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a (odd) and b, uint64[size] each, drawn from SplitMix64 at `seed`: the same on every machine and version."""
    drawn, state = [], seed & MASK
    for _ in range(2 * size):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        drawn.append(z ^ (z >> 31))
    return np.array(drawn[0::2], np.uint64) | np.uint64(1), np.array(drawn[1::2], np.uint64)


def minhash_signatures(
    bounds: np.ndarray, hashes: np.ndarray, n_grams: int, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return uint64[n, len(a)]: the signature of each document from the hashes of its words; all ones where there are no words."""
    signatures = np.full((len(bounds) - 1, len(a)), MASK, np.uint64)
    _sign(bounds, hashes, n_grams, a, b, signatures)
    return signatures


def band_hashes(signatures: np.ndarray, num_buckets: int) -> np.ndarray:
    """Return uint64[n, num_buckets]: one hash for each run of equally many signature values, different from bucket to bucket."""
    bands = np.empty((len(signatures), num_buckets), np.uint64)
    _band(signatures, bands)
    return bands


@njit(nogil=True, cache=True, inline="always")
def _mix(h):
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _sign(bounds, hashes, n_grams, a, b, signatures):
    for doc in range(len(bounds) - 1):
        start, end = bounds[doc], bounds[doc + 1]
        least = signatures[doc]
        for i in range(start, max(end - n_grams + 1, min(start + 1, end))):
            x = np.uint64(0)
            for k in range(i, min(i + n_grams, end)):
                x = x * PRIME + hashes[k]
            x = _mix(x)
            for j in range(len(a)):
                least[j] = min(least[j], a[j] * x + b[j])


@njit(nogil=True, cache=True)
def _band(signatures, bands):
    width = signatures.shape[1] // bands.shape[1]
    for doc in range(len(bands)):
        for bucket in range(bands.shape[1]):
            h = np.uint64(bucket + 1)
            for j in range(bucket * width, (bucket + 1) * width):
                h = _mix(h * PRIME + signatures[doc, j])
            bands[doc, bucket] = h
