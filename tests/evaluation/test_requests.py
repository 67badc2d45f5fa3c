import functools
import hashlib
import json
import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.requests import compile_requests, count_truncated, draw_fewshot
from evaluation.tasks import GENERATION, Task, load_suite

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
TYPES = ("multiple_choice", "schema", "language_modeling", "generation_task_with_answers")


class ToyTokenizer:
    """Words with their leading space (so " a" is one token) or single characters (so it is two); ids by first sight."""

    eos_token_id = 0

    def __init__(self, words=True, bos=False, trailing_eos=False):
        self.pattern = re.compile(r" ?\w+|\s|[^\w\s]" if words else r".", re.DOTALL)
        self.bos, self.trailing_eos = bos, trailing_eos
        self.ids = {}

    def encode(self, text, add_special_tokens=False):
        ids = [self.ids.setdefault(piece, len(self.ids) + 2) for piece in self.pattern.findall(text)]
        before, after = [1] if self.bos else [], [0] if self.trailing_eos else []
        return before + ids + after if add_special_tokens else ids

    def decode(self, ids):
        pieces = {number: piece for piece, number in self.ids.items()}
        return "".join(pieces.get(number, "") for number in ids)


class BatchingTokenizer(ToyTokenizer):
    def encode_batch(self, texts, add_special_tokens=False):
        return [self.encode(text, add_special_tokens) for text in texts]


def make_task(task_type, **settings):
    facts = {"label": "toy", "category": "safety", "num_fewshot": 2, "baseline_v1": 0.0, "baseline_v2": 0.0}
    return Task(**(facts | {"task_type": task_type, "in_core": False, "file": "toy.jsonl"} | settings))


def make_rows(task_type, number, seed=0):
    """Rows with the oddities of the real files: stray spaces, delimiters in the question, answers with a space."""
    rng = random.Random(seed)

    def words(low, high):
        text = " ".join(
            rng.choice(["red", "a", "tree", "runs", "7", "then", "blue"]) for _ in range(rng.randint(low, high))
        )
        return rng.choice(["", "", " ", "\n"]) + text + rng.choice(["", "", " ", "."])

    rows = []
    for _ in range(number):
        row = {"category": rng.choice("xyz")}
        if task_type == "multiple_choice":
            row |= {"query": "Q: " + words(1, 6), "choices": [words(1, 3) for _ in range(3)], "gold": rng.randrange(3)}
        elif task_type == "schema":
            row |= {
                "context_options": ["It " + words(1, 4), words(2, 5)],
                "continuation": words(1, 3),
                "gold": rng.randrange(2),
            }
        elif task_type == "language_modeling":
            row |= {"context": "Say" + words(1, 6), "continuation": words(1, 3)}
        else:
            row |= {"context": "How" + words(1, 6), "answer": words(1, 2), "aliases": [words(1, 2)]}
            row |= {"chain_of_thought": words(2, 5)}
        rows.append(row)
    return rows


