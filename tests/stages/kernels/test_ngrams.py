import re
from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.ngrams import REPEATED, TOP, ngram_repetition
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def top_chars(words, n):
    counts = Counter(grams(words, n))
    most = max(counts.values(), default=0)
    return 0 if most < 2 else most * max(len("".join(gram)) for gram, count in counts.items() if count == most)


def repeated_chars(words, n):
    counts = Counter(grams(words, n))
    covered = {i + k for i, gram in enumerate(grams(words, n)) if counts[gram] > 1 for k in range(n)}
    return sum(len(words[i]) for i in covered)


WORDS = st.lists(
    st.sampled_from(["a", "bb", "ccc", "é", "🐎", ".", "(bb)"]) | st.sampled_from(["a bb ccc é a", "d e f g h i j k l m"]),
    max_size=40,
)


@settings(deadline=None)  # the first call compiles
@given(st.lists(WORDS, max_size=4))
def test_against_a_counter(documents):
    column = pa.array([" ".join(words) for words in documents], pa.string())
    top, repeated, total = ngram_repetition(segment_uax29(text_view(column)))
    for doc, text in enumerate(column.to_pylist()):
        words = [word for word in re.split("[ ()]", text) if word[:1].isalnum()]
        assert total[doc] == len("".join(words))
        assert top[doc].tolist() == [top_chars(words, n) for n in TOP]
        assert repeated[doc].tolist() == [repeated_chars(words, n) for n in REPEATED]


def test_nothing():
    top, repeated, total = ngram_repetition(segment_uax29(text_view(pa.array([], pa.string()))))
    assert top.shape == (0, 3) and repeated.shape == (0, 6) and total.shape == (0,)
