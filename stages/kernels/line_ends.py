"""Lines by how they end and how long they are, and newlines beside words: what FineWeb's filter counts of a document."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.kernels.segments import Segments
from stages.kernels.text_view import Text


@dataclass(frozen=True)
class LineCounts:
    """int64[n] each, for n documents."""

    ended: np.ndarray
    """Lines whose last character is one of those asked for."""
    short: np.ndarray
    """Lines of so many characters at most."""
    newlines: np.ndarray
    chars: np.ndarray
    """Characters of the text that are no newlines."""
    heads: np.ndarray
    """ASCII characters that are no white space and follow some, or begin the text: it has at least as many words, however it is split."""


def count_lines(text: Text, lines: Segments, last: np.ndarray, length: int) -> LineCounts:
    """Count among `lines` those that end with a character of `last` (bool[0x110000]) and those of `length` characters at most."""
    found = np.zeros((5, len(text)), np.int64)
    _lines(text.data, lines.bounds, lines.starts, lines.ends, lines.chars, last, length, found)
    _text(text.data, text.offsets, found)
    return LineCounts(*found)


@njit(nogil=True, cache=True)
def _lines(data, bounds, starts, ends, chars, last, length, found):
    for doc in range(len(bounds) - 1):
        ended, short = 0, 0
        for line in range(bounds[doc], bounds[doc + 1]):
            short += chars[line] <= length
            begin, end = starts[line], ends[line]
            if begin == end:
                continue
            back = end - 1
            while back > begin and back > end - 4 and data[back] & 0xC0 == 0x80:
                back -= 1
            c = np.int64(data[back])
            if c >= 0xF0:
                c &= 0x07
            elif c >= 0xE0:
                c &= 0x0F
            elif c >= 0xC0:
                c &= 0x1F
            for i in range(back + 1, end):
                c = c << 6 | (np.int64(data[i]) & 0x3F)
            ended += last[min(c, 0x10FFFF)]
        found[0, doc], found[1, doc] = ended, short


@njit(nogil=True, cache=True, inline="always")
def _white(b):
    return (b == 32) | ((b >= 9) & (b <= 13)) | ((b >= 28) & (b <= 31))


@njit(nogil=True, cache=True)
def _text(data, offsets, found):
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        newlines, chars, heads = 0, 0, 0
        for i in range(begin, end):  # without branches, so that the compiler takes many bytes at once
            newlines += data[i] == 10
            chars += (data[i] & 0xC0) != 0x80
        for i in range(begin + 1, end):
            heads += (data[i] < 0x80) & (not _white(data[i])) & _white(data[i - 1])
        if begin < end:
            heads += (data[begin] < 0x80) & (not _white(data[begin]))
        found[2, doc], found[3, doc], found[4, doc] = newlines, chars - newlines, heads
