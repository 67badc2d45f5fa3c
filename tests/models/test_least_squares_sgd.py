import time

import numpy as np
import pytest

from models.least_squares_sgd import THEORY_PAIRS, Problem, critical_batch, exponent, risk, theory


def test_the_measured_exponents_are_the_theory_and_cost_less_than_a_second():
    begun = time.process_time()
    found = [exponent(Problem(*pair)) for pair in THEORY_PAIRS]
    assert time.process_time() - begun < 1
    assert [theory(*pair) for pair in THEORY_PAIRS] == pytest.approx([0.5, 1 / 3, 0.5, 0.625, 0.0])
    np.testing.assert_allclose(found, [0.500, 0.333, 0.500, 0.625, 0.0], atol=0.01)


def test_the_risk_is_that_of_the_recursion():
    # Twin: the averaged error as an explicit sum over updates, for the leading directions of a problem without stretches.
    problem, steps, num_samples, batch_size = Problem(1.5, 2.5, num_directions=101), np.array([0.02, 0.2]), 400, 4
    index_I, count_I = problem.directions
    expected = np.zeros(2)
    for number, step in enumerate(steps):
        for index, count in zip(index_I, count_I, strict=True):
            eigenvalue, updates = index**-1.5, num_samples // batch_size
            powers = (1 - step * eigenvalue) ** np.arange(updates)
            bias = index**-2.5 * powers.mean() ** 2
            noise = [step * powers[: updates - s].sum() / updates for s in range(1, updates)]  # what the noise of update s adds to the mean
            expected[number] += count * (bias + eigenvalue * np.square(noise).sum() * eigenvalue / batch_size)
    np.testing.assert_allclose(risk(problem, num_samples, batch_size, steps), expected, rtol=1e-6)


def test_the_risk_is_that_of_sgd_on_samples():
    rng = np.random.default_rng(0)
    num_runs, updates, batch_size, step = 200, 100, 8, 0.05
    index_I = np.arange(1, 101)
    problem = Problem(1.5, 2.5, num_directions=101)
    eigenvalue_I = index_I**-1.5
    true_I = np.sqrt(index_I**-2.5 / eigenvalue_I)
    weights_RI, sum_RI = np.zeros((num_runs, 100)), np.zeros((num_runs, 100))
    for _ in range(updates):
        sum_RI += weights_RI
        features_RBI = rng.standard_normal((num_runs, batch_size, 100)) * np.sqrt(eigenvalue_I)
        label_RB = features_RBI @ true_I + rng.standard_normal((num_runs, batch_size))
        residual_RB = label_RB - np.einsum("rbi,ri->rb", features_RBI, weights_RI)
        weights_RI += step * np.einsum("rbi,rb->ri", features_RBI, residual_RB) / batch_size
    seen_R = ((sum_RI / updates - true_I) ** 2 * eigenvalue_I).sum(1)
    told = risk(problem, updates * batch_size, batch_size, np.array([step]))[0]
    assert seen_R.mean() == pytest.approx(told, rel=0.05), "multiplicative noise is of relative size step * trace / batch"


def test_the_critical_batch_is_at_the_limit_of_its_tolerance():
    problem = Problem(2.0, 4.0)
    steps = problem.largest_step * np.geomspace(1e-4, 1, 24)
    best = [risk(problem, 1e5, size, steps).min() for size in (1, 4, 16, 64, 256)]
    assert np.all(np.diff(best) > -0.02 * best[0]), "a smaller batch is not worse, but for the steps between those tried"
    size = critical_batch(problem, 1e5)
    assert risk(problem, 1e5, size, steps).min() == pytest.approx(1.05 * best[0], rel=1e-3)


def test_infinite_traces_are_refused():
    with pytest.raises(ValueError, match="a is 1 and b 2.0; both must exceed 1"):
        Problem(1, 2.0)
