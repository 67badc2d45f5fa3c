"""A cell is marked only after Benjamini-Hochberg over its column, and luck alone marks next to nothing."""

import random

import numpy as np
from scipy import stats

from evaluation.board import build_board
from tests.evaluation.test_board import TASKS, run
from tests.evaluation.test_board import board as board
from tests.evaluation.test_board import entries as entries


def test_task_marks_are_adjusted_over_a_column(board):
    heat = board["groups"][0]["heat_map"]
    assert "Benjamini-Hochberg" in heat["correction"]
    cells = [task["cells"] for category in heat["categories"] for task in category["tasks"]]
    for column in zip(*cells, strict=True):
        raw, adjusted = ([cell[name] for cell in column] for name in ("p_value", "p_adjusted"))
        np.testing.assert_allclose(adjusted, stats.false_discovery_control(raw), rtol=1e-4)  # five digits are kept
        assert all(cell["at_chance"] == (cell["p_adjusted"] >= 0.05) for cell in column)
    # all tasks at chance: without the adjustment two or three of 53 would be marked in most columns
    rng = random.Random(3)
    marks = 0
    for trial in range(10):
        entry = run("flat", trial, 1.0)
        for result in entry["tasks"].values():
            result["correct"] = sum(rng.random() < result["random_baseline"] for _ in range(200))
            result["accuracy"] = result["correct"] / 200
        (group,) = build_board([entry], TASKS)["groups"]
        marks += sum(not task["cells"][0]["at_chance"] for c in group["heat_map"]["categories"] for task in c["tasks"])
    assert marks <= 3


def test_cells_tell_the_item_error_of_one_run(board):
    cell = board["groups"][0]["heat_map"]["categories"][0]["tasks"][0]["cells"][0]
    spread = (cell["accuracy"] * (1 - cell["accuracy"]) / 199) ** 0.5
    assert abs(cell["standard_error"] / spread - 1) < 0.2


def test_a_task_that_nobody_ran_is_named():
    entry = run("a", 0, 1.0)
    del entry["tasks"]["task_00"]
    heat = build_board([entry], TASKS)["groups"][0]["heat_map"]
    assert heat["not_run"] == ["task_00"] and heat["num_tasks"] == 52
