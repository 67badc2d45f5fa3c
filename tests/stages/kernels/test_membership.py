import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.membership import count_members

SMALL = st.integers(0, 9)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(SMALL, max_size=9), max_size=4), st.sets(SMALL), st.integers(0, 5))
def test_against_a_sum(documents, members, enough):
    bounds = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    hashes = np.array([h for d in documents for h in d], np.uint64)
    found = count_members(bounds, hashes, np.array(list(members), np.uint64), enough)
    assert found.tolist() == [min(enough, sum(h in members for h in d)) for d in documents]
