"""Oracles: curves whose parameters are known, scipy's curve_fit, coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import optimize

from evaluation.studies.loss_curve import fit_curve

FRACTIONS = np.repeat([0.5, 0.625, 0.75, 0.875, 1.0], 3)


def truth(n):
    return 2.9 + 0.4 * n**-0.6


def test_exact_losses_give_their_curve_back():
    curve = fit_curve(FRACTIONS, truth(FRACTIONS))
    assert (curve.a, curve.b, curve.beta) == pytest.approx((2.9, 0.4, 0.6), rel=1e-4)
    reach = curve.reach(truth(0.7), 0.0, 1e-3, 10)
    assert reach.estimate == pytest.approx(0.7, rel=1e-6) and curve.loss(0.7) == pytest.approx(truth(0.7))
    below = curve.below(truth(0.7), 1.0, 0.0, 1e-3, 10)
    assert below.estimate == pytest.approx(truth(0.7) - truth(1.0)) and curve.slope(0.7) == pytest.approx(0.4 * 0.6 * 0.7**-1.6, rel=1e-4)
    assert curve.reach(truth(1.9), 0.0, 1e-3, 10).estimate == pytest.approx(1.9, rel=1e-5)
    assert curve.reach(truth(2.1), 0.0, 1e-3, 10) is None and curve.reach(2.8, 0.0, 1e-3, 10) is None  # too far to follow, and never
    assert (curve.lowest, curve.highest) == (0.5, 1.0)


def test_fit_and_covariance_are_those_of_curve_fit():
    losses = truth(FRACTIONS) + np.random.default_rng(1).normal(0, 0.002, len(FRACTIONS))
    curve = fit_curve(FRACTIONS, losses)
    found, covariance = optimize.curve_fit(
        lambda n, a, b, beta: a + b * n**-beta,
        FRACTIONS,
        losses,
        p0=(3, 0.3, 0.5),
        sigma=np.full(15, 0.002),
        absolute_sigma=True,
        xtol=1e-14,
        ftol=1e-14,
    )
    assert (curve.a, curve.b, curve.beta) == pytest.approx(tuple(found), rel=1e-3)
    assert curve.covariance * 0.002**2 == pytest.approx(covariance, rel=2e-2)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    deviation, hits, num = 0.006, 0, 400
    for _ in range(num):
        losses = truth(FRACTIONS) + rng.normal(0, deviation, len(FRACTIONS))
        target = truth(0.75) + rng.normal(0, deviation / math.sqrt(5))
        reach = fit_curve(FRACTIONS, losses).reach(target, deviation / math.sqrt(5), deviation, 40)
        low, high = reach.interval()
        hits += low <= 0.75 <= high
    assert 0.91 <= hits / num <= 0.985


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="2 different amounts of data"):
        fit_curve([0.5, 1.0, 1.0], [3.2, 3.0, 3.1])
    with pytest.raises(ValueError, match="losses rise from 3.0000 to 3.2000"):
        fit_curve([0.5, 0.75, 1.0], [3.0, 3.1, 3.2])
