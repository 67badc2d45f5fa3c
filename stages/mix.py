"""Mix sources: mixture weights and a budget give every source its epochs, within a cap on repetition.

Up to 4 epochs repeated text is worth nearly as much as new text (Muennighoff et al. 2023, "Scaling data-constrained
language models"), hence the default cap.
Read: all columns of every source -> written: the same, `source` and `epoch`; one document may appear once in each
epoch, so the key is (id, epoch) within a source.
Cost: two scans of every source; 17 bytes of memory a document.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.stage import Inputs, Resources, stage

logger = logging.getLogger(__name__)


@config
class Mix:
    sources: tuple[str, ...]
    """Name of each input, in order: what stands in the column `source`."""
    weights: tuple[float, ...]
    """Mixture weight of each input; only their proportions count."""
    num_tokens: int | None = None
    """Token budget of the whole mixture, in units of `tokens_column`."""
    num_text_bytes: int | None = None
    """The budget in UTF-8 bytes of text instead."""
    tokens_column: str | None = None
    """Integer column with the tokens of each document."""
    max_epochs: float | tuple[float, ...] = 4.0
    """Most often that a source is repeated, for all sources or for each."""
    seed: int = 0
    """Of the subsets that fill the last, partial epochs."""

    def __post_init__(self) -> None:
        if not self.sources or len(self.sources) != len(self.weights) or len(set(self.sources)) != len(self.sources):
            raise ValueError(
                f"mix: give each input one name and one weight (names {self.sources}, weights {self.weights})"
            )
        if any(w < 0 for w in self.weights) or not sum(self.weights):
            raise ValueError(f"mix: weights are {self.weights}; none may be negative and one must be positive")
        if (self.num_tokens is None) == (self.num_text_bytes is None):
            raise ValueError("mix: give num_tokens or num_text_bytes, and not both")
        if (self.num_tokens is None) != (self.tokens_column is None):
            raise ValueError("mix: num_tokens and tokens_column go together; without token counts use num_text_bytes")
        if (self.num_tokens or self.num_text_bytes or 0) <= 0:
            raise ValueError(f"mix: the budget is {self.num_tokens or self.num_text_bytes}; it must be positive")
        if isinstance(self.max_epochs, tuple) and len(self.max_epochs) != len(self.sources):
            raise ValueError(f"mix: {len(self.max_epochs)} values of max_epochs for {len(self.sources)} sources")
        if min(self.caps) <= 0:
            raise ValueError(f"mix: max_epochs is {self.max_epochs}; it must be positive")

    @property
    def caps(self) -> tuple[float, ...]:
        """max_epochs of each source."""
        return self.max_epochs if isinstance(self.max_epochs, tuple) else (self.max_epochs,) * len(self.sources)


@stage(
    version=1,
    kind="reduce",
    takes=("documents*",),
    needs=lambda config: {"id", config.tokens_column or "text"},
    adds={"source": pa.string(), "epoch": pa.int32()},
    carries=True,
)
def mix(config: Mix, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Yield every source's shards as `<input number>-<shard>`, each with its documents in epoch 0, then 1, and so on.

    Budgets go to sources by `allocate`. A source's full epochs hold all its documents; the last one holds a random
    subset (XXH64 of the ids under the seed) that fills what is left and never overshoots. The shares reached and any
    shortfall are logged. Raises ValueError if the inputs' number or columns do not fit, and for a missing or negative
    token count.
    """
    datasets = inputs.of("documents")
    if len(datasets) != len(config.sources):
        raise ValueError(
            f"mix: {len(datasets)} inputs, but {len(config.sources)} sources are named ({', '.join(config.sources)})"
        )
    columns = datasets[0].schema.names
    for name, dataset in zip(config.sources, datasets, strict=True):
        if dataset.schema.names != columns:
            raise ValueError(
                f"mix: '{name}' ({dataset.name}) has columns {', '.join(dataset.schema.names)}, but "
                f"'{config.sources[0]}' has {', '.join(columns)}; put the stages that add the missing ones before mix"
            )
    sizes = [_sizes(config, dataset, resources) for dataset in datasets]
    budget = config.num_tokens or config.num_text_bytes
    totals = [int(size.sum()) for size in sizes]
    parts = allocate(budget, config.weights, totals, config.caps)
    _report(config, budget, totals, parts)
    for number, (dataset, size, part) in enumerate(zip(datasets, sizes, parts, strict=True)):
        plan = _epochs(config, number, dataset, size, part)
        start = 0
        for shard in dataset.shards:
            table = _repeat(dataset.table(shard.name), plan, start, config.sources[number])
            start += shard.rows_out
            yield f"{number}-{shard.name}", table
        resources.report((number + 1) / len(datasets), config.sources[number])


