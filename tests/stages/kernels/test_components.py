import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.components import find_roots, join_equal


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.integers(0, 6), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(0, 3))
def test_against_repeated_merging(buckets, skip):
    members = np.arange(skip, 12)
    parents = np.arange(12)
    for keys in buckets:
        join_equal(parents, members, np.array(keys[skip:], np.uint64))
    find_roots(parents)
    labels = list(range(12))
    for _ in range(12):
        for keys in buckets:
            for i in range(skip, 12):
                for j in range(skip, 12):
                    if keys[i] == keys[j]:
                        labels[i] = labels[j] = min(labels[i], labels[j])
    assert parents.tolist() == labels
