"""Tokens: the words of Unicode Standard Annex #29 (and the punctuation between them), found, measured and hashed in one pass.

A segment is what lies between two word boundaries of the default rules, untailored; a token is a segment that is not all white space.
A token's hash is, as a word's in words.py,

    h = SEED;  for each code point c:  h = (h ^ c) * PRIME mod 2**64;  then the finaliser of MurmurHash3 (public domain)

64 bits: among 10**6 different tokens two collide with probability 10**12 / 2**65 = 3e-8. The rules are a table of transitions
(uax29_tables.py), and three of them look one character ahead: the segment is then ended where it was, and what was read too far is
read again. Bytes that are no UTF-8 are read as they come and never beyond their document. 250 MB/s a core on English web text.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.kernels.text_view import Text
from stages.kernels.uax29_tables import (
    ALNUM,
    BREAK,
    CLASS,
    FIRST_PENDING,
    LETTER,
    PICTOGRAPHIC,
    START,
    WHITE_SPACE,
    ZWJ,
    characters,
    transitions,
)

SEED = np.uint64(0x51_7C_C1_B7_27_22_0A_95)
PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)


@dataclass(frozen=True)
class Tokens:
    """All tokens of n documents: those of document i are bounds[i]:bounds[i + 1]."""

    bounds: np.ndarray
    """int64[n + 1]."""
    starts: np.ndarray
    """int64[tokens], first byte of the token in Text.data."""
    ends: np.ndarray
    """int64[tokens], byte after the last."""
    chars: np.ndarray
    """int32[tokens], length in code points."""
    hashes: np.ndarray
    """uint64[tokens], of the characters as they are."""
    wordlike: np.ndarray
    """bool[tokens]: the first character satisfies str.isalnum; DCLM's words for n-grams are these."""


def segment_uax29(text: Text) -> Tokens:
    """Find the tokens of every document of `text`, in order."""
    # a token takes a byte at least; pages of np.empty that stay unwritten cost nothing
    most = int(text.offsets[-1] - text.offsets[0])
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    chars, hashes, wordlike = np.empty(most, np.int32), np.empty(most, np.uint64), np.empty(most, np.bool_)
    bounds = np.zeros(len(text) + 1, np.int64)
    _segment(text.data, text.offsets, characters(), transitions(), bounds, starts, ends, chars, hashes, wordlike)
    count = bounds[-1]
    return Tokens(bounds, starts[:count], ends[:count], chars[:count], hashes[:count], wordlike[:count])


@njit(nogil=True, cache=True, inline="always")
def _mix(h):
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _segment(data, offsets, table, next_state, bounds, starts, ends, chars, hashes, wordlike):
    token = 0
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        while i < end:
            # one ASCII space or line feed before an ASCII character that is no white space is a segment of its own
            if (data[i] == 32 or data[i] == 10) and i + 1 < end and 32 < data[i + 1] < 127:
                i += 1
            start, state, h, length = i, START, SEED, 0
            white, after_zwj, first = True, False, 0
            sure, sure_h, sure_length = i, SEED, 0  # where the segment ends if what is pending fails
            while i < end:
                c = np.int64(data[i])
                width = 1
                if c >= 0xC0:
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
                info = table[c]
                kind = info & CLASS
                after = next_state[state, kind]
                if after == BREAK:
                    # WB3c; after a pending character it would have to follow a letter or a number, and a pictograph that is one joined
                    if state >= FIRST_PENDING or not (after_zwj and info & PICTOGRAPHIC):
                        break
                    after = next_state[START, kind]
                if after >= FIRST_PENDING and state < FIRST_PENDING:
                    sure, sure_h, sure_length = i, h, length
                if length == 0:
                    first = info
                after_zwj = kind == ZWJ
                white &= (info & WHITE_SPACE) != 0
                h = (h ^ np.uint64(c)) * PRIME
                length += 1
                i += width
                state = after
                if state == LETTER:
                    while i < end and np.uint8((data[i] | 32) - 97) < 26:
                        h = (h ^ np.uint64(data[i])) * PRIME
                        length += 1
                        i += 1
                        after_zwj = False
            if state >= FIRST_PENDING:
                i, h, length = sure, sure_h, sure_length
            if not white:
                starts[token], ends[token], chars[token], hashes[token] = start, i, length, _mix(h)
                wordlike[token] = (first & ALNUM) != 0
                token += 1
        bounds[doc + 1] = token