def plain_twin(task, rows, tokenizer, max_seq_len, faithful=True, only=None):
    """The written rules again, one string and one list at a time: [(row, [(context, continuation)], max_new_tokens)].

    Draws run over all rows, ids are made for those in `only` (None: for all).
    """
    groups = [(None, range(len(rows)))]
    if task.has_categories:
        names = sorted({row["category"] for row in rows})
        groups = [(name, [i for i in range(len(rows)) if rows[i]["category"] == name]) for name in names]
    output = []
    for _, members in groups:
        rng = random.Random(1234)
        pool = [{k: v.strip() if isinstance(v, str) else v for k, v in rows[i].items()} for i in members]
        longest = 0
        if task.task_type == TYPES[3]:
            for i in members:
                for answer in [rows[i]["answer"]] + rows[i].get("aliases", []):
                    full = answer
                    if "chain_of_thought" in rows[i]:
                        full = rows[i]["chain_of_thought"] + task.cot_delimiter + answer
                    longest = max(longest, len(tokenizer.encode(full, add_special_tokens=True)))
            longest += 10 if task.cot_delimiter != "" else 0
        for place, row in enumerate(pool):
            shots = []
            if task.num_fewshot > 0:
                picked = set(rng.sample(range(0, len(pool)), min(len(pool) - 1, task.num_fewshot)))
                if place in picked:
                    picked.remove(place)
                    while True:
                        new = rng.choice(range(0, len(pool)))
                        if new != place and new not in picked:
                            break
                    picked.add(new)
                shots = [j for j in picked]
            if only is not None and members[place] not in only:
                continue
            preamble = ""
            for j in shots:
                preamble += ("\n" if preamble != "" else "") + one_example(task, pool[j])
            head = tokenizer.encode(preamble, add_special_tokens=True)
            if len(head) > 1 and head[-1] == tokenizer.eos_token_id:
                head = head[:-1]
            pairs = []
            for query, continuation in questions(task, row, preamble):
                context = head + tokenizer.encode(query)
                if task.task_type == TYPES[3]:
                    limit, new_tokens = max_seq_len - longest, max(longest, 1)
                    if limit <= 0:
                        new_tokens = max_seq_len // 2
                        limit = max_seq_len - new_tokens
                    pairs.append((context[-limit:], []))
                    continue
                new_tokens = 0
                if len(tokenizer.encode(" a")) == 1 and not continuation.startswith(" "):
                    continuation = " " + continuation
                ids = tokenizer.encode(continuation)
                if len(ids) >= max_seq_len:
                    assert not faithful
                    ids = ids[: max_seq_len - 1]
                while len(context) + len(ids) > max_seq_len:
                    context = context[1:]
                pairs.append((context, ids))
            output.append((members[place], pairs, new_tokens))
    return output


def one_example(task, row):
    if task.task_type == TYPES[0]:
        left, right = row["query"], row["choices"][row["gold"]]
    elif task.task_type == TYPES[1]:
        left, right = row["context_options"][row["gold"]], row["continuation"]
    elif task.task_type == TYPES[2]:
        left, right = row["context"], row["continuation"]
    else:
        left, right = row["context"], row["answer"]
        if "chain_of_thought" in row:
            right = row["chain_of_thought"] + task.cot_delimiter + right
    return f"{task.question_prelimiter}{left}{task.continuation_delimiter}{right}"


def questions(task, row, preamble):
    newline = "\n" if preamble != "" else ""
    if task.task_type == TYPES[1]:
        for option in row["context_options"]:
            text = option
            if preamble != "":
                text = task.question_prelimiter + "\n" + option + task.continuation_delimiter.rstrip()
            yield text, row["continuation"]
        return
    name = "query" if task.task_type == TYPES[0] else "context"
    text = (newline + task.question_prelimiter + row[name] + task.continuation_delimiter).rstrip()
    for choice in row["choices"] if task.task_type == TYPES[0] else [row.get("continuation", "")]:
        yield text, choice


def as_plain(requests):
    return [
        (
            r.row,
            [
                (context.tolist(), [] if r.task_type == GENERATION else r.continuations[n].tolist())
                for n, context in enumerate(r.contexts)
            ],
            r.max_new_tokens,
        )
        for r in requests
    ]


