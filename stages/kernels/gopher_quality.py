"""What Gopher's rules of quality count, as datatrove counts it: kinds of words, symbols in the text, marked lines.

A word is a symbol if all of its characters are (punctuation.py), and alphabetic if it holds a letter (str.isalpha). Lines are those of
str.splitlines, empty ones too. "..." is counted as str.count does, without overlap. Characters are of Unicode 14.0, see unicode.py.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from stages.kernels.punctuation import symbols
from stages.kernels.text_view import Text
from stages.kernels.uax29 import Tokens
from stages.kernels.unicode import LETTER, character_classes

LETTERS, NO_SYMBOL = 1, 2


@dataclass(frozen=True)
class WordCounts:
    """int64[n] each, for n documents."""

    words: np.ndarray
    """All words, symbols too."""
    plain: np.ndarray
    """Words that are no symbols."""
    plain_chars: np.ndarray
    """Characters of these."""
    alphabetic: np.ndarray
    """Words that hold a letter."""
    stop_words: np.ndarray
    """Different stop words."""


@dataclass(frozen=True)
class TextCounts:
    """int64[n] each, for n documents."""

    chars: np.ndarray
    hashes: np.ndarray
    ellipses: np.ndarray
    """"..." and U+2026."""
    lines: np.ndarray
    bullets: np.ndarray
    """Lines that begin, after white space, with U+2022 or "-"."""
    ellipsis_lines: np.ndarray
    """Lines that end, before white space, with an ellipsis."""


def count_words(text: Text, tokens: Tokens, stop_hashes: np.ndarray) -> WordCounts:
    """Count the kinds of words; `stop_hashes` (uint64) are those of the stop words, told apart by case as words are."""
    found = np.zeros((5, len(text)), np.int64)
    _words(text.data, tokens.bounds, tokens.starts, tokens.ends, tokens.chars, tokens.hashes, _kinds(), np.unique(stop_hashes), found)
    return WordCounts(*found)


def count_marks(text: Text) -> TextCounts:
    """Count characters, symbols and marked lines."""
    found = np.zeros((6, len(text)), np.int64)
    _marks(text.data, text.offsets, found)
    return TextCounts(*found)


@cache
def _kinds() -> np.ndarray:
    kinds = (character_classes() == LETTER) * np.uint8(LETTERS) + ~symbols() * np.uint8(NO_SYMBOL)
    kinds.flags.writeable = False
    return kinds


@njit(nogil=True, cache=True)
def _words(data, bounds, starts, ends, chars, hashes, kinds, stops, found):
    size, bits = 16, 4
    while size < 4 * len(stops):
        size *= 2
        bits += 1
    shift, mask = np.uint64(64 - bits), size - 1
    table = np.full(size, -1, np.int32)  # slot -> a stop word
    for k in range(len(stops)):
        slot = np.int64((stops[k] * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = k
    seen = np.full(len(stops), -1, np.int64)  # the last document that holds it
    for doc in range(len(bounds) - 1):
        plain, plain_chars, alphabetic, different = 0, 0, 0, 0
        for word in range(bounds[doc], bounds[doc + 1]):
            i, end = starts[word], ends[word]
            kind = LETTERS | NO_SYMBOL if 97 <= (data[i] | 32) <= 122 else 0  # most begin with an ASCII letter
            while i < end and kind != LETTERS | NO_SYMBOL:
                c = np.int64(data[i])
                width = 1
                if c >= 0xC0:  # as in words.py: cached kernels do not see changes of another file, so each decodes for itself
                    if c < 0xE0 and i + 1 < end:
                        c = (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
                        width = 2
                    elif c < 0xF0 and i + 2 < end:
                        c = (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F)
                        width = 3
                    elif i + 3 < end:
                        c = (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
                        c |= (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F)
                        c = min(c, 0x10FFFF)
                        width = 4
                kind |= kinds[c]
                i += width
            alphabetic += kind & LETTERS
            if kind & NO_SYMBOL:
                plain += 1
                plain_chars += chars[word]
            slot = np.int64((hashes[word] * np.uint64(0x9E3779B97F4A7C15)) >> shift)
            while table[slot] >= 0:
                k = table[slot]
                if stops[k] == hashes[word]:
                    different += seen[k] != doc
                    seen[k] = doc
                    break
                slot = (slot + 1) & mask
        found[0, doc] = bounds[doc + 1] - bounds[doc]
        found[1, doc], found[2, doc], found[3, doc], found[4, doc] = plain, plain_chars, alphabetic, different


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
def _bullet(data, i, end):
    while i < end:
        width = _space_width(data, i, end)
        if width == 0:
            return data[i] == 45 or (i + 2 < end and data[i] == 0xE2 and data[i + 1] == 0x80 and data[i + 2] == 0xA2)
        i += width
    return False


@njit(nogil=True, cache=True)
def _ellipsis(data, begin, end):
    while end - begin >= 3:
        back = end - 1
        while back > begin and data[back] & 0xC0 == 0x80:
            back -= 1
        if _space_width(data, back, end) != end - back:
            x, y, z = data[end - 3], data[end - 2], data[end - 1]
            return (x == 46 and y == 46 and z == 46) or (x == 0xE2 and y == 0x80 and z == 0xA6)
        end = back
    return False


@njit(nogil=True, cache=True)
def _marks(data, offsets, found):
    special = np.zeros(256, np.bool_)
    for b in (10, 11, 12, 13, 28, 29, 30, 35, 46, 0xC2, 0xE2):
        special[b] = True
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        chars = 0
        for i in range(begin, end):
            chars += data[i] & 0xC0 != 0x80
        hashes, ellipses, lines, bullets, ellipsis_lines = 0, 0, 0, 0, 0
        line, i = begin, begin
        while i < end:
            b = data[i]
            if not special[b]:
                i += 1
                continue
            width, breaks = 1, b < 32  # 10 to 13 and 28 to 30 end a line, \r\n together
            if b == 35:
                hashes += 1
            elif b == 46:
                if i + 2 < end and data[i + 1] == 46 and data[i + 2] == 46:
                    ellipses += 1
                    width = 3
            elif b == 13:
                width = 2 if i + 1 < end and data[i + 1] == 10 else 1
            elif b == 0xC2:
                if i + 1 < end and data[i + 1] == 0x85:
                    width, breaks = 2, True
            elif b == 0xE2 and i + 2 < end and data[i + 1] == 0x80:
                c = data[i + 2]
                ellipses += c == 0xA6
                if c == 0xA8 or c == 0xA9:  # U+2028, U+2029
                    width, breaks = 3, True
            if breaks:
                lines += 1
                bullets += _bullet(data, line, i)
                ellipsis_lines += _ellipsis(data, line, i)
                line = i + width
            i += width
        if line < end:
            lines += 1
            bullets += _bullet(data, line, end)
            ellipsis_lines += _ellipsis(data, line, end)
        found[0, doc], found[1, doc], found[2, doc] = chars, hashes, ellipses
        found[3, doc], found[4, doc], found[5, doc] = lines, bullets, ellipsis_lines
