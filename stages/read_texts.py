"""Read JSON-lines files of texts into documents, so that validation and reference texts are datasets like any other.

Read: *.jsonl or *.jsonl.gz files, one object with a text (and if it has them an id and a url) on a line -> written: id,
url, origin, text.
Cost: one parse of every line.

    counter `records` = lines that are not blank = documents + drops;  `blank_lines` are only counted
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from stages.core.config import config
from stages.core.schema import DOCUMENT, detail_array, schema_of
from stages.core.stage import Extracted, Guard, Inputs, Resources, SourceShard, stage

REASONS = ("bad_json", "no_text", "duplicate_id")
"""Every drop_reason of this stage but those of the guard."""

BATCH_ROWS = 1024


@config
class ReadTexts:
    text_field: str = "text"
    """Field that holds the text; a line where it is missing, not a string, or blank is dropped."""
    id_field: str = "id"
    """Field that holds the id, unique over all files. A line without one is called by its `origin`."""
    url_field: str = "url"
    """Field that holds the url, if any."""


@stage(version=1, kind="extract", takes=("source",), adds=DOCUMENT)
def read_texts(
    config: ReadTexts, inputs: Inputs, resources: Resources
) -> Callable[[SourceShard, Guard], Iterator[Extracted]]:
    """Read every line of JSON-lines files; what is no document is a drop with a reason of REASONS.

    `origin` is shard name and byte offset of the line (after decompression). A line that is not an object in UTF-8 is
    `bad_json`, a line without text `no_text`, the second line of one id in a shard `duplicate_id`. An unreadable file
    raises OSError.
    """

    def run(shard: SourceShard, guard: Guard) -> Iterator[Extracted]:
        import fsspec

        documents, drops, seen, blank, offset = [], [], set(), 0, 0
        with fsspec.open(shard.url, "rb", compression="infer") as file:
            for line in file:
                start, offset = offset, offset + len(line)
                if not line.strip():
                    blank += 1
                    continue
                row, reason, note = _parse(config, line, f"{shard.name}@{start}", guard.enter(start))
                if reason is None and row["id"] in seen:
                    reason, note = "duplicate_id", None
                if reason is None:
                    seen.add(row["id"])
                    documents.append(row)
                else:
                    drops.append({**row, "drop_reason": reason, "note": note})
                if len(documents) + len(drops) >= BATCH_ROWS:
                    yield _flush(documents, drops, blank)
                    documents, drops, blank = [], [], 0
        yield _flush(documents, drops, blank)

    return run


def _parse(
    config: ReadTexts, line: bytes, origin: str, reason: str | None
) -> tuple[dict[str, Any], str | None, str | None]:
    """A row of DOCUMENT, a drop_reason or None, and a note about it."""
    row: dict[str, Any] = {"id": origin, "url": None, "origin": origin, "text": None}
    if reason:
        return row, reason, None
    try:
        data = json.loads(line.decode("utf-8-sig" if origin.endswith("@0") else "utf-8"))
        if not isinstance(data, dict):
            return row, "bad_json", f"not an object but a {type(data).__name__}"
        for name, field in (("id", config.id_field), ("url", config.url_field)):
            value = data.get(field)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                row[name] = _encodable(str(value))
        text = data.get(config.text_field)
        if not isinstance(text, str):
            has = ", ".join(map(str, list(data)[:8])) or "no fields"
            return row, "no_text", f"'{config.text_field}' is a {type(text).__name__} (has: {_encodable(has)})"
        row["text"] = _encodable(text)
    except (ValueError, RecursionError) as error:
        row["id"], row["url"] = origin, None
        return row, "bad_json", str(error)[:200].encode("utf-8", "backslashreplace").decode()
    return row, None if text.strip() else "no_text", None


def _encodable(text: str) -> str:
    """Return `text`; UnicodeEncodeError (a ValueError) if it holds half a surrogate pair, which no UTF-8 can."""
    text.encode("utf-8")
    return text


def _flush(documents: list[dict], drops: list[dict], blank: int) -> Extracted:
    counters = {"records": len(documents) + len(drops), "blank_lines": blank}
    kept = pa.RecordBatch.from_pylist(documents, schema=schema_of(DOCUMENT)) if documents else None
    if not drops:
        return Extracted(kept, None, counters)
    schema = schema_of({**DOCUMENT, "drop_reason": pa.string()})
    dropped = pa.RecordBatch.from_pylist([{n: d[n] for n in schema.names} for d in drops], schema=schema)
    return Extracted(
        kept, dropped.append_column("detail", detail_array(len(drops), note=[d["note"] for d in drops])), counters
    )
