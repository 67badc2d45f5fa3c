"""Select documents: by a score or at random, above a threshold, the best fraction, a number of them, or up to a budget.

The decision is global and exact, whatever the shards, batches and workers. It is written as verdicts; `apply_verdicts`
carries it out. DCLM keeps the tenth of its pool that fastText scores highest (Li et al. 2024, section 4.3):
keep_fraction=0.1.
Read: id, the score, and text or a token count for budgets -> written: id and verdicts.
Cost: one scan of the columns read and one of the ids; 24 bytes of memory a document.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config
from stages.core.dataset import Dataset, merged_batches
from stages.core.schema import VERDICT
from stages.core.stage import Inputs, Resources, stage


@config
class Select:
    by: str | None = None
    """Score column, of a sidecar or of the documents, the higher the better; None selects at random."""
    threshold: float | None = None
    """Keep documents whose score is at least this."""
    keep_fraction: float | None = None
    """Keep this share of the documents: exactly `fraction * n` of them, half rounded up."""
    num_documents: int | None = None
    """Keep exactly this many documents, or all if there are fewer."""
    num_tokens: int | None = None
    """Keep the longest run of best documents whose `tokens_column` adds up to at most this."""
    num_text_bytes: int | None = None
    """Keep the longest run of best documents whose texts add up to at most this many UTF-8 bytes."""
    tokens_column: str | None = None
    """Integer column that `num_tokens` adds up."""
    seed: int = 0
    """Of the random order. Under one seed a larger random selection contains every smaller one."""

    def __post_init__(self) -> None:
        rules = ("threshold", "keep_fraction", "num_documents", "num_tokens", "num_text_bytes")
        given = [rule for rule in rules if getattr(self, rule) is not None]
        if len(given) != 1:
            raise ValueError(f"select: give exactly one of {', '.join(rules)} (given: {', '.join(given) or 'none'})")
        if self.threshold is not None and self.by is None:
            raise ValueError(f"select: threshold={self.threshold} needs by=, the score column that it is compared with")
        if self.keep_fraction is not None and not 0 <= self.keep_fraction <= 1:
            raise ValueError(f"select: keep_fraction is {self.keep_fraction}; it must be from 0 to 1")
        for rule in rules[2:]:
            if (getattr(self, rule) or 0) < 0:
                raise ValueError(f"select: {rule} is {getattr(self, rule)}; it must not be negative")
        if (self.num_tokens is None) != (self.tokens_column is None):
            raise ValueError(
                "select: num_tokens and tokens_column go together; without token counts use num_text_bytes"
            )

    @property
    def columns(self) -> set[str]:
        """Columns that this selection reads."""
        text = {"text"} if self.num_text_bytes is not None else set()
        return {"id"} | text | {name for name in (self.by, self.tokens_column) if name}


@stage(
    version=1,
    kind="reduce",
    takes=("documents", "sidecar*"),
    needs=lambda config: config.columns,
    adds={"id": pa.string(), **VERDICT},
)
def select(config: Select, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Decide for every document whether it is selected.

    Order: higher score first, or XXH64 of the id under the seed; equal ones by id (bytewise). `value` is the score (at
    random: the hash as a share of 2^64), `limit` the threshold or the value of the last document kept, null if none is.
    drop_reason is `below_threshold` for a score under the limit, `not_selected` for a tie lost at the limit or at
    random. Raises ValueError for a null or NaN score or a bad token count, naming the document.
    """
    documents = inputs.documents
    rank, size = _measure(config, documents, inputs.of("sidecar"), resources)
    keep = _keep(config, rank, size, documents)
    value = -rank if config.by else rank / 2.0**64
    limit = config.threshold
    if limit is None and keep.any():
        limit = float(value[keep].min() if config.by else value[keep].max())
    start = 0
    for shard in documents.shards:
        ids = documents.table(shard.name, ["id"]).column("id")
        rows = slice(start, start + len(ids))
        yield shard.name, _verdicts(ids, keep[rows], value[rows], limit, config.by is not None)
        start = rows.stop


