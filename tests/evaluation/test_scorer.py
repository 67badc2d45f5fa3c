import dataclasses
import logging
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.requests import Request
from evaluation.scorer import ITEM_SCHEMA, answer_matches, normalise_answer, plan_batches, score_requests

VOCAB = 13


class HashModel:
    """A causal model whose next-token distribution is a fixed pseudo-random function of the whole prefix."""

    max_seq_len = 64
    vocab_size = VOCAB

    def __init__(self):
        self.rows_run = 0
        self.shapes = []

    def log_probs(self, prefix):
        rng = np.random.default_rng([len(prefix), *map(int, prefix)])
        logits = rng.normal(size=VOCAB) * 2
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def score(self, tokens_BT, rows_N, cols_N, targets_N):
        assert tokens_BT.dtype == np.int64 and len(rows_N) == len(cols_N) == len(targets_N)
        self.rows_run += len(tokens_BT)
        self.shapes.append(tokens_BT.shape)
        each = [self.log_probs(tokens_BT[row, : col + 1]) for row, col in zip(rows_N, cols_N, strict=True)]
        return (
            np.array([p[t] for p, t in zip(each, targets_N, strict=True)], dtype=np.float32),
            np.array([p.argmax() for p in each], dtype=np.int64),
        )

    def generate(self, prompts, max_new_tokens, stop=None):
        answers = []
        for prompt in prompts:
            new = []
            while len(new) < max_new_tokens and not (new and stop is not None and stop(new)):
                new.append(int(self.log_probs([*prompt, *new]).argmax()))
            answers.append(new)
        return answers


class ForestModel(HashModel):
    """The same model, taking trees."""

    def __init__(self):
        super().__init__()
        self.tokens_run = []

    def score_forest(self, tokens_T, parents_T, places_N, targets_N):
        assert tokens_T.dtype == parents_T.dtype == places_N.dtype == targets_N.dtype == np.int64
        assert len(tokens_T) == len(parents_T) and len(places_N) == len(targets_N)
        self.tokens_run.append(len(tokens_T))
        log_probs, likeliest = [], []
        for place, target in zip(places_N.tolist(), targets_N.tolist(), strict=True):
            prefix = []
            while place >= 0:
                prefix.append(int(tokens_T[place]))
                place = int(parents_T[place])
            p = self.log_probs(prefix[::-1])
            log_probs.append(p[target])
            likeliest.append(p.argmax())
        return np.array(log_probs, dtype=np.float32), np.array(likeliest, dtype=np.int64)

    def score(self, *_):
        raise AssertionError("a model that takes trees was given rows")


MODELS = pytest.mark.parametrize("kind", [HashModel, ForestModel], ids=["rows", "trees"])


class LetterTokenizer:
    """Token 0 ends a text; 1 to 12 are letters and stop characters."""

    letters = ".abcdefgQ:\n 1"
    eos_token_id = 0

    def encode(self, text, add_special_tokens=False):
        return [self.letters.index(letter) for letter in text]

    def decode(self, ids):
        return "".join(self.letters[i] for i in ids if i != 0)


def ids(*numbers):
    return np.array(numbers, dtype=np.int32)


def question(contexts, continuations, gold=0, task="arc_easy", task_type="multiple_choice", row=0, **facts):
    return Request(
        task=task,
        task_type=task_type,
        category=facts.pop("category", None),
        row=row,
        contexts=tuple(contexts),
        continuations=tuple(continuations),
        truncated=(False,) * len(contexts),
        gold=gold,
        gold_bytes=facts.pop("gold_bytes", 4),
        **facts,
    )


def prompt(context, answers=("a",), row=0, max_new_tokens=8, task="triviaqa_sm_sub", **facts):
    return Request(
        task=task,
        task_type="generation_task_with_answers",
        category=None,
        row=row,
        contexts=(context,),
        continuations=(),
        truncated=(False,),
        max_new_tokens=max_new_tokens,
        answers=answers,
        **facts,
    )


