"""Scores compiled requests with a language model, one result per question, with the semantics of llm-foundry 0.9.0.

- multiple choice and schema: the choice whose continuation has the highest mean token log-probability (the lowest
  per-token perplexity) wins; of exact ties the lowest index.
- language modeling: right if every token of the continuation is the likeliest one under teacher forcing.
- generation: the greedy answer, cut at the first stop string, after the last chain-of-thought delimiter, normalised; right
  if it begins with any normalised accepted answer. Its first answer is scored under teacher forcing too, for `gold_bpb`.

Work is saved without touching a result: a question's choices share what they have in common (see trees.py), the last token
of a continuation is never fed, and trees of all tasks together, largest first, fill batches up to a token budget. A model
without `score_forest` gets padded rows. The plan depends on the requests and the budget alone.

Legend: B rows of a batch, T positions, N scored tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import string
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .journal import Journal
from .protocol import LanguageModel, Tokenizer
from .requests import Request
from .tasks import GENERATION, LANGUAGE_MODELING, load_tasks
from .trees import Tree, trees_of

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
"""One row per question. log_probs: nats, summed over each choice's tokens (generation: one choice, the first answer). greedy:
whether every token of the choice is the model's likeliest. prediction, gold: choice indices (language modeling: gold 0 and no
prediction; generation: neither). gold_bpb: bits of the right continuation per UTF-8 byte of its text. gold_prob: softmax over the choices' mean token
log-probabilities, at the right one. truncated: choices of this question that lost tokens."""

DEGENERATE_MIN_ITEMS = 20  # below this, one answer for everything is no news


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in tokens to be scored or generated."""

    done_tokens: int
    total_tokens: int
    eta_seconds: float | None
    """From this run's own speeds of scoring and of generation; None until both have been seen. On the long side at first."""
    kept_tokens: int = 0
    """Of those done, what an earlier attempt had finished."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Trees to score, or questions of one kind to generate answers for. Questions are indices of the ordered requests."""

    num_tokens: int
    trees: tuple[tuple[int, int], ...] = ()
    """(question, which of its trees): they are grown again when their turn comes, so a suite's trees are never all in memory."""
    prompts: tuple[int, ...] = ()


def score_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    tokenizer: Tokenizer,
    *,
    max_batch_tokens: int = 8_192,
    progress: Callable[[Progress], None] | None = None,
    resume: tuple[str | Path, str] | None = None,
) -> pa.Table:
    """Per-item results (`ITEM_SCHEMA`) in the order of the task table, then of the rows in the file.

    `max_batch_tokens` bounds the tokens of a batch, padding included (a longer single tree runs alone): a few thousand suit a
    CPU's caches, an accelerator wants ten times as many. With `resume`, a directory and the identity of model and tokenizer,
    finished batches are written there and not run again. Raises ValueError for a request that does not fit the model, for one seen
    twice, and where the model returns NaN.
    """
    requests = _in_order(requests)
    forest = getattr(model, "score_forest", None) is not None
    batches = _plan(requests, max_batch_tokens, forest)
    journal = None if resume is None else Journal(resume[0], _plan_hash(requests, batches, resume[1]))
    clock = _Clock(batches, progress)
    log_probs = {index: [0.0] * len(request.continuations) for index, request in enumerate(requests) if request.continuations}
    greedy = {index: [False] * len(choices) for index, choices in log_probs.items()}
    texts: dict[int, str] = {}
    try:
        for place, batch in enumerate(batches):
            results = None if journal is None else journal.finished.get(place)
            with clock.batch(batch, skipped=results is not None):
                if results is None:
                    if batch.trees:
                        results = _score_batch(model, [(at, trees_of(requests[at], not forest)[number]) for at, number in batch.trees])
                    else:
                        results = _generate_batch(model, tokenizer, requests, batch)
                    if journal is not None:
                        journal.append(place, results)
            for index, *found in results:
                if batch.trees:
                    choice, log_probs[index][choice], greedy[index][choice] = found[0], found[1], found[2]
                else:
                    texts[index] = found[0]
    finally:
        if journal is not None:
            journal.close()
    records = [_record(request, log_probs.get(index), greedy.get(index), texts.get(index)) for index, request in enumerate(requests)]
    _warn_of_degenerate_answers(records)
    return pa.Table.from_pylist(records, schema=ITEM_SCHEMA)


