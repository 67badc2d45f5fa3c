"""The best learning rate of a group, and where its grid goes on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.studies.learning_rates import best_learning_rates, mean_losses, next_learning_rate
from evaluation.studies.runs import Run


def run(group, lr, loss, seed=0):
    return Run(run=f"{group}{lr}{seed}", group=group, optimizer="adamw", options={}, lr=lr, num_tokens=64, seed=seed, loss=loss, evaluations=())


def test_the_best_is_the_lowest_mean_and_divergence_the_worst():
    runs = [run("a", 1e-3, 3.0), run("a", 1e-3, 3.2, 1), run("a", 1e-2, 2.9), run("a", 1e-2, None, 1), run("b", 0.1, 4.0), run("b", 1.0, 3.9)]
    assert mean_losses(runs)["a"] == {1e-3: pytest.approx(3.1), 1e-2: math.inf}
    assert best_learning_rates(runs) == {"a": 1e-3, "b": 1.0}


def test_where_all_diverged_or_tie_the_smallest_is_best():
    assert best_learning_rates([run("a", lr, None) for lr in (1.0, 0.1, 10.0)]) == {"a": 0.1}
    assert best_learning_rates([run("a", lr, 2.0) for lr in (1.0, 0.1, 10.0)]) == {"a": 0.1}
    assert best_learning_rates([]) == {}


def test_the_grid_goes_on_beyond_the_end_where_the_best_lies():
    assert next_learning_rate({1e-3: 3.1, 1e-2: 2.9}, 10) == pytest.approx(0.1)
    assert next_learning_rate({1e-3: 2.8, 1e-2: 2.9}, 10) == pytest.approx(1e-4)
    assert next_learning_rate({1e-3: 3.0, 1e-2: 2.9, 1e-1: 3.0}, 10) is None
    assert next_learning_rate({1e-3: math.inf, 1e-2: math.inf}, 10) == pytest.approx(1e-4)
    assert next_learning_rate({1e-3: 3.0}, 10) is None and next_learning_rate({}, 10) is None, "one point is no grid"
    assert next_learning_rate({0.0: 3.0, 1.0: 4.0}, 10) is None, "there is nothing below zero"
    with pytest.raises(ValueError, match="factor is 1; give one above 1"):
        next_learning_rate({1e-3: 3.0, 1e-2: 2.9}, 1)


@given(st.integers(-60, 60), st.sampled_from([2.0, 3.16, 10.0]))
def test_extension_walks_to_any_minimum(where, factor):
    """On a convex curve the walk ends with the best inside, wherever it is."""
    centre = factor ** (where / 4)

    def loss(lr):
        return math.log(lr / centre) ** 2

    grid = {lr: loss(lr) for lr in (1.0, factor)}
    for _ in range(40):
        lr = next_learning_rate(grid, factor)
        if lr is None:
            break
        grid[lr] = loss(lr)
    best = min(grid, key=lambda lr: (grid[lr], lr))
    assert min(grid) < best < max(grid)