def random_requests(seed, number=12):
    rng = np.random.default_rng(seed)

    def draw(low, high):
        return rng.integers(1, VOCAB, rng.integers(low, high)).astype(np.int32)

    requests = []
    for row in range(number):
        kind = ["multiple_choice", "schema", "language_modeling"][row % 3]
        if kind == "schema":
            end = draw(1, 4)
            start = draw(0, 8)
            contexts, ends = [np.concatenate([start, draw(1, 6)]) for _ in range(2)], [end, end]
        else:
            ends = [draw(1, 5) for _ in range(1 if kind == "language_modeling" else 4)]
            contexts = [draw(4, 20)] * len(ends)
            if row % 4 == 0:  # a context cut for the longer choices
                contexts = [context[max(0, len(end) - 3) :] for context, end in zip(contexts, ends, strict=True)]
        label = {"multiple_choice": "arc_easy", "schema": "winograd", "language_modeling": "squad"}[kind]
        requests.append(question(contexts, ends, int(rng.integers(len(ends))), label, kind, row))
    return requests


def twin(model, request):
    """Every choice alone, token by token."""
    sums, greedy = [], []
    for context, continuation in zip(request.contexts, request.continuations, strict=True):
        prefix, total, hit = list(context), 0.0, True
        for token in continuation:
            p = model.log_probs(prefix)
            total += float(p[token])
            hit = hit and p.argmax() == token
            prefix.append(token)
        sums.append(total)
        greedy.append(bool(hit))
    return sums, greedy


@MODELS
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.sampled_from([1, 40, 200, 100_000]))
def test_scores_equal_one_choice_at_a_time_whatever_the_batches(kind, seed, budget):
    model, requests = kind(), random_requests(seed)
    items = score_requests(model, requests, LetterTokenizer(), max_batch_tokens=budget).to_pylist()
    by_key = {(request.task, request.row): request for request in requests}
    assert len(items) == len(requests)
    for item in items:
        request = by_key[item["task"], item["row"]]
        sums, greedy = twin(model, request)
        assert item["log_probs"] == pytest.approx(sums, abs=1e-5) and item["greedy"] == greedy
        lengths = [len(each) for each in request.continuations]
        perplexities = [math.exp(-total / length) for total, length in zip(sums, lengths, strict=True)]
        if request.task_type == "language_modeling":
            assert item["correct"] == greedy[0] and item["prediction"] is None and item["gold_prob"] is None
        else:
            best = perplexities.index(min(perplexities))
            assert item["prediction"] == best and item["correct"] == (best == request.gold)
            shares = np.exp(np.array(sums) / lengths)
            assert item["gold_prob"] == pytest.approx(shares[request.gold] / shares.sum())
        assert item["gold_bpb"] == pytest.approx(-sums[request.gold] / math.log(2) / 4)


def test_the_mean_over_tokens_decides_not_the_sum():
    model = HashModel()
    context = ids(1)
    likely = model.log_probs(context).argmax()
    then = model.log_probs([1, likely]).argmax()
    ends = [ids(int(model.log_probs(context).argsort()[-3])), ids(likely, then)]
    item = score_requests(model, [question([context] * 2, ends)], LetterTokenizer()).to_pylist()[0]
    means = np.array(item["log_probs"]) / item["num_tokens"]
    assert (
        item["prediction"] == int(means.argmax()) and item["num_tokens"] == [1, 2] and item["greedy"] == [False, True]
    )


@MODELS
def test_exact_ties_go_to_the_lowest_index(kind):
    ends = [ids(3, 4), ids(5), ids(3, 4), ids(3, 4), ids(3, 4, 6)]
    item = score_requests(kind(), [question([ids(1, 2)] * 5, ends, gold=2)], LetterTokenizer()).to_pylist()[0]
    assert item["log_probs"][0] == item["log_probs"][2] == item["log_probs"][3]
    means = [total / length for total, length in zip(item["log_probs"], item["num_tokens"], strict=True)]
    assert item["prediction"] == means.index(max(means))
    item = score_requests(kind(), [question([ids(1, 2)] * 3, [ids(3, 4)] * 3, gold=2)], LetterTokenizer()).to_pylist()[0]
    assert item["prediction"] == 0 and not item["correct"] and item["gold_prob"] == pytest.approx(1 / 3)


