"""Runs of tokens that occur more than once, found without a suffix array: every window of `length` tokens is hashed, equal ones meet.

A stretch of at least `length` tokens that stands in two places consists of windows that do, and nothing else does; so to mark the
tokens of all windows that occur twice is to mark all such stretches, whole. The windows of all documents are numbered in order. A row is

    key   = mix(sum of token[i] * PRIME**(length-1-i) mod 2**64)                    64 bits, rolled in O(1)
    place = 24 bits of the same sum of powers of FACTOR << 40 | number of the window

and two windows are equal if all 88 bits are. Among 10**11 windows (half a terabyte of text) two that differ agree with probability
10**22 / 2**89 = 2e-5; with the key alone it would be 270 pairs. Tokens are told apart by 64 bits: 10**8 different ones, 3e-4.

4 ns a token to hash, 11 ns a row to compare it, in a table of the distinct windows of one file of rows (Zen 5).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numba import njit

from stages.kernels.cut import Spans
from stages.kernels.partitions import Partitions
from stages.kernels.uax29 import Tokens

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
FACTOR = np.uint64(0xD6_E8_FE_B8_66_59_FD_93)

NUMBER_BITS = 40
MOST_WINDOWS = (1 << NUMBER_BITS) - 1
"""10**12 windows, 5 TB of text; the last number stands for an empty slot."""


def window_bounds(tokens: Tokens, length: int) -> np.ndarray:
    """Return int64[n + 1]: the windows of document i are bounds[i]:bounds[i + 1]; one of fewer than `length` tokens has none."""
    return np.concatenate(([0], np.cumsum(np.maximum(np.diff(tokens.bounds) - length + 1, 0))))


def window_rows(tokens: Tokens, length: int) -> np.ndarray:
    """Return uint64[windows, 2], key and place of every window of `length` tokens; numbers begin with 0, to which others may be added."""
    rows = np.empty((int(window_bounds(tokens, length)[-1]), 2), np.uint64)
    powers = [np.uint64(pow(int(base), length, 1 << 64)) for base in (PRIME, FACTOR)]
    _hash(tokens.bounds, tokens.hashes, length, *powers, rows)
    return rows


def repeated_windows(pieces: Iterable[np.ndarray], keep_first: bool) -> Iterator[np.ndarray]:
    """Yield int64[m] for each piece of rows: numbers of windows that are equal to another one, each once, among all pieces.

    Equal windows must be in the same pieces, numbers ascend. With `keep_first` the first of equal windows is left out.
    Memory: 34 to 68 bytes for each distinct window.
    """
    table, told, used = np.full((1 << 10, 2), _EMPTY, np.uint64), np.zeros(1 << 10, np.bool_), 0
    for rows in pieces:
        if 2 * (used + len(rows)) > len(table):
            size = 1 << (2 * (used + len(rows)) - 1).bit_length()
            old, old_told = table, told
            table, told = np.full((size, 2), _EMPTY, np.uint64), np.zeros(size, np.bool_)
            _move(old, old_told, table, told)
        found = np.empty(2 * len(rows), np.int64)
        count, used = _find(rows, table, told, used, keep_first, found)
        yield found[:count]


class MarkedWindows:
    """A set of windows on disk: numbers are added in any order, and then asked for in ascending stretches."""

    def __init__(self, directory: Path, num_windows: int) -> None:
        self._bits = max(1, num_windows.bit_length())
        self._files = Partitions(directory, 1, 1, num_windows)
        self._span = (1 << self._bits) // len(self._files)  # windows of a file
        self._part, self._marked = -1, np.empty(0, np.bool_)

    def add(self, numbers: np.ndarray) -> None:
        """Add int64[m] numbers."""
        self._files.add((numbers.astype(np.uint64) << np.uint64(64 - self._bits)).reshape(-1, 1))

    def between(self, start: int, end: int) -> np.ndarray:
        """Return bool[end - start]: which windows were added; `start` must not lie before the last stretch."""
        parts = []
        while start < end:
            if start // self._span != self._part:
                self._load(start // self._span)
            upto = min(end, (self._part + 1) * self._span)
            parts.append(self._marked[start % self._span : (upto - 1) % self._span + 1])
            start = upto
        return np.concatenate(parts) if parts else np.empty(0, np.bool_)

    def _load(self, part: int) -> None:
        self._part, self._marked = part, np.zeros(self._span, np.bool_)
        for rows in self._files.pieces(part):
            self._marked[(rows[:, 0] >> np.uint64(64 - self._bits)).astype(np.int64) % self._span] = True


def marked_spans(tokens: Tokens, length: int, marked: np.ndarray) -> tuple[Spans, np.ndarray]:
    """Join the tokens of marked windows (bool[windows]) into spans; return these, and int64[n]: characters of the tokens outside.

    A span begins with the first byte of a token and ends with the last of one; windows that touch are one span.
    """
    windows = window_bounds(tokens, length)
    most = int(np.count_nonzero(marked))
    starts, ends, bounds = np.empty(most, np.int64), np.empty(most, np.int64), np.zeros(len(windows), np.int64)
    left = np.zeros(len(windows) - 1, np.int64)
    _join(tokens.bounds, tokens.starts, tokens.ends, tokens.chars, length, windows, marked, bounds, starts, ends, left)
    return Spans(bounds, starts[: bounds[-1]].copy(), ends[: bounds[-1]].copy()), left


_EMPTY = np.uint64((1 << 64) - 1)
_NUMBER = np.uint64(MOST_WINDOWS)
_CHECK = np.uint64(NUMBER_BITS)


@njit(nogil=True, cache=True, inline="always")
def _mix(h):
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _hash(bounds, tokens, length, prime_power, factor_power, rows):
    row = 0
    for doc in range(len(bounds) - 1):
        x, y = np.uint64(0), np.uint64(0)
        for t in range(bounds[doc], bounds[doc + 1]):
            x = x * PRIME + tokens[t]
            y = y * FACTOR + tokens[t]
            if t - bounds[doc] >= length:
                x -= tokens[t - length] * prime_power
                y -= tokens[t - length] * factor_power
            if t - bounds[doc] + 1 >= length:
                rows[row, 0] = _mix(x)
                rows[row, 1] = _mix(y) >> _CHECK << _CHECK | np.uint64(row)
                row += 1


@njit(nogil=True, cache=True, inline="always")
def _slot(table, key, check):
    """Find the slot of a window, or the empty one that it would take."""
    last = len(table) - 1
    slot = np.int64(key & np.uint64(last))
    while table[slot, 1] != _EMPTY and (table[slot, 0] != key or table[slot, 1] >> _CHECK != check):
        slot = (slot + 1) & last
    return slot


@njit(nogil=True, cache=True)
def _find(rows, table, told, used, keep_first, found):
    count = 0
    for i in range(len(rows)):
        key, place = rows[i, 0], rows[i, 1]
        slot = _slot(table, key, place >> _CHECK)
        if table[slot, 1] == _EMPTY:
            table[slot, 0], table[slot, 1] = key, place
            used += 1
            continue
        if not keep_first and not told[slot]:
            told[slot] = True
            found[count] = np.int64(table[slot, 1] & _NUMBER)
            count += 1
        found[count] = np.int64(place & _NUMBER)
        count += 1
    return count, used


@njit(nogil=True, cache=True)
def _move(old, old_told, table, told):
    for i in range(len(old)):
        if old[i, 1] != _EMPTY:
            slot = _slot(table, old[i, 0], old[i, 1] >> _CHECK)
            table[slot, 0], table[slot, 1], told[slot] = old[i, 0], old[i, 1], old_told[i]


@njit(nogil=True, cache=True)
def _join(token_bounds, token_starts, token_ends, chars, length, windows, marked, bounds, starts, ends, left):
    span = 0
    for doc in range(len(windows) - 1):
        first, covered = token_bounds[doc], token_bounds[doc]  # tokens before `covered` are counted or in a span
        for window in range(windows[doc], windows[doc + 1]):
            if marked[window]:
                begin = first + window - windows[doc]
                if begin > covered or span == bounds[doc]:
                    for t in range(covered, begin):
                        left[doc] += chars[t]
                    starts[span] = token_starts[begin]
                    span += 1
                covered = begin + length
                ends[span - 1] = token_ends[covered - 1]
        for t in range(covered, token_bounds[doc + 1]):
            left[doc] += chars[t]
        bounds[doc + 1] = span
