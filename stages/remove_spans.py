"""Remove the paragraphs, or other stretches, and drop the documents that `dedup_ngrams` or `dedup_substrings` found to be repeats.

Reads text and the sidecar's keep, drop_reason, value, limit, removed -> text without the removed stretches; the drops carry what was
measured on them and its limit. A paragraph goes with the newline before it, the first of a document has none: what is left then begins
with a newline, as it does in DCLM. Nothing else changes, and a document from which nothing is removed keeps its bytes.
Cost: one copy of the text of those batches in which something is removed.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class RemoveSpans:
    """Nothing to choose: the verdicts say it all."""


@stage(
    version=1,
    kind="map",
    takes=("documents", "sidecar"),
    needs={"id", "text", "keep", "drop_reason", "value", "limit", "removed"},
    adds={"text": pa.string()},
)
def remove_spans(config: RemoveSpans, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Carry out the verdicts of `dedup_ngrams` or `dedup_substrings`; ValueError for a verdict that is null or was made on another text."""
    from stages.kernels.cut import cut, text_column
    from stages.kernels.text_view import text_view

    def judge(batch: pa.RecordBatch) -> Verdict:
        keep, removed = batch.column("keep"), batch.column("removed")
        if keep.null_count:
            bad = batch.column("id").filter(keep.is_null())[0].as_py()
            raise ValueError(f"remove_spans: the verdict on document {bad} is null; judge the documents again")
        detail = detail_array(len(keep), value=batch.column("value"), limit=batch.column("limit"))
        verdict = Verdict(keep=keep, reason=batch.column("drop_reason"), detail=detail)
        if not len(removed.flatten()):
            return verdict
        text = text_view(batch.column("text"))
        spans = _spans(removed, text.offsets, batch.column("id"))
        counters = {"spans_removed": len(spans.starts), "bytes_removed": int((spans.ends - spans.starts).sum())}
        column = text_column(cut(text, spans), batch.column("text").type)
        if batch.column("text").null_count:  # a null stays one, whatever else is in the batch
            column = pc.if_else(batch.column("text").is_null(), pa.scalar(None, column.type), column)
        return Verdict(keep=keep, reason=verdict.reason, detail=detail, columns={"text": column}, counters=counters)

    return judge


def _spans(removed: pa.ListArray, offsets: np.ndarray, ids: pa.Array):
    """The sidecar's stretches, which count from the start of their document, as spans of the batch's bytes."""
    from stages.kernels.cut import Spans

    counts = removed.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    flat, rows = removed.flatten(), np.repeat(np.arange(len(counts)), counts)
    starts, ends = (flat.field(name).to_numpy(zero_copy_only=False).astype(np.int64) + offsets[rows] for name in ("start", "end"))
    before = np.where(np.diff(rows, prepend=-1) != 0, offsets[rows], np.roll(ends, 1))  # the end of the one before, in its document
    wrong = (starts < before) | (ends < starts) | (ends > offsets[rows + 1])
    if wrong.any():
        row, at = int(rows[wrong][0]), int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"remove_spans: bytes {flat[at].as_py()} of document {ids[row].as_py()} are not in its {int(offsets[row + 1] - offsets[row])} "
            "bytes, or not in order; the verdicts were made on another text, so judge this one"
        )
    return Spans(np.concatenate(([0], np.cumsum(counts, dtype=np.int64))), starts, ends)
