import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.c4_lines import ABBREVIATIONS, PHRASES, _decimals, edit_lines
from stages.kernels.punctuation import sentence_terminals
from stages.kernels.text_view import text_view

ALL_OFF = dict(
    max_word_chars=None, citations=False, terminal_punctuation=False, min_words=None, min_sentences=None,
    lorem_ipsum=False, javascript=False, curly_bracket=False, policy=False,
)  # fmt: skip


def sentences_twin(text):
    """The rule of the kernel in plain Python: sentences as strings, white space and marks between two of them with the first."""
    starts, end, spaced = [0], None, False
    for i, c in enumerate(text):
        if sentence_terminals()[ord(c)]:
            run = len(text[:i]) - len(text[:i].rstrip(".")) + len(text[i:]) - len(text[i:].lstrip("."))
            letters = ""
            while len(letters) < i and unicodedata.category(text[i - 1 - len(letters)])[0] == "L":
                letters = text[i - 1 - len(letters)] + letters
            before = text[i - len(letters) - 1] if i > len(letters) else " "
            alone = len(letters) == 1 and unicodedata.category(before)[0] not in "MN"
            if c != "." or not (run > 1 or alone or letters in ABBREVIATIONS.split()):
                end, spaced = i, not c.isascii()
        elif end is not None:
            if c.isspace():
                spaced = True
            elif unicodedata.category(c)[0] in "LMN":
                if spaced or (c != c.lower() and len(c.lower()) == 1):
                    starts.append(i)
                end = None
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def count_sentences(texts):
    return edit_lines(text_view(pa.array(texts, pa.string())), **ALL_OFF | {"min_sentences": 0}).sentences.tolist()


@pytest.mark.parametrize(
    "text, count",
    [
        ("", 0),
        ("\n \n", 2),
        ("One. Two! Three? four", 4),
        ('He said "Stop." Then he left.', 2),
        ("Version 3.14 of example.com is out.Now buy.", 2),
        ("Wait... what? Yes", 2),
        ("Mr. J. R. Smith of the U.S. Navy, e.g. on Oct. 3. He", 2),
        ("東京。京都。", 2),
        ("¿Que? ¡Sí! - (no)", 3),
        ("Nomr. Then", 2),
        ("ōr. Then. ", 2),
    ],
)
def test_sentences(text, count):
    assert count_sentences([text]) == [count]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.lists(st.sampled_from([*'aBé1\u0308..?!。 \n\xa0")-', "Mr", "St", "\u212a", "ß", "𑈸"]), max_size=30).map("".join), max_size=4
    )
)
def test_sentences_against_the_plain_twin(texts):
    assert count_sentences(texts) == [sum(len(sentences_twin(line.strip())) for line in text.splitlines()) for text in texts]


def test_decimals_are_those_of_regular_expressions():
    if unicodedata.unidata_version == "14.0.0":
        assert [c for c in range(0x110000) if _decimals()[c]] == [c for c in range(0x110000) if chr(c).isdecimal()]
    assert all(chr(c).isdecimal() for c in range(0x110000) if _decimals()[c])


def test_no_phrase_ends_another_and_only_the_kelvin_sign_has_an_ascii_lower_case():
    assert not [(a, b) for a in PHRASES for b in PHRASES if a != b and a.endswith(b)]
    assert [chr(c) for c in range(128, 0x110000) if chr(c).lower().isascii()] == ["\u212a"]


def test_with_every_question_off_lines_are_stripped_and_joined():
    texts = ["", " a \r\n\r\n b\x85c\u2028 ", "\n\n \u3000x\u3000 \n", None]
    edited = edit_lines(text_view(pa.array(texts)), **ALL_OFF)
    found = [edited.text.data[a:b].tobytes().decode() for a, b in zip(edited.text.offsets, edited.text.offsets[1:], strict=False)]
    assert found == ["\n".join(line.strip() for line in (text or "").splitlines()).strip() for text in texts]
    assert edited.counts["lines"] == edited.counts["kept"] == sum(len((text or "").splitlines()) for text in texts)


def test_broken_utf8():
    raw = [b"\xe2\x80\n\xf0\xc2.", b"[\xe2\x84", b"\xff\xfe {\xe2", b"a.\xf0\x9f"]
    offsets = pa.array([0, *(sum(map(len, raw[: i + 1])) for i in range(len(raw)))], pa.int32())
    column = pa.Array.from_buffers(pa.string(), len(raw), [None, offsets.buffers()[1], pa.py_buffer(b"".join(raw))])
    on = dict.fromkeys(ALL_OFF, True) | {"max_word_chars": 10, "min_words": 1, "min_sentences": 1}
    for questions in (ALL_OFF, on):
        edited = edit_lines(text_view(column), **questions)
        assert len(edited.text) == len(raw) and edited.text.offsets[-1] <= sum(map(len, raw))
