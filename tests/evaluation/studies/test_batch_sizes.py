import math

import numpy as np
import pytest
from scipy import stats

from evaluation.studies import batch_sizes as judge


def misfits(offsets, spread, seeds=5):
    rng = np.random.default_rng(0)
    return {3.5: {size: {seed: offset + spread * rng.standard_normal() for seed in range(seeds)} for size, offset in offsets.items()}}


def test_the_interval_is_the_students_of_the_logarithms():
    values = {1: 20.0, 2: 25.0, 3: 22.0}
    logs = np.log([*values.values()])
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert judge.log_interval(values) == pytest.approx((math.exp(logs.mean()), math.exp(low), math.exp(high)))
    assert judge.log_interval({1: 7.0}) == (pytest.approx(7.0), None, None) and judge.log_interval({}) == (None, None, None)


@pytest.mark.parametrize(
    ("offsets", "spread", "seeds", "refused", "verdict"),
    [
        ({8: 0.01, 32: -0.02, 512: 0.01}, 0.02, 5, [], "supported"),
        ({8: 0.01, 32: -0.2, 512: 0.01}, 0.02, 5, [], "contradicted"),
        ({8: 0.01, 32: -0.09, 512: 0.01}, 0.05, 5, [], "undecided"),
        ({8: 0.01, 32: -0.02, 512: 0.01}, 0.02, 5, ["3 of 9 runs are censored"], "undecided"),
        ({8: 0.01, 32: -0.02, 512: 0.01}, 0.02, 1, [], "undecided"),
    ],
)
def test_the_law_must_be_shown_at_every_batch_size(offsets, spread, seeds, refused, verdict):
    claim = judge.claim_law(misfits(offsets, spread, seeds), refused, margin=0.1)
    assert claim.verdict == verdict and claim.num_seeds == seeds
    assert all(reason in claim.words for reason in refused)
    assert judge.claim_law({}, ["no floor"], 0.1).verdict == "undecided"


def test_a_batch_size_without_an_interval_is_no_support():
    by_seed = {1: 33.0, 2: 36.0, 3: 30.0}
    assert judge.claim_critical(33.0, by_seed, ["seen"], "", 0.2).verdict == "supported"
    assert judge.claim_critical(33.0, {1: 33.0}, ["seen"], "", 0.2).verdict == "undecided"
    refused = judge.claim_critical(None, {}, ["no batch is linear"], "no batch is linear", 0.2)
    assert (refused.verdict, refused.estimate, refused.words) == ("undecided", None, "No batch is linear.")


@pytest.mark.parametrize(
    ("ratios", "grows", "same_order"),
    [
        ([1.8, 2.0, 2.2], "supported", "supported"),
        ([0.5, 0.55, 0.45], "contradicted", "supported"),
        ([0.7, 1.0, 1.4], "undecided", "supported"),
        ([9.0, 10.0, 11.0], "supported", "contradicted"),
        ([0.1, 0.11, 0.09], "contradicted", "contradicted"),
        ([2.0, 3.0, 4.0], "supported", "undecided"),
        ([2.0], "undecided", "undecided"),
        ([], "undecided", "undecided"),
    ],
)
def test_ratios_are_judged_by_their_intervals(ratios, grows, same_order):
    by_seed = dict(enumerate(ratios))
    assert judge.claim_growth(by_seed, "seen").verdict == grows == judge.claim_noise_growth(by_seed).verdict
    assert judge.claim_noise_order(by_seed, "seen", 3.0).verdict == same_order


def test_claims_that_runs_do_not_decide():
    assert judge.claim_published(93.197, 0.46828, [0.38, 0.57]).verdict == "supported"
    assert judge.claim_published(93.197, 0.46, [0.38, 0.57]).verdict == "contradicted"
    assert judge.claim_theory({(2, 4): (0.497, 0.5), (2, 1.5): (0.0, 0.0)}, 0.02).verdict == "supported"
    assert judge.claim_theory({(2, 4): (0.45, 0.5)}, 0.02).verdict == "contradicted"
    assert {claim.verdict for claim in judge.not_tested()} == {"not tested here"}
