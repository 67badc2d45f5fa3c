import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.text_view import text_view
from stages.kernels.words import PRIME, SEED, segment_words

TEXTS = st.lists(
    st.none()
    | st.text(st.sampled_from("aAbé𝔘Σ中½7\u0301 \n\u3000_-.…🐎") | st.characters(exclude_categories=["Cs", "Cn"])),
    max_size=6,
)
MASK = 2**64 - 1


def mix(h):
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ h >> 33


def word_hash(word):
    h = int(SEED)
    for character in word:
        h = (h ^ ord(character)) * int(PRIME) & MASK
    return mix(h)


def words_of(text):
    """Maximal runs of L, M, N."""
    words, word = [], ""
    for character in text + " ":
        if unicodedata.category(character)[0] in "LMN":
            word += character
        elif word:
            words.append(word)
            word = ""
    return words


@settings(deadline=None)  # the first call compiles
@given(TEXTS, st.integers(0, 2))
def test_against_the_plain_twin(texts, skip):
    column = pa.array(texts, pa.string()).slice(skip)
    words = segment_words(text_view(column))
    for doc, value in enumerate(column.to_pylist()):
        want = words_of(value or "")
        mine = slice(words.bounds[doc], words.bounds[doc + 1])
        assert words.lower_hashes[mine].tolist() == [word_hash("".join(c.lower()[0] for c in w)) for w in want]


def test_nothing_at_all():
    words = segment_words(text_view(pa.array([], pa.string())))
    assert words.bounds.tolist() == [0] and len(words.lower_hashes) == 0


def test_bytes_that_are_not_utf8_stay_inside_their_document():
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"a\xf0ab")]
    )
    words = segment_words(text_view(broken))
    assert words.bounds.tolist() == [0, 1, 2] and words.lower_hashes.tolist() == [word_hash("að"), word_hash("ab")]
