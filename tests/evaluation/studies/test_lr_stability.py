"""Oracles: hand-computed sweeps, the width found on a fine grid of straight lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.studies.lr_stability import decades_difference, lr_stability

INIT = 6.0


def test_a_sweep_by_hand():
    found = lr_stability({1e-3: 3.10, 1e-2: 3.00, 1e-1: 3.20, 1.0: None}, INIT, slack=0.05)
    assert (found.best_lr, found.best_loss, found.num_lrs, found.num_diverged) == (1e-2, 3.0, 4, 1)
    assert found.decades == pytest.approx(0.5 + 0.25) and not found.at_edge  # 0.05 of 0.10 to the left, of 0.20 to the right
    assert found.sensitivity == pytest.approx((0.1 + 0 + 0.2 + 3.0) / 4)


def test_a_loss_above_initialisation_counts_as_initialisation():
    worse = lr_stability({1e-3: 3.0, 1e-2: 9.0}, INIT)
    assert worse == lr_stability({1e-3: 3.0, 1e-2: 6.0}, INIT) and worse.at_edge and worse.num_diverged == 0
    assert worse.sensitivity == lr_stability({1e-3: 3.0, 1e-2: None}, INIT).sensitivity


@pytest.mark.parametrize("end", [0.0316, 0.316, 3.16, 0.0999])
def test_a_width_up_to_the_end_of_the_grid_is_known_as_such(end):
    assert lr_stability({end / 10: 3.0, end / 3: 2.9, end: 2.89}, INIT).at_edge
    assert lr_stability({end: 2.89, end * 3: 2.9, end * 10: 3.0}, INIT).at_edge


def test_a_second_valley_does_not_count():
    split = lr_stability({1.0: 3.0, 10.0: 4.0, 100.0: 3.01}, INIT)
    assert split.decades == pytest.approx(0.05)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(3.0, 3.5), min_size=2, max_size=7), st.floats(0.01, 0.2))
def test_width_against_a_fine_grid(losses, slack):
    x = np.arange(len(losses)) / 2
    found = lr_stability({float(10**at): loss for at, loss in zip(x, losses, strict=True)}, INIT, slack)
    fine = np.linspace(x[0], x[-1], 20001)
    below = np.interp(fine, x, losses) <= min(losses) + slack
    best = int(round(x[int(np.argmin(losses))] / x[-1] * 20000))
    left, right = best, best
    while left > 0 and below[left - 1]:
        left -= 1
    while right < 20000 and below[right + 1]:
        right += 1
    assert found.decades == pytest.approx(fine[right] - fine[left], abs=2 * (fine[1] - fine[0]) + 1e-6)


def test_difference_of_widths_knows_its_noise():
    steep = {10.0**k: 3 + 0.4 * abs(k + 2) for k in (-3.0, -2.5, -2.0, -1.5, -1.0)}
    flat = {10.0**k: 3 + 0.04 * abs(k + 2) for k in (-3.0, -2.5, -2.0, -1.5, -1.0)}
    estimate, drawn = decades_difference(flat, steep, INIT, deviation=0.002)
    assert estimate == pytest.approx(2.0 - 0.25) and 1.5 < drawn.min() and drawn.max() < 2.0
    same, narrow = decades_difference(steep, steep, INIT, deviation=0.002)
    assert same == 0 and -0.1 < narrow.min() < 0 < narrow.max() < 0.1
    _, wide = decades_difference(steep, steep, INIT, deviation=0.05)
    assert wide.std() > 3 * narrow.std()
    assert (decades_difference(flat, steep, INIT, deviation=0.002)[1] == drawn).all()  # the draws are fixed


def test_a_sweep_of_nothing_is_refused():
    for sweep in ({1e-2: 3.0}, {1e-2: None, 1e-1: None}, {}):
        with pytest.raises(ValueError, match="sweep at least two"):
            lr_stability(sweep, INIT)
