import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.text_view import Text, text_view
from stages.kernels.uax29 import PRIME, SEED, segment_uax29
from stages.kernels.uax29_tables import ALNUM, CLASS, CLASSES, PICTOGRAPHIC, WHITE_SPACE, characters

OFFICIAL = Path("/usr/share/unicode/auxiliary/WordBreakTest.txt")
"""Where Debian's package unicode-data puts it; it is not part of this repository."""

MASK = 2**64 - 1
TABLE = characters().tolist()
OF_EVERY_CLASS = (
    "\r\n\x0b\u2028\u0301\u0903\u200d\u00ad\u200e \u3000\u00a0aB7é\u05d0\u05d1\u0661カア"
    "_\u203f:·,;.'’\"🇩🇪🇫🐎❤\u2139\u24c2中ไ#\U0001f3fb\t"
)
TEXTS = st.text(st.sampled_from(OF_EVERY_CLASS) | st.sampled_from("ab 1'.") | st.characters(exclude_categories=["Cs"]), max_size=40)


def class_of(character):
    return CLASSES[TABLE[ord(character)] & CLASS]


def segments_by_rule(text):
    """UAX#29, section 4.1.1: every rule in its turn at every place between two characters."""
    letters, ignored, newlines = ("ALetter", "Hebrew_Letter"), ("Extend", "Format", "ZWJ"), ("Newline", "CR", "LF")
    classes = [class_of(c) for c in text]

    def breaks(place):
        a, b = classes[place - 1], classes[place]
        if a == "CR" and b == "LF":  # WB3
            return False
        if a in newlines or b in newlines:  # WB3a, WB3b
            return True
        if a == "ZWJ" and TABLE[ord(text[place])] & PICTOGRAPHIC:  # WB3c
            return False
        if a == b == "WSegSpace" or b in ignored:  # WB3d, WB4
            return False
        # WB4: from here on Extend, Format and ZWJ are seen only where there is nothing before them
        before = []
        for at in range(place):
            if classes[at] not in ignored or at == 0 or classes[at - 1] in newlines:
                before.append(classes[at])
        after = [c for c in classes[place:] if c not in ignored]
        a, a2 = before[-1], before[-2] if len(before) > 1 else None
        b2 = after[1] if len(after) > 1 else None
        mid_letter, mid_number = ("MidLetter", "MidNumLet", "Single_Quote"), ("MidNum", "MidNumLet", "Single_Quote")
        wordlike = (*letters, "Numeric", "Katakana", "ExtendNumLet")
        joins = (
            (a in letters and b in letters)  # WB5
            or (a in letters and b in mid_letter and b2 in letters)  # WB6
            or (a2 in letters and a in mid_letter and b in letters)  # WB7
            or (a == "Hebrew_Letter" and b == "Single_Quote")  # WB7a
            or (a == "Hebrew_Letter" and b == "Double_Quote" and b2 == "Hebrew_Letter")  # WB7b
            or (a2 == "Hebrew_Letter" and a == "Double_Quote" and b == "Hebrew_Letter")  # WB7c
            or (a == b == "Numeric")  # WB8
            or (a in letters and b == "Numeric")  # WB9
            or (a == "Numeric" and b in letters)  # WB10
            or (a2 == "Numeric" and a in mid_number and b == "Numeric")  # WB11
            or (a == "Numeric" and b in mid_number and b2 == "Numeric")  # WB12
            or (a == b == "Katakana")  # WB13
            or (a in wordlike and b == "ExtendNumLet")  # WB13a
            or (a == "ExtendNumLet" and b in wordlike)  # WB13b
        )
        flags = len(before) - len("".join(c[0] if c == "Regional_Indicator" else "-" for c in before).rstrip("R"))
        return not (joins or (b == "Regional_Indicator" and flags % 2 == 1))  # WB15, WB16

    cuts = [place for place in range(1, len(text)) if breaks(place)]
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]


def is_white(segment):
    return all(TABLE[ord(c)] & WHITE_SPACE for c in segment)


def token_hash(token):
    h = int(SEED)
    for character in token:
        h = (h ^ ord(character)) * int(PRIME) & MASK
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ h >> 33


def tokens_of(texts):
    view = text_view(pa.array(texts, pa.string()))
    found = segment_uax29(view)
    spans = [view.data[a:b].tobytes().decode() for a, b in zip(found.starts, found.ends, strict=True)]
    return [spans[a:b] for a, b in zip(found.bounds, found.bounds[1:], strict=False)]


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("The quick (brown) fox", "The quick ( brown ) fox"),
        ("can't o’clock 'an' a'' a''b", "can't o’clock ' an ' a ' ' a ' ' b"),
        ("it costs 3,456.78 or 1. or .5 or 1,,2", "it costs 3,456.78 or 1 . or . 5 or 1 , , 2"),
        ("e.g. U.S.A. www.example.com/a_b", "e.g . U.S.A . www.example.com / a_b"),
        ("a1 1a 1.a a.1 x:y 1:1", "a1 1a 1 . a a . 1 x:y 1 : 1"),
        ("snake_case __init__ _ 4_4", "snake_case __init__ _ 4_4"),
        ("wait... really?!", "wait . . . really ? !"),
        ("e\u0301te\u0301 a\u0301'\u0301b", "e\u0301te\u0301 a\u0301'\u0301b"),
        ("カタカナ 中文 ｶﾅ", "カタカナ 中 文 ｶﾅ"),
        ("🇩🇪🇫🇷🇪 👩🏻\u200d🚀 ❤\ufe0f", "🇩🇪 🇫🇷 🇪 👩🏻\u200d🚀 ❤\ufe0f"),
        ("\u05d0\"\u05d0 \u05d0' \u05d0\" \u05d0'\u05d0", "\u05d0\"\u05d0 \u05d0' \u05d0 \" \u05d0'\u05d0"),
        ("soft\u00adhyphen no\u00a0break", "soft\u00adhyphen no break"),
    ],
)  # fmt: skip
def test_cases(text, tokens):
    assert tokens_of([text]) == [tokens.split(" ")]


