import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.text_view import Text, text_view
from stages.kernels.token_counts import count_stop_words, count_tokens

# letters and digits of the newest characters differ from one Python to the next: the twin below asks Python
KNOWN = st.characters(exclude_categories=["Cs", "Cn"]) if unicodedata.unidata_version <= "15.0.0" else st.characters(codec="latin-1")
TEXTS = st.lists(st.none() | st.text(st.sampled_from("aTé中½7\u0301 \n\0\x1c\x0b\x85\u00a0\u3000_-.…🐎") | KNOWN), max_size=6)
ARROW_TYPES = st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])


@settings(deadline=None)  # the first call compiles
@given(TEXTS, st.integers(0, 2), ARROW_TYPES)
def test_against_the_plain_twin(texts, skip, arrow_type):
    column = pa.array(texts, arrow_type).slice(skip)
    counts = count_tokens(text_view(column))
    for doc, text in enumerate(value or "" for value in column.to_pylist()):
        assert counts.words[doc] == sum(word[:1].isalnum() for word in re.split("[\0\t\n\v\f\r ]+", text))
        tokens = text.split()
        assert counts.tokens[doc] == len(tokens)
        assert counts.token_chars[doc] == sum(map(len, tokens))
        assert counts.alphabetic[doc] == sum(any(map(str.isalpha, token)) for token in tokens)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("aé7 \n\0\t\x0b\x0c\r\x1c\x85\u00a0_.</s>"), max_size=30))
def test_words_are_those_of_fasttext(text):
    tokenize = pytest.importorskip("fasttext").FastText.tokenize
    found = count_tokens(text_view(pa.array([text])))
    assert found.words.tolist() == [sum(word[0].isalnum() for word in tokenize(text))]


STOP_WORDS = ("the", "Of", "ÉTÉ", "中")


@settings(deadline=None)
@given(
    st.lists(st.none() | st.lists(st.sampled_from(["the", "THE", "the,", "of", "Été", "été", "中", "th", "thee", "a"])), max_size=4),
    st.sampled_from([" ", "\n", "\u3000\t", "\u00a0"]),
    st.integers(0, 6),
    st.integers(0, 2),
)
def test_stop_words_are_tokens_in_any_case(texts, space, enough, skip):
    column = pa.array([None if words is None else space.join(words) for words in texts], pa.string()).slice(skip)
    found = count_stop_words(text_view(column), STOP_WORDS, enough)
    listed = {word.lower() for word in STOP_WORDS}
    assert found.tolist() == [min(enough, sum(t.lower() in listed for t in (text or "").split())) for text in column.to_pylist()]


def test_no_stop_words_and_no_rows():
    assert count_stop_words(text_view(pa.array(["the"])), (), 2).tolist() == [0]
    assert count_stop_words(text_view(pa.array([], pa.string())), STOP_WORDS, 2).tolist() == []
    assert count_tokens(text_view(pa.array([], pa.string()))).words.tolist() == []


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4))
def test_bytes_that_are_no_utf8_stay_in_their_document(parts):
    text = Text(np.frombuffer(b"".join(parts) + b"the", np.uint8), np.cumsum([0, *map(len, parts)]))
    counts, stops = count_tokens(text), count_stop_words(text, STOP_WORDS, 9)
    for doc, part in enumerate(parts):
        alone = Text(np.frombuffer(part, np.uint8), np.array([0, len(part)]))
        assert [getattr(counts, name)[doc] for name in vars(counts)] == [values[0] for values in vars(count_tokens(alone)).values()]
        assert stops[doc] == count_stop_words(alone, STOP_WORDS, 9)[0]