def test_one_token_choices_and_prefixes_share_a_row():
    model = HashModel()
    letters = question([ids(1, 2, 3)] * 4, [ids(4), ids(5), ids(6), ids(7)])
    nested = question([ids(1, 2, 3)] * 3, [ids(4), ids(5, 6, 7), ids(5, 6)], row=1)
    schema = question([ids(1, 2), ids(1, 3)], [ids(4, 5)] * 2, task="winograd", task_type="schema")
    score_requests(model, [letters], LetterTokenizer())
    assert model.rows_run == 1 and model.shapes == [(1, 3)]
    score_requests(model, [nested, schema], LetterTokenizer())
    assert model.rows_run == 1 + 1 + 2


def test_a_model_that_takes_trees_reads_a_context_once():
    model = ForestModel()
    letters = question([ids(1, 2, 3)] * 4, [ids(4), ids(5), ids(6), ids(7)])
    longer = question([ids(1, 2, 3)] * 3, [ids(4, 5, 6), ids(5, 6, 7), ids(5, 6, 8)], row=1)
    schema = question([ids(1, 2), ids(1, 3)], [ids(4, 5)] * 2, task="winograd", task_type="schema")
    score_requests(model, [letters, longer, schema], LetterTokenizer())
    assert model.tokens_run == [3 + (3 + 2 + 1 + 1) + (1 + 2 + 2)]
    model = ForestModel()
    score_requests(model, [letters, longer, schema], LetterTokenizer(), max_batch_tokens=8)
    assert model.tokens_run == [7, 8]


def test_a_model_may_say_that_it_takes_no_trees():
    class Refusing(HashModel):
        score_forest = None

    model = Refusing()
    score_requests(model, random_requests(3), LetterTokenizer())
    assert model.rows_run > 0


def test_items_come_in_task_and_row_order_with_categories():
    requests = [
        question([ids(1)], [ids(2)], task="winograd", row=1),
        question([ids(1)], [ids(2)], task="own_task", row=0),
        question([ids(1)], [ids(2)], task="mmlu_zeroshot", row=5, category="law"),
        prompt(ids(3)),
        question([ids(1)], [ids(2)], task="winograd", row=0),
    ]
    items = score_requests(HashModel(), requests, LetterTokenizer())
    assert items.schema == ITEM_SCHEMA
    assert [(item["task"], item["row"]) for item in items.to_pylist()] == [
        ("mmlu_zeroshot", 5),
        ("triviaqa_sm_sub", 0),
        ("winograd", 0),
        ("winograd", 1),
        ("own_task", 0),
    ]
    assert items.column("category").to_pylist() == ["law", None, None, None, None]
    assert score_requests(HashModel(), [], LetterTokenizer()).num_rows == 0


def test_generation_stops_by_row_and_scores_what_precedes_the_stop():
    class Scripted(HashModel):
        scripts = {1: "ab", 2: "a\n\nbb", 3: "c a#", 4: "bQ:a"}

        def generate(self, prompts, max_new_tokens, stop=None):
            answers = []
            for start in prompts:
                new = []
                for letter in self.scripts[start[0]] + "." * 9:
                    new.append(LetterTokenizer.letters.index(letter) if letter != "#" else 0)
                    if len(new) == max_new_tokens or (stop is not None and stop(new)):
                        break
                answers.append(new)
            return answers

    stops = ("\n\n", "Q:", "Q: ")
    requests = [prompt(ids(n), row=n, early_stops=stops, task="svamp_cot") for n in (1, 2, 3, 4)]
    items = score_requests(Scripted(), requests, LetterTokenizer()).to_pylist()
    assert [item["generated"] for item in items] == ["ab", "a\n\n", "c a", "bQ:"]
    # "ab" begins with "a"; "a" stands before the stop and is an article, so the accepted answer "a" normalises to nothing
    assert all(item["correct"] for item in items)
    items = score_requests(Scripted(), [prompt(ids(4), ("c",), early_stops=stops)], LetterTokenizer()).to_pylist()
    assert not items[0]["correct"] and items[0]["log_probs"] is None and items[0]["gold"] is None