def test_white_space():
    """A run of spaces is one segment, but not if a mark follows; what is all white space is no token."""
    texts = ["a  \u3000\t\r\n\u00a0b", " \n", "a  \u0301b", "a \u200d🚀"]
    assert tokens_of(texts) == [["a", "b"], [], ["a", "  \u0301", "b"], ["a", " \u200d🚀"]]


@pytest.mark.skipif(not OFFICIAL.exists(), reason="needs Debian's package unicode-data")
def test_official_cases():
    lines = OFFICIAL.read_text().splitlines()
    if "15.0.0" not in lines[0]:
        pytest.skip(f"the tables are Unicode 15.0, the cases are {lines[0]}")
    cases = [official_segments(line) for line in lines if line.startswith("÷")]
    assert len(cases) > 1_800
    assert tokens_of(["".join(case) for case in cases]) == [[s for s in case if not is_white(s)] for case in cases]
    assert [segments_by_rule("".join(case)) for case in cases] == cases


def official_segments(line):
    parts = line.split("#")[0].replace("×", " ").split("÷")
    return ["".join(chr(int(code, 16)) for code in part.split()) for part in parts if part.strip()]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.none() | TEXTS, max_size=5), st.integers(0, 2), st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
def test_against_the_rules(texts, skip, arrow_type):
    column = pa.array(texts, arrow_type).slice(skip)
    view = text_view(column)
    found = segment_uax29(view)
    assert found.bounds[0] == 0 and len(found.bounds) == len(column) + 1
    for doc, text in enumerate(column.to_pylist()):
        want = [s for s in segments_by_rule(text or "") if not is_white(s)]
        mine = slice(found.bounds[doc], found.bounds[doc + 1])
        spans = zip(found.starts[mine], found.ends[mine], strict=True)
        assert [view.data[a:b].tobytes().decode() for a, b in spans] == want
        assert found.chars[mine].tolist() == [len(s) for s in want]
        assert found.hashes[mine].tolist() == [token_hash(s) for s in want]
        assert found.wordlike[mine].tolist() == [bool(TABLE[ord(s[0])] & ALNUM) for s in want]


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_against_uniseg(text):
    """uniseg 0.10 is Unicode 16: characters that have changed class since are left out."""
    wordbreak = pytest.importorskip("uniseg.wordbreak")
    text = "".join(c for c in text if wordbreak.word_break(c).value == class_of(c))
    assert tokens_of([text]) == [[s for s in wordbreak.words(text) if not is_white(s)]]


def test_table_beside_python_and_uniseg():
    """Of the characters that all have: str.isalnum, white space, and all classes but those that Unicode 16 changed."""
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    if unicodedata.unidata_version <= "15.0.0":
        assert [c for c in assigned if chr(c).isalnum() != bool(TABLE[c] & ALNUM)] == []
    assert [c for c in assigned if chr(c).isspace() != bool(TABLE[c] & WHITE_SPACE)] == [0x1C, 0x1D, 0x1E, 0x1F]
    wordbreak, emoji = pytest.importorskip("uniseg.wordbreak"), pytest.importorskip("uniseg.emoji")
    assert all(emoji.extended_pictographic(chr(c)) == bool(TABLE[c] & PICTOGRAPHIC) for c in assigned)
    if unicodedata.unidata_version <= "15.0.0":
        moved = [c for c in assigned if wordbreak.word_break(chr(c)).value != class_of(chr(c))]
        # signs of Arabic and Kaithi that stand before a number, one Tai Lue digit, two vertical forms of punctuation
        assert moved == [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x19DA, 0xFE10, 0xFE14, 0x110BD, 0x110CD]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_bytes_that_are_no_utf8_stay_in_their_document(parts):
    """Every document is segmented as if it were alone, and its tokens lie within it."""
    offsets = np.cumsum([0, *map(len, parts)])
    found = segment_uax29(Text(np.frombuffer(b"".join(parts) + b"ab", np.uint8), offsets))
    for doc, part in enumerate(parts):
        alone = segment_uax29(Text(np.frombuffer(part, np.uint8), np.array([0, len(part)])))
        mine = slice(found.bounds[doc], found.bounds[doc + 1])
        assert (found.starts[mine] - offsets[doc]).tolist() == alone.starts.tolist()
        assert (found.ends[mine] - offsets[doc]).tolist() == alone.ends.tolist()
        assert found.hashes[mine].tolist() == alone.hashes.tolist()
        assert (alone.starts < alone.ends).all() and (alone.ends <= len(part)).all()


def test_nothing():
    found = segment_uax29(text_view(pa.array([], pa.string())))
    assert found.bounds.tolist() == [0] and len(found.hashes) == 0
