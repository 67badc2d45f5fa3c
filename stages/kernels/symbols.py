"""Marks of junk in a document: hashes and ellipses in the text, lines that begin with a bullet or end with an ellipsis.

Ellipses are "...", ". . ." and U+2026, counted as str.count does (no overlap); bullets are U+25CF, U+2022, "*" and "-".
"""

import numpy as np
from numba import njit

from stages.kernels.segments import Segments
from stages.kernels.text_view import Text


def count_symbols(text: Text) -> np.ndarray:
    """Return int64[n]: hashes and ellipses of every document, added up."""
    found = np.zeros(len(text), np.int64)
    _symbols(text.data, text.offsets, found)
    return found


def marked_lines(text: Text, lines: Segments) -> np.ndarray:
    """Return int64[n, 2]: lines that begin with a bullet, and lines that end with an ellipsis."""
    found = np.zeros((len(text), 2), np.int64)
    _marked(text.data, lines.bounds, lines.starts, lines.ends, found)
    return found


@njit(nogil=True, cache=True)
def _symbols(data, offsets, found):
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        count = 0
        close, wide = begin, begin  # where the next "..." and the next ". . ." may begin
        for i in range(begin, end):
            b = data[i]
            if b == 35:
                count += 1
            elif b == 46:
                if i >= close and i + 2 < end and data[i + 1] == 46 and data[i + 2] == 46:
                    count += 1
                    close = i + 3
                elif (
                    i >= wide
                    and i + 4 < end
                    and data[i + 1] == 32
                    and data[i + 2] == 46
                    and data[i + 3] == 32
                    and data[i + 4] == 46
                ):
                    count += 1
                    wide = i + 5
            elif b == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and data[i + 2] == 0xA6:
                count += 1
        found[doc] = count


@njit(nogil=True, cache=True)
def _marked(data, bounds, starts, ends, found):
    for doc in range(len(bounds) - 1):
        bullets, ellipses = 0, 0
        for line in range(bounds[doc], bounds[doc + 1]):
            i, end = starts[line], ends[line]
            b = data[i]
            if b == 42 or b == 45:
                bullets += 1
            elif b == 0xE2 and i + 2 < end:
                bullets += (data[i + 1] == 0x97 and data[i + 2] == 0x8F) or (
                    data[i + 1] == 0x80 and data[i + 2] == 0xA2
                )
            size = end - i
            y, z = data[max(end - 2, i)], data[end - 1]
            if size >= 3 and data[end - 3] == 46 and y == 46 and z == 46:
                ellipses += 1
            elif size >= 3 and data[end - 3] == 0xE2 and y == 0x80 and z == 0xA6:
                ellipses += 1
            elif (
                size >= 5
                and z == 46
                and y == 32
                and data[end - 3] == 46
                and data[end - 4] == 32
                and data[end - 5] == 46
            ):
                ellipses += 1
        found[doc, 0], found[doc, 1] = bullets, ellipses
