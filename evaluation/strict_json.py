"""JSON from strangers: read without being hurt, and refused with the reason.

The size is capped before anything is read and the depth before anything is parsed; only a regular file is opened; NaN,
infinities, absurd numbers, repeated keys, invalid UTF-8 and lone surrogates are errors, not surprises later. `quote` is how a
stranger's value may be shown: ASCII, short, without control characters, so that it can not drive a terminal or a page.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 24
MAX_DIGITS = 40


class StrictJsonError(ValueError):
    """The file is not JSON that may be read; the message says why and what to do."""


def read_json(path: str | Path, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """The JSON value in a regular file of at most `max_bytes`. Raises StrictJsonError."""
    return parse_json(read_capped(path, max_bytes), max_depth)


def read_capped(path: str | Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; raises StrictJsonError for anything else, and before reading for a file over the cap."""
    try:
        # Non-blocking: opening a named pipe would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise StrictJsonError(f"{quote(str(path))} can not be opened ({type(error).__name__}); give a readable file") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise StrictJsonError(f"{quote(str(path))} is not a regular file; give a file")
        if facts.st_size > max_bytes:
            raise StrictJsonError(f"the file has {facts.st_size:,} bytes; the limit is {max_bytes:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)  # it may have grown since
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise StrictJsonError(f"the file has more than {max_bytes:,} bytes, which is the limit")
    return data


def parse_json(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The value of JSON bytes. Raises StrictJsonError; every string in the result can be encoded as UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    if text.startswith("\ufeff"):
        raise StrictJsonError("the file begins with a byte order mark; save it as UTF-8 without one")
    depth = _depth(text)
    if depth > max_depth:
        raise StrictJsonError(f"objects and lists are nested more than {max_depth} deep; nothing here needs that")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_number
        )
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"line {error.lineno}, column {error.colno}: not JSON ({error.msg})") from error
    _check_strings(value)
    return value


def quote(value: Any, limit: int = 60) -> str:
    """A stranger's value for a message: ASCII with escapes, at most `limit` characters."""
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = ascii(value[: limit + 1] if isinstance(value, str) else value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _depth(text: str) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise StrictJsonError(f"the key {quote(key)} is there twice in one object; keep one")
        found[key] = value
    return found


def _check_strings(value: Any) -> None:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str) and any("\ud800" <= character <= "\udfff" for character in item):
            raise StrictJsonError(f"the string {quote(item)} has half a surrogate pair; write the character itself")


def _refuse_constant(word: str) -> Any:
    raise StrictJsonError(f"{word} is no JSON number; leave the field out or give null")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise StrictJsonError(f"a whole number of {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise StrictJsonError(f"the number {quote(digits)} is too large; expected a finite number")
    return value
