"""What a dataset page shows of the documents: lengths, scores, samples; from record batches, bounded, and the same every time.

Reads the columns id, url, text, numeric columns of documents; id, url, text, drop_reason, drop_stage, detail of dropped ones; keep,
value, limit of verdicts. A histogram is {"edges": n + 1 numbers, "counts": n whole numbers} with what it was made of beside it.
Cost: one pass over the batches that it is given; the caller decides how many (`spread`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXCERPT = 600
"""Characters of a sample's text."""
BINS = 40
PER_DECADE = 5

T = TypeVar("T")


def spread(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of the items, evenly over the whole, the first among them."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def length_histogram(batches: Iterable[pa.RecordBatch]) -> dict[str, Any] | None:
    """Documents by the characters of their text, five bins a decade; with the documents seen and quartiles. None without documents.

    A document without text counts as one of no characters; both are in the first bin.
    """
    lengths = [pc.fill_null(pc.utf8_length(batch.column("text")), 0).to_numpy(zero_copy_only=False) for batch in batches]
    found = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
    if not len(found):
        return None
    first, last = (math.floor(PER_DECADE * math.log10(max(1, int(end)))) for end in (found.min(), found.max()))
    edges = 10.0 ** (np.arange(first, last + 2) / PER_DECADE)
    edges[0] = 0.0 if found.min() < 1 else edges[0]
    place = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, len(edges) - 2)
    quartiles = np.quantile(found, (0.25, 0.5, 0.75), method="nearest")
    return {
        "edges": [float(f"{edge:.4g}") for edge in edges],
        "counts": np.bincount(place, minlength=len(edges) - 1).tolist(),
        "documents": len(found),
        "quartiles": [int(value) for value in quartiles],
        "mean": float(found.mean()),
    }


def number_histograms(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """A histogram of every floating-point column of the documents, by name; those without a finite value are left out."""
    columns: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for name in batch.schema.names:
            if pa.types.is_floating(batch.schema.field(name).type):
                columns.setdefault(name, []).append(_numbers(batch.column(name)))
    made = ((name, np.concatenate(columns[name])) for name in sorted(columns))
    return [{"column": name, "kept": _counts(values, edges), "edges": edges.tolist(), "documents": len(values)}
            for name, values in made if len(values) for edges in [_edges(values)]]  # fmt: skip


def verdict_histogram(batches: Iterable[pa.RecordBatch]) -> dict[str, Any] | None:
    """The values by which documents were kept or dropped, each apart, and the limit; None where those kept have no values (duplicates)."""
    kept, dropped, limits = [np.zeros(0)], [np.zeros(0)], set()
    for batch in batches:
        value, keep = batch.column("value"), batch.column("keep")
        kept.append(_numbers(value.filter(keep)))
        dropped.append(_numbers(value.filter(pc.invert(keep))))
        limits |= set(pc.unique(_finite(batch.column("limit"))).to_pylist())
    k, d = np.concatenate(kept), np.concatenate(dropped)
    if not len(k):
        return None
    edges = _edges(np.concatenate([k, d]))
    return {
        "edges": edges.tolist(), "kept": _counts(k, edges), "dropped": _counts(d, edges), "documents": len(k) + len(d),
        "limit": limits.pop() if len(limits) == 1 else None,
    }  # fmt: skip


def kept_samples(batches: Iterable[pa.RecordBatch], count: int = 5) -> list[dict[str, Any]]:
    """The first `count` documents: id, url, text (its beginning) and the characters of the whole."""
    found: list[dict[str, Any]] = []
    for batch in batches:
        found += [_sample(row) for row in batch.slice(0, count - len(found)).to_pylist()]
        if len(found) >= count:
            break
    return found


def dropped_samples(batches: Iterable[pa.RecordBatch], per_reason: int = 3) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By (step, reason): its first documents, as `kept_samples`, with the detail that the step wrote (value, limit, kept_id, note)."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for batch in batches:
        for at, key in enumerate(zip(*(batch.column(name).to_pylist() for name in ("drop_stage", "drop_reason")), strict=True)):
            samples = found.setdefault(key, [])
            if len(samples) < per_reason:
                row = batch.slice(at, 1).to_pylist()[0]
                detail = {name: value for name, value in (row["detail"] or {}).items() if value is not None}
                samples.append(_sample(row) | {"detail": detail})
    return found


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    text = row.get("text")
    return {
        "id": row["id"], "url": row.get("url"), "text": None if text is None else text[:EXCERPT],
        "characters": None if text is None else len(text),
    }  # fmt: skip


def _finite(column: pa.Array) -> pa.Array:
    column = column.cast(pa.float64())
    return column.filter(pc.fill_null(pc.is_finite(column), False))


def _numbers(column: pa.Array) -> np.ndarray:
    return _finite(column).to_numpy(zero_copy_only=False)


def _edges(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-12 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _counts(values: np.ndarray, edges: np.ndarray) -> list[int]:
    return np.histogram(values, edges)[0].tolist()
