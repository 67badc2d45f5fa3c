import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.critical_batch_size import (
    PUBLISHED_BATCH_SIZES,
    PUBLISHED_STEPS,
    Fit,
    cbs,
    fit,
    mean_steps,
    power_law,
    sensitivity,
    smallest_linear_batch,
    steps_to_target,
)

# What the paper makes of its table: a and b (to the digits printed), B*.
PRINTED = {
    85: ("1293.8", "2.834e+06", "745.3"),
    151: ("1752.4", "5.677e+06", "955.2"),
    302: ("2095.3", "1.138e+07", "1393.7"),
    604: ("2459.9", "1.945e+07", "1888.5"),
    1200: ("3897.3", "4.338e+07", "2533.4"),
}


def test_the_published_table_to_all_printed_digits():
    for millions, (a, b, b_star) in PRINTED.items():
        found = fit(PUBLISHED_BATCH_SIZES, PUBLISHED_STEPS[millions])
        assert (f"{found.a:.1f}", f"{found.b:.3e}", f"{cbs(found):.1f}") == (a, b, b_star)
        assert smallest_linear_batch(PUBLISHED_BATCH_SIZES, PUBLISHED_STEPS[millions]) == 64
    law = power_law(list(PUBLISHED_STEPS), [cbs(fit(PUBLISHED_BATCH_SIZES, steps)) for steps in PUBLISHED_STEPS.values()])
    assert (f"{law.coefficient:.2f}", f"{law.exponent:.3f}") == ("93.20", "0.468")


@pytest.mark.parametrize(
    ("settings", "alpha", "exponent"),
    [
        *[({"overhead": o}, 1.0, e) for o, e in ((0.1, "0.392"), (0.3, "0.501"), (0.5, "0.532"))],
        *[({"b_opt": o}, 1.0, e) for o, e in ((64, "0.572"), (128, "0.532"), (512, "0.380"))],
        ({}, None, "0.376"),
    ],
)
def test_the_published_exponent_moves_with_the_conventions(settings, alpha, exponent):
    law = power_law(list(PUBLISHED_STEPS), [cbs(fit(PUBLISHED_BATCH_SIZES, steps, alpha), **settings) for steps in PUBLISHED_STEPS.values()])
    assert f"{law.exponent:.3f}" == exponent


@settings(max_examples=50, deadline=None)
@given(a=st.floats(1, 1e5), scale=st.floats(20, 1e4), alpha=st.sampled_from([0.7, 1.0, 1.4]), overhead=st.floats(0.05, 2), b_opt=st.floats(1, 10))
def test_exact_steps_give_back_their_law(a, scale, alpha, overhead, b_opt):
    sizes = scale * np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
    truth = Fit(a, a * scale**alpha, alpha, np.zeros((2, 2)))
    found = fit(sizes, [truth.steps(size) for size in sizes], alpha=None)
    np.testing.assert_allclose(found[:3], truth[:3], rtol=1e-5)
    b_star = cbs(found, overhead, b_opt, least_ratio=0, least_beyond=0)
    assert b_star > b_opt
    assert math.isclose(found.steps(b_star) * b_star, (1 + overhead) * found.steps(b_opt) * b_opt, rel_tol=1e-6)
    if alpha == 1:
        assert math.isclose(b_star, (1 + overhead) * b_opt + overhead * truth.b / a, rel_tol=1e-4)


def test_the_covariance_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    truth = Fit(100.0, 100.0 * 64, 1.0, np.zeros((2, 2)))
    sizes = np.repeat([8, 32, 128, 512], 3)
    clean = np.array([truth.steps(size) for size in sizes])
    draws = [fit(sizes, clean * np.exp(0.05 * rng.standard_normal(12))) for _ in range(400)]
    told = np.mean([found.cov for found in draws], axis=0)
    seen = np.cov(np.array([found[:2] for found in draws]).T)
    np.testing.assert_allclose(told, seen, rtol=0.25)
    assert np.isnan(fit([8, 512], [1000.0, 120.0]).cov).all(), "two points for two numbers say nothing of the error"


def test_b_star_that_measures_only_the_constant_is_refused():
    truth = Fit(100.0, 100.0 * 50, 1.0, np.zeros((2, 2)), (8, 32, 128, 512))
    assert cbs(truth, b_opt=8) == pytest.approx(9.6 + 10)
    with pytest.raises(ValueError, match=r"B\* = 48.4 is less than 1.5 times 38.4.*smaller b_opt, or ask for it with least_ratio=0"):
        cbs(truth, b_opt=32)
    assert cbs(truth, b_opt=32, least_ratio=0) == pytest.approx(38.4 + 10)
    with pytest.raises(ValueError, match=r"1 of the batch sizes measured \(up to 32\) lie beyond B\* = 19.6, 2 are needed.*least_beyond=0"):
        cbs(truth._replace(batch_sizes=(4, 8, 32)), b_opt=8)
    with pytest.raises(ValueError, match="must be positive"):
        cbs(truth, overhead=0)