def allocate(budget: int, weights: tuple[float, ...], totals: list[int], caps: tuple[float, ...]) -> list[int]:
    """Divide `budget` among sources in proportion to `weights`, none getting more than its total times its cap.

    Exact arithmetic. What capped sources can not take goes to the others in proportion to their weights, until all is
    given or all are capped; fractions are rounded by largest remainder (Hamilton's method), the earlier source first on
    a tie.
    """
    limits = [int(Fraction(str(cap)) * total) for cap, total in zip(caps, totals, strict=True)]
    exact = [Fraction(str(weight)) for weight in weights]
    parts = [0] * len(totals)
    open_ = [i for i in range(len(totals)) if exact[i] > 0]
    while open_:
        left = budget - sum(parts)
        whole = sum(exact[i] for i in open_)
        quotas = {i: left * exact[i] / whole for i in open_}
        capped = [i for i in open_ if quotas[i] >= limits[i]]
        if capped:
            for i in capped:
                parts[i] = limits[i]
            open_ = [i for i in open_ if i not in capped]
            continue
        for i in open_:
            parts[i] = int(quotas[i])
        spare = budget - sum(parts)
        for i in sorted(open_, key=lambda i: (int(quotas[i]) - quotas[i], i))[:spare]:
            parts[i] += 1  # stays below the limit: the quota was below it and the limit is a whole number
        break
    return parts


@dataclass(frozen=True)
class _Epochs:
    full: int
    last: np.ndarray
    """Mask of the documents of the partial epoch."""


def _sizes(config: Mix, dataset: Dataset, resources: Resources) -> np.ndarray:
    """Tokens or bytes of every document of a source, in its order."""
    sizes = [np.zeros(0, np.int64)]
    for shard in dataset.shards:
        for batch in dataset.batches(shard.name, ["id", config.tokens_column or "text"], resources.batch_rows):
            column = batch.column(config.tokens_column or "text")
            if not config.tokens_column:
                column = pc.binary_length(column).fill_null(0)
            wrong = pc.fill_null(pc.less(column, 0), True)
            if pc.any(wrong).as_py():
                row = pc.index(wrong, True).as_py()
                raise ValueError(
                    f"mix: '{config.tokens_column}' of document {batch.column('id')[row].as_py()} in {dataset.name} is "
                    f"{column[row].as_py()}; every document needs a count of tokens"
                )
            sizes.append(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
        resources.report(0.0, f"measured {shard.name}")
    return np.concatenate(sizes)


def _epochs(config: Mix, number: int, dataset: Dataset, size: np.ndarray, part: int) -> _Epochs:
    from stages.kernels.seeded_order import derived_seed, fill_budget, hash_ids

    total = int(size.sum())
    full, left = divmod(part, total) if total else (0, 0)
    if not left:
        return _Epochs(full, np.zeros(len(size), bool))
    seed = derived_seed("mix", config.seed, number, full)
    hashes = [hash_ids(dataset.table(shard.name, ["id"]).column("id"), seed) for shard in dataset.shards]
    return _Epochs(full, fill_budget(np.concatenate(hashes), size, left))


def _repeat(table: pa.Table, plan: _Epochs, start: int, source: str) -> pa.Table:
    last = table.filter(pa.array(plan.last[start : start + table.num_rows], pa.bool_()))
    pieces = [table] * plan.full + [last]
    epochs = np.repeat(np.arange(len(pieces), dtype=np.int32), [piece.num_rows for piece in pieces])
    mixed = pa.concat_tables(pieces)
    for name, column in (
        ("source", pa.repeat(pa.scalar(source), len(epochs))),
        ("epoch", pa.array(epochs, pa.int32())),
    ):
        mixed = mixed.drop_columns([name]) if name in mixed.column_names else mixed
        mixed = mixed.append_column(name, column)
    return mixed


def _report(config: Mix, budget: int, totals: list[int], parts: list[int]) -> None:
    unit = "tokens" if config.num_tokens else "bytes"
    shares = [Fraction(str(weight)) / sum(Fraction(str(w)) for w in config.weights) for weight in config.weights]
    for name, share, total, part, cap in zip(config.sources, shares, totals, parts, config.caps, strict=True):
        epochs = part / total if total else 0.0
        logger.info("mix: %s: %s %s, %.2f epochs (at most %g)", name, f"{part:,}", unit, epochs, cap)
        if part < int(share * budget):
            logger.warning(
                "mix: %s gives %.1f %% of the budget, not %.1f %%: it is capped at %g epochs",
                name,
                100 * part / budget,
                100 * float(share),
                cap,
            )
    if sum(parts) < budget:
        logger.warning(
            "mix: all sources are capped: the mixture holds %s of %s %s; raise max_epochs or lower the budget",
            f"{sum(parts):,}",
            f"{budget:,}",
            unit,
        )
