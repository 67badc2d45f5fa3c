"""SGD beside torch's own in fp64, whose decay is made decoupled by scaling the parameter first."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.optim.sgd import SGD


@settings(max_examples=30, deadline=None)
@given(momentum=st.floats(0, 0.99), lr=st.floats(1e-3, 1.0), weight_decay=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 2**32))
def test_equal_to_torchs_heavy_ball_with_decoupled_decay(momentum, lr, weight_decay, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = SGD([ours], lr, momentum, weight_decay)
    peer = torch.optim.SGD([theirs], lr=lr, momentum=momentum, dampening=0, nesterov=False)
    for _ in range(6):
        ours.grad = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        with torch.no_grad():
            theirs.mul_(1 - lr * weight_decay)
        peer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.98])
def test_a_lasting_gradient_moves_by_lr_over_one_minus_momentum(momentum):
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([p], lr=0.1, momentum=momentum)
    for _ in range(2000):
        before = p.item()
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert before - p.item() == pytest.approx(0.1 / (1 - momentum))
