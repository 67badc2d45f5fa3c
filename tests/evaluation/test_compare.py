"""Single answers, flips between two evaluations, and checkpoints as a curve."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import evaluation
from evaluation.compare import WITHHELD, Checkpoint, curve, diff_items, mcnemar, show_items
from evaluation.requests import compile_requests
from evaluation.scorer import ITEM_SCHEMA, score_requests
from evaluation.tasks import load_suite
from tests.evaluation.test_gpqa import archive
from tests.evaluation.test_subset import Characters

SUITE = load_suite(Path(evaluation.__file__).parent / "mini_v1")


class Noise:
    """A model whose log-probabilities follow from the tokens by a hash, and whose answers are "7"."""

    max_seq_len, vocab_size = 100_000, 0x110000

    def __init__(self, seed: int):
        self.seed = seed

    def score(self, tokens_BT, rows_N, cols_N, targets_N):
        mixed = (targets_N * 7919 + cols_N * 104729 + tokens_BT[rows_N, cols_N] * 31 + self.seed) % 997
        return (-1 - mixed / 997).astype(np.float32), targets_N * (mixed % 2)

    def generate(self, prompts, max_new_tokens, stop=None):
        return [[ord("7")] for _ in prompts]


def evaluate(seed: int, labels, suite=SUITE) -> pa.Table:
    requests = []
    for label in labels:
        requests += compile_requests(suite.entries[label].task, suite.rows(label), Characters(), max_seq_len=Noise.max_seq_len)
    return score_requests(Noise(seed), requests, Characters())


LABELS = ("arc_easy", "mmlu_fewshot", "winograd", "lambada_openai", "svamp_cot")


@pytest.fixture(scope="module")
def items() -> pa.Table:
    return evaluate(0, LABELS)


def items_table(*answers: tuple) -> pa.Table:
    """(task, row, gold, prediction) per item."""
    rows = [
        {"task": task, "row": row, "gold": gold, "prediction": prediction, "correct": gold == prediction, "truncated": 0}
        for task, row, gold, prediction in answers
    ]
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


@pytest.mark.parametrize("label", LABELS)
def test_items_to_read(items, label):
    by_row = {row["row"]: row for row in items.to_pylist() if row["task"] == label}
    shown = show_items(items, SUITE, label, n=4, end=60)
    wrong = sorted(row for row, item in by_row.items() if not item["correct"])
    assert [item["row"] for item in shown] == wrong[:4] and wrong
    assert [item["row"] for item in show_items(items, SUITE, label, wrong=False, n=4)] == sorted(by_row)[:4]
    for item in shown:
        row, scored = SUITE.rows(label)[item["row"]], by_row[item["row"]]
        assert len(item["prompt"]) == 60 if item["cut"] else len(item["prompt"]) <= 60
        assert not item["correct"] and item["gold_prob"] == scored["gold_prob"]
        if label == "svamp_cot":
            assert item["choices"] == [] and item["generated"] == "7" and row["answer"] in item["answers"]
            continue
        texts = row.get("choices") or row.get("context_options") or [row["continuation"].strip()]
        assert [choice["text"] for choice in item["choices"]] == texts
        assert [choice["log_prob"] for choice in item["choices"]] == scored["log_probs"]
        for choice, count in zip(item["choices"], scored["num_tokens"], strict=True):
            assert choice["per_token"] == choice["log_prob"] / count
        if label != "lambada_openai":
            gold, predicted = ([choice[name] for choice in item["choices"]].index(True) for name in ("gold", "predicted"))
            assert (gold, predicted) == (row["gold"], scored["prediction"])
            assert max(item["choices"], key=lambda choice: choice["per_token"])["predicted"]


@pytest.mark.parametrize("label", ["arc_easy", "lambada_openai", "svamp_cot"])
def test_the_prompt_shown_is_the_end_of_what_the_model_reads(items, label):
    item = show_items(items, SUITE, label, wrong=False, n=1, end=10_000)[0]
    task, rows = SUITE.entries[label].task, SUITE.rows(label)
    request = compile_requests(task, rows, Characters(), max_seq_len=100_000, only_rows=[item["row"]])[0]
    assert Characters().decode(request.contexts[0].tolist()).endswith(item["prompt"])


def test_encrypted_questions_are_withheld_unless_asked_for(tmp_path):
    archive(tmp_path / "gpqa" / "dataset.zip")
    suite = load_suite(tmp_path)
    answers = evaluate(1, ["gpqa_main"], suite)
    shown = show_items(answers, suite, "gpqa_main", wrong=False, n=2)
    assert {item["prompt"] for item in shown} == {WITHHELD} == {choice["text"] for item in shown for choice in item["choices"]}
    shown = show_items(answers, suite, "gpqa_main", wrong=False, n=2, reveal=True)
    assert shown[0]["prompt"].startswith("Which é, 0?") and WITHHELD not in str(shown)
    assert "Answer 1 of" not in str(answers.to_pylist())


def test_what_can_not_be_shown(items):
    with pytest.raises(ValueError, match="no items of task 'copa' in this evaluation .has: arc_easy"):
        show_items(items, SUITE, "copa")
    with pytest.raises(ValueError, match="arc_easy row 999 is another question"):
        show_items(items_table(("arc_easy", 999, 0, 1)), SUITE, "arc_easy")
    gold = SUITE.rows("arc_easy")[0]["gold"]
    with pytest.raises(ValueError, match="arc_easy row 0 is another question"):
        show_items(items_table(("arc_easy", 0, gold + 1, gold)), SUITE, "arc_easy")
    assert show_items(items_table(("arc_easy", 0, gold, gold)), SUITE, "arc_easy") == []


def test_flips_are_those_of_a_plain_count(items):
    other = evaluate(5, LABELS)
    found = diff_items(items, other)
    left, right = ({(row["task"], row["row"]): row for row in table.to_pylist()} for table in (items, other))
    assert {(f["task"], f["row"]): f["right"] for f in found.flipped} == {
        key: "a" if left[key]["correct"] else "b" for key in left if left[key]["correct"] != right[key]["correct"]
    }
    assert [task["task"] for task in found.tasks] == sorted(LABELS) and found.uncommon == {} and found.flipped
    for task in found.tasks:
        keys = [key for key in left if key[0] == task["task"]]
        assert task["items"] == len(keys)
        assert task["accuracy_a"] == pytest.approx(np.mean([left[key]["correct"] for key in keys]))
        assert task["accuracy_b"] == pytest.approx(np.mean([right[key]["correct"] for key in keys]))
        assert task["accuracy_b"] - task["accuracy_a"] == pytest.approx((task["only_b"] - task["only_a"]) / task["items"])
        assert task["p_value"] <= task["p_adjusted"] <= 1
    same = diff_items(items, items)
    assert same.flipped == [] and {task["p_value"] for task in same.tasks} == {1.0}


def test_what_only_one_has_is_listed_and_not_counted():
    found = diff_items(items_table(("x", 0, 0, 0), ("x", 1, 0, 1), ("y", 0, 0, 0)), items_table(("x", 0, 0, 1), ("z", 3, 0, 0), ("z", 4, 0, 0)))
    assert [(task["task"], task["items"], task["only_a"], task["only_b"]) for task in found.tasks] == [("x", 1, 1, 0)]
    assert found.uncommon == {"x": (1, 0), "y": (1, 0), "z": (0, 2)}
    assert found.flipped == [
        {"task": "x", "row": 0, "category": None, "right": "a", "prediction_a": 0, "prediction_b": 1, "gold": 0}
    ]


def test_what_can_not_be_compared():
    with pytest.raises(ValueError, match="x row 0 has gold 0 in A and 1 in B"):
        diff_items(items_table(("x", 0, 0, 0)), items_table(("x", 0, 1, 0)))
    with pytest.raises(ValueError, match="B has x row 0 twice"):
        diff_items(items_table(("x", 0, 0, 0)), items_table(("x", 0, 0, 0), ("x", 0, 0, 0)))


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def summary(**fields) -> dict:
    return {"suite": "mini-v1", "suite_hash": "h", "eval_version": "v2", "core": 0.1, "extended": None, "val_bpb": {"prose": 1.5}} | fields


def test_checkpoints_make_a_curve():
    points = [
        Checkpoint(name="late", tokens=200, step=20, summary=summary(core=0.3, tasks={"copa": {"accuracy": 0.6, "gold_bpb": float("nan")}})),
        Checkpoint(name="early", tokens=100, step=10, summary=summary(tasks={"copa": {"accuracy": 0.5, "gold_bpb": 2.0}})),
    ]
    rows = curve(points)
    assert [(row["metric"], row["tokens"], row["value"]) for row in rows] == [
        ("core", 100, 0.1),
        ("core", 200, 0.3),
        ("val_bpb:prose", 100, 1.5),
        ("val_bpb:prose", 200, 1.5),
        ("accuracy:copa", 100, 0.5),
        ("accuracy:copa", 200, 0.6),
        ("gold_bpb:copa", 100, 2.0),
    ]
    assert rows[0] == {"metric": "core", "tokens": 100, "step": 10, "name": "early", "value": 0.1}


@pytest.mark.parametrize("name", ["suite", "suite_hash", "eval_version", "fewshot_seed", "limit"])
def test_a_curve_has_one_measure(name):
    points = [
        Checkpoint(name="a", tokens=1, step=None, summary=summary()),
        Checkpoint(name="b", tokens=2, step=None, summary=summary(**{name: "other"})),
    ]
    with pytest.raises(ValueError, match=rf"curve: {name} is .* in a and 'other' in b"):
        curve(points)


def test_a_curve_needs_points_and_one_at_each_place():
    with pytest.raises(ValueError, match="no evaluations"):
        curve([])
    with pytest.raises(ValueError, match="a and b are both at 1 tokens"):
        curve([Checkpoint(name=name, tokens=1, step=None, summary=summary()) for name in "ab"])
