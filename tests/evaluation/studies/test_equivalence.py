"""Oracles: scipy.stats' t tests and intervals, hand-computed cases, the size and power of the tests by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.studies.equivalence import (
    COMPARABLE,
    DIFFERENT,
    UNDECIDED,
    Contrast,
    against_margin,
    arm_means,
    compare,
    contrast,
    pooled_deviation,
    t_interval,
    tost,
)

LOSSES = {
    "adamw": {1: 3.310, 2: 3.304, 3: 3.309, 4: 3.301, 5: 3.312},
    "lion": {1: 3.315, 2: 3.311, 3: 3.307, 4: 3.318, 5: 3.305},
    "sgd": {1: 3.710, 2: 3.698, 3: None, 4: 3.722, 5: 3.705},
    "gone": {1: None, 2: None},
}


def test_two_arms_are_the_tests_of_scipy():
    pair = {name: LOSSES[name] for name in ("adamw", "lion")}
    a, b = (np.array(list(LOSSES[name].values())) for name in ("lion", "adamw"))
    found = compare(pair, "lion", "adamw", margin=0.02)
    above = stats.ttest_ind(a + 0.02, b, alternative="greater").pvalue
    below = stats.ttest_ind(a - 0.02, b, alternative="less").pvalue
    assert found.p_comparable == pytest.approx(max(above, below))
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_ind(a, b).confidence_interval(0.90)))
    assert found.verdict == COMPARABLE and found.difference == pytest.approx(a.mean() - b.mean())
    assert contrast(pair, {"lion": 1, "adamw": -1}).interval() == pytest.approx(tuple(stats.ttest_ind(a, b).confidence_interval(0.95)))


def test_test_of_a_difference_is_the_two_sided_t_test_as_the_margin_vanishes():
    a, b = (np.array(list(LOSSES[name].values())) for name in ("lion", "adamw"))
    found = compare({"a": dict(enumerate(a)), "b": dict(enumerate(b))}, "a", "b", margin=1e-12)
    assert found.p_different == pytest.approx(stats.ttest_ind(a, b).pvalue)


def test_diverged_runs_are_counted_and_enter_no_mean():
    deviation, df = pooled_deviation(LOSSES)
    finished = [[x for x in runs.values() if x is not None] for runs in LOSSES.values()]
    squares = sum(np.var(runs) * len(runs) for runs in finished if runs)
    assert df == 4 + 4 + 3 and deviation == pytest.approx(math.sqrt(squares / df))
    means = arm_means(LOSSES)
    assert (means["sgd"].num_finished, means["sgd"].num_diverged) == (4, 1)
    assert means["sgd"].mean == pytest.approx(np.mean(finished[2]))
    half = stats.t.ppf(0.975, 11) * deviation / 2
    assert (means["sgd"].low, means["sgd"].high) == pytest.approx((means["sgd"].mean - half, means["sgd"].mean + half))
    assert means["gone"].mean is None and means["gone"].low is None and means["gone"].num_diverged == 2
    assert compare(LOSSES, "sgd", "adamw").verdict == DIFFERENT
    gone = compare(LOSSES, "gone", "adamw")
    assert gone.verdict == DIFFERENT and gone.difference == gone.low == math.inf
    assert contrast(LOSSES, {"gone": 1, "sgd": -1}).p_above(0) == 0 and contrast(LOSSES, {"sgd": 1, "gone": -1}).p_below(0) == 0
    with pytest.raises(ValueError, match="every run of two of the arms gone, lost diverged"):
        contrast({**LOSSES, "lost": {1: None}}, {"gone": 1, "lost": -1})
    with pytest.raises(ValueError, match="there is no arm 'soap'"):
        compare(LOSSES, "soap", "adamw")


def test_an_arm_that_sometimes_diverges_is_not_comparable():
    losses = {"a": LOSSES["adamw"], "b": {**LOSSES["adamw"], 6: None}}
    assert compare(losses, "b", "a").verdict == UNDECIDED
    assert compare({"a": {**LOSSES["adamw"], 6: None}, "b": losses["b"]}, "b", "a").verdict == COMPARABLE


def test_contrast_of_contrasts_by_hand():
    losses = {"a": {1: 1.0, 2: 3.0}, "b": {1: 5.0}, "c": {1: 2.0, 2: 2.0, 3: 2.0}}
    found = contrast(losses, {"a": 1, "b": -2, "c": 0.5})
    # squares 2 over 1 + 0 + 2 degrees; variance factor 1/2 + 4/1 + 0.25/3
    assert found.estimate == pytest.approx(2 - 10 + 1) and found.df == 3
    assert found.error == pytest.approx(math.sqrt(2 / 3 * (0.5 + 4 + 0.25 / 3)))


def test_interval_of_a_mean_is_that_of_scipy():
    values = [3.1, 3.4, 3.2, 3.3]
    assert t_interval(np.mean(values), np.std(values, ddof=1), 4, 3) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))


@settings(max_examples=200, deadline=None)
@given(
    difference=st.floats(-0.1, 0.1), deviation=st.floats(1e-4, 0.1), n_a=st.integers(1, 10), n_b=st.integers(1, 10), df=st.integers(2, 60),
    margin=st.floats(0.001, 0.05),
)  # fmt: skip
def test_verdict_follows_the_interval(difference, deviation, n_a, n_b, df, margin):
    found = tost(difference, deviation, n_a, n_b, df, margin)
    assert (found.verdict == COMPARABLE) == (found.p_comparable < 0.05)
    if abs(found.p_comparable - 0.05) > 1e-9:
        assert (found.verdict == COMPARABLE) == (-margin < found.low and found.high < margin)
    if found.verdict == DIFFERENT:  # the other way round the second tail may still stand against it
        assert found.low > margin or found.high < -margin
    mirrored = tost(-difference, deviation, n_a, n_b, df, margin)
    assert mirrored.verdict == found.verdict and mirrored.high == pytest.approx(-found.low)


@pytest.mark.parametrize(
    ("true", "deviation", "verdict", "least", "most"),
    [
        (0.02, 0.008, COMPARABLE, 0.03, 0.065),  # on the margin: the two errors have their nominal size
        (0.02, 0.008, DIFFERENT, 0.03, 0.065),
        (0.0, 0.008, COMPARABLE, 0.9, 1.0),  # power where it is needed
        (0.06, 0.008, DIFFERENT, 0.99, 1.0),
        (0.0, 0.1, UNDECIDED, 0.9, 1.0),  # noise decides nothing
    ],
)
def test_size_and_power_by_simulation(true, deviation, verdict, least, most):
    rng = np.random.default_rng(7)
    seen = 0
    for _ in range(3000):
        runs = rng.normal(0, deviation, (7, 5))
        runs[0] += true
        squares = ((runs - runs.mean(1, keepdims=True)) ** 2).sum()
        found = tost(runs[0].mean() - runs[1].mean(), math.sqrt(squares / 28), 5, 5, 28)
        seen += found.verdict == verdict
    assert least <= seen / 3000 <= most


def test_nothing_is_concluded_from_nothing():
    with pytest.raises(ValueError, match="none of 2 arms has two finished runs"):
        pooled_deviation({"a": {1: 1.0}, "b": {1: 2.0, 2: None}})
    with pytest.raises(ValueError, match="do not vary with the seed"):
        pooled_deviation({"a": {1: 1.0, 2: 1.0}, "b": {1: 2.0, 2: 2.0}})
    with pytest.raises(ValueError, match="must be positive"):
        against_margin(Contrast(0.0, 0.1, 3), margin=0.0)
