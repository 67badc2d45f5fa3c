"""Finding equal keys among more rows than memory holds: rows are sorted into files by their key, and one file at a time is sorted.

A row is uint64[width]: one or more numbers that are the key, and last the place of a document. Rows of equal keys fall into the same
file, and a file holds about ROWS_IN_MEMORY rows. Where it holds more, because one key is everywhere or because more came than was
expected, it is read in pieces, and only the first row of each key is carried from one to the next.

Memory: some 100 bytes for each of ROWS_IN_MEMORY rows, and MAP_BYTES of a KeyMap, whatever the number of documents.
Cost: 8 * width bytes of scratch disk for a row, written and read once; 8 million rows a second (Zen 5).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numba import njit

ROWS_IN_MEMORY = 1 << 20
"""Rows that are sorted at once."""
MOST_FILES = 1 << 14
"""Beyond 16,384 files of 1,048,576 rows, which is 10**9 documents of 14 bands, the files grow and are read in pieces."""
MAP_BYTES = 1 << 26
"""64 MB of a KeyMap: at 16 bits a key it says `perhaps` of 6 % of the keys that it does not have, up to 33 million keys."""


def array_on_disk(path: Path, length: int, dtype: type) -> np.ndarray:
    """Return zeros[length] that live in a new file at `path`: pages that are never written take neither memory nor disk."""
    return np.memmap(path, dtype, "w+", shape=(length,)) if length else np.zeros(0, dtype)


class Partitions:
    """Rows in files below `directory`, by group (bucket) and by the leading bits of their first number; within a file as they came."""

    def __init__(self, directory: Path, width: int, groups: int, rows_per_group: int) -> None:
        self._directory, self._width, self._groups = directory, width, groups
        self._bits = 0
        while rows_per_group >> self._bits > ROWS_IN_MEMORY and groups << self._bits + 1 <= MOST_FILES:
            self._bits += 1
        self._rows: list[np.ndarray] = []
        self._parts: list[np.ndarray] = []
        self._buffered = 0
        directory.mkdir()

    def __len__(self) -> int:
        """How many files there can be."""
        return self._groups << self._bits

    def add(self, rows: np.ndarray, groups: np.ndarray | int = 0) -> None:
        """Append uint64[m, width] rows, each of its group."""
        leading = (rows[:, 0] >> np.uint64(64 - self._bits)).astype(np.uint16) if self._bits else np.zeros(len(rows), np.uint16)
        self._parts.append(leading + (np.asarray(groups) << self._bits).astype(np.uint16))
        self._rows.append(rows)
        self._buffered += len(rows)
        if self._buffered >= ROWS_IN_MEMORY:
            self._spill()

    def pieces(self, part: int) -> Iterator[np.ndarray]:
        """Yield the rows of one file, in the order in which they were added, at most ROWS_IN_MEMORY at a time; then delete it."""
        if self._buffered:
            self._spill()
        path = self._path(part)
        if not path.exists():
            return
        with open(path, "rb") as file:
            while len(piece := np.fromfile(file, np.uint64, ROWS_IN_MEMORY * self._width)):
                yield piece.reshape(-1, self._width)
        path.unlink()

    def _path(self, part: int) -> Path:
        return self._directory / f"{part:05d}.u64"

    def _spill(self) -> None:
        parts, rows = np.concatenate(self._parts), np.concatenate(self._rows)
        bounds = np.concatenate(([0], np.cumsum(np.bincount(parts, minlength=len(self)))))
        grouped = np.empty_like(rows)
        _group(rows, parts, bounds[:-1].copy(), grouped)
        for part in np.flatnonzero(np.diff(bounds)):
            with open(self._path(part), "ab") as file:
                grouped[bounds[part] : bounds[part + 1]].tofile(file)
        self._rows, self._parts, self._buffered = [], [], 0


def equal_keys(pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (first, other), int64[m] each: for every row whose key an earlier place has, the earliest place of that key and its own.

    Places ascend from piece to piece; within one they may come in any order.
    """
    carried: np.ndarray | None = None
    for piece in pieces:
        rows = piece if carried is None else np.concatenate((carried, piece))
        if not len(rows):
            continue
        if rows.shape[1] == 2:
            order = np.argsort(np.ascontiguousarray(rows[:, 0]))
        else:
            order = np.lexsort(rows[:, :-1].T)
        rows = rows[order]
        new = np.ones(len(rows), bool)
        new[1:] = (rows[1:, :-1] != rows[:-1, :-1]).any(axis=1)
        starts = np.flatnonzero(new)
        firsts = np.minimum.reduceat(rows[:, -1], starts)
        carried = rows[starts]
        carried[:, -1] = firsts
        several = np.flatnonzero(np.diff(starts, append=len(rows)) > 1)
        sizes = np.diff(starts, append=len(rows))[several]
        first = np.repeat(firsts[several], sizes)
        within = np.repeat(starts[several] - np.cumsum(sizes) + sizes, sizes) + np.arange(len(first))
        other = rows[within, -1]
        yield first[other != first].astype(np.int64), other[other != first].astype(np.int64)


class KeyMap:
    """A bitmap of keys: `may_hold` is never wrong when it says no. With it, rows that can meet nothing are not spilled."""

    def __init__(self, expected_keys: int) -> None:
        size = 64
        while size < 2 * expected_keys and size < MAP_BYTES:
            size *= 2
        self._bits = np.zeros(size, np.uint8)

    def add(self, keys: np.ndarray) -> None:
        """Mark uint64[m] keys."""
        _mark(self._bits, keys)

    def may_hold(self, keys: np.ndarray) -> np.ndarray:
        """Return bool[m]: False for keys that were certainly never marked."""
        found = np.empty(len(keys), np.bool_)
        _look(self._bits, keys, found)
        return found


@njit(nogil=True, cache=True)
def _group(rows, parts, starts, grouped):
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            grouped[starts[parts[i]], j] = rows[i, j]
        starts[parts[i]] += 1


@njit(nogil=True, cache=True)
def _mark(bits, keys):
    last = np.uint64(len(bits) * 8 - 1)
    for i in range(len(keys)):
        slot = keys[i] & last
        bits[np.int64(slot >> np.uint64(3))] |= np.uint8(1) << np.uint8(slot & np.uint64(7))


@njit(nogil=True, cache=True)
def _look(bits, keys, found):
    last = np.uint64(len(bits) * 8 - 1)
    for i in range(len(keys)):
        slot = keys[i] & last
        found[i] = bits[np.int64(slot >> np.uint64(3))] >> np.uint8(slot & np.uint64(7)) & np.uint8(1)
