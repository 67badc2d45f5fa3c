"""The dictionary of a fastText model: its entries as they lie in the file, and a table that finds a word by its bytes.

A table has a power of two of slots, at most half of them full. An entry has two numbers in the first free slot from `hash mod slots` on:
`hash << 32 | number + 1`, which is 0 where a slot is free, and its first 8 bytes, low first, filled up with zeros (no word holds a NUL). The
hash is fastText's: FNV-1a of 32 bits over bytes that are taken as signed (Fowler, Noll and Vo). What reads a table compares the bytes beyond
the eighth as well, so that no answer rests on a hash. 4 million entries: 134 MB.
"""

import numpy as np
from numba import njit

from stages.kernels.text_view import Text

END_OF_LINE = b"</s>"
"""The word that ends every line; one that stands in a text ends the line there."""

LABEL_PREFIX = b"__label__"
"""What an unknown word begins with if it is a label. A model file does not record another prefix."""


def read_entries(data: np.ndarray, start: int, count: int) -> tuple[Text, np.ndarray, np.ndarray, int]:
    """Read `count` entries (bytes, NUL, int64, int8) from `data` (uint8) at `start`.

    Returns the words, their counts int64[count], their kinds int8[count], and where the entries end: -1 if the data ends before they do.
    """
    offsets, counts, kinds = np.zeros(count + 1, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int8)
    stop = _measure(data, start, offsets)
    words = np.empty(max(offsets[-1], 0), np.uint8)
    if stop >= 0:
        _copy(data, start, offsets, words, counts, kinds)
    return Text(words, offsets), counts, kinds, int(stop)


def build_table(words: Text) -> np.ndarray:
    """Return the table of `words`, uint64[slots, 2]."""
    table = np.zeros((1 << max(4, (2 * len(words)).bit_length()), 2), np.uint64)
    _fill(words.data, words.offsets, table)
    return table


@njit(nogil=True, cache=True)
def _hash(data, start, end):
    h = np.uint32(2166136261)
    for i in range(start, end):
        h = np.uint32((h ^ np.uint32(np.int8(data[i]))) * np.uint32(16777619))
    return h


@njit(nogil=True, cache=True)
def _measure(data, start, offsets):
    at = start
    for entry in range(len(offsets) - 1):
        begin = at
        while at < len(data) and data[at] != 0:
            at += 1
        offsets[entry + 1] = offsets[entry] + at - begin
        at += 10  # the NUL, the count and the kind
        if at > len(data):
            return np.int64(-1)
    return np.int64(at)


@njit(nogil=True, cache=True)
def _copy(data, start, offsets, words, counts, kinds):
    at = start
    for entry in range(len(counts)):
        for i in range(offsets[entry], offsets[entry + 1]):
            words[i] = data[at]
            at += 1
        count = np.uint64(0)
        for byte in range(8):
            count |= np.uint64(data[at + 1 + byte]) << np.uint64(8 * byte)
        counts[entry] = np.int64(count)
        kinds[entry] = np.int8(data[at + 9])
        at += 10


@njit(nogil=True, cache=True)
def _fill(data, offsets, table):
    mask = np.int64(len(table) - 1)
    for entry in range(len(offsets) - 1):
        h = _hash(data, offsets[entry], offsets[entry + 1])
        slot = np.int64(h) & mask
        while table[slot, 0] != 0:
            slot = (slot + 1) & mask
        table[slot, 0] = np.uint64(h) << np.uint64(32) | np.uint64(entry + 1)
        for i in range(min(8, offsets[entry + 1] - offsets[entry])):
            table[slot, 1] |= np.uint64(data[offsets[entry] + i]) << np.uint64(8 * i)
