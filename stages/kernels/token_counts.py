"""What the rules of quality count in a document: its words as fastText splits them and its tokens as str.split does, in one pass.

A word is a maximal run of anything but NUL, tab, newline, vertical tab, form feed, carriage return and space (fastText's separators, ASCII
all of them) that begins with a letter or a digit (str.isalnum). A token is what str.split() gives; it is alphabetic if it holds a letter.
Stop words are tokens, in any case, and are counted no further than is asked, which on prose is a few dozen tokens. Bytes that are no UTF-8
are read as they come and never beyond their document. 700 MB/s a core.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from stages.kernels.text_view import Text
from stages.kernels.uax29_tables import ALNUM, characters
from stages.kernels.unicode import LETTER, SPACE, character_classes, lower_case

SEED = np.uint64(0x51_7C_C1_B7_27_22_0A_95)
PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)

_BLANK, _LETTER, _ALNUM, _SEPARATOR = 1, 2, 4, 8


@dataclass(frozen=True)
class TokenCounts:
    """Counts of n documents, int64[n] each."""

    words: np.ndarray
    """Words as fastText splits them, without those that begin with neither letter nor digit."""
    tokens: np.ndarray
    """White-space tokens."""
    token_chars: np.ndarray
    """Their code points."""
    alphabetic: np.ndarray
    """Those that hold a letter."""


def count_tokens(text: Text) -> TokenCounts:
    """Count words, tokens, their characters and the alphabetic ones of every document."""
    found = np.zeros((4, len(text)), np.int64)
    _count(text.data, text.offsets, _flags(), found)
    return TokenCounts(*found)


def count_stop_words(text: Text, stop_words: tuple[str, ...], enough: int) -> np.ndarray:
    """Return int64[n]: tokens of each document that are among `stop_words` in any case, at most `enough`.

    Case is taken off one character at a time, from the stop words too.
    """
    found = np.zeros(len(text), np.int64)
    if stop_words:
        lower = lower_case()
        lengths = np.array([len(word) for word in stop_words])
        hashes = np.array([_hash(word, lower) for word in stop_words], np.uint64)
        _find(text.data, text.offsets, _flags(), lower, hashes, lengths.min(), lengths.max(), enough, found)
    return found


@cache
def _flags() -> np.ndarray:
    """What a code point is, uint8[0x110000]: read-only, one array a process."""
    classes = character_classes()
    flags = (classes == SPACE) * np.uint8(_BLANK) | (classes == LETTER) * np.uint8(_LETTER)
    flags |= (characters() & ALNUM != 0) * np.uint8(_ALNUM)
    flags[[0, 9, 10, 11, 12, 13, 32]] |= _SEPARATOR
    flags.flags.writeable = False
    return flags


def _hash(word: str, lower: np.ndarray) -> int:
    h = int(SEED)
    for character in word:
        h = (h ^ int(lower[ord(character)])) * int(PRIME) % 2**64
    return h


@njit(nogil=True, cache=True, inline="always")
def _decode(data, i, end):
    """The character at i, which is not ASCII, and the byte after it."""
    c = np.int64(data[i])
    if 0xC0 <= c < 0xE0 and i + 1 < end:
        return (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), i + 2
    if 0xE0 <= c < 0xF0 and i + 2 < end:
        return (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), i + 3
    if 0xF0 <= c and i + 3 < end:
        high = (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
        return min(high | (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F), 0x10FFFF), i + 4
    return c, i + 1


@njit(nogil=True, cache=True)
def _count(data, offsets, flags, found):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        words, tokens, chars, alphabetic = 0, 0, 0, 0
        separated, blank, lettered = 1, 1, 0  # was the last one a separator, a blank; has the token got a letter
        while i < end:
            c = np.int64(data[i])
            if c < 0x80:
                i += 1
            else:
                c, i = _decode(data, i, end)
            f = np.int64(flags[c])
            # sums instead of branches: where words end no processor can foresee
            words += f >> 2 & separated
            separated = f >> 3 & 1
            solid = ~f & 1
            tokens += solid & blank
            blank = f & 1
            chars += solid
            letter = f >> 1 & 1
            alphabetic += letter & ~lettered
            lettered = (lettered | letter) & solid
        found[0, doc], found[1, doc], found[2, doc], found[3, doc] = words, tokens, chars, alphabetic


@njit(nogil=True, cache=True)
def _find(data, offsets, flags, lower, hashes, shortest, longest, enough, found):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        count = 0
        while i < end and count < enough:
            h, length, blank = SEED, 0, False
            while i < end and not blank:
                c = np.int64(data[i])
                if c < 0x80:
                    i += 1
                else:
                    c, i = _decode(data, i, end)
                blank = (flags[c] & _BLANK) != 0
                if not blank:
                    h = (h ^ np.uint64(lower[c])) * PRIME
                    length += 1
            if shortest <= length <= longest:
                for k in range(len(hashes)):
                    if hashes[k] == h:
                        count += 1
                        break
        found[doc] = count
