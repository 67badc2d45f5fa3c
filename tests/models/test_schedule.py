"""Schedules: the published shapes, and what every one of them keeps."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scales import Recipe
from models.schedule import SCHEDULES, check_schedule, decay_steps, learning_rate

RECIPE = Recipe(
    num_tokens=800,
    batch_size=4,
    lr=1e-2,
    cooldown_lr=1e-3,
    warmup_steps=3,
    weight_decay=0.0,
    z_loss_weight=0.0,
)


def rates(num_steps: int, **fields) -> list[float]:
    recipe = replace(RECIPE, **fields)
    check_schedule(recipe, num_steps)
    return [learning_rate(recipe, step, num_steps) for step in range(num_steps)]


def test_cosine_warms_up_and_ends_near_the_cooldown():
    found = rates(100)
    assert found[:4] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2])
    assert found[3:] == sorted(found[3:], reverse=True)
    assert 1e-3 < found[-1] < 1.01e-3
    assert learning_rate(RECIPE, 51, 99) == pytest.approx((1e-2 + 1e-3) / 2)


@given(lr=st.floats(1e-6, 10), floor=st.floats(0, 1), warmup=st.integers(0, 9), rest=st.integers(1, 90))
def test_cosine_is_openlms_to_the_bit(lr, floor, warmup, rest):
    low, num_steps = lr * floor, warmup + rest
    for step, found in enumerate(rates(num_steps, lr=lr, cooldown_lr=low, warmup_steps=warmup)):
        share = 0.5 * (1 + math.cos(math.pi * ((step - warmup) / (num_steps - warmup))))
        assert found == (lr * (step + 1) / warmup if step < warmup else low + (lr - low) * share)


def test_wsd_is_flat_and_then_a_straight_line():
    assert rates(20, schedule="wsd", cooldown_lr=0.0, wsd_decay_fraction=0.25) == pytest.approx(
        [1e-2 / 3, 2e-2 / 3, *[1e-2] * 13, 1e-2, 8e-3, 6e-3, 4e-3, 2e-3]
    )
    assert rates(20, schedule="wsd", wsd_decay_fraction=0.25)[-1] == pytest.approx(1e-3 + 9e-3 / 5)
    flat = rates(20, schedule="constant")
    assert flat[2:] == [1e-2] * 18 and flat == rates(20, schedule="wsd", wsd_decay_fraction=0.0)


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    lr=st.floats(1e-6, 10),
    floor=st.floats(0, 1),
    warmup=st.integers(0, 20),
    rest=st.integers(1, 60),
    fraction=st.floats(0, 1),
)
def test_every_schedule_rises_to_its_peak_and_never_rises_again(schedule, lr, floor, warmup, rest, fraction):
    num_steps, low = warmup + rest, lr * floor
    fraction = min(fraction, (rest - 0.5) / num_steps)
    found = rates(num_steps, schedule=schedule, lr=lr, cooldown_lr=low, warmup_steps=warmup, wsd_decay_fraction=fraction)
    assert found[:warmup] == sorted(found[:warmup]) and found[warmup] == pytest.approx(lr) == max(found)
    slack = 1e-12 * lr
    assert all(after <= before + slack for before, after in zip(found[warmup:], found[warmup + 1 :], strict=False))
    assert all(rate >= min(low, lr / max(1, warmup)) - slack and rate > 0 for rate in found)
    if schedule == "wsd":
        flat = num_steps - decay_steps(replace(RECIPE, wsd_decay_fraction=fraction), num_steps)
        assert set(found[warmup : flat + 1]) <= {lr}
        drops = [before - after for before, after in zip(found[flat:], found[flat + 1 :], strict=False)]
        assert drops == pytest.approx([(lr - low) / max(1, num_steps - flat)] * len(drops), abs=slack)


def test_a_rate_of_zero_stays_zero():
    for schedule in SCHEDULES:
        assert set(rates(10, schedule=schedule, lr=0.0, cooldown_lr=0.0)) == {0.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "cosin"}, "'cosin' is not one of constant, cosine, wsd; did you mean 'cosine'"),
        ({"schedule": "?"}, "'[?]' is not one of constant, cosine, wsd$"),
        ({"warmup_steps": 20}, "warmup_steps 20 leave nothing of 20 steps"),
        ({"schedule": "wsd", "wsd_decay_fraction": 1.5}, "wsd_decay_fraction is 1.5; give a share"),
        ({"schedule": "wsd", "wsd_decay_fraction": 0.9}, "3 steps of warm-up and 18 of decay are more than the run's 20"),
    ],
)
def test_what_is_no_schedule_says_why(fields, message):
    with pytest.raises(ValueError, match=message):
        rates(20, **fields)
