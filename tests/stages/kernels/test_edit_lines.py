import random
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.edit_lines import RULES, edit_lines, make_phrases
from stages.kernels.text_view import text_view

PIECES = (
    ["a", "word", "The quick brown fox", "ABC", "É", "Ⅷ", "123", "٣", "²", " ", "  ", "\n", "\n", "\n", "\n\n", "\t", "\xa0", "\x1c", "\x85", "\u3000", "\x00", "\r"]
    + ["12 likes", "3,4K Shares", "(5.1m\u2003VIEWS!)", "1 lİkes", "2 liKes", "7k likes_", "- 8. quotes -", "likes", "_", "!", "-", ".", "K", "中", "🐎", "e\u0301"]
    + ["items in cart", "ITEMS ın cart", "Items  in cart", "Read more...", "read more now", "reaD MORE…..", "read more", "Sign-in", "ſign-in ", "sign-in", " one two three four five"]
)
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=8), max_size=5)
COUNTED = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
COUNTER = re.compile(rf"^\W*\d[,.\d]*[kmb]?\s+(?:{COUNTED})\W*$")


def count_words(text):
    """fastText's tokens that begin with a letter or a digit."""
    return sum(token[:1].isalnum() for token in re.split("[\0\t\n\v\f\r ]", text))


def twin(text, uppercase=0.5, digits=0.999999, counters=True, min_words=2, most=10, phrases=("items in cart",), suffixes=("Read more...",), prefixes=("Sign-in",), dot=False):
    """The rules written plainly; returns the text, and lines and words per rule."""
    lines, gone = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0)

    def apply(rule, edit, strip=True):
        nonlocal text
        left = []
        for line in text.split("\n"):
            after = edit(line) if line else line
            if after != line:
                lines[rule] += 1
                gone[rule] += count_words(line) - count_words(after or "")
            if after is not None:
                left.append(after)
        text = "\n".join(left)
        text = text.strip() if strip else text

    def shorten(pattern):
        def edit(line):
            after = pattern.sub("", line) if len(line.split()) <= most else line
            return after if after.strip() or len(line.split()) > most else None

        return edit

    either = lambda listed: "(?:" + "|".join("".join("." if dot and c == "." else re.escape(c) for c in p) for p in listed) + ")"  # noqa: E731
    if uppercase is not None:
        apply("uppercase", lambda line: None if sum(map(str.isupper, line)) / len(line) > uppercase else line)
    if digits is not None:
        apply("digits", lambda line: None if sum(map(str.isdigit, line)) / len(line) > digits else line)
    if counters:
        apply("counter", lambda line: None if COUNTER.search(line.lower()) else line)
    if min_words is not None:
        apply("short", lambda line: None if len(line.split()) < min_words else line, strip=False)
    if phrases:
        apply("phrase", shorten(re.compile(r"\s?" + either(phrases), re.IGNORECASE)))
    if suffixes:
        apply("suffix", shorten(re.compile(r"\s?" + either(suffixes) + "$", re.IGNORECASE)))
    if prefixes:
        apply("prefix", shorten(re.compile("^" + either(prefixes) + r"\s?", re.IGNORECASE)))
    return text, list(lines.values()), list(gone.values())


def check(column, **rules):
    with_defaults = dict(
        {"uppercase": 0.5, "digits": 0.999999, "counters": True, "min_words": 2, "most": 10, "dot": False}
        | {"phrases": ("items in cart",), "suffixes": ("Read more...",), "prefixes": ("Sign-in",)},
        **rules,
    )
    dot = with_defaults.pop("dot")
    cuts = [make_phrases(with_defaults.pop(kind), dot) for kind in ("phrases", "suffixes", "prefixes")]
    made = edit_lines(text_view(column), *with_defaults.values(), *cuts)
    texts = [text or "" for text in column.to_pylist()]
    want = [twin(text, **rules) for text in texts]
    spans = zip(made.text.offsets, made.text.offsets[1:], strict=False)
    assert [made.text.data[a:b].tobytes().decode() for a, b in spans] == [text for text, _, _ in want]
    assert made.lines.tolist() == [lines for _, lines, _ in want]
    assert made.gone.tolist() == [gone for _, _, gone in want]
    assert made.words.tolist() == [[count_words(before), count_words(after)] for before, (after, _, _) in zip(texts, want, strict=True)]
    assert made.changed == any(before != after for before, (after, _, _) in zip(texts, want, strict=True))
    return made


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(0, 1), st.booleans(), st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
def test_against_the_plain_twin(texts, skip, dot, kind):
    check(pa.array([*texts, None], kind).slice(skip), dot=dot)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"dot": True},
        {"uppercase": None, "digits": None},
        {"uppercase": 0.0, "digits": 0.3},
        {"counters": False, "min_words": None},
        {"phrases": (), "suffixes": (), "min_words": 5},
        {"prefixes": (), "most": 2},
        {"phrases": ("the", "the quick", "ın"), "suffixes": ("more...", "read more..."), "prefixes": ("a", "ABC"), "min_words": None},
        {"phrases": ("q.i",), "suffixes": ("中.",), "dot": True},
    ],
)
def test_every_rule_on_many_more(rules):
    rng = random.Random(9)
    texts = ["".join(rng.choice(PIECES) for _ in range(rng.randint(0, 20))) for _ in range(1500)]
    made = check(pa.array(texts), **rules)
    assert made.lines.any() and made.changed


def test_nothing_to_edit():
    check(pa.array(["Two words\n\nand more of them", ""]))
    check(pa.array([], pa.string()))


def test_bytes_that_are_not_utf8_stay_inside_their_document():
    raw = b"A B\xe4\n\xf0\x9f likes\xe3\x80 Sign-in\xc3"
    for begin in range(len(raw) + 1):
        offsets = np.array([0, begin, len(raw)], np.int64)
        column = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(raw)])
        cuts = [make_phrases(p, False) for p in (("likes",), ("a",), ("sign-in",))]
        made = edit_lines(text_view(column), 0.9, 0.9, True, None, 10, *cuts)
        assert made.text.offsets[-1] <= len(raw) and (np.diff(made.text.offsets) >= 0).all()
