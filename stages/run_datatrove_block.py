"""Run any datatrove filter or formatter as a stage, where winnow has none of its own.

Read: every column (text and id become the Document's, the others its metadata) -> written: text, as the block left it. A document
that the block does not pass on is dropped with datatrove's reason, or the name of the block where it gives none.
Cost: the block's own, plus about 5 us a document for turning it into a Python object and back.
"""

import importlib
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class RunDatatroveBlock:
    block: str
    """Where the block's class is, such as `datatrove.pipeline.filters:GopherQualityFilter`."""
    arguments: str = "{}"
    """Keyword arguments of the class, a JSON object: `{"min_doc_words": 20}`."""

    def __post_init__(self) -> None:
        module, colon, name = self.block.partition(":")
        if not (module and colon and name):
            raise ValueError(f"block is '{self.block}'; write module:Class, as datatrove.pipeline.filters:RegexFilter")
        try:
            arguments = json.loads(self.arguments)
        except json.JSONDecodeError as error:
            raise ValueError(f"arguments are no JSON ({error}): {self.arguments[:80]}") from None
        if not isinstance(arguments, dict):
            raise ValueError(f"arguments must be a JSON object of keyword arguments, got {self.arguments[:80]}")


@stage(
    version=1,
    kind="map",
    needs={"id", "text"},
    adds={"text": pa.string()},
    uses=("datatrove",),
    reproducible="everywhere, if the block judges each document by itself (no random numbers, no memory of earlier ones)",
)
def run_datatrove_block(
    config: RunDatatroveBlock, inputs: Inputs, resources: Resources
) -> Callable[[pa.RecordBatch], Verdict]:
    """Judge and edit documents with a datatrove block. Raises ValueError if it can not be made, or passes on other documents than it got."""
    block = _make(config)
    excluded = _Excluded()
    if hasattr(block, "exclusion_writer"):
        block.exclusion_writer = excluded
    nameless = type(block).__name__

    def judge(batch: pa.RecordBatch) -> Verdict:
        from datatrove.data import Document

        ids = batch.column("id").to_pylist()
        rows = {identity: row for row, identity in enumerate(ids)}
        others = [name for name in batch.schema.names if name not in ("id", "text")]
        metadata = batch.select(others).to_pylist() if others else [{} for _ in ids]
        texts = batch.column("text").to_pylist()
        documents = [Document(text=t, id=i, metadata=m) for t, i, m in zip(texts, ids, metadata, strict=True)]
        excluded.reasons.clear()
        keep = [False] * len(ids)
        for document in block.run(iter(documents)):
            row = rows.get(document.id)
            if row is None or keep[row]:
                raise ValueError(
                    f"run_datatrove_block: {config.block} passed on the document '{document.id}', "
                    f"{'which it was not given' if row is None else 'twice'}; only blocks that filter or edit can be a stage"
                )
            keep[row], texts[row] = True, document.text
        reasons = [None if kept else excluded.reasons.get(i) or nameless for kept, i in zip(keep, ids, strict=True)]
        return Verdict(
            keep=pa.array(keep, pa.bool_()),
            reason=pa.array(reasons, pa.string()).dictionary_encode(),
            columns={"text": pa.array(texts, pa.string())},
        )

    return judge


class _Excluded:
    """Stands where datatrove expects the writer of excluded documents, and notes why each was."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def __enter__(self) -> "_Excluded":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def write(self, document: Any, rank: int = 0, **ignored: Any) -> None:
        """Note the reason that the filter left in the document's metadata."""
        self.reasons[document.id] = str(document.metadata.get("filter_reason") or "")


def _make(config: RunDatatroveBlock) -> Any:
    from datatrove.pipeline.base import PipelineStep

    module, _, name = config.block.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"run_datatrove_block: {config.block} can not be imported: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, PipelineStep)):
        raise ValueError(f"run_datatrove_block: {config.block} is no datatrove block (found: {kind!r})")
    try:
        return kind(**json.loads(config.arguments))
    except TypeError as error:
        raise ValueError(f"run_datatrove_block: {config.block} does not take {config.arguments}: {error}") from None
