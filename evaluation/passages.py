"""Which questions share a passage, and which tasks share their questions: the clusters behind every item interval.

Questions about one story are right or wrong together, so they are not independent draws. A cluster is the text that
questions of a task have in common; it was decided per task from the rows themselves (the number of clusters of every task
is pinned in the tests): a question marker ends the passage, both readings of a schema are one sentence, and everything
else clusters only where the whole question is repeated. Tasks of a family ask the same questions in two ways
(mmlu_zeroshot and mmlu_fewshot), and their clusters have the same ids, so that their covariance is seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

FAMILIES = {
    "mmlu_zeroshot": "mmlu",
    "mmlu_fewshot": "mmlu",
    "hellaswag_zeroshot": "hellaswag",
    "hellaswag": "hellaswag",
    "simple_arithmetic_nospaces": "simple_arithmetic",
    "simple_arithmetic_withspaces": "simple_arithmetic",
    "gpqa_main": "gpqa",
    "gpqa_diamond": "gpqa",
}
"""Tasks with the same questions: mmlu and hellaswag with and without examples, sums with and without spaces (all 1,000
pairs are equal but for the spaces), gpqa_diamond as a part of gpqa_main. The other tasks are families of their own."""

PASSAGE_ENDS: dict[str, tuple[str, ...]] = {
    "coqa": ("\nPreceding questions:", "\n\nFinal question:"),
    "squad": ("\nQuestion:",),
    "boolq": ("\nQuestion:",),
    "siqa": ("\nQuestion:",),
    "logi_qa": ("\nQuestion:",),
    "bbq": ("\nQuestion:", "\nQ:"),
    "agi_eval_lsat_rc": ("\nQ:",),
    "agi_eval_lsat_lr": ("\nQ:",),
    "agi_eval_lsat_ar": ("\nQ:",),
    "agi_eval_sat_en": ("\nQ:",),
    "bigbench_strange_stories": ("\nQ:",),
    "bigbench_logical_deduction": ("\nWhich of the following statements",),
    "bigbench_conlang_translation": ("\n\n\nNow, translate",),
}
"""The first of these marks that occurs ends the passage; without one the whole text is its own passage."""

_MMLU_PASSAGE = "question: this question refers to the following information."


def family_of(label: str) -> str:
    """The family of a task: tasks of one family ask the same questions."""
    return FAMILIES.get(label, label)


def passage_of(label: str, row: Mapping[str, Any]) -> str:
    """The text that a question shares with its siblings; the whole question where it has none."""
    if "context_options" in row:  # schema: the sentence up to the pronoun, in both readings
        return "\n".join(sorted(map(str, row["context_options"])))
    text = str(row.get("query", row.get("context", "")))
    if label.startswith("simple_arithmetic"):
        return text.replace(" ", "")
    if label.startswith("mmlu") and text.lower().startswith(_MMLU_PASSAGE):
        return text.split("\nChoices:")[0].rpartition("\n")[0] or text  # its last line asks, what is above is quoted
    if label == "bigbench_operators":
        return text.rpartition("\n")[0] or text  # the definition; the last line is the sum
    for mark in PASSAGE_ENDS.get(label, ()):
        head, found, _ = text.partition(mark)
        if found:
            return head.strip()
    return text.strip()


def cluster_ids(label: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """A signed 64-bit id per row, equal where rows of one family and category share a passage, the same on every machine."""
    return [_stable_hash(family_of(label), str(row.get("category") or ""), passage_of(label, row)) for row in rows]


def add_clusters(items: pa.Table, rows_of: Callable[[str], Sequence[Mapping[str, Any]]]) -> pa.Table:
    """Per-item results with a column `cluster` (int64), the `cluster_ids` of each item's row; `rows_of(task)` gives the task's rows.

    Raises ValueError for an item whose row is not there: the items then answer another suite.
    """
    ids: dict[str, list[int]] = {}
    column = []
    for task, row in zip(items.column("task").to_pylist(), items.column("row").to_pylist(), strict=True):
        if task not in ids:
            ids[task] = cluster_ids(task, rows_of(task))
        if not 0 <= row < len(ids[task]):
            had = f"{task} has {len(ids[task])} rows, there is an item of row {row}"
            raise ValueError(f"add_clusters: {had}; give the rows that were scored")
        column.append(ids[task][row])
    return items.append_column("cluster", pa.array(column, pa.int64()))


def row_ids(label: str, rows: Sequence[int]) -> list[int]:
    """Stand-ins for `cluster_ids` where only the position in the file is known: a row is its own cluster in its family."""
    return [_stable_hash(family_of(label), "row", str(row)) for row in rows]


def _stable_hash(*parts: str) -> int:
    digest = hashlib.blake2b("\x00".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
