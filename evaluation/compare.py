"""Look at single answers: what one evaluation got wrong, where two of them differ, how a run's checkpoints go.

Reads tables of per-item results (evaluation.scorer.ITEM_SCHEMA) and the suite that they answer. Plain rows come out; nothing is printed.
Source of the test: McNemar, Psychometrika 12 (1947), in its exact form: among the items that one of two models alone has right, either
is as likely under no difference, so their count is binomial with 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .statistics import holm_adjusted
from .tasks import GENERATION, LANGUAGE_MODELING, MULTIPLE_CHOICE, SCHEMA, Suite, Task

WITHHELD = "(withheld: the authors of these questions ask that their text is not published)"


def show_items(
    items: pa.Table, suite: Suite, task: str, *, wrong: bool = True, n: int = 5, end: int = 400, reveal: bool = False
) -> list[dict]:
    """The first `n` items of a task as rows to read, in file order; with `wrong` only those answered wrongly.

    Each row: task, row, category, correct, prompt (the last `end` characters of the question, without its few-shot
    examples), cut (whether there are more), choices
    (a list of text, log_prob in nats, num_tokens, per_token, gold, predicted), generated, answers, gold_prob, truncated.
    Text that is encrypted on disk is shown with `reveal` only. Raises ValueError for a task that has no items or no rows.
    """
    of_task = items.filter(pc.equal(items.column("task"), task))
    if of_task.num_rows == 0:
        found = ", ".join(sorted(set(items.column("task").to_pylist()))) or "none"
        raise ValueError(f"show: there are no items of task {task!r} in this evaluation (has: {found})")
    rows = suite.rows(task)
    entry = suite.entries[task]
    if wrong:
        of_task = of_task.filter(pc.invert(of_task.column("correct")))
    shown = []
    for item in of_task.sort_by("row").slice(0, n).to_pylist():
        if not 0 <= item["row"] < len(rows) or rows[item["row"]].get("gold", item["gold"]) != item["gold"]:
            raise ValueError(f"show: {task} row {item['row']} is another question in suite {suite.name}; give the data of the evaluation")
        shown.append(_readable(item, entry.task, rows[item["row"]], end, entry.encrypted and not reveal))
    return shown


def _readable(item: dict, task: Task, row: Mapping[str, Any], end: int, hidden: bool) -> dict:
    prompt, texts = _question(task, row)
    choices = []
    for place, text in enumerate(texts if item["log_probs"] is not None else ()):
        log_prob, count = item["log_probs"][place], item["num_tokens"][place]
        choices.append(
            {
                "text": WITHHELD if hidden else text,
                "log_prob": log_prob,
                "num_tokens": count,
                "per_token": log_prob / count if count else None,
                "gold": place == (item["gold"] or 0),
                "predicted": place == item["prediction"],
            }
        )
    return {
        "task": item["task"],
        "row": item["row"],
        "category": item["category"],
        "correct": item["correct"],
        "prompt": WITHHELD if hidden else prompt[-end:],
        "cut": not hidden and len(prompt) > end,
        "choices": choices,
        "generated": item["generated"],
        "answers": sorted({row["answer"], *(row.get("aliases") or ())}) if task.task_type == GENERATION else None,
        "gold_prob": item["gold_prob"],
        "truncated": item["truncated"],
    }


def _question(task: Task, row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The question as it stands before its answer, and the texts that are scored; for a schema task its shared end and its options."""
    if task.task_type == SCHEMA:
        return f"... {row['continuation'].strip()}", list(row["context_options"])
    question = row["query"] if task.task_type == MULTIPLE_CHOICE else row["context"]
    prompt = (task.question_prelimiter + question.strip() + task.continuation_delimiter).rstrip()
    if task.task_type == MULTIPLE_CHOICE:
        return prompt, list(row["choices"])
    return prompt, [row["continuation"].strip()] if task.task_type == LANGUAGE_MODELING else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Where two evaluations of the same questions differ."""

    tasks: list[dict]
    """Per task that both have: items, accuracy_a, accuracy_b (plain shares of the common items), only_a and only_b (items that one alone
    has right), p_value (McNemar, exact), p_adjusted (Holm over the tasks)."""
    flipped: list[dict]
    """The items that one alone has right: task, row, category, right ("a" or "b"), prediction_a, prediction_b, gold."""
    uncommon: dict[str, tuple[int, int]]
    """Per task the items that only A's or only B's table has, where there are any: they are in no count."""


def diff_items(a: pa.Table, b: pa.Table) -> Differences:
    """Compare two tables of items question by question. Raises ValueError where a question's gold answer differs, or one is there twice."""
    left, right = _by_question(a, "A"), _by_question(b, "B")
    counts: dict[str, list[int]] = {}
    flipped: list[dict] = []
    uncommon: dict[str, list[int]] = {}
    for key in left.keys() - right.keys():
        uncommon.setdefault(key[0], [0, 0])[0] += 1
    for key in right.keys() - left.keys():
        uncommon.setdefault(key[0], [0, 0])[1] += 1
    for key in sorted(left.keys() & right.keys()):
        one, other = left[key], right[key]
        if (one["gold"], one["category"]) != (other["gold"], other["category"]):
            raise ValueError(f"diff: {key[0]} row {key[1]} has gold {one['gold']} in A and {other['gold']} in B: these are different questions")
        count = counts.setdefault(key[0], [0, 0, 0, 0])
        count[2 * one["correct"] + other["correct"]] += 1
        if one["correct"] != other["correct"]:
            flipped.append(
                {
                    "task": key[0],
                    "row": key[1],
                    "category": one["category"],
                    "right": "a" if one["correct"] else "b",
                    "prediction_a": one["prediction"],
                    "prediction_b": other["prediction"],
                    "gold": one["gold"],
                }
            )
    p_values = [mcnemar(only_a, only_b) for _, only_b, only_a, _ in counts.values()]
    tasks = [
        {
            "task": task,
            "items": neither + only_b + only_a + both,
            "accuracy_a": (only_a + both) / (neither + only_b + only_a + both),
            "accuracy_b": (only_b + both) / (neither + only_b + only_a + both),
            "only_a": only_a,
            "only_b": only_b,
            "p_value": p_value,
            "p_adjusted": adjusted,
        }
        for (task, (neither, only_b, only_a, both)), p_value, adjusted in zip(counts.items(), p_values, holm_adjusted(p_values), strict=True)
    ]
    return Differences(tasks=tasks, flipped=flipped, uncommon={task: (one, other) for task, (one, other) in sorted(uncommon.items())})


