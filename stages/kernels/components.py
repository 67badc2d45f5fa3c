"""Connected components by union-find, where the least index of a component is its root.

The forest is int64[n] of distances to the parent, 0 at a root: a forest of n single documents is n zeros, which a file on disk holds
without a written page. So its memory is that of the pages that documents of clusters touch, and these the system may evict.
"""

import numpy as np
from numba import njit


def join_pairs(forest: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Join one[i] with other[i] (int64[m] each), in place; return int64[<= m]: the roots that are none any more, each once."""
    lost = np.empty(len(one), np.int64)
    return lost[: _join(np.asarray(forest), one, other, lost)]


def find_roots(forest: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return int64[m]: the root of each of `places`; shortens the ways to them in place."""
    roots = np.empty(len(places), np.int64)
    _find_all(np.asarray(forest), places, roots)
    return roots


@njit(nogil=True, cache=True)
def _find(forest, i):
    while forest[i] != 0:
        parent = i - forest[i]
        if forest[parent] != 0:
            forest[i] += forest[parent]
        i = parent
    return i


@njit(nogil=True, cache=True)
def _join(forest, one, other, lost):
    count = 0
    for k in range(len(one)):
        a, b = _find(forest, one[k]), _find(forest, other[k])
        if a != b:
            low, high = min(a, b), max(a, b)
            forest[high] = high - low
            lost[count] = high
            count += 1
    return count


@njit(nogil=True, cache=True)
def _find_all(forest, places, roots):
    for k in range(len(places)):
        roots[k] = _find(forest, places[k])
