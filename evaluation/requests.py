"""Compiles the rows of a task into token-level requests, as llm-foundry 0.9.0 does, id for id.

Four rules decide the ids. (1) Few-shot examples come from the task's own rows (of the same category), drawn by one
`random.Random(1234)` that runs through the rows in order and emitted in the iteration order of the Python set they are
held in. (2) Every top-level string is stripped; a question ends with its delimiter and is then stripped on the right.
(3) Preamble, question and continuation are tokenised apart and joined as ids, special tokens with the preamble only.
(4) A prompt that is too long loses tokens on its left, never a token of its continuation.

Where the reference has no meaningful answer because the model is short (it was written for 2,048 positions):
- a continuation that leaves no room for one context token raises; with `faithful=False` its first max_seq_len - 1 tokens
  are kept and the request counts as truncated;
- a generation task whose longest answer needs the whole length gets half of it: max_new_tokens = max_seq_len // 2, and
  each of its requests counts as truncated.

Cost: tokenisation of every distinct line where the tokenizer allows it (else of every preamble and question), see encoding.py;
choices share the arrays of their context.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .encoding import EXAMPLE_DELIMITER, Encoder
from .protocol import Tokenizer
from .tasks import GENERATION, LANGUAGE_MODELING, MULTIPLE_CHOICE, SCHEMA, Task

SCORING_MODE = "llmfoundry-0.9"
"""Name of the rules here and in the scorer: results of different modes are never compared. (v1 and v2 name baselines only.)"""

COT_ANSWER_BUFFER_TOKENS = 10  # the reference lengthens answers by this where a chain of thought precedes them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One question with everything that is scored for it. Token ids are int32 arrays, unpadded, after truncation."""

    task: str
    task_type: str
    category: str | None
    row: int
    """Index of the question in the task's file."""
    contexts: tuple[np.ndarray, ...]
    """One per choice; the same array where the context is the same."""
    continuations: tuple[np.ndarray, ...]
    """One per choice; for generation the first answer alone, behind its chain of thought, which is scored for gold_bpb only."""
    truncated: tuple[bool, ...]
    """Per choice (once for generation): tokens were cut off, or the generated answer had to be capped."""
    dropped_tokens: int = 0
    """Context tokens cut off on the left, over all choices."""
    gold: int | None = None
    """Index of the right choice; None for generation."""
    gold_bytes: int | None = None
    """UTF-8 bytes of the right continuation (generation: of the first answer) without an added space; None where it was cut."""
    max_new_tokens: int = 0
    """Generation only, as the next three."""
    early_stops: tuple[str, ...] = ()
    cot_delimiter: str = ""
    answers: tuple[str, ...] = ()
    """Accepted answers, raw, sorted."""


def compile_requests(
    task: Task,
    rows: Sequence[dict],
    tokenizer: Tokenizer,
    fewshot_seed: int = 1234,
    max_seq_len: int = 2048,
    *,
    faithful: bool = True,
    only_rows: Collection[int] | None = None,
) -> list[Request]:
    """The requests of one task; with categories, those of the first category come first (sorted), file order inside.

    `only_rows` restricts the output to some row indices: few-shot draws and answer lengths still run over all rows, so
    each request is the one of the full task. Raises ValueError for a broken row, for an empty context, and (if
    `faithful`) for a continuation of max_seq_len tokens or more. Source: llm-foundry 0.9.0, in-context-learning data sets.
    """
    if max_seq_len < 2:
        raise ValueError(f"compile_requests: max_seq_len is {max_seq_len}; scoring needs 2 or more positions")
    compiler = _Compiler(task, tokenizer, max_seq_len, faithful)
    requests: list[Request] = []
    for category, indices in _split_by_category(task, rows).items():
        part = [rows[index] for index in indices]
        requests += compiler.part(category, indices, part, random.Random(fewshot_seed), only_rows)
    return requests


