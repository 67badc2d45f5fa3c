"""The board says no more than the statistics do, is strict JSON, and never mixes what may not be compared."""

import copy
import json
import math
import random
import re
import time

import numpy as np
import pytest

from evaluation.aggregate import aggregate
from evaluation.board import build_board, merge_boards, table
from evaluation.item_statistics import TaskItems
from evaluation.statistics import compare_arms
from evaluation.tasks import load_tasks

CATEGORIES = (
    "world knowledge",
    "commonsense reasoning",
    "language understanding",
    "symbolic problem solving",
    "reading comprehension",
    "safety",
)
TASKS = [
    {
        "label": f"task_{i:02d}",
        "category": CATEGORIES[i % 6],
        "task_type": "multiple choice",
        "random_baseline": 0.25 if i % 3 else 0.0,
        "in_core": i < 22,
    }
    for i in range(53)
]
ARMS = {"raw": 1.40, "heuristics": 1.30, "classifier": 1.298, "color": 1.33}


def run(strategy, seed, bpb, scale="nano", **changes):
    rng = random.Random(f"{strategy} {seed} {scale}")
    results = {}
    for i, task in enumerate(TASKS):
        lift = 0.2 if i % 7 == 0 else 0.0
        base = task["random_baseline"]
        correct = sum(rng.random() < base + (1 - base) * lift for _ in range(200))
        results[task["label"]] = {
            "accuracy": correct / 200,
            "num_items": 200,
            "correct": correct,
            "random_baseline": base,
            "gold_bpb": 1.5,
        }
    bpb += 0.03 * seed + rng.gauss(0, 0.002)
    entry = {
        "strategy": strategy,
        "description": f"The {strategy} recipe",
        "scale": scale,
        "seed": seed,
        "suite": "dclm",
        "eval_version": "v2",
        "pipeline": f"pipelines.{strategy}",
        "fingerprint": f"{strategy}0123456789abcdef",
        "card": f"../{strategy}/README.md",
        "documents": 1200,
        "dataset_tokens": 900_000,
        "train_tokens": 4_000_000,
        "epochs": 4.4,
        "val_bpb": {"prose": bpb + 0.1, "reference": bpb - 0.1},
        "tasks": results,
        "core": 0.02,
        "extended": 0.01,
        "core_bpb": bpb + 0.5,
        "missing": [],
        "commit": "abc1234",
        "hardware": "2 cores",
        "date": "2026-01-01",
        "train_seconds": 60.0,
        "funnel": [
            {"node": "n1", "stage": "filter", "documents_in": 10, "documents_out": 4, "dropped": {"too_short": 5}}
        ],
    }
    return entry | changes


