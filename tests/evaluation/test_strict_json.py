"""JSON from strangers: what is refused is refused in words, and nothing hangs, grows or crashes."""

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.strict_json import StrictJsonError, parse_json, quote, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value):
    text = json.dumps(value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(StrictJsonError):
            parse_json(text.encode())
    else:
        assert parse_json(text.encode(), max_depth=100) == value


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    try:
        parse_json(data)
    except StrictJsonError:
        pass


@pytest.mark.parametrize(
    "data,message",
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "5001 digits"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' is there twice"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 24 deep"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested more than 24 deep"),
        (b'["\\ud800"]', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
        (b"\xff\xfe", "not UTF-8"),
        ("\ufeff{}".encode(), "byte order mark"),
        (b'{"a": 1,}', "line 1, column"),
        (b"", "not JSON"),
    ],
)
def test_refused_in_words(data, message):
    with pytest.raises(StrictJsonError, match=message):
        parse_json(data)


def test_brackets_in_strings_are_no_depth():
    assert parse_json(json.dumps({"a": "[" * 500 + '\\"{'}).encode()) == {"a": "[" * 500 + '\\"{'}


def test_only_regular_files_of_a_size_are_opened(tmp_path):
    big = tmp_path / "big.json"
    with big.open("wb") as file:
        file.truncate(10**12)  # sparse: a terabyte that would never be read to its end
    with pytest.raises(StrictJsonError, match="1,000,000,000,000 bytes; the limit is"):
        read_json(big)
    os.mkfifo(tmp_path / "pipe")
    done = threading.Event()

    def read_pipe():
        with pytest.raises(StrictJsonError, match="not a regular file"):
            read_json(tmp_path / "pipe")
        done.set()

    threading.Thread(target=read_pipe, daemon=True).start()
    assert done.wait(5), "a named pipe must not wait for its writer"
    with pytest.raises(StrictJsonError, match="not a regular file"):
        read_json("/dev/zero")
    for nothing in (tmp_path, tmp_path / "absent", "a\x00b"):
        with pytest.raises(StrictJsonError):
            read_json(nothing)


def test_quotes_are_short_ascii():
    assert quote("\x1b[2J\u202egnp") == "'\\x1b[2J\\u202egnp'"
    assert len(quote("\U0001f600" * 10**6)) <= 60 and quote("\U0001f600").isascii()
    assert quote({"a": 1}) == "an object of 1 keys" and quote([1, 2]) == "a list of 2"