@settings(max_examples=60, deadline=None)
@given(
    task_type=st.sampled_from(TYPES),
    num_rows=st.integers(1, 14),
    num_fewshot=st.integers(0, 12),
    delimiter=st.sampled_from([" ", "\nAnswer: ", "Answer: "]),
    prelimiter=st.sampled_from(["", "Q: "]),
    cot_delimiter=st.sampled_from(["", " #### "]),
    has_categories=st.booleans(),
    words=st.booleans(),
    bos=st.booleans(),
    trailing_eos=st.booleans(),
    max_seq_len=st.sampled_from([24, 64, 2048]),
    seed=st.integers(0, 5),
)
def test_ids_equal_a_plain_twin(
    task_type, num_rows, num_fewshot, delimiter, prelimiter, cot_delimiter, has_categories, words, bos, trailing_eos,
    max_seq_len, seed,
):  # fmt: skip
    task = make_task(
        task_type,
        num_fewshot=num_fewshot,
        continuation_delimiter=delimiter,
        question_prelimiter=prelimiter,
        cot_delimiter=cot_delimiter,
        has_categories=has_categories,
    )
    rows = make_rows(task_type, num_rows, seed)
    tokenizer = BatchingTokenizer(words, bos, trailing_eos)
    requests = compile_requests(task, rows, tokenizer, max_seq_len=max_seq_len, faithful=False)
    assert as_plain(requests) == plain_twin(task, rows, tokenizer, max_seq_len, faithful=False)
    for _, pairs, new_tokens in as_plain(requests):
        assert all(len(context) + max(len(continuation), new_tokens) <= max_seq_len for context, continuation in pairs)


def test_a_tokenizer_without_batches_gives_the_same_ids():
    task, rows = make_task(TYPES[0]), make_rows(TYPES[0], 9)
    one, many = ToyTokenizer(), BatchingTokenizer()
    for text in (str(row) + " " + row["query"] for row in rows):  # same ids in both, whatever the order of calls
        one.encode(text), many.encode(text)
    many.ids = one.ids
    assert as_plain(compile_requests(task, rows, one)) == as_plain(compile_requests(task, rows, many))


def test_some_rows_are_the_rows_of_the_full_task():
    for task_type in TYPES:
        task, rows, tokenizer = make_task(task_type, has_categories=True), make_rows(task_type, 20), ToyTokenizer()
        full = as_plain(compile_requests(task, rows, tokenizer))
        some = as_plain(compile_requests(task, rows, tokenizer, only_rows={3, 4, 17}))
        assert some == [each for each in full if each[0] in {3, 4, 17}]


def test_fewshot_draws_replay_one_generator():
    rng = random.Random(1234)
    draws = [draw_fewshot(rng, 40, row, 5) for row in range(40)]
    assert all(row not in shots and len(set(shots)) == 5 for row, shots in enumerate(draws))
    assert any(shots != sorted(shots) for shots in draws)
    assert draw_fewshot(random.Random(1234), 3, 0, 10) in ([1, 2], [2, 1])
    untouched = random.Random(1234)
    assert draw_fewshot(untouched, 40, 0, 0) == [] and untouched.random() == random.Random(1234).random()


def test_fewshot_order_of_a_published_prompt():
    # rows 0 and 7 of triviaqa_sm_sub (3,000 rows, 3 shots) as the reference implementation drew them
    rng = random.Random(1234)
    draws = [draw_fewshot(rng, 3000, row, 3) for row in range(8)]
    assert draws[0] == [1805, 478, 30] and draws[7] == [608, 749, 373]


def test_choices_share_their_context():
    request = compile_requests(make_task(TYPES[0]), make_rows(TYPES[0], 4), ToyTokenizer())[0]
    assert request.contexts[0] is request.contexts[1] and request.truncated == (False,) * 3


def test_gold_bytes_leave_the_added_space_out():
    rows = [{"context": "Treble", "continuation": " né  "}]
    request = compile_requests(make_task(TYPES[2], num_fewshot=0), rows, ToyTokenizer())[0]
    assert request.gold == 0 and request.gold_bytes == 3


def test_left_truncation_is_counted_per_choice():
    task = make_task(TYPES[0], num_fewshot=0)
    rows = [{"query": "a " * 30, "choices": ["a", "a a a a"], "gold": 1}]
    request = compile_requests(task, rows, ToyTokenizer(), max_seq_len=32)[0]
    assert request.truncated == (False, True) and request.dropped_tokens == 2 and count_truncated([request]) == 1
    assert [len(context) for context in request.contexts] == [30, 28] and request.gold_bytes == 7