def count_truncated(requests: Sequence[Request]) -> int:
    """How many choices (or prompts to be continued) lost tokens: what the reference calls requests."""
    return sum(sum(request.truncated) for request in requests)


def draw_fewshot(rng: random.Random, num_rows: int, row: int, num_fewshot: int) -> list[int]:
    """Indices of the examples before `row`, in the order in which they are shown; nothing is drawn for 0 shots.

    The order is the iteration order of a set with this very history of insertions and removals: neither sorted nor the
    order of the draws, and not that of a set rebuilt from the same numbers.
    """
    if num_fewshot == 0:
        return []
    chosen = set(rng.sample(range(num_rows), min(num_rows - 1, num_fewshot)))
    if row in chosen:
        chosen.remove(row)
        other = rng.choice(range(num_rows))
        while other == row or other in chosen:
            other = rng.choice(range(num_rows))
        chosen.add(other)
    return list(chosen)


def _split_by_category(task: Task, rows: Sequence[dict]) -> dict[str | None, list[int]]:
    if not task.has_categories:
        return {None: list(range(len(rows)))}
    parts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        parts.setdefault(_text(task, index, row, "category"), []).append(index)
    return dict(sorted(parts.items()))


class _Compiler:
    """What stays the same for all rows of a task."""

    def __init__(self, task: Task, tokenizer: Tokenizer, max_seq_len: int, faithful: bool):
        self.task, self.encoder, self.max_seq_len, self.faithful = task, Encoder(tokenizer), max_seq_len, faithful
        # a tokenizer that writes " a" as one token marks words by a leading space: continuations get one
        self.prefix_space = len(tokenizer.encode(" a", add_special_tokens=False)) == 1

    def part(
        self,
        category: str | None,
        indices: list[int],
        raw_rows: list[dict],
        rng: random.Random,
        only_rows: Collection[int] | None,
    ) -> list[Request]:
        """Requests of the rows that form one few-shot pool."""
        task = self.task
        with_cot = any("chain_of_thought" in row for row in raw_rows)
        pool = [_strip(row) for row in raw_rows]
        for index, row in zip(indices, pool, strict=True):
            _check(task, index, row)
        max_answer = self._longest_answer(indices, raw_rows, with_cot) if task.task_type == GENERATION else 0
        examples = [_example(task, row, with_cot) for row in pool]
        positions, drawn = [], []
        for position, index in enumerate(indices):
            shots = draw_fewshot(rng, len(pool), position, task.num_fewshot)
            if only_rows is None or index in only_rows:
                positions.append(position)
                drawn.append(shots)
        kept = [pool[position] for position in positions]
        contexts = self._contexts(kept, examples, drawn)
        if task.task_type == GENERATION:
            first = self._first_answers([_answer(task, row, with_cot) for row in kept])
            return [
                self._generation(category, indices[position], raw_rows[position], each[0], max_answer, *answer)
                for position, each, answer in zip(positions, contexts, first, strict=True)
            ]
        return [
            self._scored(category, indices[position], row, questions, choices)
            for position, row, questions, choices in zip(positions, kept, contexts, self._choices(kept), strict=True)
        ]

    def _contexts(self, rows: list[dict], examples: list[str], drawn: list[list[int]]) -> Iterator[list[np.ndarray]]:
        """Preamble and question as ids, untruncated: one array per question, or for schema tasks one per option."""
        queries = [
            _queries(self.task, row, has_preamble=len(shots) > 1 or any(examples[shot] for shot in shots))
            for row, shots in zip(rows, drawn, strict=True)
        ]
        query_ids = self.encoder.ids([text for texts in queries for text in texts])
        for texts, preamble in zip(queries, self.encoder.preambles(examples, drawn), strict=True):
            yield [np.concatenate([preamble, next(query_ids)]) for _ in texts]

    def _choices(self, rows: list[dict]) -> Iterator[list[np.ndarray]]:
        """Ids of the continuations of each row, uncut."""
        choices = [_continuations(self.task, row)[0] for row in rows]
        spaced = [
            " " + text if self.prefix_space and not text.startswith(" ") else text for texts in choices for text in texts
        ]
        ids = self.encoder.ids(spaced)
        for texts in choices:
            yield [next(ids) for _ in texts]

    def _first_answers(self, texts: list[str]) -> Iterator[tuple[np.ndarray, int]]:
        """(ids, UTF-8 bytes) of the answers as examples show them, after the white space that the question's end has lost."""
        delimiter = self.task.continuation_delimiter
        lead = delimiter[len(delimiter.rstrip()) :]
        lead = "" if lead == " " and not self.prefix_space else lead
        for text, ids in zip(texts, self.encoder.ids([lead + text for text in texts]), strict=True):
            yield ids, len(text.encode("utf-8"))

    def _scored(
        self, category: str | None, index: int, row: dict, contexts: list[np.ndarray], uncut: list[np.ndarray]
    ) -> Request:
        texts, gold = _continuations(self.task, row)
        contexts = contexts * len(texts) if len(contexts) == 1 else contexts
        kept, continuations, truncated, dropped = [], [], [], 0
        shortened: dict[tuple[int, int], np.ndarray] = {}  # choices of equal length go on sharing their context
        cut_gold = False
        for choice, (text, context, continuation) in enumerate(zip(texts, contexts, uncut, strict=True)):
            if len(continuation) == 0:
                raise ValueError(
                    f"{self.task.label} row {index}: the continuation {text!r} has no tokens; repair the row"
                )
            cut = len(continuation) >= self.max_seq_len
            if cut:
                if self.faithful:
                    raise ValueError(
                        f"{self.task.label} row {index}: a continuation of {len(continuation)} tokens leaves no room for "
                        f"context in {self.max_seq_len} positions; use a longer model, or faithful=False to cut it"
                    )
                continuation = continuation[: self.max_seq_len - 1]
                cut_gold |= choice == gold
            room = self.max_seq_len - len(continuation)
            over = max(0, len(context) - room)
            if over:
                context = shortened.setdefault((id(context), over), context[over:])
            if len(context) == 0:
                raise ValueError(
                    f"{self.task.label} row {index}: the context has no tokens, so nothing predicts the answer"
                )
            kept.append(context)
            continuations.append(continuation)
            truncated.append(cut or over > 0)
            dropped += over
        return Request(
            task=self.task.label,
            task_type=self.task.task_type,
            category=category,
            row=index,
            contexts=tuple(kept),
            continuations=tuple(continuations),
            truncated=tuple(truncated),
            dropped_tokens=dropped,
            gold=gold,
            gold_bytes=None if cut_gold else len(texts[gold].encode("utf-8")),
        )

    def _generation(
        self, category: str | None, index: int, raw: dict, context: np.ndarray, max_answer: int, first: np.ndarray, num_bytes: int
    ) -> Request:
        room, max_new_tokens = self.max_seq_len - max_answer, max(max_answer, 1)
        capped = room <= 0
        if capped:
            max_new_tokens = self.max_seq_len // 2
            room = self.max_seq_len - max_new_tokens
        over = max(0, len(context) - room)
        context = context[over:]
        if len(context) == 0:
            raise ValueError(
                f"{self.task.label} row {index}: the prompt has no tokens, so there is nothing to continue"
            )
        fits = self.max_seq_len + 1 - len(context)  # its last token is never fed
        return Request(
            task=self.task.label,
            task_type=self.task.task_type,
            category=category,
            row=index,
            contexts=(context,),
            continuations=(first[:fits],) if num_bytes else (),
            truncated=(capped or over > 0,),
            dropped_tokens=over,
            gold_bytes=num_bytes if 0 < len(first) <= fits and num_bytes else None,
            max_new_tokens=max_new_tokens,
            early_stops=self.task.early_stops,
            cot_delimiter=self.task.cot_delimiter,
            answers=tuple(sorted({raw["answer"], *(raw.get("aliases") or ())})),
        )

    def _longest_answer(self, indices: list[int], raw_rows: list[dict], with_cot: bool) -> int:
        """Tokens of the longest answer in the file, unstripped and with special tokens, as the reference counts them."""
        texts = []
        for index, row in zip(indices, raw_rows, strict=True):
            thought = (row.get("chain_of_thought") or "") + self.task.cot_delimiter if with_cot else ""
            for answer in (row["answer"], *(row.get("aliases") or ())):
                if not isinstance(answer, str):
                    raise ValueError(f"{self.task.label} row {index}: alias {answer!r} is not text")
                texts.append(thought + answer)
        return self.encoder.longest(texts) + (COT_ANSWER_BUFFER_TOKENS if self.task.cot_delimiter else 0)


