"""Lion and Signum beside their formulas written out coordinate by coordinate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.optim.signed import Lion, Signum


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def twin_of_lion(p: float, gradients: list[float], lr: float, beta1: float, beta2: float, weight_decay: float) -> float:
    m = 0.0
    for g in gradients:
        p = p * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
    return p


def trajectory(make, gradients: torch.Tensor, start: torch.Tensor) -> list[torch.Tensor]:
    p = nn.Parameter(start.clone())
    optimizer = make([p])
    seen = []
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
        seen.append(p.detach().clone())
    return seen


@settings(max_examples=30, deadline=None)
@given(
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    weight_decay=st.sampled_from([0.0, 0.1]),
    gradients=st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=8),
)
def test_lion_is_its_formula(betas, weight_decay, gradients):
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    gradients = torch.tensor(gradients, dtype=torch.float64) + 0.1  # no sum of a few can be 0 but for rounding
    found = trajectory(lambda ps: Lion(ps, 0.1, betas, weight_decay), gradients, start)[-1]
    for place, value in enumerate(start.tolist()):
        expected = twin_of_lion(value, gradients[:, place].tolist(), 0.1, *betas, weight_decay)
        assert found[place].item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(momentum=st.floats(0, 0.99), weight_decay=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 2**32))
def test_signum_is_lion_with_equal_betas_to_the_bit(momentum, weight_decay, seed):
    gradients = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(seed))
    lion = trajectory(lambda ps: Lion(ps, 0.1, (momentum, momentum), weight_decay), gradients, torch.ones(3, 2))
    signum = trajectory(lambda ps: Signum(ps, 0.1, momentum, weight_decay), gradients, torch.ones(3, 2))
    assert all(torch.equal(a, b) for a, b in zip(lion, signum, strict=True))


def test_signum_follows_the_average_and_lion_leans_to_the_newest():
    gradients = torch.tensor([[1.0], [1.0], [1.0], [-2.0]], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    # the average after 4 steps at 0.9 is 0.9 * 0.271 - 0.2 > 0; Lion looks at 0.5 * 0.271 - 1 < 0
    assert trajectory(lambda ps: Signum(ps, 1.0, 0.9), gradients, start)[-1].item() == -4
    assert trajectory(lambda ps: Lion(ps, 1.0, (0.5, 0.9)), gradients, start)[-1].item() == -2


@pytest.mark.parametrize("optimizer_class", [Lion, Signum])
def test_every_coordinate_moves_by_lr_whatever_its_gradient_is(optimizer_class):
    gradients = torch.tensor([[1e-20, -1e20, 0.0]])
    assert trajectory(lambda ps: optimizer_class(ps, 0.5), gradients, torch.zeros(3))[0].tolist() == [-0.5, 0.5, 0.0]
