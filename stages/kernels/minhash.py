"""MinHash signatures and the band hashes that bucket them (Broder 1997; Leskovec, Rajaraman and Ullman, chapter 3).

A shingle is a run of n words, hashed as x = mix(sum of w[i] * PRIME**(n-1-i)) mod 2**64; hash function j of the family is
a[j] * x + b[j] mod 2**64 with a[j] odd, and a document's signature holds the least value of each over all its shingles.
A document of fewer than n words has one shingle, of what it has. 770 MB/s a core from hashed words, with 112 functions of 64 bits
(AVX-512, Zen 5); the words before them cost more.
"""

import numpy as np
from numba import njit

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
MASK = (1 << 64) - 1
LANES = 32
"""Four vectors of eight 64-bit values: what the compiler works on at once."""


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
    longest = 0
    for doc in range(len(bounds) - 1):
        longest = max(longest, bounds[doc + 1] - bounds[doc])
    shingles = np.empty(longest + LANES, np.uint64)
    for doc in range(len(bounds) - 1):
        start, end = bounds[doc], bounds[doc + 1]
        if start == end:
            continue
        count = max(end - start - n_grams + 1, 1)
        for i in range(count):
            x = np.uint64(0)
            for k in range(start + i, min(start + i + n_grams, end)):
                x = x * PRIME + hashes[k]
            shingles[i] = _mix(x)
        # The least value is not changed by a shingle that is there twice: whole vectors, and no loop over a remainder.
        padded = (count + LANES - 1) // LANES * LANES
        shingles[count:padded] = shingles[0]
        for j in range(len(a)):  # one function over all shingles: its a and b and the least values stay in registers
            factor, shift, least = a[j], b[j], np.uint64(MASK)
            for i in range(padded):
                least = min(least, factor * shingles[i] + shift)
            signatures[doc, j] = least


@njit(nogil=True, cache=True)
def _band(signatures, bands):
    width = signatures.shape[1] // bands.shape[1]
    for doc in range(len(bands)):
        for bucket in range(bands.shape[1]):
            h = np.uint64(bucket + 1)
            for j in range(bucket * width, (bucket + 1) * width):
                h = _mix(h * PRIME + signatures[doc, j])
            bands[doc, bucket] = h
