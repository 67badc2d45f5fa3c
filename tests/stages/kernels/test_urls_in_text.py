import random
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.cut import cut, text_column
from stages.kernels.ignore_case import ignore_case
from stages.kernels.text_view import text_view
from stages.kernels.trie import build_trie
from stages.kernels.urls_in_text import begins_with_any, find_addresses, find_surplus_newlines, find_urls

DOMAINS = ["com", "co", "uk", "c", "vi", "is", "kr", "中国", "भारत", "भारतम्", "क", "ελ"]
DOMAIN = "|".join(sorted(DOMAINS, key=len, reverse=True))
NAME, TAIL = r"[-a-zA-Z0-9@:%._+~#=]", r"[-a-zA-Z0-9()@:%_+.~#?&/=]"
URL = re.compile(rf"\s{{0,10}}(?:(?:https?|ftp)://)?{NAME}{{1,256}}\.(?:{DOMAIN})\b{TAIL}*")
ADDRESS = re.compile(rf"\s{{0,10}}\b(?:(?:https?|ftp)://)?(?:[0-2]?[0-9]{{1,2}}\.){{3}}[0-2]?[0-9]{{1,2}}{TAIL}*")

PIECES = (
    ["a", ".", "..", "com", "co", "uk", ".com", "x.co.uk", "http://", "https://", "ftp://", "sftp://", "://", "//", ":", "/", "?q=", "(", ")", "_", "-"]
    + [" ", "\n", "\n\n\n", "\xa0", "\u3000", " " * 9, "\x1c", "é", "中国", "भारत", "भारतम्", "क", "्", "x" * 255, "a." * 130, "1", "12.", "255.", "300."]
    + ["1.2.3.4", "٣", "Vİ", "ıſ", "K", "r", "www.", "e.g.", "🐎", "\u200e", "h"]
)
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=6), max_size=5)
domains = build_trie(DOMAINS)


def without(find, texts, skip=0, kind=None):
    text = text_view(pa.array(texts, kind or pa.string()).slice(skip))
    left = cut(text, find(text))
    spans = zip(left.offsets, left.offsets[1:], strict=False)
    return [left.data[a:b].tobytes().decode() for a, b in spans]


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(0, 1), st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
def test_against_the_patterns(texts, skip, kind):
    assert without(lambda text: find_urls(text, domains), texts, skip, kind) == [URL.sub("", t) for t in texts[skip:]]
    assert without(find_addresses, texts, skip, kind) == [ADDRESS.sub("", t) for t in texts[skip:]]
    for most in (1, 2, 3):
        want = [re.sub(f"\n{{{most + 1},}}", "\n" * most, t) for t in texts[skip:]]
        assert without(lambda text, most=most: find_surplus_newlines(text, most), texts, skip, kind) == want


def test_against_the_patterns_on_many_more():
    rng = random.Random(5)
    texts = ["".join(rng.choice(PIECES) for _ in range(rng.randint(0, 14))) for _ in range(5000)]
    assert without(lambda text: find_urls(text, domains), texts) == [URL.sub("", t) for t in texts]
    assert without(find_addresses, texts) == [ADDRESS.sub("", t) for t in texts]


@settings(deadline=None)
@given(TEXTS)
def test_openings_are_as_re_match_has_them(texts):
    table = ignore_case()
    openings = build_trie("".join(chr(table[ord(c)]) for c in name) for name in DOMAINS)
    got = begins_with_any(text_view(pa.array(texts, pa.string())), openings, table).tolist()
    assert got == [bool(re.match(DOMAIN, text, re.IGNORECASE)) for text in texts]


@pytest.mark.parametrize("text, left", [("Visit", True), ("VİEW", True), ("ıſ it", True), ("Kr", True), ("Hello", False), ("", False), ("ΕΛΛΑΣ", True)])
def test_openings(text, left):
    table = ignore_case()
    openings = build_trie("".join(chr(table[ord(c)]) for c in name) for name in DOMAINS)
    assert begins_with_any(text_view(pa.array([text])), openings, table).tolist() == [left]


def test_where_is_heeded():
    text = text_view(pa.array(["see a.com", "see a.com"]))
    assert text_column(cut(text, find_urls(text, domains, np.array([False, True]))), pa.string()).to_pylist() == ["see a.com", "see"]


def test_bytes_that_are_not_utf8_stay_inside_their_document():
    raw = b"\xe3\x80 a.com\xf0\x9f1.2.3.4\xe4"
    for begin in range(len(raw)):
        offsets = np.array([0, begin, len(raw)], np.int64)
        text = text_view(pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(raw)]))
        for spans in (find_urls(text, domains), find_addresses(text)):
            for doc in range(2):
                mine = slice(spans.bounds[doc], spans.bounds[doc + 1])
                assert all(offsets[doc] <= a < b <= offsets[doc + 1] for a, b in zip(spans.starts[mine], spans.ends[mine], strict=True))
