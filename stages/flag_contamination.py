"""Say which questions of an evaluation occur in documents: shared runs of 13 words, the usual sign that a test was seen in training.

reads: documents (id, text)   writes: one row per question: task, row, contaminated (null where it has no 13 words), the runs that count,
those found, and the first document that has one. No text of a question is written.
cost: the suite's runs once (mini-v1: a second; the 53 tasks: 9 s and 0.8 GB), then a core reads 12 MB of text a second.
Source: 13-grams as in GPT-3's contamination study (arXiv 2005.14165, appendix C); see evaluation/contamination.py.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from stages.core.dataset import Dataset


@config
class FlagContamination:
    eval_data: str = location(default="")
    """Where the questions are; as evaluate's."""
    tasks: tuple[str, ...] = ()
    """Only these tasks; as evaluate's."""
    num_words: int = 13
    """Words of a run."""


def _identity(config: FlagContamination) -> Mapping[str, Any]:
    from evaluation.subset import find_suite

    return {"suite": find_suite(config.eval_data, config.tasks).data_hash}


def _columns(config: FlagContamination) -> dict[str, pa.DataType]:
    from evaluation.contamination import FLAG_SCHEMA

    return {field.name: field.type for field in FLAG_SCHEMA}


@stage(version=1, kind="reduce", takes=("documents",), needs={"id", "text"}, adds=_columns, identity=_identity)
def flag_contamination(config: FlagContamination, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Look for every question of a suite in all documents. ValueError where the suite is not there or num_words is below 2."""
    from evaluation.contamination import contamination
    from evaluation.subset import find_suite

    suite = find_suite(config.eval_data, config.tasks)
    flags = contamination(suite, _texts(inputs.documents, resources), num_words=config.num_words)
    yield "flags", flags.cast(pa.schema(list(_columns(config).items())))
    return {
        "suite": suite.name,
        "suite_hash": suite.data_hash,
        "questions": flags.num_rows,
        "judged": flags.num_rows - flags.column("contaminated").null_count,
        "contaminated": pc.sum(flags.column("contaminated")).as_py() or 0,
    }


def _texts(documents: "Dataset", resources: Resources) -> Iterator[tuple[str, str]]:
    for number, shard in enumerate(documents.shards):
        resources.report(number / len(documents.shards), f"{number:,} of {len(documents.shards):,} shards")
        for batch in documents.batches(shard.name, ["id", "text"]):
            yield from zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
