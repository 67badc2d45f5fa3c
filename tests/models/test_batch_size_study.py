import math
import re

import pytest

from models.batch_size_study import choose_targets, measure, noise_growth, noise_scale, noise_until, noise_windows
from models.critical_batch_size import steps_to_target
from tests.models.made_batch_sizes import FLOOR, NOISE, SIZES, loss_of, rows_of


def study(seeds=(1, 2, 3), sizes=SIZES, **made):
    return [row for size in sizes for seed in seeds for row in rows_of(size, seed, **{"share": 1.2, "evals": 40, **made})]


def test_the_targets_are_losses_that_the_slowest_batch_size_had_early_enough():
    rows = [row for size in SIZES for lr in (0.01, 0.02) for row in rows_of(size, 0, lr=lr, share=1.0 if size == 512 else 1.5)]
    targets = choose_targets(rows, (0.5, 0.7, 0.85))
    slowest = [row for row in rows if row["batch_size"] == 512 and row["ewa_decay"] is not None]
    assert targets == tuple(min(row["val_loss"] for row in slowest if row["step"] <= share * row["num_steps"]) for share in (0.5, 0.7, 0.85))
    assert list(targets) == sorted(targets, reverse=True) and len(set(targets)) == 3
    for target in targets:
        assert not any(crossing.censored for crossing in steps_to_target(rows, target)), "every batch size reaches every target"
    assert choose_targets([*rows, *rows_of(512, 0, diverged=True, lr=1.0)], (0.5,)) == targets[:1]
    with pytest.raises(ValueError, match="no run was evaluated; all of them diverged"):
        choose_targets(rows_of(8, 0, diverged=True))
    with pytest.raises(ValueError, match="no evaluation lies in the first 0.05"):
        choose_targets(rows, (0.05,))


def test_the_law_that_made_the_runs_is_found():
    found = measure(study(), loss_of(FLOOR))
    assert not found.refused and found.b_opt == 4
    assert found.fit.a == pytest.approx(FLOOR, rel=0.02) and found.fit.b_noise == pytest.approx(NOISE, rel=0.02)
    assert found.b_star == pytest.approx(1.2 * 4 + 0.2 * found.fit.b_noise)
    assert max(abs(misfit) for by_seed in found.misfits.values() for misfit in by_seed.values()) < 0.01
    noisy = measure(study(seeds=range(8), spread=0.05, share=1.4), loss_of(FLOOR))
    by_seed = noisy.seed_b_star(0.2)
    assert len(by_seed) == 8 and min(by_seed.values()) < 1.2 * 4 + 0.2 * NOISE < max(by_seed.values())


@pytest.mark.parametrize(
    ("made", "why", "fitted"),
    [
        ({"share": 0.8}, r"18 of 18 runs are censored .*batch size 4, seed 1 had not reached it after 1248 steps", False),
        ({"evals": 1, "share": 1.2}, "was below it at its first evaluation", False),
        ({"sizes": (32, 64, 128, 512)}, "no batch is linear within 0.15", True),
        ({"sizes": (4, 8, 16, 32)}, "1 of the batch sizes measured .* lie beyond", True),
        ({"sizes": (4,)}, "can not fix 2 numbers", False),
    ],
)
def test_what_can_not_be_measured_is_refused_with_a_reason(made, why, fitted):
    found = measure(study(**made), loss_of(FLOOR))
    assert found.b_star is None and found.seed_b_star(0.2) == {}
    assert (found.fit is not None) == fitted == bool(found.misfits)
    assert re.search(why, found.refused), found.refused


def test_the_noise_scale_is_taken_over_windows_of_steps():
    rows = [*study(seeds=(1,), sizes=(8, 32)), *rows_of(128, 1, noisy=False), *rows_of(512, 1, diverged=True)]
    windows = noise_windows(rows)
    assert {window.batch_size for window in windows} == {8, 32}
    ends = [window.step for window in windows if window.batch_size == 8]
    assert [window.num_windowed for window in windows if window.batch_size == 8] == [ends[0], *(b - a for a, b in zip(ends, ends[1:], strict=False))]
    assert windows[-1].progress == 1 and windows[-1].gradient.signal == pytest.approx(1)
    last = noise_scale(windows[-1:])
    assert last == pytest.approx(windows[-1].gradient.noise)
    assert noise_growth(windows)[1] > 2
    until = noise_until(windows, steps_to_target(rows, loss_of(FLOOR)))[1]
    assert NOISE / 4 < until < NOISE, "an average of what it was until then"
    assert noise_until(windows, []) == {}
    assert math.isnan(noise_scale([]))
