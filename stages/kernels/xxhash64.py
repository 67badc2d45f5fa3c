"""XXH64 of every document of a column (the public specification of xxHash, 64-bit, little endian)."""

import numpy as np
from numba import njit

from stages.kernels.text_view import Text

P1 = np.uint64(0x9E3779B185EBCA87)
P2 = np.uint64(0xC2B2AE3D27D4EB4F)
P3 = np.uint64(0x165667B19E3779F9)
P4 = np.uint64(0x85EBCA77C2B2AE63)
P5 = np.uint64(0x27D4EB2F165667C5)


def hash_documents(text: Text, seed: int = 0) -> np.ndarray:
    """Return uint64[n]: XXH64 with `seed` of the bytes of every document."""
    found = np.empty(len(text), np.uint64)
    _hash(text.data, text.offsets, np.uint64(seed), found)
    return found


@njit(nogil=True, cache=True, inline="always")
def _rotate(x, bits):
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(nogil=True, cache=True, inline="always")
def _four(data, i):
    low = np.uint64(data[i]) | np.uint64(data[i + 1]) << np.uint64(8)
    return low | np.uint64(data[i + 2]) << np.uint64(16) | np.uint64(data[i + 3]) << np.uint64(24)


@njit(nogil=True, cache=True, inline="always")
def _eight(data, i):
    return _four(data, i) | _four(data, i + 4) << np.uint64(32)


@njit(nogil=True, cache=True, inline="always")
def _round(acc, lane):
    return _rotate(acc + lane * P2, 31) * P1


@njit(nogil=True, cache=True)
def _hash(data, offsets, seed, found):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        size = end - i
        if size >= 32:
            a, b, c, d = seed + P1 + P2, seed + P2, seed, seed - P1
            while i + 32 <= end:
                a = _round(a, _eight(data, i))
                b = _round(b, _eight(data, i + 8))
                c = _round(c, _eight(data, i + 16))
                d = _round(d, _eight(data, i + 24))
                i += 32
            h = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
            for lane in (a, b, c, d):
                h = (h ^ _round(np.uint64(0), lane)) * P1 + P4
        else:
            h = seed + P5
        h += np.uint64(size)
        while i + 8 <= end:
            h = _rotate(h ^ _round(np.uint64(0), _eight(data, i)), 27) * P1 + P4
            i += 8
        if i + 4 <= end:
            h = _rotate(h ^ _four(data, i) * P1, 23) * P2 + P3
            i += 4
        while i < end:
            h = _rotate(h ^ np.uint64(data[i]) * P5, 11) * P1
            i += 1
        h = (h ^ h >> np.uint64(33)) * P2
        h = (h ^ h >> np.uint64(29)) * P3
        found[doc] = h ^ h >> np.uint64(32)