def test_sensitivity_shows_what_is_refused():
    rows = {(row["overhead"], row["b_opt"]): row for row in sensitivity(fit(PUBLISHED_BATCH_SIZES, PUBLISHED_STEPS[85]))}
    assert len(rows) == 16
    assert rows[0.2, 256]["b_star"] == pytest.approx(745.3, abs=0.05) and not rows[0.2, 256]["refused"]
    assert rows[0.1, 512]["b_star"] is None and "less than 1.5 times 563.2" in rows[0.1, 512]["refused"]


def test_fits_without_enough_points_or_without_a_floor_are_refused():
    with pytest.raises(ValueError, match="1 distinct batch sizes .* can not fix 2 numbers"):
        fit([8, 8], [100, 110])
    with pytest.raises(ValueError, match="2 distinct batch sizes .* can not fix 3 numbers"):
        fit([8, 8, 32], [100, 110, 30], alpha=None)
    with pytest.raises(ValueError, match="in proportion to the batch size up to 32"):
        fit([8, 16, 32], [1000, 500, 250])
    with pytest.raises(ValueError, match="steps are .*give positive numbers"):
        fit([8, 16, 32], [1000, math.nan, 250])


def test_the_smallest_linear_batch_is_shown_by_the_next_one():
    assert smallest_linear_batch([4, 8, 16, 64], [900, 800, 410, 150]) == 8, "4 sequences gain nothing over 8: too small to be linear"
    assert smallest_linear_batch([8, 8, 32, 32], [90, 110, 20, 31.25]) == 8, "seeds are averaged in the logarithm"
    with pytest.raises(ValueError, match=r"s = 0.32 at 8, 0.00 at 16\); measure smaller batches"):
        smallest_linear_batch([8, 16, 32], [100, 80, 80])
    assert mean_steps([8, 8, 2], [10, 1000, 5]) == {2: pytest.approx(5), 8: pytest.approx(100)}


def rows_of(batch_size, seed, curve, lr=0.1, ewa_decay=None):
    return [{"batch_size": batch_size, "seed": seed, "lr": lr, "ewa_decay": ewa_decay, "step": s, "val_loss": v} for s, v in curve]


def test_steps_to_target_interpolates_in_the_logarithm_and_takes_the_best_curve():
    rows = rows_of(8, 0, [(100, 4.0), (400, 2.0)])[::-1] + rows_of(8, 0, [(100, 5.0), (400, 2.9)], lr=0.3) + rows_of(8, 1, [(10, 5.0), (100, 2.0)])
    average = rows_of(8, 0, [(100, 3.75), (200, 3.25), (400, 3.6)], ewa_decay=0.9)
    first, second = steps_to_target(rows + average, 3.625)
    assert first.steps == pytest.approx(100 * 2**0.25) and first.best == (0.1, 0.9) and not first.censored, "a quarter of the way in log-steps, and before it rose"
    assert (second.seed, second.steps) == (1, pytest.approx(10 * 10 ** (1.375 / 3)))
    assert steps_to_target(rows, 3.0)[0].steps == pytest.approx(200)
    assert steps_to_target(rows, 2.0)[0].steps == pytest.approx(400)


def test_steps_to_target_says_what_it_does_not_know():
    never = rows_of(8, 0, [(10, 5.0), (100, 4.0)]) + rows_of(8, 0, [(10, 5.0), (40, None)], lr=1.0)
    assert [c[:4] for c in steps_to_target(never, 3.0)] == [(8, 0, 40.0, "above")]
    assert steps_to_target(never, 4.5)[0].censored == "", "one diverged rate does not hide the other"
    early = rows_of(8, 0, [(10, 3.5), (100, 3.0)]) + rows_of(8, 0, [(5, 9.0), (8, 3.0)], lr=1.0)
    found = steps_to_target(early, 4.0)[0]
    assert found.censored == "below" and found.steps < 8, "it may have been there before the first evaluation of the other"
    assert steps_to_target(rows_of(8, 0, [(10, math.nan), (20, 3.0)]), 3.0)[0].steps == pytest.approx(20)
    with pytest.raises(ValueError, match="has step 0; steps done count from 1"):
        steps_to_target(rows_of(8, 0, [(0, 5.0)]), 3.0)
    assert steps_to_target([], 3.0) == []
