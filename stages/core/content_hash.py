"""A logical hash of columns: equal for equal values, whatever the batches, chunks, offsets or Parquet bytes that held them.

Each column feeds three streams to sha256: validity (one byte a value), lengths (int64, variable-width types) and the values of the
non-null entries. Streams of consecutive batches simply follow one another, so the split into batches leaves no trace.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class ContentHash:
    """Accumulates the logical hash of a sequence of tables of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._streams: dict[str, hashlib._Hash] = {}
        self._rows = 0

    def update(self, table: pa.Table) -> None:
        """Add the rows of `table`, whose schema must be that of the constructor."""
        self._rows += table.num_rows
        for name in self._schema.names:
            for chunk in table.column(name).chunks:
                self._feed(name, chunk)

    def hexdigest(self) -> str:
        """Return 64 hex digits over schema, row count and all streams so far."""
        whole = hashlib.sha256(repr([(f.name, _type_name(f.type)) for f in self._schema]).encode())
        whole.update(self._rows.to_bytes(8, "little"))
        for path in sorted(self._streams):
            whole.update(path.encode() + self._streams[path].digest())
        return whole.hexdigest()

    def _stream(self, path: str, data: np.ndarray | pa.Buffer | bytes) -> None:
        self._streams.setdefault(path, hashlib.sha256()).update(data)

    def _feed(self, path: str, array: pa.Array) -> None:
        kind = array.type
        if pa.types.is_dictionary(kind):
            return self._feed(path, array.dictionary_decode())
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.uint8)
        self._stream(path + "?", valid)
        if array.null_count:
            array = array.drop_null()
        if pa.types.is_struct(kind):
            for i, field in enumerate(kind):
                self._feed(f"{path}.{field.name}", pc.struct_field(array, [i]))
        elif pa.types.is_fixed_size_list(kind):
            self._feed(path + "[]", array.flatten())
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._stream(path + "#", pc.list_value_length(array).cast(pa.int64()).to_numpy(zero_copy_only=False))
            self._feed(path + "[]", array.flatten())
        elif pa.types.is_boolean(kind):
            self._stream(path, np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.uint8))
        elif pa.types.is_null(kind):
            pass
        elif pa.types.is_fixed_size_binary(kind) or not _variable_width(kind):
            width = kind.bit_width // 8
            data = array.buffers()[1]
            if data is not None and len(array):
                self._stream(path, data[array.offset * width : (array.offset + len(array)) * width])
        else:
            array = array.cast(pa.large_binary())
            offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
            self._stream(path + "#", np.diff(offsets))
            data = array.buffers()[2]
            if data is not None and len(array):
                self._stream(path, data[int(offsets[0]) : int(offsets[-1])])
        return None


def _type_name(kind: pa.DataType) -> str:
    """Name a type by what it holds: not by how a list calls its items, which Parquet changes."""
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{field.name}: {_type_name(field.type)}" for field in kind) + ">"
    if pa.types.is_fixed_size_list(kind):
        return f"list[{kind.list_size}]<{_type_name(kind.value_type)}>"
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    return str(kind)


def _variable_width(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
    )


def content_hash(table: pa.Table) -> str:
    """Return the logical hash of a whole table."""
    running = ContentHash(table.schema)
    running.update(table)
    return running.hexdigest()
