"""Lines and paragraphs as they stand in the text, white space, empty ones and all, and how much of a document is later copies of them.

    lines       re.split("\\n+", text)              so a newline at either end of the text makes an empty line there
    paragraphs  re.split("\\n{2,}", text.strip())
    filled      [line for line in text.split("\\n") if line.strip()]

Segments are told apart by a 64-bit hash of their bytes. 1 GB/s a core and more.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stages.kernels.segments import Segments
from stages.kernels.text_view import Text

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
MULTIPLIER = np.uint64(0xD6_E8_FE_B8_66_59_FD_93)
LOW_BITS = np.uint64(0x01_01_01_01_01_01_01_01)

LINES, PARAGRAPHS, FILLED = 0, 1, 2


def raw_lines(text: Text) -> Segments:
    """Split every document at runs of newlines; a document without any is one line, be it empty."""
    return _segments(text, LINES)


def raw_paragraphs(text: Text) -> Segments:
    """Strip every document and split it at two newlines and more."""
    return _segments(text, PARAGRAPHS)


def filled_lines(text: Text) -> Segments:
    """Split every document at single newlines and leave out what is blank."""
    return _segments(text, FILLED)


def later_copies(segments: Segments) -> np.ndarray:
    """Return int64[n, 2] for n documents: segments that stood there before, and the characters of these; first copies count nothing."""
    found = np.zeros((len(segments.bounds) - 1, 2), np.int64)
    _copies(segments.bounds, segments.hashes, segments.chars, found)
    return found


def _segments(text: Text, kind: int) -> Segments:
    bounds = np.zeros(len(text) + 1, np.int64)
    _count_newlines(text.data, text.offsets, bounds)
    most = int(bounds[-1])
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    chars, hashes = np.empty(most, np.int32), np.empty(most, np.uint64)
    _split(text.data, text.offsets, kind, bounds, starts, ends, chars, hashes)
    count = bounds[-1]
    return Segments(bounds, starts[:count], ends[:count], chars[:count], hashes[:count])


@intrinsic
def _eight(typingctx, data, i):
    """Eight bytes from data[i] on as one little-endian number, aligned or not."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        word = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), codegen


@njit(nogil=True, cache=True)
def _count_newlines(data, offsets, bounds):
    """bounds[-1] = segments at the very most."""
    most = 0
    for doc in range(len(offsets) - 1):
        newlines = 1
        for i in range(offsets[doc], offsets[doc + 1]):
            newlines += data[i] == 10
        most += newlines
    bounds[len(bounds) - 1] = most


@njit(nogil=True, cache=True)
def _space_width(data, i, end):
    """Bytes of the white-space character (str.isspace) at i, 0 if there is another one."""
    b = data[i]
    if b < 0x80:
        return 1 if b == 32 or 9 <= b <= 13 or 28 <= b <= 31 else 0
    if b == 0xC2 and i + 1 < end:  # U+0085, U+00A0
        return 2 if data[i + 1] == 0x85 or data[i + 1] == 0xA0 else 0
    if i + 2 < end:
        c, d = data[i + 1], data[i + 2]
        if b == 0xE2 and c == 0x80:  # U+2000..200A, 2028, 2029, 202F
            return 3 if 0x80 <= d <= 0x8A or d == 0xA8 or d == 0xA9 or d == 0xAF else 0
        if (b == 0xE2 and c == 0x81 and d == 0x9F) or (b == 0xE1 and c == 0x9A and d == 0x80) or (b == 0xE3 and c == 0x80 and d == 0x80):
            return 3  # U+205F, U+1680, U+3000
    return 0


@njit(nogil=True, cache=True)
def _skip_spaces(data, low, high):
    """First byte from `low` on that begins no white space."""
    while low < high:
        width = _space_width(data, low, high)
        if width == 0:
            break
        low += width
    return low


@njit(nogil=True, cache=True)
def _trim_spaces(data, low, high):
    """Byte after the last character before `high` that is no white space."""
    while low < high:
        back = high - 1
        while back > low and data[back] & 0xC0 == 0x80:
            back -= 1
        if _space_width(data, back, high) != high - back:
            break
        high = back
    return high


@njit(nogil=True, cache=True)
def _measure(data, low, high):
    """Characters of data[low:high], and a hash of its bytes."""
    h = np.uint64(high - low)
    chars = high - low
    i = low
    while i < high:
        if i + 8 <= len(data):
            word = _eight(data, i)
            if i + 8 > high:
                word &= (np.uint64(1) << np.uint64(8 * (high - i))) - np.uint64(1)
        else:
            word = np.uint64(0)
            for k in range(i, min(i + 8, high)):
                word |= np.uint64(data[k]) << np.uint64(8 * (k - i))
        # a byte that continues a character begins with the bits 10: add these up over the eight
        inner = (word >> np.uint64(7)) & ~(word >> np.uint64(6)) & LOW_BITS
        chars -= np.int64((inner * LOW_BITS) >> np.uint64(56))
        h = (h ^ word) * PRIME
        h ^= h >> np.uint64(32)
        i += 8
    return chars, h * MULTIPLIER


@njit(nogil=True, cache=True)
def _split(data, offsets, kind, bounds, starts, ends, chars, hashes):
    segment = 0
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        if kind == PARAGRAPHS:
            begin = _skip_spaces(data, begin, end)
            end = _trim_spaces(data, begin, end)
        needed = 2 if kind == PARAGRAPHS else 1
        low, i = begin, begin
        while i <= end:
            if i < end and data[i] != 10:
                i += 1
                continue
            high, run = i, i  # data[high:run] are the newlines here, none at the end of the text
            while run < end and data[run] == 10 and (kind != FILLED or run == high):
                run += 1
            i = max(run, i + 1)
            if high < end and run - high < needed:
                continue
            if kind != FILLED or _skip_spaces(data, low, high) < high:
                starts[segment], ends[segment] = low, high
                chars[segment], hashes[segment] = _measure(data, low, high)
                segment += 1
            low = run
        bounds[doc + 1] = segment


@njit(nogil=True, cache=True)
def _copies(bounds, hashes, chars, found):
    longest = 0
    for doc in range(len(bounds) - 1):
        longest = max(longest, bounds[doc + 1] - bounds[doc])
    size = 4
    while size < 2 * longest:
        size *= 2
    table = np.empty(size, np.int64)  # slot -> 1 + place of a first copy
    for doc in range(len(bounds) - 1):
        start, count = bounds[doc], bounds[doc + 1] - bounds[doc]
        if count < 2:
            continue
        size, bits = 4, 2
        while size < 2 * count:
            size *= 2
            bits += 1
        table[:size] = 0
        shift, mask = np.uint64(64 - bits), size - 1
        for i in range(start, start + count):
            slot = np.int64(hashes[i] >> shift)
            while table[slot] != 0 and hashes[table[slot] - 1] != hashes[i]:
                slot = (slot + 1) & mask
            if table[slot] == 0:
                table[slot] = i + 1
            else:
                found[doc, 0] += 1
                found[doc, 1] += chars[i]
