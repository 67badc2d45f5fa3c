"""Case-insensitive equality as Python's re.IGNORECASE has it: two characters are equal if this table maps them to one number.

That is their simple lower case (Unicode 14.0), and beyond it the few lower-case letters that share an upper case: the dotless i is
an i, the long s an s, the Kelvin sign a k.
"""

from functools import cache

import numpy as np
from numba import njit

from stages.kernels.text_view import Text
from stages.kernels.unicode import lower_case

SAME_UPPER_CASE = (
    "iı sſ µμ \u0345ι\u1fbe \u0390\u1fd3 \u03b0\u1fe3 βϐ εϵ θϑ κϰ πϖ ρϱ ςσ φϕ в\u1c80 д\u1c81 о\u1c82 с\u1c83 т\u1c84\u1c85 ъ\u1c86 "
    "ѣ\u1c87 \u1c88\ua64b \u1e61\u1e9b \ufb05\ufb06"
).split(" ")
"""Groups of lower-case characters with one upper case (or, the last one, with the same two letters as upper case)."""


@cache
def ignore_case() -> np.ndarray:
    """Return for every code point the least lower-case one that is equal to it, int32[0x110000]; read-only."""
    representative = np.arange(len(lower_case()), dtype=np.int32)
    for group in SAME_UPPER_CASE:
        representative[[ord(c) for c in group]] = min(map(ord, group))
    table = representative[lower_case()]
    table.flags.writeable = False
    return table


def map_characters(text: Text, table: np.ndarray) -> Text:
    """Return the documents with every character replaced by what `table` (int32[0x110000]) maps it to, in a buffer of their own."""
    span = int(text.offsets[-1] - text.offsets[0])
    data = np.empty(span + span // 2 + 4, np.uint8)  # two bytes become three at worst (U+023A)
    offsets = np.zeros(len(text) + 1, np.int64)
    _map(text.data, text.offsets, table, data, offsets)
    return Text(data[: offsets[-1]], offsets)


@njit(nogil=True, cache=True)
def _map(data, offsets, table, out, ends):
    o = 0
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        while i < end:
            b = data[i]
            if b < 0x80:
                out[o] = table[b]
                o += 1
                i += 1
                continue
            c, width = np.int64(b), 1
            if 0xC0 <= b < 0xE0 and i + 1 < end:
                c = (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
                width = 2
            elif 0xE0 <= b < 0xF0 and i + 2 < end:
                c = (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F)
                width = 3
            elif b >= 0xF0 and i + 3 < end:
                c = (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
                c |= (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F)
                c = min(c, 0x10FFFF)
                width = 4
            m = np.int64(table[c])
            if width == 1 or m == c:  # bytes that are no UTF-8 stay as they are
                for k in range(i, i + width):
                    out[o] = data[k]
                    o += 1
            elif m < 0x80:
                out[o] = m
                o += 1
            elif m < 0x800:
                out[o], out[o + 1] = 0xC0 | m >> 6, 0x80 | m & 0x3F
                o += 2
            elif m < 0x10000:
                out[o], out[o + 1], out[o + 2] = 0xE0 | m >> 12, 0x80 | m >> 6 & 0x3F, 0x80 | m & 0x3F
                o += 3
            else:
                out[o], out[o + 1] = 0xF0 | m >> 18, 0x80 | m >> 12 & 0x3F
                out[o + 2], out[o + 3] = 0x80 | m >> 6 & 0x3F, 0x80 | m & 0x3F
                o += 4
            i += width
        ends[doc + 1] = o