def test_a_continuation_too_long_for_the_model():
    task = make_task(TYPES[2], num_fewshot=0)
    rows = [{"context": "go", "continuation": "a " * 16}]
    with pytest.raises(ValueError, match="toy row 0.*16 tokens.*faithful"):
        compile_requests(task, rows, ToyTokenizer(), max_seq_len=16)
    request = compile_requests(task, rows, ToyTokenizer(), max_seq_len=16, faithful=False)[0]
    assert len(request.contexts[0]) == 1 and len(request.continuations[0]) == 15
    assert request.truncated == (True,) and request.gold_bytes is None


def test_the_first_answer_of_a_generation_task_follows_as_in_an_example():
    tokenizer = ToyTokenizer()
    rows = [{"context": "2 + 2", "answer": "4", "aliases": ["four"], "chain_of_thought": "2 + 2 is 4"}, {"context": "1", "answer": " on\u00e9 "}]
    for delimiter, lead in ((" ", " "), ("\nA: ", " "), (" so:\n", "\n")):
        task = make_task(GENERATION, num_fewshot=0, continuation_delimiter=delimiter, cot_delimiter=" #### ")
        requests = compile_requests(task, rows, tokenizer)
        for request, answer in zip(requests, ("2 + 2 is 4 #### 4", " #### on\u00e9"), strict=True):
            (first,) = request.continuations
            assert first.tolist() == tokenizer.encode(lead + answer) and request.gold_bytes == len(answer.encode())
    (_, short) = compile_requests(make_task(GENERATION, num_fewshot=0, cot_delimiter=" #### "), rows, tokenizer, max_seq_len=4, faithful=False)
    assert len(short.contexts[0]) + len(short.continuations[0]) - 1 == 4 and short.gold_bytes is None


def test_generation_that_would_fill_the_model_gets_half_of_it():
    task = make_task(TYPES[3], num_fewshot=0)
    rows = [{"context": "why " * 20, "answer": "a " * 40}, {"context": "why", "answer": "a"}]
    long, short = compile_requests(task, rows, ToyTokenizer(), max_seq_len=32)
    assert long.max_new_tokens == short.max_new_tokens == 16 and len(long.contexts[0]) == 16
    assert count_truncated([long, short]) == 2
    uncapped = compile_requests(task, rows, ToyTokenizer(), max_seq_len=128)
    assert uncapped[0].max_new_tokens == 41 and count_truncated(uncapped) == 0
    assert uncapped[0].answers == ("a " * 40,)


@pytest.mark.parametrize(
    ("task_type", "row", "message"),
    [
        ("multiple_choice", {"query": "q", "choices": ["a"], "gold": 1}, "gold is 1"),
        ("multiple_choice", {"query": "q", "choices": "ab", "gold": 0}, "choices is 'ab'"),
        ("schema", {"continuation": "q", "gold": 0}, "context_options is None"),
        ("language_modeling", {"query": "q"}, r"context is None.*fields: query"),
        ("generation_task_with_answers", {"context": "q", "answer": 5}, "answer is 5"),
        ("schema", {"continuation": "q", "gold": 0, "context_options": [""]}, "context has no tokens"),
    ],
)
def test_a_broken_row_is_named(task_type, row, message):
    with pytest.raises(ValueError, match="toy row 0.*" + message):
        compile_requests(make_task(task_type, num_fewshot=0), [row], ToyTokenizer())


def row_bytes(request):
    parts = []
    for number, context in enumerate(request.contexts):
        for ids in (context, np.zeros(0) if request.task_type == GENERATION else request.continuations[number]):
            parts += [struct.pack("<I", len(ids)), ids.astype("<u4").tobytes()]
    return b"".join(parts)


TOKENIZERS = {"plain": "gpt-neox-20b-olmo.json", "bos": "gpt-neox-20b-bos.json"}


def published(name):
    path = SHARED / "published" / name
    return json.loads(path.read_text()) if path.is_file() else {}


