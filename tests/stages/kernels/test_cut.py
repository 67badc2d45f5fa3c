import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.cut import Spans, count_characters, cut, text_column
from stages.kernels.text_view import Text, text_view


@settings(deadline=None)
@given(st.lists(st.text("aé中🐎\n", max_size=8), max_size=5), st.integers(0, 2), st.randoms(use_true_random=False), st.sampled_from([pa.string(), pa.large_string()]))
def test_against_the_plain_twin(texts, skip, rng, kind):
    column = pa.array(texts, kind).slice(skip)
    text = text_view(column)
    bounds, starts, ends, want, gone = [0], [], [], [], 0
    for doc, value in enumerate(column.to_pylist()):
        gaps = sorted(rng.sample(range(len(value) + 1), k=min(len(value) + 1, 2 * rng.randint(0, 2)) // 2 * 2))
        left, last = "", 0
        for a, b in zip(gaps[::2], gaps[1::2], strict=True):
            starts.append(int(text.offsets[doc]) + len(value[:a].encode()))
            ends.append(int(text.offsets[doc]) + len(value[:b].encode()))
            left, last, gone = left + value[last:a], b, gone + b - a
        want.append(left + value[last:])
        bounds.append(len(starts))
    spans = Spans(np.array(bounds), np.array(starts, np.int64), np.array(ends, np.int64))
    made = cut(text, spans)
    assert count_characters(text, spans) == gone
    if starts:
        back = text_column(made, kind)
        back.validate(full=True)
        assert back.type == kind and back.to_pylist() == want
    else:
        assert made is text


def test_a_string_column_has_an_end():
    with pytest.raises(ValueError, match="do not fit"):
        text_column(Text(np.empty(0, np.uint8), np.array([0, 2**31])), pa.string())
