"""Arrow string columns as two numpy arrays: the bytes, and where each document begins."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Text:
    """UTF-8 bytes of n documents: document i is data[offsets[i]:offsets[i + 1]]."""

    data: np.ndarray
    """uint8, a view on Arrow's buffer (which it keeps alive)."""
    offsets: np.ndarray
    """int64[n + 1]; the first need not be 0."""

    def __len__(self) -> int:
        return len(self.offsets) - 1


def text_view(column: pa.Array | pa.ChunkedArray) -> Text:
    """View a string column without copying its bytes; a null counts as an empty document, slices are honoured.

    Takes string, large_string, string_view and dictionaries of them; TypeError for another type.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type) or column.type == pa.string_view():
        column = column.cast(pa.large_string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise TypeError(f"text_view: a column of strings is needed, not {column.type}")
    if column.null_count:
        column = column.fill_null("")
    offset_type = np.int32 if pa.types.is_string(column.type) else np.int64
    _, offsets, data = column.buffers()
    if offsets is None or len(column) == 0:
        return Text(np.empty(0, np.uint8), np.zeros(len(column) + 1, np.int64))
    view = np.frombuffer(offsets, offset_type)[column.offset : column.offset + len(column) + 1]
    bytes_ = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return Text(bytes_, view.astype(np.int64))
