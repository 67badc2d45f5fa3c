"""How many segments of a document occur more than once, and how many characters they hold; every copy counts, the first one too."""

import numpy as np
from numba import njit

from stages.kernels.segments import Segments


def repeated_segments(segments: Segments) -> np.ndarray:
    """Return int64[n, 2] for n documents: segments that have a twin in their document, and the characters of these."""
    found = np.zeros((len(segments.bounds) - 1, 2), np.int64)
    if len(segments.hashes):
        _count(segments.bounds, segments.hashes, segments.chars, found)
    return found


@njit(nogil=True, cache=True)
def _count(bounds, hashes, chars, found):
    longest = 0
    for doc in range(len(bounds) - 1):
        longest = max(longest, bounds[doc + 1] - bounds[doc])
    size = 4
    while size < 2 * longest:
        size *= 2
    table = np.empty(size, np.int64)
    repeated = np.zeros(longest, np.bool_)
    for doc in range(len(bounds) - 1):
        start, count = bounds[doc], bounds[doc + 1] - bounds[doc]
        if count < 2:
            continue
        size, bits = 4, 2
        while size < 2 * count:
            size *= 2
            bits += 1
        table[:size] = -1
        repeated[:count] = False
        shift, mask = np.uint64(64 - bits), size - 1
        for i in range(count):
            key = hashes[start + i]
            slot = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> shift)
            while table[slot] >= 0 and hashes[start + table[slot]] != key:
                slot = (slot + 1) & mask
            if table[slot] < 0:
                table[slot] = i
            else:
                repeated[i] = repeated[table[slot]] = True
        for i in range(count):
            if repeated[i]:
                found[doc, 0] += 1
                found[doc, 1] += chars[start + i]
