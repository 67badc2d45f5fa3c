"""Averages of weights against their closed form, and the swap that must leave nothing behind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ewa import WeightAverages

DECAYS = (0.0, 0.5, 0.99, 0.9999)


def trajectory(num_steps: int, dtype: torch.dtype, seed: int = 0) -> list[list[torch.Tensor]]:
    """Weights of two parameters after each step, a random walk."""
    generator = torch.Generator().manual_seed(seed)
    steps = [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (5,))] for _ in range(num_steps)]
    return [[sum(step[place] for step in steps[: t + 1]).to(dtype) for place in range(2)] for t in range(num_steps)]


def averaged(weights_T: list[list[torch.Tensor]], decays=DECAYS) -> tuple[WeightAverages, list[torch.Tensor]]:
    parameters = [torch.nn.Parameter(torch.zeros_like(first)) for first in weights_T[0]]
    averages = WeightAverages(parameters, decays)
    for weights in weights_T:
        set_to(parameters, weights)
        averages.update()
    return averages, parameters


def set_to(parameters, weights) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, weights, strict=True):
            parameter.copy_(value)


@settings(deadline=None, max_examples=20)
@given(num_steps=st.integers(1, 40), seed=st.integers(0, 9))
def test_equal_to_the_closed_form(num_steps, seed):
    """xi_t / (1 - tau^t) = sum_s tau^(t-s) (1 - tau) theta_s / (1 - tau^t), in fp64."""
    weights_T = trajectory(num_steps, torch.float64, seed)
    averages, _ = averaged(weights_T)
    for decay in DECAYS:
        shares = torch.tensor([decay ** (num_steps - 1 - s) for s in range(num_steps)], dtype=torch.float64)
        shares /= shares.sum()
        for place, found in enumerate(averages.weights(decay)):
            expected = sum(share * weights[place] for share, weights in zip(shares, weights_T, strict=True))
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_foreach_is_the_plain_loop():
    weights_T = trajectory(7, torch.float32)
    averages, _ = averaged(weights_T)
    for decay in DECAYS:
        plain = [torch.zeros(3, 4), torch.zeros(5)]
        for weights in weights_T:
            plain = [total.lerp(value, 1 - decay) for total, value in zip(plain, weights, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(averages.sums[decay], plain, strict=True))


def test_weights_that_stand_still_are_their_own_average():
    weights = trajectory(1, torch.float32)[0]
    averages, _ = averaged([weights] * 25)
    for decay in DECAYS:
        for found, expected in zip(averages.weights(decay), weights, strict=True):
            torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)


def test_low_precision_weights_are_averaged_in_fp32():
    weights_T = trajectory(30, torch.bfloat16)
    averages, parameters = averaged(weights_T)
    exact, _ = averaged([[value.float() for value in weights] for weights in weights_T])
    for found, expected in zip(averages.weights(0.9999), exact.weights(0.9999), strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, expected)
    with averages.swapped(0.9999):
        assert all(torch.equal(p, w.bfloat16()) for p, w in zip(parameters, exact.weights(0.9999), strict=True))


def test_the_swap_is_idempotent_and_puts_back_every_bit():
    weights_T = trajectory(5, torch.float32)
    averages, parameters = averaged(weights_T)
    identities = [p.data_ptr() for p in parameters]

    def hold(expected) -> bool:
        return all(torch.equal(p, value) for p, value in zip(parameters, expected, strict=True))

    for _ in range(2):
        with averages.swapped(0.5):
            assert hold(averages.weights(0.5))
            with averages.swapped(0.5):
                assert hold(averages.weights(0.5))
            with averages.swapped(0.99):
                assert hold(averages.weights(0.99)) and not hold(averages.weights(0.5))
            assert hold(averages.weights(0.5))
        assert hold(weights_T[-1])
    with pytest.raises(RuntimeError), averages.swapped(0.99):
        raise RuntimeError("evaluation failed")
    assert hold(weights_T[-1]) and [p.data_ptr() for p in parameters] == identities
    averages.update()  # the failed block does not count as open
    with averages.swapped(0.5), pytest.raises(AssertionError, match="average the averages"):
        averages.update()


def test_a_state_taken_up_goes_on_to_the_bit():
    weights_T = trajectory(9, torch.float32)
    whole, _ = averaged(weights_T)
    first, _ = averaged(weights_T[:4])
    parameters = [torch.nn.Parameter(value.clone()) for value in weights_T[3]]
    resumed = WeightAverages(parameters, DECAYS)
    resumed.load_state_dict(first.state_dict())
    for weights in weights_T[4:]:
        set_to(parameters, weights)
        resumed.update()
    for decay in DECAYS:
        assert all(torch.equal(a, b) for a, b in zip(resumed.weights(decay), whole.weights(decay), strict=True))
    with pytest.raises(ValueError, match=r"the state holds decays .*'0.99'.*, this run has \[0.5\]"):
        WeightAverages(parameters, (0.5,)).load_state_dict(first.state_dict())


def test_what_is_no_average_says_why():
    for decays, message in (((1.0,), "a decay is 1.0"), ((-0.1,), "a decay is -0.1"), ((0.9, 0.9), "name one twice")):
        with pytest.raises(ValueError, match=message):
            WeightAverages([torch.zeros(2)], decays)
    with pytest.raises(ValueError, match="no average yet"):
        WeightAverages([torch.zeros(2)], (0.9,)).weights(0.9)
