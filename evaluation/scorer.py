"""Scores compiled requests with a language model, one result per question, with the semantics of llm-foundry 0.9.0.

- multiple choice and schema: the choice whose continuation has the highest mean token log-probability (the lowest
  per-token perplexity) wins; of exact ties the lowest index.
- language modeling: right if every token of the continuation is the likeliest one under teacher forcing.
- generation: the greedy answer, cut at the first stop string, after the last chain-of-thought delimiter, normalised; right
  if it begins with any normalised accepted answer.

Work is saved without touching a result: the last token of a continuation is never fed, a choice whose input is a prefix of
another one's rides along in that row (so one-token choices cost one row per question), and rows of all tasks are sorted by
length and packed under a token budget. The plan depends on the requests and the budget alone.

Legend: B rows of a batch, T positions, N scored tokens.
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from .protocol import LanguageModel, Tokenizer
from .requests import Request
from .tasks import GENERATION, LANGUAGE_MODELING, load_tasks

logger = logging.getLogger(__name__)

ITEM_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        ("category", pa.string()),
        pa.field("row", pa.int32(), nullable=False),
        ("log_probs", pa.list_(pa.float64())),
        ("num_tokens", pa.list_(pa.int32())),
        ("greedy", pa.list_(pa.bool_())),
        ("prediction", pa.int32()),
        ("gold", pa.int32()),
        ("generated", pa.string()),
        pa.field("correct", pa.bool_(), nullable=False),
        ("gold_bpb", pa.float64()),
        ("gold_prob", pa.float64()),
        pa.field("truncated", pa.int32(), nullable=False),
    ]
)
"""One row per question. log_probs: nats, summed over each choice's tokens. greedy: whether every token of the choice is the
model's likeliest. prediction, gold: choice indices (language modeling: gold 0 and no prediction; generation: neither).
gold_bpb: bits of the right continuation per UTF-8 byte of its text. gold_prob: softmax over the choices' mean token
log-probabilities, at the right one. truncated: choices of this question that lost tokens."""

DEGENERATE_MIN_ITEMS = 20  # below this, one answer for everything is no news


def score_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    tokenizer: Tokenizer,
    *,
    max_batch_tokens: int = 8_192,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Per-item results (`ITEM_SCHEMA`) in the order of the task table, then of the rows in the file.

    `max_batch_tokens` bounds rows x longest row of a batch (a longer single row runs alone): a few thousand suit a CPU's
    caches, an accelerator wants ten times as many. `progress(done, total)` counts tokens. Raises ValueError for a request that does not fit the model, for one seen twice, and where the model returns NaN.
    """
    requests = _in_order(requests)
    scored = [index for index, request in enumerate(requests) if request.task_type != GENERATION]
    generated = [index for index, request in enumerate(requests) if request.task_type == GENERATION]
    rows = [row for index in scored for row in _rows_of(index, requests[index])]
    lengths = np.array([_input_length(requests[index], choices[0]) for index, choices in rows], dtype=np.int64)
    groups = _generation_groups(requests, generated)
    total = int(lengths.sum()) + sum(len(requests[i].contexts[0]) + requests[i].max_new_tokens for i in generated)
    done = 0

    log_probs = {index: [0.0] * len(requests[index].continuations) for index in scored}
    greedy = {index: [False] * len(requests[index].continuations) for index in scored}
    for batch in plan_batches(lengths, max_batch_tokens):
        spans = _score_batch(model, requests, [rows[position] for position in batch])
        for index, choice, log_prob, is_greedy in spans:
            log_probs[index][choice] = log_prob
            greedy[index][choice] = is_greedy
        done += int(lengths[batch].sum())
        if progress is not None:
            progress(done, total)
    texts: dict[int, str] = {}
    for (max_new_tokens, stops), members in groups.items():
        prompt_lengths = np.array([len(requests[index].contexts[0]) + max_new_tokens for index in members])
        for batch in plan_batches(prompt_lengths, max_batch_tokens):
            prompts = [requests[members[position]].contexts[0].tolist() for position in batch]
            answers = _generate_batch(model, tokenizer, prompts, max_new_tokens, stops)
            texts.update((members[position], text) for position, text in zip(batch, answers, strict=True))
            done += int(prompt_lengths[batch].sum())
            if progress is not None:
                progress(done, total)
    records = [
        _generated_record(request, texts[index])
        if request.task_type == GENERATION
        else _scored_record(request, log_probs[index], greedy[index])
        for index, request in enumerate(requests)
    ]
    _warn_of_degenerate_answers(records)
    return pa.Table.from_pylist(records, schema=ITEM_SCHEMA)


