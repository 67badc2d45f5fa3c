"""Cutting spans of bytes out of documents, and documents back into an Arrow column."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit

from stages.kernels.text_view import Text


@dataclass(frozen=True)
class Spans:
    """Stretches of bytes in n documents, in order and without overlap: those of document i are bounds[i]:bounds[i + 1]."""

    bounds: np.ndarray
    """int64[n + 1]."""
    starts: np.ndarray
    """int64[spans], first byte in Text.data."""
    ends: np.ndarray
    """int64[spans], byte after the last."""


def cut(text: Text, spans: Spans) -> Text:
    """Return the documents without `spans`, in a buffer of their own; `text` itself if there are none."""
    if not len(spans.starts):
        return text
    data = np.empty(int(text.offsets[-1] - text.offsets[0]), np.uint8)
    offsets = np.zeros(len(text) + 1, np.int64)
    _cut(text.data, text.offsets, spans.bounds, spans.starts, spans.ends, data, offsets)
    return Text(data[: offsets[-1]], offsets)


def count_characters(text: Text, spans: Spans) -> int:
    """Count the code points in all of `spans`."""
    return int(_count(text.data, spans.starts, spans.ends))


def text_column(text: Text, like: pa.DataType) -> pa.Array:
    """Make an Arrow column of documents that no longer share a buffer with another: string if `like` is that, else large_string.

    The first offset must be 0 (as after `cut`); ValueError for more than 2 GiB of string.
    """
    kind, width = (pa.string(), np.int32) if pa.types.is_string(like) else (pa.large_string(), np.int64)
    if text.offsets[-1] > np.iinfo(width).max:
        raise ValueError(f"text_column: {text.offsets[-1]:,} bytes do not fit a column of type string; use large_string or smaller batches")
    offsets = text.offsets.astype(width)
    return pa.Array.from_buffers(kind, len(text), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text.data))])


@njit(nogil=True, cache=True)
def _cut(data, offsets, bounds, starts, ends, out, out_offsets):
    o = 0
    for doc in range(len(offsets) - 1):
        i = offsets[doc]
        for span in range(bounds[doc], bounds[doc + 1] + 1):
            stop = starts[span] if span < bounds[doc + 1] else offsets[doc + 1]
            out[o : o + stop - i] = data[i:stop]
            o += stop - i
            if span < bounds[doc + 1]:
                i = ends[span]
        out_offsets[doc + 1] = o


@njit(nogil=True, cache=True)
def _count(data, starts, ends):
    count = 0
    for span in range(len(starts)):
        for i in range(starts[span], ends[span]):
            count += data[i] & 0xC0 != 0x80
    return count