def _strip(row: dict) -> dict:
    return {key: value.strip() if isinstance(value, str) else value for key, value in row.items()}


def _example(task: Task, row: dict, with_cot: bool) -> str:
    """A solved example: question, delimiter, answer, raw. No space is added before the answer."""
    if task.task_type == SCHEMA:
        question, answer = row["context_options"][row["gold"]], row["continuation"]
    elif task.task_type == MULTIPLE_CHOICE:
        question, answer = row["query"], row["choices"][row["gold"]]
    elif task.task_type == LANGUAGE_MODELING:
        question, answer = row["context"], row["continuation"]
    else:
        question, answer = row["context"], _answer(task, row, with_cot)
    return task.question_prelimiter + question + task.continuation_delimiter + answer


def _answer(task: Task, row: dict, with_cot: bool) -> str:
    """The first answer of a generation task, behind its chain of thought where the file has some."""
    return ((row.get("chain_of_thought") or "") + task.cot_delimiter if with_cot else "") + row["answer"]


def _queries(task: Task, row: dict, has_preamble: bool) -> list[str]:
    """The question as text: one for all choices, or for schema tasks one per option."""
    joint = EXAMPLE_DELIMITER if has_preamble else ""
    if task.task_type == SCHEMA:
        if not has_preamble:  # a bare option: no delimiter, nothing stripped
            return list(row["context_options"])
        delimiter = task.continuation_delimiter.rstrip()
        return [task.question_prelimiter + joint + option + delimiter for option in row["context_options"]]
    question = row["query"] if task.task_type == MULTIPLE_CHOICE else row["context"]
    return [(joint + task.question_prelimiter + question + task.continuation_delimiter).rstrip()]


