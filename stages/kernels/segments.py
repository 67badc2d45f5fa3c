"""Lines and paragraphs: stripped, without the empty ones, measured and hashed as bytes (64-bit, as words are).

A line ends at a newline, a paragraph at two newlines or more. Stripping takes what str.strip takes off.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.kernels.text_view import Text

SEED = np.uint64(0x2B_7E_15_16_28_AE_D2_A7)
PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)


@dataclass(frozen=True)
class Segments:
    """All segments of n documents: those of document i are bounds[i]:bounds[i + 1]."""

    bounds: np.ndarray
    """int64[n + 1]."""
    starts: np.ndarray
    """int64[segments], first byte in Text.data."""
    ends: np.ndarray
    """int64[segments], byte after the last."""
    chars: np.ndarray
    """int32[segments], length in code points."""
    hashes: np.ndarray
    """uint64[segments], of the bytes."""


def split_lines(text: Text) -> Segments:
    """Find the non-empty stripped lines of every document."""
    return _segments(text, 1)


def split_paragraphs(text: Text) -> Segments:
    """Find the non-empty stripped paragraphs of every document."""
    return _segments(text, 2)


def _segments(text: Text, newlines: int) -> Segments:
    most = int(text.offsets[-1] - text.offsets[0]) // 2 + len(text) + 1
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    chars, hashes = np.empty(most, np.int32), np.empty(most, np.uint64)
    bounds = np.zeros(len(text) + 1, np.int64)
    _split(text.data, text.offsets, newlines, bounds, starts, ends, chars, hashes)
    count = bounds[-1]
    return Segments(bounds, starts[:count], ends[:count], chars[:count], hashes[:count])


@njit(nogil=True, cache=True)
def _space_width(data, i, end):
    """Bytes of the white-space character at i, 0 if there is another one."""
    b = data[i]
    if b < 0x80:
        return 1 if b == 32 or 9 <= b <= 13 or 28 <= b <= 31 else 0
    if b == 0xC2 and i + 1 < end:  # U+0085, U+00A0
        return 2 if data[i + 1] == 0x85 or data[i + 1] == 0xA0 else 0
    if i + 2 < end:
        c, d = data[i + 1], data[i + 2]
        if b == 0xE2 and c == 0x80:  # U+2000..200A, 2028, 2029, 202F
            return 3 if 0x80 <= d <= 0x8A or d == 0xA8 or d == 0xA9 or d == 0xAF else 0
        if (
            (b == 0xE2 and c == 0x81 and d == 0x9F)
            or (b == 0xE1 and c == 0x9A and d == 0x80)
            or (b == 0xE3 and c == 0x80 and d == 0x80)
        ):
            return 3  # U+205F, U+1680, U+3000
    return 0


@njit(nogil=True, cache=True)
def _split(data, offsets, newlines, bounds, starts, ends, chars, hashes):
    segment = 0
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        while i < end:
            stop = i  # [i, stop) is the raw segment; after it, the run of newlines that ends it
            after = end
            while stop < end:
                if data[stop] == 10:
                    run = stop
                    while run < end and data[run] == 10:
                        run += 1
                    if run - stop >= newlines:
                        after = run
                        break
                    stop = run
                else:
                    stop += 1
            low, high = i, stop
            while low < high:
                width = _space_width(data, low, high)
                if width == 0:
                    break
                low += width
            while low < high:
                back = high - 1
                while back > low and data[back] & 0xC0 == 0x80:
                    back -= 1
                if _space_width(data, back, high) != high - back:
                    break
                high = back
            if low < high:
                h, length = SEED, 0
                for k in range(low, high):
                    b = data[k]
                    length += b & 0xC0 != 0x80
                    h = (h ^ np.uint64(b)) * PRIME
                starts[segment], ends[segment], chars[segment] = low, high, length
                hashes[segment] = h ^ (h >> np.uint64(32))
                segment += 1
            i = after
        bounds[doc + 1] = segment