def _by_question(items: pa.Table, name: str) -> dict[tuple[str, int], dict]:
    columns = {each: items.column(each).to_pylist() for each in ("task", "row", "category", "gold", "prediction", "correct")}
    found: dict[tuple[str, int], dict] = {}
    for values in zip(*columns.values(), strict=True):
        item = dict(zip(columns, values, strict=True))
        if item["correct"] is None:  # a validation document: it has no right answer
            continue
        key = (item["task"], item["row"])
        if key in found:
            raise ValueError(f"diff: {name} has {key[0]} row {key[1]} twice; give one evaluation's items")
        found[key] = item
    return found


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test: twice the smaller binomial tail of only_a + only_b fair coins, at most 1."""
    from scipy import special

    trials = only_a + only_b
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), trials, 0.5))) if trials else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One evaluation on the way of a training run."""

    name: str
    tokens: int
    """Training tokens seen so far."""
    step: int | None
    summary: Mapping[str, Any]
    """As the evaluate stage writes it: suite, suite_hash, eval_version, core, extended, val_bpb, tasks ..."""


SAME = ("suite", "suite_hash", "eval_version", "fewshot_seed", "limit", "tokenizer_hash")
"""What must not differ along a curve."""


def curve(checkpoints: Iterable[Checkpoint]) -> list[dict]:
    """Rows (metric, tokens, step, name, value), metric by metric and by tokens inside: every number that all summaries could have.

    Metrics: core, extended, mmlu, core_bpb, val_bpb:<text>, accuracy:<task>, gold_bpb:<task>; a value that a checkpoint lacks makes no
    row. Raises ValueError for no checkpoints, for two at the same tokens, and where suite, metric version or seed differ.
    """
    points = sorted(checkpoints, key=lambda point: point.tokens)
    if not points:
        raise ValueError("curve: no evaluations; give one for each checkpoint")
    for one, other in zip(points, points[1:], strict=False):
        if one.tokens == other.tokens:
            raise ValueError(f"curve: {one.name} and {other.name} are both at {one.tokens:,} tokens; a curve has one run's checkpoints")
        for name in SAME:
            if one.summary.get(name) != other.summary.get(name):
                raise ValueError(f"curve: {name} is {one.summary.get(name)!r} in {one.name} and {other.summary.get(name)!r} in {other.name}")
    values: dict[str, list[dict]] = {}
    for point in points:
        for metric, value in _numbers(point.summary):
            if isinstance(value, int | float) and math.isfinite(value):
                row = {"metric": metric, "tokens": point.tokens, "step": point.step, "name": point.name, "value": float(value)}
                values.setdefault(metric, []).append(row)
    return [row for rows in values.values() for row in rows]


def _numbers(summary: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    tasks = summary.get("tasks") or {}
    return [
        *((name, summary.get(name)) for name in ("core", "extended", "mmlu", "core_bpb")),
        *((f"val_bpb:{text}", value) for text, value in (summary.get("val_bpb") or {}).items()),
        *((f"accuracy:{label}", facts.get("accuracy")) for label, facts in tasks.items()),
        *((f"gold_bpb:{label}", facts.get("gold_bpb")) for label, facts in tasks.items()),
    ]
