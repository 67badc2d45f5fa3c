"""Say what each of several deduplications drops: alone, together with each other, and what nobody else would have found.

Reads the verdicts (id, keep) of any stages that judged the same documents, such as dedup_exact by text and by url and dedup_minhash
-> writes one table, a number a row:

    measure         method  other  size  documents
    all             -       -      -     documents judged
    dropped         a       -      -     what a drops
    dropped_only    a       -      -     what a drops and no other
    dropped_both    a       b      -     what a and b both drop, for each pair
    dropped_any     -       -      -     what at least one drops
    cluster_size    a       -      s     documents in clusters of s, where the stage has counted its clusters

Each method has judged all documents, not what another left: these are the numbers of each method alone, and running two in a row
drops at most what `dropped_any` says of them. Cost: one pass over the keep columns; a counter for each combination of methods.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.core.dataset import Dataset

COLUMNS = {"measure": pa.string(), "method": pa.string(), "other": pa.string(), "size": pa.int64(), "documents": pa.int64()}


@config
class CompareDedup:
    methods: tuple[str, ...]
    """A name for each input, in their order."""

    def __post_init__(self) -> None:
        if not 1 <= len(set(self.methods)) == len(self.methods) <= 16:
            raise ValueError(f"methods are {', '.join(self.methods) or 'none'}; give 1 to 16 different names, one for each input")


@stage(version=1, kind="reduce", takes=("table*",), needs={"id", "keep"}, adds=COLUMNS)
def compare_dedup(config: CompareDedup, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Report what each method drops. ValueError where the inputs did not judge the same documents."""
    methods, judged = config.methods, inputs.of("table")
    if len(methods) != len(judged):
        named = ", ".join(methods)
        raise ValueError(f"compare_dedup: {len(methods)} methods are named ({named}) and {len(judged)} verdicts given; name each")
    by_droppers = _count_by_droppers(judged)
    droppers = np.arange(len(by_droppers))
    drops = [droppers >> number & 1 == 1 for number in range(len(methods))]  # bit i of a combination: method i drops

    def count(which: np.ndarray) -> int:
        return int(by_droppers[which].sum())

    rows = [("all", None, None, None, int(by_droppers.sum())), ("dropped_any", None, None, None, count(droppers > 0))]
    for number, method in enumerate(methods):
        rows.append(("dropped", method, None, None, count(drops[number])))
        rows.append(("dropped_only", method, None, None, count(droppers == 1 << number)))
    for one, other in combinations(range(len(methods)), 2):
        rows.append(("dropped_both", methods[one], methods[other], None, count(drops[one] & drops[other])))
    for method, verdicts in zip(methods, judged, strict=True):
        for size, clusters in verdicts.summary.get("clusters_by_size", {}).items():
            rows.append(("cluster_size", method, None, int(size), int(size) * clusters))
    yield "report", pa.table([pa.array(c, t) for c, t in zip(zip(*rows, strict=True), COLUMNS.values(), strict=True)], names=list(COLUMNS))
    return {"documents": int(by_droppers.sum()), "dropped": {m: count(d) for m, d in zip(methods, drops, strict=True)}}


def _count_by_droppers(judged: "tuple[Dataset, ...]") -> np.ndarray:
    """Return int64[2 ** n]: how many documents each combination of the n methods drops."""
    counts = np.zeros(1 << len(judged), np.int64)
    names = [shard.name for shard in judged[0].shards]
    for verdicts in judged[1:]:
        if [shard.name for shard in verdicts.shards] != names:
            raise ValueError(f"compare_dedup: {verdicts.name} and {judged[0].name} have other shards; give verdicts on the same documents")
    for name in names:
        ids, droppers = None, 0
        for number, verdicts in enumerate(judged):
            table = verdicts.table(name, columns=["id", "keep"])
            mine = table.column("id").combine_chunks()
            if ids is not None and not mine.equals(ids):
                where = f"{verdicts.name}/{name}"
                raise ValueError(f"compare_dedup: {where} judged other documents than {judged[0].name}; give verdicts on the same ones")
            ids = mine
            droppers = droppers | (~table.column("keep").to_numpy()).astype(np.int64) << number
        counts += np.bincount(droppers, minlength=len(counts))
    return counts