def labels_of(cases):
    return sorted(cases) or [pytest.param(None, marks=pytest.mark.skip(reason="../shared/data/published is absent"))]


@functools.cache
def load(tokenizer_name):
    """The suite and a tokenizer; both remember what they have read."""
    pytest.importorskip("tokenizers")
    path = SHARED / "tokenizers" / TOKENIZERS[tokenizer_name]
    if not (path.is_file() and (SHARED / "eval").is_dir()):
        pytest.skip("../shared/data (eval, tokenizers) is absent")
    from evaluation.protocol import HuggingFaceTokenizer

    return load_suite(SHARED / "eval"), HuggingFaceTokenizer(path)


def golden_case(label, golden, tokenizer_name, row_hashes=None):
    suite, tokenizer = load(tokenizer_name)
    task = suite.entries[label].task
    requests = compile_requests(task, suite.rows(label), tokenizer)
    rows = [row_bytes(request) for request in requests]
    assert len(rows) == golden["rows"]
    for number, (row, expected) in enumerate(zip(rows, row_hashes or [""] * len(rows), strict=True)):
        assert not expected or hashlib.sha256(row).hexdigest()[:16] == expected, f"{label}: row {number} differs first"
    assert hashlib.sha256(b"".join(rows)).hexdigest() == golden["sha256"]
    assert sum(len(request.contexts) for request in requests) == golden["requests"]
    assert sum(len(ids) for request in requests for ids in request.contexts) == golden["context_tokens"]
    assert sum(len(ids) for request in requests if request.task_type != GENERATION for ids in request.continuations) == golden["continuation_tokens"]
    assert count_truncated(requests) == golden["truncated_requests"]
    assert sum(request.dropped_tokens for request in requests) == golden["dropped_tokens"]
    if golden["gold_sha256"]:
        golds = b"".join(struct.pack("<I", request.gold) for request in requests)
        assert hashlib.sha256(golds).hexdigest() == golden["gold_sha256"]
    if golden["type"] == TYPES[3]:
        assert {request.max_new_tokens for request in requests} == {golden["max_new_tokens"]}
        texts = suite.rows(label)
        labels = [
            json.dumps([full_answer(task, texts[request.row]), list(request.answers)], ensure_ascii=False) + "\n" for request in requests
        ]
        assert hashlib.sha256("".join(labels).encode()).hexdigest() == golden["labels_sha256"]


def full_answer(task, row):
    thought = row["chain_of_thought"].strip() + task.cot_delimiter if "chain_of_thought" in row else ""
    return thought + row["answer"].strip()


GOLDEN = published("requests_golden.json").get("tasks", {})
GOLDEN_ROWS = published("requests_golden_rows.json")
GOLDEN_BOS = {
    label: case
    for label, case in published("requests_golden_bos.json").get("tokenizers", {}).get("neox_bos", {}).items()
    if isinstance(case, dict) and "sha256" in case
}


@pytest.mark.parametrize("label", labels_of(GOLDEN))
def test_published_ids(label):
    golden_case(label, GOLDEN[label], "plain", GOLDEN_ROWS[label])


@pytest.mark.parametrize("label", labels_of(GOLDEN_BOS))
def test_published_ids_with_a_bos(label):
    golden_case(label, GOLDEN_BOS[label], "bos")


@pytest.mark.parametrize("tokenizer_name", TOKENIZERS)
def test_a_plain_twin_agrees_on_every_task(tokenizer_name):
    suite, tokenizer = load(tokenizer_name)
    assert len(suite.tasks) >= 48
    for label, task in suite.tasks.items():
        rows = suite.rows(label)
        some = {0, len(rows) - 1, *random.Random(label).sample(range(len(rows)), 4)}
        ours = as_plain(compile_requests(task, rows, tokenizer, only_rows=some))
        assert ours == plain_twin(task, rows, tokenizer, 2048, only=some), label
        assert {row for row, _, _ in ours} == some
