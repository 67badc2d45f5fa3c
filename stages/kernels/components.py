"""Connected components by union-find, where the least index of a component is its root."""

import numpy as np
from numba import njit


def join_equal(parents: np.ndarray, members: np.ndarray, keys: np.ndarray) -> None:
    """Join the documents `members` (int64) whose `keys` (uint64) are equal, in place in `parents` (int64, parents[i] <= i).

    Memory: an argsort of `keys`, 8 bytes for each.
    """
    order = np.argsort(keys)  # not stable, and need not be: a group joins to the same component in any order
    _join(parents, members, keys, order)


def find_roots(parents: np.ndarray) -> None:
    """Point every document at the root of its component, in place."""
    _flatten(parents)


@njit(nogil=True, cache=True)
def _find(parents, i):
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@njit(nogil=True, cache=True)
def _join(parents, members, keys, order):
    for k in range(1, len(order)):
        if keys[order[k]] == keys[order[k - 1]]:
            one, other = _find(parents, members[order[k - 1]]), _find(parents, members[order[k]])
            if one < other:
                parents[other] = one
            else:
                parents[one] = other


@njit(nogil=True, cache=True)
def _flatten(parents):
    for i in range(len(parents)):  # a parent comes before its child, so one sweep is enough
        parents[i] = parents[parents[i]]
