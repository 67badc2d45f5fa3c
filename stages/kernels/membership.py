"""How many words of a document are in a small set, counted no further than is asked."""

import numpy as np
from numba import njit


def count_members(bounds: np.ndarray, hashes: np.ndarray, members: np.ndarray, enough: int) -> np.ndarray:
    """Return int64[n]: occurrences in each document of hashes that are among `members` (uint64), at most `enough`."""
    found = np.zeros(len(bounds) - 1, np.int64)
    if len(members):
        _count(bounds, hashes, np.sort(members), enough, found)
    return found


@njit(nogil=True, cache=True)
def _count(bounds, hashes, members, enough, found):
    for doc in range(len(bounds) - 1):
        count = 0
        for word in range(bounds[doc], bounds[doc + 1]):
            if count >= enough:
                break
            place = np.searchsorted(members, hashes[word])
            count += place < len(members) and members[place] == hashes[word]
        found[doc] = count
