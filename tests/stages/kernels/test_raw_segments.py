import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.raw_segments import filled_lines, later_copies, raw_lines, raw_paragraphs
from stages.kernels.text_view import text_view

SPACES = " \t\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
TEXTS = st.lists(st.none() | st.text(st.sampled_from("ab.é\u200b🐎\n\n\n\n" + SPACES), max_size=40), max_size=5)
TWINS = {
    raw_lines: lambda text: re.split("\n+", text),
    raw_paragraphs: lambda text: re.split("\n{2,}", text.strip()),
    filled_lines: lambda text: [line for line in text.split("\n") if line.strip()],
}


@pytest.mark.parametrize("split", TWINS)
@settings(deadline=None)  # the first call compiles
@given(texts=TEXTS, skip=st.integers(0, 2), kind=st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
def test_against_the_plain_twin(split, texts, skip, kind):
    column = pa.array(texts, kind).slice(skip)
    text = text_view(column)
    found = split(text)
    copies = later_copies(found).tolist()
    for doc, value in enumerate(column.to_pylist()):
        want = TWINS[split](value or "")
        mine = range(found.bounds[doc], found.bounds[doc + 1])
        assert [text.data[found.starts[k] : found.ends[k]].tobytes().decode() for k in mine] == want
        assert [found.chars[k] for k in mine] == [len(s) for s in want]
        later = [s for k, s in enumerate(want) if s in want[:k]]
        assert copies[doc] == [len(later), sum(map(len, later))]


def test_hashes_see_every_byte_and_the_length():
    segments = (
        [""] + ["x" * k for k in range(1, 40)] + ["x" * k + "y" + "x" * (39 - k) for k in range(40)] + ["\0" * k for k in range(1, 20)]
    )
    text = text_view(pa.array(["\n".join(segments)]))
    assert len(set(raw_lines(text).hashes.tolist())) == len(set(segments))


def test_broken_utf8_and_no_documents():
    text = text_view(pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\5\0\0\0"), pa.py_buffer(b"\xe2\x80\n\xf0\xc2")]))
    for split in TWINS:
        assert later_copies(split(text)).shape == (1, 2)
        assert later_copies(split(text_view(pa.array([], pa.string())))).shape == (0, 2)