def _measure(
    config: Select, documents: Dataset, sidecars: tuple[Dataset, ...], resources: Resources
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rank (the lower the better: minus the score, or a hash) and size of every document in the dataset's order."""
    from stages.kernels.seeded_order import derived_seed, hash_ids

    seed = derived_seed("select", config.seed)
    for column in sorted(config.columns):
        _check_column(column, documents, sidecars)
    ranks, sizes = [np.zeros(0, np.float64 if config.by else np.uint64)], [np.zeros(0, np.int64)]
    budget = config.tokens_column or ("text" if config.num_text_bytes is not None else None)
    for number, shard in enumerate(documents.shards):
        for batch in merged_batches(documents, sidecars, shard.name, sorted(config.columns), resources.batch_rows):
            if config.by:
                ranks.append(-_numbers(batch, config.by, pa.float64(), documents.name))
            else:
                ranks.append(hash_ids(batch.column("id"), seed))
            if budget:
                sizes.append(_numbers(batch, budget, pa.int64(), documents.name))
        resources.report(number / len(documents.shards), f"read {shard.name}")
    return np.concatenate(ranks), np.concatenate(sizes) if budget else None


def _check_column(column: str, documents: Dataset, sidecars: tuple[Dataset, ...]) -> None:
    owners = [d.name for d in (documents, *sidecars) if column in d.schema.names]
    if not owners or (len(owners) > 1 and column != "id"):
        has = ", ".join(dict.fromkeys(name for d in (documents, *sidecars) for name in d.schema.names))
        problem = f"is in several inputs ({', '.join(owners)})" if owners else f"is missing (has: {has})"
        remedy = "leave one of them out" if owners else "give select the sidecar of the stage that writes it"
        raise ValueError(f"select: column '{column}' of {documents.name} {problem}; {remedy}")


def _numbers(batch: pa.RecordBatch, name: str, kind: pa.DataType, where: str) -> np.ndarray:
    """A column without null, NaN or, for sizes, negative values; a text column counts as its length in bytes."""
    column = batch.column(name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.binary_length(column)
    wrong = column.is_null(nan_is_null=True)
    if kind == pa.int64():
        wrong = pc.or_(wrong, pc.fill_null(pc.less(column, 0), False))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise ValueError(
            f"select: '{name}' of document {batch.column('id')[row].as_py()} in {where} is {column[row].as_py()}; "
            "every document needs a number: run the stage that writes it again, or drop the document first"
        )
    return column.cast(kind, safe=False).to_numpy(zero_copy_only=False)


def _keep(config: Select, rank: np.ndarray, size: np.ndarray | None, documents: Dataset) -> np.ndarray:
    if config.threshold is not None:
        return rank <= -config.threshold
    if size is None:
        count = config.num_documents
        if config.keep_fraction is not None:  # in decimal, as it was written: 0.1 of 15 is 1.5 and becomes 2
            count = int((Decimal(repr(config.keep_fraction)) * len(rank)).quantize(Decimal(1), ROUND_HALF_UP))
        if count >= len(rank):
            return np.ones(len(rank), bool)
        if count == 0:
            return np.zeros(len(rank), bool)
        border = np.partition(rank, count - 1)[count - 1]
        keep = rank < border
        tied = _by_id(np.flatnonzero(rank == border), documents)
        keep[tied[: count - int(keep.sum())]] = True
        return keep
    budget = config.num_tokens if config.num_tokens is not None else config.num_text_bytes
    order = np.argsort(rank, kind="stable")
    first_over = int(np.searchsorted(np.cumsum(size[order]), budget, side="right"))
    if first_over == len(rank):
        return np.ones(len(rank), bool)
    border = rank[order[first_over]]
    keep = rank < border  # all better ones come before the first that does not fit, so they fit
    tied = _by_id(np.flatnonzero(rank == border), documents)
    keep[tied[np.cumsum(size[tied]) <= budget - int(size[keep].sum())]] = True
    return keep


def _by_id(rows: np.ndarray, documents: Dataset) -> np.ndarray:
    """Sort rows of the whole dataset by the ids that stand there; only the shards that hold some are read."""
    if len(rows) < 2:
        return rows
    ids, start = [], 0
    for shard in documents.shards:
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + shard.rows_out)] - start
        if len(here):
            ids += documents.table(shard.name, ["id"]).column("id").take(pa.array(here)).chunks
        start += shard.rows_out
    return rows[pc.array_sort_indices(pa.chunked_array(ids).combine_chunks()).to_numpy()]


def _verdicts(ids: pa.ChunkedArray, keep: np.ndarray, value: np.ndarray, limit: float | None, scored: bool) -> pa.Table:
    below = value < limit if scored and limit is not None else np.zeros(len(keep), bool)
    reason = pc.if_else(pa.array(below, pa.bool_()), "below_threshold", "not_selected")
    columns = {
        "id": ids,
        "keep": pa.array(keep, pa.bool_()),
        "drop_reason": pc.if_else(pa.array(keep, pa.bool_()), pa.scalar(None, pa.string()), reason),
        "kept_id": pa.nulls(len(keep), pa.string()),
        "cluster": pa.nulls(len(keep), pa.int64()),
        "value": pa.array(value, pa.float64()),
        "limit": pa.repeat(pa.scalar(limit, pa.float64()), len(keep)),
    }
    return pa.table(columns)
