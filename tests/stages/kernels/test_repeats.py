from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.repeats import repeated_segments
from stages.kernels.segments import split_lines
from stages.kernels.text_view import text_view


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.text("abé", max_size=2), max_size=12), max_size=4))
def test_against_a_counter(documents):
    found = repeated_segments(split_lines(text_view(pa.array(["\n".join(lines) for lines in documents], pa.string()))))
    for lines, (count, chars) in zip(documents, found.tolist(), strict=True):
        times = Counter(line for line in lines if line)
        assert count == sum(n for n in times.values() if n > 1)
        assert chars == sum(n * len(line) for line, n in times.items() if n > 1)