def test_generation_agrees_with_running_to_the_limit():
    model, tokenizer, stops = HashModel(), LetterTokenizer(), ("Q", "bc", "gg")
    starts = [ids(*np.random.default_rng(n).integers(1, VOCAB, 5)) for n in range(40)]
    requests = [prompt(start, row=n, early_stops=stops) for n, start in enumerate(starts)]
    items = score_requests(model, requests, tokenizer, max_batch_tokens=60).to_pylist()
    shorter = 0
    for request, item in zip(requests, items, strict=True):
        full = model.generate([request.contexts[0].tolist()], request.max_new_tokens)[0]
        full = tokenizer.decode(full[: full.index(0)] if 0 in full else full)
        shorter += len(item["generated"]) < len(full)
        assert re.split("|".join(stops), full)[0] == re.split("|".join(stops), item["generated"])[0]
    assert shorter > 5


@pytest.mark.parametrize(
    ("text", "answers", "stops", "cot", "right"),
    [
        ("The Onion!", ["onion"], (), "", True),
        ("18 apples", ["1"], (), "", True),
        ("it is 18", ["18"], (), "", False),
        ("3 + 5 #### 8\n\nQ: next", ["8"], ("\n\n", "Q:"), " #### ", True),
        ("3 #### 5 #### 8", ["8"], (), " #### ", True),
        ("3 #### 5 #### 8", ["5"], (), " #### ", False),
        ("8 and no delimiter", ["8"], (), " #### ", True),
        ("anything", ["..."], (), "", True),
        ("", ["x"], (), "", False),
        ("abc", ["z", "ab"], (), "", True),
    ],
)
def test_answers(text, answers, stops, cot, right):
    assert answer_matches(text, answers, stops, cot) is right


def test_normalised_answers():
    assert normalise_answer(" The ‘Big_Bang’  theory, an  (A) thing´s") == "big bang theory thing s"
    assert normalise_answer("Athens a theme") == "athens theme"


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200), padded=st.booleans())
def test_batches_cover_everything_within_the_budget(lengths, budget, padded):
    batches = plan_batches(np.array(lengths, dtype=np.int64), budget, padded=padded)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    for batch, after in zip(batches, [*batches[1:], None], strict=False):
        sizes = [lengths[i] for i in batch]
        cost = len(sizes) * max(sizes) if padded else sum(sizes)
        assert len(batch) == 1 or cost <= budget
        if after is not None and not padded:
            assert cost + lengths[after[0]] > budget, "one more would have fitted"
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


def test_what_does_not_fit_is_an_error():
    model, tokenizer = HashModel(), LetterTokenizer()
    with pytest.raises(ValueError, match="70 tokens, the model takes 64"):
        score_requests(model, [question([ids(*[1] * 70)], [ids(2)])], tokenizer)
    with pytest.raises(ValueError, match="need 65 tokens"):
        score_requests(model, [prompt(ids(*[1] * 57))], tokenizer)
    with pytest.raises(ValueError, match="token id 13"):
        score_requests(model, [question([ids(1)], [ids(13)])], tokenizer)
    with pytest.raises(ValueError, match="twice"):
        score_requests(model, [question([ids(1)], [ids(2)])] * 2, tokenizer)
    with pytest.raises(ValueError, match="max_batch_tokens"):
        plan_batches(np.array([3]), 0)