def plan_batches(lengths: np.ndarray, max_batch_tokens: int) -> list[np.ndarray]:
    """Index arrays that cover `lengths`, longest first (ties: in order), each with count x longest <= max_batch_tokens.

    Longest first shows an out-of-memory error at once and makes the remaining time honest.
    """
    if max_batch_tokens < 1:
        raise ValueError(
            f"plan_batches: max_batch_tokens is {max_batch_tokens}; give at least the longest row, e.g. 16384"
        )
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, int(max_batch_tokens // max(1, int(lengths[order[start]]))))
        batches.append(order[start : start + count])
        start += count
    return batches


def _in_order(requests: Sequence[Request]) -> list[Request]:
    """Order of the task table, unknown tasks after it by first appearance; then file order."""
    place = {label: position for position, label in enumerate(load_tasks())}
    for request in requests:
        place.setdefault(request.task, len(place))
    ordered = sorted(requests, key=lambda request: (place[request.task], request.row))
    for before, after in zip(ordered, ordered[1:], strict=False):
        if (before.task, before.row) == (after.task, after.row):
            raise ValueError(f"score_requests: {after.task} row {after.row} was given twice; compile each task once")
    return ordered


def _input_length(request: Request, choice: int) -> int:
    return len(request.contexts[choice]) + len(request.continuations[choice]) - 1


def _rows_of(index: int, request: Request) -> list[tuple[int, list[int]]]:
    """(request, choices) per row to run: the first choice's input is the row, the others' are prefixes of it."""
    inputs = [
        np.concatenate([context, continuation[:-1]])
        for context, continuation in zip(request.contexts, request.continuations, strict=True)
    ]
    rows: list[list[int]] = []
    for choice in sorted(range(len(inputs)), key=lambda choice: -len(inputs[choice])):
        for row in rows:
            if np.array_equal(inputs[row[0]][: len(inputs[choice])], inputs[choice]):
                row.append(choice)
                break
        else:
            rows.append([choice])
    return [(index, row) for row in rows]


def _score_batch(
    model: LanguageModel, requests: list[Request], rows: list[tuple[int, list[int]]]
) -> list[tuple[int, int, float, bool]]:
    """(request, choice, log-probability, greedy) for every choice that the rows carry."""
    longest = max(_input_length(requests[index], choices[0]) for index, choices in rows)
    if longest > model.max_seq_len:
        raise ValueError(
            f"score_requests: an input has {longest} tokens, the model takes {model.max_seq_len}; "
            "compile the requests with the model's max_seq_len"
        )
    tokens_BT = np.zeros((len(rows), longest), dtype=np.int64)
    spans, rows_N, cols_N, targets_N = [], [], [], []
    for row, (index, choices) in enumerate(rows):
        request = requests[index]
        context, continuation = request.contexts[choices[0]], request.continuations[choices[0]]
        tokens_BT[row, : len(context)] = context
        tokens_BT[row, len(context) : len(context) + len(continuation) - 1] = continuation[:-1]
        for choice in choices:
            first, targets = len(request.contexts[choice]) - 1, request.continuations[choice]
            spans.append((index, choice, len(targets)))
            rows_N.append(np.full(len(targets), row, dtype=np.int64))
            cols_N.append(np.arange(first, first + len(targets), dtype=np.int64))
            targets_N.append(targets.astype(np.int64))
    flat_targets_N = np.concatenate(targets_N)
    largest = max(int(tokens_BT.max()), int(flat_targets_N.max()))
    if largest >= model.vocab_size:
        raise ValueError(
            f"score_requests: token id {largest} is outside the model's vocabulary of {model.vocab_size}; "
            "use the tokenizer that the model was trained with"
        )
    log_probs_N, likeliest_N = model.score(tokens_BT, np.concatenate(rows_N), np.concatenate(cols_N), flat_targets_N)
    if np.isnan(log_probs_N).any():
        raise ValueError("score_requests: the model returned NaN log-probabilities; its training diverged")
    starts = np.cumsum([0, *(length for _, _, length in spans[:-1])])
    sums = np.add.reduceat(log_probs_N.astype(np.float64), starts)
    hits = np.logical_and.reduceat(likeliest_N == flat_targets_N, starts)
    return [
        (index, choice, float(total), bool(hit))
        for (index, choice, _), total, hit in zip(spans, sums, hits, strict=True)
    ]


def _generation_groups(requests: list[Request], generated: list[int]) -> dict[tuple[int, tuple[str, ...]], list[int]]:
    """Questions that may run in one batch: same length limit, same stop strings."""
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for index in generated:
        groups.setdefault((requests[index].max_new_tokens, requests[index].early_stops), []).append(index)
    return groups


def _generate_batch(
    model: LanguageModel, tokenizer: Tokenizer, prompts: list[list[int]], max_new_tokens: int, stops: tuple[str, ...]
) -> list[str]:
    longest = max(map(len, prompts)) + max_new_tokens
    if longest > model.max_seq_len:
        raise ValueError(
            f"score_requests: prompt and answer need {longest} tokens, the model takes {model.max_seq_len}; "
            "compile the requests with the model's max_seq_len"
        )
    eos = tokenizer.eos_token_id
    pattern = re.compile("|".join(stops)) if stops else None
    # a token writes at least one byte, so a stop string of n bytes lies within the last n tokens; one more joins a split character
    tail = 1 + max((len(each.encode("utf-8")) for each in stops), default=0)

    def stop(new_tokens: list[int]) -> bool:
        if not new_tokens:
            return False
        if eos is not None and new_tokens[-1] == eos:
            return True
        return pattern is not None and pattern.search(tokenizer.decode(list(new_tokens[-tail:]))) is not None

    answers = model.generate(prompts, max_new_tokens, stop)
    return [tokenizer.decode(_before(list(answer), eos)) for answer in answers]


def _before(tokens: list[int], eos: int | None) -> list[int]:
    return tokens[: tokens.index(eos)] if eos is not None and eos in tokens else tokens


def _scored_record(request: Request, log_probs: list[float], greedy: list[bool]) -> dict:
    num_tokens = [len(continuation) for continuation in request.continuations]
    means = np.array(log_probs) / np.array(num_tokens)
    several = request.task_type != LANGUAGE_MODELING
    prediction = int(np.argmax(means)) if several else None  # the first maximum: ties go to the lowest index
    weights = np.exp(means - means.max()) if np.isfinite(means.max()) else np.ones_like(means)
    gold = request.gold
    return {
        "task": request.task,
        "category": request.category,
        "row": request.row,
        "log_probs": log_probs,
        "num_tokens": num_tokens,
        "greedy": greedy,
        "prediction": prediction,
        "gold": gold,
        "generated": None,
        "correct": prediction == gold if several else greedy[gold],
        "gold_bpb": -log_probs[gold] / np.log(2) / request.gold_bytes if request.gold_bytes else None,
        "gold_prob": float(weights[gold] / weights.sum()) if several else None,
        "truncated": sum(request.truncated),
    }


def _generated_record(request: Request, text: str) -> dict:
    return {
        "task": request.task,
        "category": request.category,
        "row": request.row,
        "generated": text,
        "correct": answer_matches(text, request.answers, request.early_stops, request.cot_delimiter),
        "truncated": sum(request.truncated),
    }


def answer_matches(text: str, answers: Sequence[str], early_stops: Sequence[str] = (), cot_delimiter: str = "") -> bool:
    """Whether a generated text gives an accepted answer: it begins with one once both are normalised.

    So "18 apples" matches "1", and an answer that normalises to nothing always matches: the reference's rule, kept.
    """
    if early_stops:
        text = re.split("|".join(early_stops), text)[0]
    if cot_delimiter:
        text = text.split(cot_delimiter)[-1]
    normalised = normalise_answer(text)
    return any(normalised.startswith(normalise_answer(answer)) for answer in answers)


_PUNCTUATION_TO_SPACE = str.maketrans({mark: " " for mark in string.punctuation + "‘’´`"})
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalise_answer(text: str) -> str:
    """Lower case, punctuation and underscores to spaces, no articles, single spaces (the usual question-answering rule)."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION_TO_SPACE)).split())


def _warn_of_degenerate_answers(records: list[dict]) -> None:
    """A broken generation path or a model that ignores the question still yields a number: say so."""
    by_task: dict[str, list[dict]] = {}
    for record in records:
        by_task.setdefault(record["task"], []).append(record)
    for task, items in by_task.items():
        texts = (
            [item["generated"] for item in items if item["generated"] is not None] if "generated" in items[0] else []
        )
        if texts and not any(text.strip() for text in texts):
            logger.warning("%s: all %d generated answers are empty", task, len(texts))
        predictions = {item.get("prediction") for item in items} - {None}
        golds = {item.get("gold") for item in items}
        if len(items) >= DEGENERATE_MIN_ITEMS and len(predictions) == 1 and len(golds) > 1:
            logger.warning("%s: choice %d was predicted for all %d items", task, *predictions, len(items))
