import math
from itertools import product

import numpy as np
import pytest
import torch

from models.gradient_noise_scale import NoiseScale, estimate, squared_norm


def test_two_sizes_give_signal_and_noise_exactly():
    # The expectation over all pairs of a finite population, drawn with replacement: no chance left.
    grads_ND = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.0, (12, 5)))
    mean_D = grads_ND.mean(0)
    single = torch.stack([squared_norm([g]) for g in grads_ND]).mean()
    pairs = torch.stack([squared_norm([(g + h) / 2]) for g, h in product(grads_ND, grads_ND)]).mean()
    found = estimate(single.item(), pairs.item(), 1, 2)
    assert math.isclose(found.signal, squared_norm([mean_D]).item(), rel_tol=1e-12)
    assert math.isclose(found.noise, grads_ND.var(0, correction=0).sum().item(), rel_tol=1e-12)


def gaussian_norms(rng, signal_D, deviation_D, small, parts, num_steps):
    """Squared norms of the parts' gradients (mean over parts) and of the whole batch, per step."""
    parts_SPD = signal_D + rng.standard_normal((num_steps, parts, len(signal_D))) * deviation_D / math.sqrt(small)
    return (parts_SPD**2).sum(2).mean(1), (parts_SPD.mean(1) ** 2).sum(1)


def test_the_estimates_are_unbiased_where_the_noise_is_known():
    rng = np.random.default_rng(1)
    signal_D, deviation_D = np.full(50, 0.1), np.linspace(0.5, 1.5, 50)
    small_sq, big_sq = gaussian_norms(rng, signal_D, deviation_D, small=4, parts=4, num_steps=4000)
    found = np.array([estimate(s, b, 4, 16) for s, b in zip(small_sq, big_sq, strict=True)])
    errors = found.std(0, ddof=1) / math.sqrt(len(found))
    truth = [(signal_D**2).sum(), (deviation_D**2).sum()]
    assert (np.abs(found.mean(0) - truth) < 4 * errors).all()
    assert (errors < 0.04 * np.abs(truth)).all(), "the test must be able to fail"
    naive = small_sq.mean()  # a squared norm is no estimate of the signal
    assert naive > 5 * truth[0]


def test_the_running_scale_follows_a_change_and_begins_unbiased():
    rng = np.random.default_rng(2)
    scale = NoiseScale(small=8, big=32, decay=0.99)
    with pytest.raises(ValueError, match="call update first"):
        _ = scale.value
    for deviation, truth in ((1.0, 100.0), (2.0, 400.0)):
        norms = gaussian_norms(rng, np.full(400, 0.1), np.full(400, deviation), small=8, parts=4, num_steps=1500)
        for small_sq, big_sq in zip(*norms, strict=True):
            scale.update(small_sq, big_sq)
        assert scale.value == pytest.approx(truth, rel=0.15)
    first = NoiseScale(8, 32, decay=0.99)
    first.update(2.0, 1.0)
    assert first.gradient == pytest.approx(estimate(2.0, 1.0, 8, 32)), "one step is not drowned in the zeros before it"


def test_a_signal_that_drowned_has_no_scale():
    assert math.isnan(estimate(4.0, 0.5, 1, 4).noise_scale)
    with pytest.raises(ValueError, match="small is 4 and big 4 sequences"):
        estimate(1.0, 1.0, 4, 4)
    with pytest.raises(ValueError, match="decay is 1"):
        NoiseScale(1, 2, decay=1.0)


def test_the_metric_of_a_preconditioner_changes_the_scale_as_it_should():
    # Noise only in the second coordinate: a metric that shrinks it shrinks the noise scale by as much.
    rng = np.random.default_rng(3)
    parts = torch.from_numpy(np.array([1.0, 0.0]) + rng.standard_normal((20_000, 2, 2)) * np.array([0.0, 3.0]))
    whole, weight = parts.mean(1), [torch.tensor([1.0, 0.01])] * 2
    seen = [
        estimate(squared_norm([parts[:, 0], parts[:, 1]], w) / (2 * len(parts)), squared_norm([whole], w and w[:1]) / len(parts), 1, 2).noise_scale
        for w in (None, weight)
    ]
    assert seen == pytest.approx([9.0, 0.09], rel=0.1)
    with pytest.raises(ValueError):
        squared_norm([parts], weight)