def test_a_diverged_model_is_an_error():
    class Diverged(HashModel):
        def log_probs(self, prefix):
            return np.full(VOCAB, np.nan, dtype=np.float32)

    with pytest.raises(ValueError, match="NaN"):
        score_requests(Diverged(), [question([ids(1)], [ids(2)])], LetterTokenizer())


def test_degenerate_answers_are_reported(caplog):
    class Silent(HashModel):
        def log_probs(self, prefix):
            return np.log(np.array([0.5] + [0.5 / (VOCAB - 1)] * (VOCAB - 1))).astype(np.float32)

    same = [question([ids(1)] * 2, [ids(2), ids(3)], gold=row % 2, row=row) for row in range(20)]
    with caplog.at_level(logging.WARNING):
        score_requests(Silent(), [*same, prompt(ids(1))], LetterTokenizer())
    assert "all 1 generated answers are empty" in caplog.text and "predicted for all 20 items" in caplog.text


def test_the_first_answer_of_a_generation_task_is_teacher_forced():
    model = ForestModel()
    asked = prompt(ids(1, 2), ("a", "b"))
    asked = dataclasses.replace(asked, continuations=(ids(3, 4, 5),), gold_bytes=6)
    item = score_requests(model, [asked], LetterTokenizer()).to_pylist()[0]
    sums, greedy = twin(model, asked)
    assert item["log_probs"] == pytest.approx(sums) and item["greedy"] == greedy and item["num_tokens"] == [3]
    assert item["gold_bpb"] == pytest.approx(-sums[0] / math.log(2) / 6)
    assert item["prediction"] is None and item["gold"] is None and item["gold_prob"] is None
    bare = score_requests(model, [prompt(ids(1, 2), ("a", "b"))], LetterTokenizer()).to_pylist()[0]
    assert item["generated"] == bare["generated"] and item["correct"] == bare["correct"] and bare["gold_bpb"] is None


def mixed_requests():
    return [*random_requests(7, 30), *(prompt(ids(n % 5 + 1, 2), row=n, max_new_tokens=4 + n % 2) for n in range(12))]


def test_progress_ends_at_the_total_and_knows_the_time_left():
    seen = []
    score_requests(HashModel(), mixed_requests(), LetterTokenizer(), max_batch_tokens=50, progress=seen.append)
    assert [each.done_tokens for each in seen] == sorted(each.done_tokens for each in seen)
    assert {each.total_tokens for each in seen} == {seen[-1].done_tokens}
    assert seen[0].eta_seconds is None, "nothing has been generated yet"
    assert all(each.eta_seconds > 0 for each in seen[1:-1]) and seen[-1].eta_seconds == 0


@MODELS
def test_a_killed_run_loses_one_batch_at_most(kind, tmp_path):
    class Killed(BaseException):
        pass

    class Mortal(kind):
        calls, lives = 0, 10**9

        def live(self):
            self.calls += 1
            if self.calls > self.lives:
                raise Killed

        def score(self, *arrays):
            self.live()
            return super().score(*arrays)

        def score_forest(self, *arrays):
            self.live()
            return super().score_forest(*arrays)

        def generate(self, *given):
            self.live()
            return super().generate(*given)

    if kind is HashModel:
        Mortal.score_forest = None

    def run(model, key="model", budget=60):
        return score_requests(model, mixed_requests(), LetterTokenizer(), max_batch_tokens=budget, resume=(tmp_path, key))

    whole = Mortal()
    expected = score_requests(whole, mixed_requests(), LetterTokenizer(), max_batch_tokens=60)
    done, attempts = 0, 0
    while True:
        model = Mortal()
        model.lives = 2
        attempts += 1
        try:
            items = run(model)
        except Killed:
            done += 2
            continue
        break
    assert done + model.calls == whole.calls and attempts > 5
    assert items.equals(expected)
    for other in ({"key": "another model"}, {"budget": 35}):  # neither finds the other's batches
        again = Mortal()
        run(again, **other)
        assert again.calls > 5
    again = Mortal()
    assert run(again).equals(expected) and again.calls == 0