def plan_batches(lengths: np.ndarray, max_batch_tokens: int, *, padded: bool = True) -> list[np.ndarray]:
    """Index arrays that cover `lengths`, longest first (ties: in order), each within the budget or of one element.

    What counts is count x longest, or without padding the sum. Longest first shows an out-of-memory error at once and keeps
    the remaining time honest.
    """
    if max_batch_tokens < 1:
        raise ValueError(
            f"plan_batches: max_batch_tokens is {max_batch_tokens}; give at least the longest row, e.g. 16384"
        )
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    batches, start = [], 0
    while start < len(order):
        if padded:
            count = int(max_batch_tokens // max(1, int(lengths[order[start]])))
        else:
            before = int(ends[start - 1]) if start else 0
            count = int(np.searchsorted(ends, before + max_batch_tokens, side="right")) - start
        batches.append(order[start : start + max(1, count)])
        start += max(1, count)
    return batches


def _plan(requests: list[Request], max_batch_tokens: int, forest: bool) -> list[_Batch]:
    """All batches in the order in which they run: one of either kind first, so that both speeds are known early."""
    trees, sizes = [], []
    for index, request in enumerate(requests):
        if request.continuations:
            for number, tree in enumerate(trees_of(request, not forest)):
                trees.append((index, number))
                sizes.append(len(tree))
    sizes = np.array(sizes, dtype=np.int64)
    score = [
        _Batch(int(sizes[chosen].sum()), trees=tuple(trees[position] for position in chosen))
        for chosen in plan_batches(sizes, max_batch_tokens, padded=not forest)
    ]
    kinds: dict[tuple[int, tuple[str, ...]], list[int]] = {}  # same length limit, same stop strings
    for index, request in enumerate(requests):
        if request.task_type == GENERATION:
            kinds.setdefault((request.max_new_tokens, request.early_stops), []).append(index)
    generate = []
    for (max_new_tokens, _), members in kinds.items():
        needs = np.array([len(requests[index].contexts[0]) + max_new_tokens for index in members])
        for chosen in plan_batches(needs, max_batch_tokens):
            generate.append(_Batch(int(needs[chosen].sum()), prompts=tuple(members[position] for position in chosen)))
    return score[:1] + generate[:1] + score[1:] + generate[1:]


def _plan_hash(requests: list[Request], batches: list[_Batch], model: str) -> str:
    """Everything that the results of the batches depend on."""
    digest = hashlib.sha256(repr(("batches", 1, model)).encode())
    for request in requests:
        digest.update(repr((request.task, request.row, request.max_new_tokens, request.early_stops)).encode())
        for context, before in zip(request.contexts, (None, *request.contexts), strict=False):
            digest.update(b"=" if before is not None and np.array_equal(context, before) else context.tobytes())
        for continuation in request.continuations:
            digest.update(repr(len(continuation)).encode() + continuation.tobytes())
    for batch in batches:
        digest.update(repr((batch.trees, batch.prompts)).encode())
    return digest.hexdigest()[:32]


class _Clock:
    """Tells whoever watches how far the run is and how long the rest will take."""

    def __init__(self, batches: list[_Batch], progress: Callable[[Progress], None] | None):
        self.progress = progress
        self.left = {True: 0, False: 0}
        for batch in batches:
            self.left[bool(batch.trees)] += batch.num_tokens
        self.total = sum(self.left.values())
        self.kept = 0
        self.spent = {True: [0, 0.0], False: [0, 0.0]}
        """Tokens and seconds of this run, for scoring (True) and generation."""

    @contextlib.contextmanager
    def batch(self, batch: _Batch, skipped: bool) -> Iterator[None]:
        """Around the work on a batch."""
        kind, start = bool(batch.trees), time.monotonic()
        yield
        self.left[kind] -= batch.num_tokens
        if skipped:
            self.kept += batch.num_tokens
        else:
            self.spent[kind][0] += batch.num_tokens
            self.spent[kind][1] += time.monotonic() - start
        if self.progress is not None:
            left = sum(self.left.values())
            self.progress(Progress(self.total - left, self.total, self._eta(), self.kept))

    def _eta(self) -> float | None:
        seconds = 0.0
        for kind, tokens in self.left.items():
            if tokens and not self.spent[kind][0]:
                return None
            seconds += tokens * self.spent[kind][1] / max(1, self.spent[kind][0])
        return seconds


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


def _score_batch(model: LanguageModel, trees: Sequence[tuple[int, Tree]]) -> list[tuple[int, int, float, bool]]:
    """(request, choice, log-probability, greedy) for every choice that the trees carry."""
    deepest = max(tree.depth for _, tree in trees)
    if deepest > model.max_seq_len:
        raise ValueError(
            f"score_requests: an input has {deepest} tokens, the model takes {model.max_seq_len}; "
            "compile the requests with the model's max_seq_len"
        )
    spans = [(index, row, *span) for row, (index, tree) in enumerate(trees) for span in tree.spans]
    targets_N = np.concatenate([targets for *_, targets in spans])
    largest = max(int(targets_N.max()), *(int(tree.tokens_T.max()) for _, tree in trees))
    if largest >= model.vocab_size:
        raise ValueError(
            f"score_requests: token id {largest} is outside the model's vocabulary of {model.vocab_size}; "
            "use the tokenizer that the model was trained with"
        )
    if getattr(model, "score_forest", None) is not None:
        begins = np.cumsum([0, *(len(tree) for _, tree in trees)])
        tokens_T = np.concatenate([tree.tokens_T for _, tree in trees])
        parents_T = np.concatenate(
            [np.where(tree.parents_T < 0, -1, tree.parents_T + begin) for begin, (_, tree) in zip(begins, trees, strict=False)]
        )
        places_N = np.concatenate([begins[row] + places for _, row, _, places, _ in spans])
        log_probs_N, likeliest_N = model.score_forest(tokens_T, parents_T, places_N, targets_N)
    else:
        tokens_BT = np.zeros((len(trees), deepest), dtype=np.int64)
        for row, (_, tree) in enumerate(trees):
            tokens_BT[row, : len(tree)] = tree.tokens_T
        rows_N = np.concatenate([np.full(len(places), row, dtype=np.int64) for _, row, _, places, _ in spans])
        cols_N = np.concatenate([places for *_, places, _ in spans])
        log_probs_N, likeliest_N = model.score(tokens_BT, rows_N, cols_N, targets_N)
    if np.isnan(log_probs_N).any():
        raise ValueError("score_requests: the model returned NaN log-probabilities; its training diverged")
    starts = np.cumsum([0, *(len(targets) for *_, targets in spans[:-1])])
    sums = np.add.reduceat(log_probs_N.astype(np.float64), starts)
    hits = np.logical_and.reduceat(likeliest_N == targets_N, starts)
    return [
        (index, choice, float(total), bool(hit))
        for (index, _, choices, *_), total, hit in zip(spans, sums, hits, strict=True)
        for choice in choices
    ]


def _generate_batch(model: LanguageModel, tokenizer: Tokenizer, requests: list[Request], batch: _Batch) -> list[tuple[int, str]]:
    """(request, generated text) of questions that share a length limit and stop strings."""
    prompts = [requests[index].contexts[0].tolist() for index in batch.prompts]
    max_new_tokens, stops = requests[batch.prompts[0]].max_new_tokens, requests[batch.prompts[0]].early_stops
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
    return [(index, tokenizer.decode(_before(list(answer), eos))) for index, answer in zip(batch.prompts, answers, strict=True)]


def _before(tokens: list[int], eos: int | None) -> list[int]:
    return tokens[: tokens.index(eos)] if eos is not None and eos in tokens else tokens


def _record(request: Request, log_probs: list[float] | None, greedy: list[bool] | None, text: str | None) -> dict:
    """A row of `ITEM_SCHEMA`; what does not apply is left out."""
    record = {"task": request.task, "category": request.category, "row": request.row, "truncated": sum(request.truncated)}
    if log_probs is not None:
        gold, num_tokens = request.gold or 0, [len(continuation) for continuation in request.continuations]
        bits = -log_probs[gold] / np.log(2)
        record |= {
            "log_probs": log_probs,
            "num_tokens": num_tokens,
            "greedy": greedy,
            "gold_bpb": bits / request.gold_bytes if request.gold_bytes else None,
        }
    if request.task_type == GENERATION:
        right = answer_matches(text, request.answers, request.early_stops, request.cot_delimiter)
        return record | {"generated": text, "correct": right}
    if request.task_type == LANGUAGE_MODELING:
        return record | {"gold": gold, "correct": greedy[gold]}
    means = np.array(log_probs) / np.array(num_tokens)
    prediction = int(np.argmax(means))  # the first maximum: ties go to the lowest index
    weights = np.exp(means - means.max()) if np.isfinite(means.max()) else np.ones_like(means)
    return record | {
        "prediction": prediction,
        "gold": gold,
        "correct": prediction == gold,
        "gold_prob": float(weights[gold] / weights.sum()),
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
        texts = [item["generated"] for item in items if "generated" in item]
        if texts and not any(text.strip() for text in texts):
            logger.warning("%s: all %d generated answers are empty", task, len(texts))
        predictions = {item.get("prediction") for item in items} - {None}
        golds = {item.get("gold") for item in items}
        if len(items) >= DEGENERATE_MIN_ITEMS and len(predictions) == 1 and len(golds) > 1:
            logger.warning("%s: choice %d was predicted for all %d items", task, *predictions, len(items))
