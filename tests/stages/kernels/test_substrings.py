import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels import partitions
from stages.kernels.substrings import MarkedWindows, marked_spans, repeated_windows, window_bounds, window_rows
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29

WORDS = st.sampled_from(["a", "b", "wörd", "日", "\U0001d518x", ".", " ", "\n\n", "e\u0301", "it's"])
TEXTS = st.lists(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=12) | st.none(), max_size=6)
LENGTHS = st.integers(1, 4)


def tokens_of(texts):
    text = text_view(pa.array(texts, pa.string()))
    return text, segment_uax29(text)


def documents_of(text, tokens):
    """Tokens as bytes, a list for each document."""
    words = [text.data[s:e].tobytes() for s, e in zip(tokens.starts, tokens.ends, strict=True)]
    return [words[s:e] for s, e in zip(tokens.bounds, tokens.bounds[1:], strict=False)]


def brute_force(documents, length, keep_first):
    """bool for each window, in order: it is equal to another one (and not the first of these, if that is kept)."""
    windows = [tuple(words[i : i + length]) for words in documents for i in range(len(words) - length + 1)]
    places = {}
    for number, window in enumerate(windows):
        places.setdefault(window, []).append(number)
    return [len(places[w]) > 1 and not (keep_first and places[w][0] == i) for i, w in enumerate(windows)]


def numbers_of(pieces, keep_first):
    found = [int(number) for numbers in repeated_windows(pieces, keep_first) for number in numbers]
    assert len(set(found)) == len(found)
    return sorted(found)


@settings(deadline=None, max_examples=300)
@given(TEXTS, LENGTHS, st.booleans(), st.integers(1, 7))
def test_against_brute_force(texts, length, keep_first, size):
    text, tokens = tokens_of(texts)
    documents = documents_of(text, tokens)
    expected = brute_force(documents, length, keep_first)
    rows = window_rows(tokens, length)
    assert len(rows) == window_bounds(tokens, length)[-1] == len(expected)
    found = numbers_of((rows[i : i + size] for i in range(0, len(rows), size)), keep_first)
    assert found == np.flatnonzero(expected).tolist()

    spans, left = marked_spans(tokens, length, np.array(expected, bool))
    number = 0
    for doc, words in enumerate(documents):
        covered = np.zeros(len(words), bool)
        for i in range(len(words) - length + 1):
            covered[i : i + length] |= expected[number]
            number += 1
        edges = np.flatnonzero(np.diff(np.concatenate(([0], covered.astype(int), [0])))).reshape(-1, 2)
        first, mine = tokens.bounds[doc], slice(spans.bounds[doc], spans.bounds[doc + 1])
        assert spans.starts[mine].tolist() == [tokens.starts[first + a] for a, _ in edges]
        assert spans.ends[mine].tolist() == [tokens.ends[first + b - 1] for _, b in edges]
        assert left[doc] == sum(len(word.decode(errors="replace")) for word, inside in zip(words, covered, strict=True) if not inside)


def test_a_batch_boundary_changes_no_hash():
    texts = ["one two three four five", "", "two three four five six"]
    whole = window_rows(tokens_of(texts)[1], 3)
    apart = [window_rows(tokens_of([text])[1], 3) for text in texts]
    assert (whole[:, 0] == np.concatenate(apart)[:, 0]).all() and (whole[:, 1] >> np.uint64(40) == np.concatenate(apart)[:, 1] >> np.uint64(40)).all()
    assert (whole[:, 1] & np.uint64((1 << 40) - 1)).tolist() == list(range(6))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_offsets_and_slices(kind):
    column = pa.array(["skipped", "a b c a b c", None, "b c", ""], kind).slice(1)
    text = text_view(column)
    tokens = segment_uax29(text)
    marked = np.zeros(6, bool)
    marked[numbers_of([window_rows(tokens, 2)], False)] = True
    assert marked.tolist() == [True, True, False, True, True, True]
    spans, left = marked_spans(tokens, 2, marked)
    assert [text.data[s:e].tobytes() for s, e in zip(spans.starts, spans.ends, strict=True)] == [b"a b c a b c", b"b c"]
    assert spans.bounds.tolist() == [0, 1, 1, 2, 2] and left.tolist() == [0] * 4


def test_invalid_utf8_is_read_within_its_document():
    text = text_view(pa.array([b"a \xff\xfe b", b"\xf0\x9f", b"a \xff\xfe b"], pa.binary()).view(pa.string()))
    tokens = segment_uax29(text)
    found = numbers_of([window_rows(tokens, 2)], False)
    assert found == np.flatnonzero(brute_force(documents_of(text, tokens), 2, False)).tolist() == [0, 2]


def test_equal_keys_of_different_windows_are_told_apart():
    rows = np.array([[7, 5 << 40 | 0], [7, 6 << 40 | 1], [7, 5 << 40 | 2], [8, 5 << 40 | 3]], np.uint64)
    assert numbers_of([rows], False) == [0, 2] and numbers_of([rows[:2], rows[2:]], True) == [2]


def test_tables_grow_and_one_window_may_be_everywhere():
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 2**64, 4000, np.uint64)[rng.permutation(np.concatenate((np.arange(4000), np.zeros(4000, int), rng.integers(0, 4000, 4000))))]
    rows = np.column_stack((keys, np.arange(len(keys), dtype=np.uint64)))
    places = {}
    for number, key in enumerate(keys.tolist()):
        places.setdefault(key, []).append(number)
    for keep_first in (True, False):
        expected = sorted(p for group in places.values() if len(group) > 1 for p in group[keep_first:])
        assert numbers_of((rows[i : i + 700] for i in range(0, len(rows), 700)), keep_first) == expected


@pytest.mark.parametrize("rows_in_memory", [1 << 20, 64, 7])
@pytest.mark.parametrize("num_windows", [1000, 1023, 1024])
def test_marks_come_back(tmp_path, monkeypatch, rows_in_memory, num_windows):
    monkeypatch.setattr(partitions, "ROWS_IN_MEMORY", rows_in_memory)
    rng = np.random.default_rng(num_windows)
    chosen = rng.random(num_windows) < 0.2
    chosen[300:600] = False  # files without a mark, and one with nothing but marks
    chosen[700:900] = True
    marked = MarkedWindows(tmp_path / "m", num_windows)
    for numbers in np.array_split(rng.permutation(np.flatnonzero(chosen)), 9):
        marked.add(numbers)
    edges = [0, 0, *np.sort(rng.integers(0, num_windows, 20)), num_windows, num_windows]
    assert np.concatenate([marked.between(a, b) for a, b in zip(edges, edges[1:], strict=False)]).tolist() == chosen.tolist()


def test_no_windows_at_all(tmp_path):
    _, tokens = tokens_of(["a", None, ""])
    assert window_rows(tokens, 2).shape == (0, 2) and numbers_of([window_rows(tokens, 2)], True) == []
    assert MarkedWindows(tmp_path / "m", 0).between(0, 0).tolist() == []
    spans, left = marked_spans(tokens, 2, np.zeros(0, bool))
    assert spans.bounds.tolist() == [0, 0, 0, 0] and left.tolist() == [1, 0, 0]
