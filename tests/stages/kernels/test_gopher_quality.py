import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.gopher_quality import count_marks, count_words
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29

SPECIAL = "ab.é…•-#\u0308\u200b🐎１東٣\u00b2|_\x00\x7f\x9f\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000 "
TEXTS = st.lists(st.none() | st.text(st.sampled_from(SPECIAL), max_size=30) | st.text(max_size=20), max_size=5)
KINDS = st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(TEXTS, st.integers(0, 2), KINDS)
def test_marks_against_the_plain_twin(texts, skip, kind):
    column = pa.array(texts, kind).slice(skip)
    found = count_marks(text_view(column))
    for doc, text in enumerate(text or "" for text in column.to_pylist()):
        lines = text.splitlines()
        assert found.chars[doc] == len(text) and found.hashes[doc] == text.count("#")
        assert found.ellipses[doc] == text.count("...") + text.count("…")
        assert found.lines[doc] == len(lines)
        assert found.bullets[doc] == sum(line.lstrip().startswith(("•", "-")) for line in lines)
        assert found.ellipsis_lines[doc] == sum(line.rstrip().endswith(("...", "…")) for line in lines)


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(0, 2), KINDS)
def test_words_against_the_plain_twin(texts, skip, kind):
    from datatrove.utils.text import PUNCTUATION_SET

    column = pa.array(texts, kind).slice(skip)
    text = text_view(column)
    tokens = segment_uax29(text)
    stops = segment_uax29(text_view(pa.array(["a ab é 東 -"]))).hashes
    found = count_words(text, tokens, stops)
    for doc in range(len(column)):
        mine = range(tokens.bounds[doc], tokens.bounds[doc + 1])
        words = [text.data[tokens.starts[k] : tokens.ends[k]].tobytes().decode() for k in mine]
        plain = [word for word in words if not set(word) <= PUNCTUATION_SET]
        assert found.words[doc] == len(words) and found.plain[doc] == len(plain)
        assert found.plain_chars[doc] == sum(map(len, plain))
        assert found.alphabetic[doc] == sum(any(map(str.isalpha, word)) for word in words)
        assert found.stop_words[doc] == len({"a", "ab", "é", "東", "-"} & set(words))


@pytest.mark.parametrize("raw", [b"\xe2\x80\n\xf0\xc2", b"\xff\xfe\xe2\x80", b"..\xe2", b"-\x80\x80"])
def test_broken_utf8(raw):
    text = text_view(pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, len(raw)], pa.int32()).buffers()[1], pa.py_buffer(raw)]))
    assert count_marks(text).lines.tolist() == [len(raw.split(b"\n"))]
    assert count_words(text, segment_uax29(text), segment_uax29(text).hashes).words[0] >= 1
