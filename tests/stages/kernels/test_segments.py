import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.segments import split_lines, split_paragraphs
from stages.kernels.text_view import text_view

SPACES = " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
TEXTS = st.lists(st.none() | st.text(st.sampled_from("ab.…é\u200b🐎\n\n" + SPACES)), max_size=5)


@settings(deadline=None)  # the first call compiles
@given(TEXTS, st.integers(0, 2))
def test_against_the_plain_twin(texts, skip):
    column = pa.array(texts, pa.string()).slice(skip)
    text = text_view(column)
    for found, pattern in ((split_lines(text), "\n"), (split_paragraphs(text), "\n{2,}")):
        hashes = {}
        for doc, value in enumerate(column.to_pylist()):
            want = [s.strip() for s in re.split(pattern, value or "") if s.strip()]
            mine = range(found.bounds[doc], found.bounds[doc + 1])
            assert [text.data[found.starts[k] : found.ends[k]].tobytes().decode() for k in mine] == want
            assert [found.chars[k] for k in mine] == [len(s) for s in want]
            for k, segment in zip(mine, want, strict=True):
                assert hashes.setdefault(segment, found.hashes[k]) == found.hashes[k]
        assert len(set(hashes.values())) == len(hashes)
