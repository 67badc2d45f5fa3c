from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.components import find_roots, join_pairs


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=8), max_size=4))
def test_against_repeated_merging(rounds):
    forest, labels, lost = np.zeros(12, np.int64), list(range(12)), []
    for pairs in rounds:
        one, other = np.array(pairs, np.int64).reshape(-1, 2).T
        before = find_roots(forest, np.arange(12))
        lost = join_pairs(forest, one.copy(), other.copy())
        for a, b in pairs:
            low, high = sorted((labels[a], labels[b]))
            labels = [low if label == high else label for label in labels]
        roots = find_roots(forest, np.arange(12))
        assert roots.tolist() == labels
        assert sorted(lost) == sorted(set(before) - set(roots))


def test_a_long_chain_is_found_without_recursion():
    forest = np.zeros(100_000, np.int64)
    one, other = np.array(list(pairwise(range(100_000)))).T
    lost = join_pairs(forest, other[::-1].copy(), one[::-1].copy())
    assert len(lost) == 99_999 and not find_roots(forest, np.arange(100_000)).any()
