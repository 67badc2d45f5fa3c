"""Arrow schemas: the columns of a document, of a dropped document, and the checks at every boundary."""

import pyarrow as pa

DOCUMENT = {
    "id": pa.string(),
    "url": pa.string(),
    "origin": pa.string(),
    "text": pa.string(),
}
"""What every document has: `id` from its content and origin, `origin` = shard name and byte offset (`docs-000.warc.gz@81234`)."""

DETAIL = pa.struct(
    [("kept_id", pa.string()), ("value", pa.float64()), ("limit", pa.float64()), ("note", pa.string())]
)
"""Why, in numbers: the document that was kept instead, the measured value and its limit, or a remark."""

DROPPED = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("origin", pa.string()),
        ("drop_stage", pa.string()),
        ("drop_reason", pa.string()),
        ("detail", DETAIL),
        ("text", pa.string()),
    ]
)
"""One row for every dropped document; `text` is null where the run did not keep it."""

VERDICT = {
    "keep": pa.bool_(),
    "drop_reason": pa.string(),
    "kept_id": pa.string(),
    "cluster": pa.int64(),
    "value": pa.float64(),
    "limit": pa.float64(),
}
"""What a global decision writes for every document beside its `id`: one row in the input's order."""


def schema_of(columns: dict[str, pa.DataType]) -> pa.Schema:
    """Make a schema without metadata from an ordered mapping of names to types."""
    return pa.schema(list(columns.items()))


def columns_of(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return a schema as an ordered mapping of names to types."""
    return {field.name: field.type for field in schema}


def conform(batch: pa.RecordBatch | pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Cast and order the columns of `batch` to `schema`; ValueError names a missing column and what is there instead."""
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{where}: column '{missing[0]}' is missing (has: {', '.join(table.column_names)})")
    return table.select(schema.names).cast(schema).replace_schema_metadata(None)


def detail_array(length: int, **columns: pa.Array | list) -> pa.StructArray:
    """Make a detail column of `length` rows from some of its fields (kept_id, value, limit, note); the others are null."""
    arrays = []
    for field in DETAIL:
        column = columns.pop(field.name, None)
        arrays.append(pa.nulls(length, field.type) if column is None else pa.array(column, field.type))
    if columns:
        raise ValueError(f"detail has no field '{next(iter(columns))}' (fields: {', '.join(f.name for f in DETAIL)})")
    return pa.StructArray.from_arrays(arrays, fields=list(DETAIL))
