import re

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.line_ends import count_lines
from stages.kernels.raw_segments import filled_lines
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(
    st.lists(st.none() | st.text(st.sampled_from("ab.!é。𑈸🐎\u0308\n\n \t\x1c\xa0\u3000"), max_size=30), max_size=5),
    st.integers(0, 2),
    st.integers(0, 4),
)
def test_against_the_plain_twin(texts, skip, length):
    last = np.zeros(0x110000, np.bool_)
    last[[ord(c) for c in ".é。𑈸"]] = True
    column = pa.array(texts, pa.string()).slice(skip)
    text = text_view(column)
    found = count_lines(text, filled_lines(text), last, length)
    words = np.diff(segment_uax29(text).bounds)
    for doc, value in enumerate(value or "" for value in column.to_pylist()):
        lines = [line for line in value.split("\n") if line.strip()]
        assert found.ended[doc] == sum(line.endswith((".", "é", "。", "𑈸")) for line in lines)
        assert found.short[doc] == sum(len(line) <= length for line in lines)
        assert found.newlines[doc] == value.count("\n") and found.chars[doc] == len(value.replace("\n", ""))
        assert found.heads[doc] == sum(run[:1].isascii() and run != "" for run in re.split("[ \t-\r\x1c-\x1f]+", value))
        assert found.heads[doc] <= words[doc]


def test_broken_utf8():
    raw = b"\xe2\x80\n\xf0\n\x80\x80\x80\x80\x80\n\xff\xff\xff\xff"
    text = text_view(pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, len(raw)], pa.int32()).buffers()[1], pa.py_buffer(raw)]))
    assert count_lines(text, filled_lines(text), np.zeros(0x110000, np.bool_), 30).ended.tolist() == [0]