def suite_run(strategy, seed, lift, scale="1b-1x"):
    """A run of the real suite with items: passages of two questions, right with probability `lift`."""
    rng = np.random.default_rng([seed, int(1000 * lift), len(strategy)])
    tasks = load_tasks()
    items, results = {}, {}
    for label, task in tasks.items():
        right = (rng.random(60) < lift).astype(float)
        items[label] = TaskItems(np.arange(60), right, np.zeros(60, np.int64), ("",), np.arange(60) // 2)
        chance = task.baseline_v2 / 100
        results[label] = {"accuracy": right.mean(), "num_items": 60, "correct": right.sum(), "random_baseline": chance, "gold_bpb": None}
    whole = aggregate({label: row["accuracy"] for label, row in results.items()})
    return {
        "strategy": strategy, "scale": scale, "seed": seed, "suite": "dclm", "eval_version": "v2", "tasks": results, "items": items,
        "core": whole.core, "core_no_squad": whole.core_no_squad, "extended": whole.extended, "missing": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def entries():
    return [run(name, seed, bpb) for name, bpb in ARMS.items() for seed in range(3)]


@pytest.fixture(scope="module")
def board(entries):
    return build_board(entries, TASKS, "A title")


def primary(group):
    return next(m for m in group["metrics"] if m["name"] == group["primary"])


def test_the_board_says_what_the_statistics_say(entries, board):
    (group,) = board["groups"]
    metric = primary(group)
    assert metric["name"] == "val_bpb"
    scores = {name: {} for name in ARMS}
    for entry in entries:
        scores[entry["strategy"]][entry["seed"]] = sum(entry["val_bpb"].values()) / 2
    oracle = compare_arms(scores, lower_is_better=True)
    assert {a["strategy"]: a["rank"] for a in metric["arms"]} == oracle.ranks
    assert (metric["best"], metric["top"]) == (oracle.best, list(oracle.top))
    assert [p["decisive"] for p in metric["pairs"]] == [p.decisive for p in oracle.pairs]


def test_tie_is_called_a_tie(board):
    metric = primary(board["groups"][0])
    status = {a["strategy"]: (a["status"], a["mark"]) for a in metric["arms"]}
    assert status["classifier"] == status["heuristics"] == ("tied", "1=")
    assert status["raw"] == ("behind", "4")
    assert re.match(
        r"(classifier and heuristics|heuristics and classifier) can not be told apart \(", board["headline"]
    )
    assert "color and raw are really worse than" in board["headline"]


def test_winner_is_named_with_the_gap_to_the_next():
    arms = {"raw": 1.4, "classifier": 1.2, "color": 1.3}
    board = build_board([run(name, seed, bpb) for name, bpb in arms.items() for seed in range(3)], TASKS)
    assert re.match(r"classifier is best by 0\.\d+ bits per byte \[0\.\d+, 0\.\d+\] over color", board["headline"])
    assert [row["mark"] for row in table(board)] == ["1", "2", "3"]
    assert table(board)[0]["status"] == "winner"


def test_one_run_each_names_nobody():
    board = build_board([run(name, 0, bpb) for name, bpb in ARMS.items()], TASKS)
    assert board["headline"].startswith("No winner can be named (one run, training variance unknown). Lowest: ")
    assert {row["mark"] for row in table(board)} == {"\N{EN DASH}"}
    assert all(row["low"] is None for row in table(board))
    assert {a["reason"] for a in primary(board["groups"][0])["arms"]} == {"one run, training variance unknown"}


def test_lone_run_is_shown_but_not_compared(entries):
    board = build_board([*entries, run("late", 0, 0.5)], TASKS)
    assert "Not compared: late." in board["headline"] and not board["headline"].startswith("late")
    assert table(board)[-1]["strategy"] == "late"


def test_diverged_run_keeps_its_strategy_out_and_the_json_strict(entries):
    broken = [*entries, *(run("hot", seed, math.nan if seed == 1 else 1.0) for seed in range(3))]
    board = build_board(broken, TASKS)
    json.loads(json.dumps(board, allow_nan=False))
    row = table(board)[-1]
    assert row["strategy"] == "hot" and row["reason"] == "seed 1 is not finite: the run diverged"


@pytest.mark.parametrize(
    "field,value",
    [("suite", "mini-v1"), ("scale", "1b-1x"), ("eval_version", "v1"), ("pool", "p2"), ("origin", "published"), ("reconstructed", ["mmlu_fewshot"])],
)
def test_groups_are_never_mixed(entries, field, value):
    others = [
        copy.deepcopy(entry) | {field: value, "strategy": "zz_other"} for entry in entries if entry["strategy"] == "raw"
    ]
    board = build_board([*entries, *others], TASKS)
    assert [len(group["strategies"]) for group in board["groups"]] == [4, 1]
    for group in board["groups"]:
        names = {row["strategy"] for row in group["strategies"]}
        for metric in group["metrics"]:
            assert {a["strategy"] for a in metric["arms"]} == names
            assert {n for p in metric["pairs"] for n in (p["better"], p["worse"])} <= names
    assert board["headline"] == build_board(entries, TASKS)["headline"]


def test_scale_decides_the_metric_and_its_direction():
    entries = [
        run(n, s, b, scale="1b-1x", core=c + s / 1000)
        for n, b, c in (("a", 1.2, 0.1), ("b", 1.4, 0.2))
        for s in (0, 1, 2)
    ]
    for entry in entries:
        entry["core"] += random.Random(f"{entry['strategy']}{entry['seed']}").gauss(0, 0.001)
    board = build_board(entries, TASKS)
    assert board["groups"][0]["primary"] == "core"
    assert re.match(r"b is best by \d+\.\d+ CORE points", board["headline"])


def test_chance_marks(board):
    cells = [
        (task, cell)
        for category in board["groups"][0]["heat_map"]["categories"]
        for task in category["tasks"]
        for cell in task["cells"]
    ]
    assert len(cells) == 53 * 4
    lifted = {f"task_{i:02d}" for i in range(0, 53, 7)}
    assert all(not cell["at_chance"] for task, cell in cells if task["label"] in lifted)
    quiet = [cell["at_chance"] for task, cell in cells if task["label"] not in lifted]
    assert sum(quiet) / len(quiet) > 0.9
    low = [run("flat", seed, 1.0) for seed in range(2)]
    for entry in low:
        for result in entry["tasks"].values():
            result["correct"] = round(200 * result["random_baseline"])
            result["accuracy"] = result["correct"] / 200
    core = build_board(low, TASKS)["groups"][0]["strategies"][0]["core"]
    assert core["at_chance"] and core["above"] == 0 and core["num_tasks"] == 22


def test_same_input_in_any_order_gives_the_same_bytes(entries, board):
    shuffled = random.Random(0).sample(entries, len(entries))
    again = build_board(shuffled, TASKS[::-1], "A title")
    assert json.dumps(again) == json.dumps(board)


def test_bad_runs_are_refused(entries):
    with pytest.raises(ValueError, match="'raw' has 2 runs with seed 0"):
        build_board([*entries, entries[0]], TASKS)
    with pytest.raises(ValueError, match="has no 'suite'"):
        build_board([entries[0] | {"suite": None}], TASKS)
    with pytest.raises(ValueError, match="nothing to rank"):
        build_board([entries[0] | {"val_bpb": {}, "core": None, "core_bpb": None, "extended": None}], TASKS)
    percent = copy.deepcopy(entries[0])
    percent["tasks"]["task_01"]["random_baseline"] = 25
    with pytest.raises(ValueError, match="divide percents by 100"):
        build_board([percent], TASKS)


def test_notes_tell_what_could_mislead(entries):
    changed = copy.deepcopy(entries)
    for entry in changed:
        if entry["strategy"] == "color":
            entry |= {"train_tokens": 8_000_000, "fingerprint": f"f{entry['seed']}", "commit": "def"}
    changed.append(run("raw", 9, 1.4))
    notes = " ".join(build_board(changed, TASKS)["groups"][0]["notes"])
    assert "Token budgets differ (4,000,000 and 8,000,000)" in notes
    assert "The seeds of color were trained on 3 different datasets" in notes
    assert "Seeds of raw that others lack are left out of the paired comparison: 9." in notes
    assert "different values of commit" in notes


def test_training_and_item_intervals_are_two_things():
    entries = [suite_run(name, seed, lift) for name, lift in (("a", 0.55), ("b", 0.6)) for seed in (0, 1, 2)]
    (group,) = build_board([*entries, suite_run("lone", 0, 0.6)])["groups"]
    core = primary(group)
    assert core["name"] == "core" and core["pair_test"].startswith("t test on the two-way layout")
    by_name = {arm["strategy"]: arm for arm in core["arms"]}
    for name in ("a", "b"):
        assert [value["seed"] for value in by_name[name]["values"]] == [0, 1, 2]
        assert "3 training runs" in by_name[name]["training"]
        assert by_name[name]["low"] < by_name[name]["mean"] < by_name[name]["high"]
    lone = by_name["lone"]
    assert lone["low"] is None and lone["training"] == "1 run, training variance unknown" and lone["rank"] is None
    for arm in core["arms"]:
        for value in arm["values"]:
            assert value["item"]["low"] < value["value"] < value["item"]["high"] and value["item"]["num_clusters"] < value["item"]["num_items"]
    (words,) = core["item_conditions"]
    assert words == "this model, this suite, conditional on few-shot seed 1234"
    assert {run["item_condition"] for row in group["strategies"] for run in row["runs"]} == {words}


def test_trained_models_are_compared_question_by_question():
    entries = [suite_run(name, seed, lift) for name, lift in (("a", 0.5), ("b", 0.7)) for seed in (0, 1)]
    (group,) = build_board(entries)["groups"]
    (pair,) = group["item_pairs"]["pairs"]
    assert (pair["first"], pair["second"], pair["paired"]) == ("b", "a", True) and group["item_pairs"]["complete"]
    at = pair["scores"].index("core")
    assert pair["effect"][at] > 0 and pair["marked"][at] and pair["p_value"][at] == pair["p_adjusted"][at]
    assert pair["tests"][pair["test"][at]] == "paired difference over items, clustered"
    without = [{k: v for k, v in entry.items() if k != "items"} for entry in entries]
    (pair,) = build_board(without)["groups"][0]["item_pairs"]["pairs"]
    assert not pair["paired"] and set(pair["tests"]) == {"unpaired two-sample z test over items"}


def test_core_21_is_a_column_of_its_own():
    whole, part = [suite_run("whole", s, 0.6, scale="1b-1x") for s in (0, 1)], [suite_run("part", s, 0.9, scale="1b-1x") for s in (0, 1)]
    for entry in part:
        del entry["tasks"]["squad"], entry["items"]["squad"]
        entry |= {"core": None, "extended": None, "missing": ["squad"]}
    (group,) = build_board([*whole, *part])["groups"]
    assert primary(group)["name"] == "core"
    arms = {arm["strategy"]: arm for arm in primary(group)["arms"]}
    assert arms["part"]["mean"] is None and arms["part"]["reason"] == "not measured"
    other = next(m for m in group["metrics"] if m["name"] == "core_no_squad")
    assert other["label"] == "CORE-21 (no squad)" and all(arm["mean"] is not None for arm in other["arms"])
    assert "core_no_squad" not in {m["name"] for m in build_board(whole)["groups"][0]["metrics"]}
    (alone,) = build_board(part)["groups"]
    assert alone["primary"] == "core_no_squad" and alone["ranked_by"].endswith("because no run has core.")


def test_limited_runs_have_no_core():
    (group,) = build_board([suite_run("a", 0, 0.6) | {"limited": True, "core_bpb": 1.2}])["groups"]
    assert {m["name"] for m in group["metrics"]} == {"core_bpb"} and group["strategies"][0]["core"] is None
    assert any("they have no CORE" in note for note in group["notes"])


def test_flags_and_few_shot_seeds_are_told():
    flagged = suite_run("a", 0, 0.6) | {"flags": [{"task": "copa", "reason": "answered choice 1 to all 100 questions"}]}
    (group,) = build_board([flagged, suite_run("b", 0, 0.6) | {"fewshot_seed": 7}])["groups"]
    row = next(row for row in group["strategies"] if row["strategy"] == "a")
    assert row["flags"] == [{"task": "copa", "reason": "answered choice 1 to all 100 questions", "seed": 0}]
    assert any("1 of 2 strategies" in note for note in group["notes"]) and any("1234 and 7" in note or "7 and 1234" in note for note in group["notes"])


def test_decisions_between_scales_list_pairs_and_then_give_a_number():
    def scaled(count):
        return [
            run(f"s{i}", 0, 1.0 + i / 50, scale, train_tokens=tokens)
            for i in range(count)
            for scale, tokens in (("nano", 10**6), ("400m-1x", 10**9))
        ]

    few = [d for d in build_board(scaled(5), TASKS)["decisions"] if d["metric"] == "val_bpb"]
    assert [(d["small_scale"], d["large_scale"], d["accuracy"], len(d["pairs"])) for d in few] == [("nano", "400m-1x", None, 10)]
    (many,) = [d for d in build_board(scaled(9), TASKS)["decisions"] if d["metric"] == "val_bpb"]
    assert many["accuracy"] == pytest.approx(1.0, abs=0.1) and many["low"] <= many["accuracy"] <= many["high"]
    assert len(many["datasets"]) == 9 and all(pair["agrees"] is False for pair in many["pairs"])


def test_five_hundred_strategies_make_a_board_of_bounded_size():
    entries = [run(f"s{i:03}", seed, 1 + i / 1000) for i in range(500) for seed in (0, 1)]
    start = time.process_time()
    board = build_board(entries, TASKS)
    assert time.process_time() - start < 60
    assert all(len(metric["pairs"]) < 500 and metric["pairs_tested"] == 124_750 for metric in board["groups"][0]["metrics"] if metric["pairs"])
    assert len(json.dumps(board)) < 25e6


def test_boards_are_merged_group_by_group(board, entries):
    imported = build_board([entry | {"origin": "published"} for entry in entries], TASKS)
    both = merge_boards([board, imported], "Both")
    assert [group["origin"] for group in both["groups"]] == ["", "published"] and both["headline"] == board["headline"]
    assert merge_boards([], "x")["headline"] == "No runs yet."
    with pytest.raises(ValueError, match="two boards have the group"):
        merge_boards([board, board], "x")
    with pytest.raises(ValueError, match="a board of version 1"):
        merge_boards([board | {"board_version": 1}], "x")
