import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.ignore_case import SAME_UPPER_CASE, ignore_case, map_characters
from stages.kernels.text_view import text_view
from stages.kernels.unicode import CODE_POINTS, lower_case

TEXTS = st.lists(st.none() | st.text(st.sampled_from("aAİıſKȺ𐐀Σς 中🐎") | st.characters(exclude_categories=["Cs"])), max_size=5)


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python has another Unicode than the pinned tables")
@pytest.mark.parametrize("character", [*"aikszKSİµςσβ.éд中", *(c for group in SAME_UPPER_CASE for c in group)])
def test_equal_as_in_re(character):
    table = ignore_case()
    everything = "".join(chr(c) for c in range(CODE_POINTS))
    want = [match.start() for match in re.finditer(re.escape(character), everything, re.IGNORECASE)]
    assert [c for c in range(CODE_POINTS) if table[c] == table[ord(character)]] == want


@settings(deadline=None)
@given(TEXTS, st.integers(0, 2), st.booleans())
def test_map_against_the_plain_twin(texts, skip, lower):
    table = lower_case() if lower else ignore_case()
    column = pa.array(texts, pa.string()).slice(skip)
    made = map_characters(text_view(column), table)
    got = [made.data[a:b].tobytes().decode() for a, b in zip(made.offsets, made.offsets[1:], strict=False)]
    assert got == ["".join(chr(table[ord(c)]) for c in text or "") for text in column.to_pylist()]


def test_bytes_that_are_not_utf8_stay():
    raw = b"A\xff\xc3Z\xf0\x9f"
    column = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer((0).to_bytes(8, "little") + len(raw).to_bytes(8, "little")), pa.py_buffer(raw)])
    made = map_characters(text_view(column), lower_case())
    assert made.data[0] == ord("a") and len(made.data) <= len(raw) + len(raw) // 2
