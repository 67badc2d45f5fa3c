"""Oracles: scipy.stats, least squares on the explicit design matrix, hand-computed cases, simulated coverage."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.statistics import (
    TaskCount,
    arm_intervals,
    benjamini_hochberg,
    centered_accuracy,
    centered_chance_test,
    chance_test,
    compare_arms,
    holm_adjusted,
    pooled_deviation,
)

ARMS = {
    "raw": {0: 1.52, 1: 1.55, 2: 1.50},
    "heuristics": {0: 1.44, 1: 1.46, 2: 1.43},
    "classifier": {0: 1.43, 1: 1.47, 2: 1.41},
}


def table(rng, means, num_seeds, noise=0.02, seed_noise=0.05):
    effects = rng.normal(0, seed_noise, num_seeds)
    return {
        f"arm{i}": {s: float(m + effects[s] + rng.normal(0, noise)) for s in range(num_seeds)}
        for i, m in enumerate(means)
    }


def test_pooled_interval_by_hand():
    # squares: a: (1-2)^2 + (3-2)^2 = 2, b: 0.5 (4, 5) ; df = 1 + 1 ; s^2 = 2.5 / 2
    scores = {"a": {0: 1.0, 1: 3.0}, "b": {0: 4.0, 1: 5.0}, "lone": {0: 9.0}}
    deviation, degrees = pooled_deviation(scores)
    assert degrees == 2 and deviation == pytest.approx(math.sqrt(1.25))
    intervals = arm_intervals(scores)
    assert intervals["a"].high == pytest.approx(2 + 4.302652729911275 * math.sqrt(1.25 / 2))
    assert intervals["lone"].mean == 9.0 and intervals["lone"].low is None and intervals["lone"].high is None


def test_one_arm_agrees_with_the_t_interval_of_scipy():
    values = [1.52, 1.55, 1.50, 1.61]
    interval = arm_intervals({"a": dict(enumerate(values))})["a"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_two_arms_are_the_paired_t_test():
    scores = {name: ARMS[name] for name in ("raw", "classifier")}
    result = compare_arms(scores, lower_is_better=True)
    oracle = stats.ttest_rel(list(ARMS["raw"].values()), list(ARMS["classifier"].values()))
    (pair,) = result.pairs
    assert pair.p_value == pytest.approx(oracle.pvalue) == pytest.approx(pair.p_adjusted)
    assert (pair.low, pair.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert (pair.better, pair.worse, result.winner) == ("classifier", "raw", "classifier")


def test_residual_deviation_agrees_with_least_squares():
    scores = table(np.random.default_rng(0), [1.0, 1.1, 1.3, 1.2], 5)
    design, y = [], []
    for arm, runs in scores.items():
        for seed, value in runs.items():
            design.append([float(arm == a) for a in scores] + [float(seed == s) for s in range(1, 5)])
            y.append(value)
    _, squares, rank, _ = np.linalg.lstsq(np.array(design), np.array(y))
    result = compare_arms(scores, lower_is_better=True)
    assert result.degrees_of_freedom == len(y) - rank == 3 * 4
    assert result.residual_deviation == pytest.approx(math.sqrt(squares[0] / (len(y) - rank)))


def test_holm_by_hand():
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Wikipedia's example
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_holm_rejects_like_the_step_down_procedure(p_values, alpha):
    rejected = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] * (len(p_values) - step) >= alpha:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm_adjusted(p_values)) if p < alpha} == rejected


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 5), st.booleans())
def test_interval_excludes_zero_exactly_when_decisive_and_the_top_set_is_consistent(seed, arms, seeds, lower):
    rng = np.random.default_rng(seed)
    result = compare_arms(table(rng, rng.normal(1, 0.05, arms), seeds), lower_is_better=lower)
    assert len(result.pairs) == arms * (arms - 1) // 2
    for pair in result.pairs:
        assert pair.advantage >= 0 and (pair.low > 0) == pair.decisive and pair.low <= pair.advantage <= pair.high
    beaten_by_best = {p.worse for p in result.pairs if p.decisive and p.better == result.best}
    assert set(result.top) == set(result.ranks) - beaten_by_best
    assert result.top[0] == result.best and all(result.ranks[arm] == 1 for arm in result.top)
    assert (result.winner is None) == (len(result.top) > 1)


def test_direction_follows_lower_is_better():
    better = compare_arms(ARMS, lower_is_better=True)
    worse = compare_arms(ARMS, lower_is_better=False)
    assert better.best == "classifier" and worse.best == "raw"
    assert set(better.top) == {"classifier", "heuristics"} and better.winner is None
    assert better.ranks["raw"] == 3


def test_shared_seed_noise_cancels_in_pairs():
    scores = {"a": {0: 1.00, 1: 2.00, 2: 3.0}, "b": {0: 1.101, 1: 2.099, 2: 3.1}}
    assert compare_arms(scores, lower_is_better=True).winner == "a"
    intervals = arm_intervals(scores)
    assert intervals["a"].high > intervals["b"].low  # overlapping on their own, yet decided in pairs


def test_lone_run_and_foreign_seeds_take_part_in_no_test():
    result = compare_arms(ARMS | {"lone": {0: 0.1}, "other": {7: 0.1, 8: 0.2}}, lower_is_better=True)
    assert "training variance unknown" in result.excluded["lone"]
    assert "two are needed" in result.excluded["other"]
    assert not {"lone", "other"} & set(result.ranks) and result.best == "classifier"


def test_common_seeds_only():
    result = compare_arms({"a": {0: 1.0, 1: 1.2, 2: 5.0}, "b": {0: 1.1, 1: 1.25}}, lower_is_better=True)
    assert result.seeds == (0, 1) and result.pairs[0].advantage == pytest.approx(0.075)


def test_copied_runs_prove_nothing():
    result = compare_arms({"a": {0: 1.0, 1: 1.0}, "b": {0: 2.0, 1: 2.0}}, lower_is_better=True)
    assert result.best is None and result.winner is None and "do not vary" in result.excluded["a"]


@pytest.mark.parametrize("scores", [{}, {"a": {0: 1.0, 1: 2.0}}])
def test_nothing_to_compare(scores):
    result = compare_arms(scores, lower_is_better=True)
    assert result.pairs == () and result.winner is None and result.best is None


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="no runs"):
        arm_intervals({"a": {}})
    with pytest.raises(ValueError, match="'a' seed 3 has score nan"):
        compare_arms({"a": {3: math.nan, 4: 1.0}}, lower_is_better=True)


@pytest.mark.parametrize("correct,items,baseline", [(0, 10, 0.25), (26, 100, 0.25), (40, 100, 0.25), (100, 100, 0.62)])
def test_chance_agrees_with_binomtest(correct, items, baseline):
    result = chance_test(TaskCount(correct, items, baseline))
    oracle = stats.binomtest(correct, items, baseline, alternative="greater").pvalue
    assert result.p_value == pytest.approx(oracle, rel=1e-9)
    assert str(result) == ("at chance" if oracle >= 0.05 else "above chance")


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0, 0.95))
def test_chance_agrees_with_summing_the_tail(counts, baseline):
    correct, items = counts
    tail = sum(math.comb(items, k) * baseline**k * (1 - baseline) ** (items - k) for k in range(correct, items + 1))
    assert chance_test(TaskCount(correct, items, baseline)).p_value == pytest.approx(tail, abs=1e-10)


def test_chance_with_baseline_zero_and_means_over_seeds():
    assert chance_test(TaskCount(0, 3000, 0.0)).at_chance
    assert not chance_test(TaskCount(1, 3000, 0.0)).at_chance
    assert chance_test(TaskCount(2 / 3, 3000, 0.0)).at_chance  # rounded down
    exact, mean = chance_test(TaskCount(33, 100, 0.25)), chance_test(TaskCount(33.67, 100, 0.25))
    assert exact.p_value == mean.p_value


@pytest.mark.parametrize("count", [TaskCount(1, 10, 25), TaskCount(11, 10, 0.5), TaskCount(0, 0, 0.5)])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match="not possible|divide percents"):
        chance_test(count)


def test_centered():
    assert centered_accuracy(0.25, 0.25) == 0 and centered_accuracy(1.0, 0.25) == 1
    assert centered_chance_test([TaskCount(250, 1000, 0.25), TaskCount(0, 100, 0.0)]).at_chance
    assert not centered_chance_test([TaskCount(300, 1000, 0.25), TaskCount(0, 100, 0.0)]).at_chance
    assert centered_chance_test([TaskCount(0, 9, 0.0)]).p_value == 1.0
    assert centered_chance_test([TaskCount(1, 9, 0.0)]).p_value == 0.0
    with pytest.raises(ValueError, match="no task"):
        centered_chance_test([])


def test_centered_chance_keeps_its_level():
    rng = np.random.default_rng(1)
    tasks = [(1000, 0.25), (100, 0.5), (300, 0.62), (60, 0.5), (2000, 0.403), (500, 0.0)]
    wrong = sum(
        not centered_chance_test([TaskCount(int(rng.binomial(n, b)), n, b) for n, b in tasks]).at_chance
        for _ in range(2000)
    )
    assert 0.03 < wrong / 2000 < 0.07  # standard error 0.005


def test_simulated_coverage_and_error_rate():
    rng, trials = np.random.default_rng(2), 1500
    means, covered, pair_covered, pairs = [1.0, 1.0, 1.2, 1.25], 0, 0, 0
    false_claims = 0
    for _ in range(trials):
        scores = table(rng, means, 3, seed_noise=0.0)
        interval = arm_intervals(scores)["arm2"]
        covered += interval.low <= 1.2 <= interval.high
        for pair in compare_arms(scores, lower_is_better=True).pairs:
            truth = means[int(pair.worse[-1])] - means[int(pair.better[-1])]
            pair_covered += pair.low <= truth <= pair.high
            pairs += 1
        null = compare_arms(table(rng, [1.0] * 4, 3), lower_is_better=True)
        false_claims += any(pair.decisive for pair in null.pairs)
    assert 0.93 < covered / trials < 0.97  # standard error 0.0056
    assert pair_covered / pairs > 0.945
    assert false_claims / trials < 0.065  # family-wise, in spite of a strong shared seed effect


def test_seed_noise_does_not_cost_power():
    rng = np.random.default_rng(3)
    quiet, loud = (
        sum(compare_arms(table(rng, [1.0, 1.1], 4, seed_noise=noise), True).winner == "arm0" for _ in range(300))
        for noise in (0.0, 1.0)
    )
    assert abs(quiet - loud) < 45 and quiet > 200


def test_order_of_the_input_changes_nothing():
    results = {
        repr(compare_arms({name: ARMS[name] for name in names}, True).pairs) for names in itertools.permutations(ARMS)
    }
    assert len(results) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_benjamini_hochberg_is_scipys(p_values):
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values), atol=1e-15)
    assert benjamini_hochberg([]) == []


def test_five_hundred_arms_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    scores = {f"arm {i}": {seed: float(rng.normal(i / 100, 0.1)) for seed in range(2)} for i in range(500)}
    start = time.process_time()
    found = compare_arms(scores, lower_is_better=False)
    assert time.process_time() - start < 20 and len(found.pairs) == 500 * 499 // 2
    p = np.array([pair.p_adjusted for pair in found.pairs])
    assert np.all(np.diff(p) >= 0) and found.ranks[found.best] == 1
