import numpy as np
import pyarrow as pa
import pytest

from stages.kernels.text_view import text_view

TEXTS = ["", "a", "žluťoučký 𝔘🐎", "x\ny"]


def read(text):
    return [text.data[a:b].tobytes().decode() for a, b in zip(text.offsets, text.offsets[1:], strict=False)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_reads_back_what_arrow_holds(kind):
    column = pa.array(TEXTS, kind)
    assert read(text_view(column)) == TEXTS
    assert read(text_view(column.slice(1, 2))) == TEXTS[1:3]
    assert read(text_view(column.slice(4))) == []
    assert text_view(column).offsets.dtype == np.int64


def test_null_is_an_empty_document():
    assert read(text_view(pa.array(["a", None, "b"]))) == ["a", "", "b"]
    assert read(text_view(pa.array([None], pa.string()))) == [""]


def test_dictionaries_and_chunks():
    assert read(text_view(pa.array(["b", "a", "b"]).dictionary_encode())) == ["b", "a", "b"]
    assert read(text_view(pa.chunked_array([["a"], [], ["b"]], pa.string()))) == ["a", "b"]


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="int64"):
        text_view(pa.array([1]))
