"""Adalayer beside a twin in plain numpy, and each of its variants by what it reduces to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.optim.adalayer import Adalayer


def drive(optimizer_class, gradients, **options) -> list[np.ndarray]:
    p = nn.Parameter(torch.ones_like(torch.as_tensor(gradients[0])))
    optimizer = optimizer_class([p], **options)
    seen = []
    for g in gradients:
        p.grad = torch.as_tensor(g).clone()
        optimizer.step()
        seen.append(p.detach().clone().numpy())
    return seen


def twin(gradients, lr, beta1, beta2, eps, weight_decay, num_blocks) -> np.ndarray:
    p, m, v = np.ones(gradients[0].shape), np.zeros(gradients[0].shape), np.zeros(num_blocks)
    rows_per_block = (len(p) if p.ndim else 1) // num_blocks
    for t, g in enumerate(gradients, start=1):
        p *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g
        for block in range(num_blocks):
            rows = slice(block * rows_per_block, (block + 1) * rows_per_block) if p.ndim else ()
            v[block] = beta2 * v[block] + (1 - beta2) * np.mean(g[rows] ** 2)
            p[rows] -= lr * m[rows] / (1 - beta1**t) / (np.sqrt(v[block] / (1 - beta2**t)) + eps)
    return p


def random_gradients(shape, steps=5, seed=0) -> list[np.ndarray]:
    return [np.asarray(g) for g in np.random.default_rng(seed).normal(size=(steps, *shape))]


@pytest.mark.parametrize(
    ("shape", "blocks", "num_blocks"),
    [((), 1, 1), ((4,), 1, 1), ((6, 5), 1, 1), ((6, 5), 3, 3), ((6, 5), "rows", 6), ((4, 3, 2), 2, 2), ((4,), "rows", 4)],
)
def test_equal_to_the_rule_written_out(shape, blocks, num_blocks):
    gradients = random_gradients(shape)
    options = dict(lr=0.1, eps=1e-3, weight_decay=0.2)
    found = drive(Adalayer, gradients, betas=(0.8, 0.6), blocks=blocks, **options)[-1]
    np.testing.assert_allclose(found, twin(gradients, beta1=0.8, beta2=0.6, num_blocks=num_blocks, **options), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    case=st.sampled_from([((1, 1), 1), ((1,), 1), ((), 1), ((7,), "rows"), ((7, 1), "rows")]),
)
def test_adam_where_each_block_is_one_number(seed, betas, case):
    (shape, blocks), options = case, dict(lr=0.1, betas=betas, eps=1e-8, weight_decay=0.1)
    gradients = random_gradients(shape, seed=seed)
    adam = drive(torch.optim.AdamW, gradients, **options)
    np.testing.assert_allclose(drive(Adalayer, gradients, blocks=blocks, **options), adam, rtol=1e-9, atol=1e-12)


def test_blocks_are_as_good_as_tensors_of_their_own():
    gradients = random_gradients((6, 5))
    whole = drive(Adalayer, gradients, lr=0.1, blocks=3)[-1]
    for block in range(3):
        rows = slice(2 * block, 2 * block + 2)
        np.testing.assert_array_equal(whole[rows], drive(Adalayer, [g[rows] for g in gradients], lr=0.1)[-1])


def test_a_transposed_parameter_is_treated_by_its_rows_all_the_same():
    gradients = random_gradients((6, 5))
    plain = nn.Parameter(torch.ones(6, 5, dtype=torch.float64))
    turned = nn.Parameter(torch.ones(5, 6, dtype=torch.float64).T)
    optimizer = Adalayer([plain, turned], lr=0.1, blocks=3)
    for g in gradients:
        plain.grad, turned.grad = torch.from_numpy(g).clone(), torch.from_numpy(g.T.copy()).T
        optimizer.step()
    assert not turned.is_contiguous()
    torch.testing.assert_close(plain, turned)


def test_not_adaptive_is_sgd_with_an_averaged_momentum():
    gradients = random_gradients((3, 4))
    p, m = np.ones((3, 4)), np.zeros((3, 4))
    for t, g in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * g
        p = p - 0.1 * m / (1 - 0.9**t)
    np.testing.assert_allclose(drive(Adalayer, gradients, lr=0.1, adaptive=False)[-1], p, rtol=1e-12)


def test_frozen_measures_first_and_then_divides_by_the_same_number_for_ever():
    gradients = random_gradients((3, 4), steps=7)
    seen = drive(Adalayer, gradients, lr=0.1, betas=(0.9, 0.5), weight_decay=0.3, measure_steps=4, frozen=True)
    for p in seen[:4]:
        np.testing.assert_array_equal(p, np.ones((3, 4)))
    p, m, v = np.ones((3, 4)), np.zeros((3, 4)), np.mean(np.square(gradients[:4]))
    for t, g in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * g
        if t > 4:
            p = p * (1 - 0.1 * 0.3) - 0.1 * m / (1 - 0.9**t) / np.sqrt(v)
    np.testing.assert_allclose(seen[-1], p, rtol=1e-12)


def test_a_group_may_wait_and_go_on_adapting():
    gradients = random_gradients((3, 4), steps=6)
    waiting = drive(Adalayer, gradients, lr=0.1, measure_steps=5)
    at_once = drive(Adalayer, gradients, lr=0.1)
    np.testing.assert_array_equal(waiting[4], np.ones((3, 4)))
    np.testing.assert_allclose(waiting[5] - waiting[4], at_once[5] - at_once[4], rtol=1e-10)


def test_a_parameter_that_comes_late_waits_its_own_time():
    early, late = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = Adalayer([early, late], lr=0.1, measure_steps=2, frozen=True)
    for step in range(4):
        early.grad = torch.ones_like(early)
        late.grad = torch.ones_like(late) if step >= 1 else None
        optimizer.step()
    assert early[0].item() == pytest.approx(1 - 0.2) and late[0].item() == pytest.approx(1 - 0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blocks": 0}, 'blocks is 0; give a positive integer or "rows"'),
        ({"blocks": "row"}, "blocks is 'row'"),
        ({"measure_steps": -1}, "measure_steps is -1; give an integer >= 0"),
        ({"frozen": True}, "measure_steps is 0; give the number of steps after which v is frozen"),
    ],
)
def test_options_that_can_not_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Adalayer([nn.Parameter(torch.ones(4))], **options)


def test_rows_that_do_not_divide_are_refused_with_the_shape():
    p = nn.Parameter(torch.ones(4, 2))
    p.grad = torch.ones(4, 2)
    with pytest.raises(ValueError, match=r"blocks is 3; give a divisor of the 4 rows of its parameter of shape \(4, 2\)"):
        Adalayer([p], blocks=3).step()