def _continuations(task: Task, row: dict) -> tuple[list[str], int]:
    if task.task_type == MULTIPLE_CHOICE:
        return row["choices"], row["gold"]
    if task.task_type == SCHEMA:
        return [row["continuation"]] * len(row["context_options"]), row["gold"]
    return [row["continuation"]], 0


_TEXT_FIELDS = {
    MULTIPLE_CHOICE: ("query",),
    SCHEMA: ("continuation",),
    LANGUAGE_MODELING: ("context", "continuation"),
    GENERATION: ("context", "answer"),
}
_CHOICE_FIELD = {MULTIPLE_CHOICE: "choices", SCHEMA: "context_options"}


def _check(task: Task, index: int, row: dict) -> None:
    for name in _TEXT_FIELDS[task.task_type]:
        _text(task, index, row, name)
    choices = _CHOICE_FIELD.get(task.task_type)
    if choices:
        options, gold = row.get(choices), row.get("gold")
        if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
            raise ValueError(f"{task.label} row {index}: {choices} is {options!r}; expected a list of strings")
        if not isinstance(gold, int) or not 0 <= gold < len(options):
            raise ValueError(
                f"{task.label} row {index}: gold is {gold!r}; expected an index into {len(options)} {choices}"
            )


def _text(task: Task, index: int, row: dict, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{task.label} row {index}: {name} is {value!r}; expected text (fields: {', '.join(row)})")
    return value
