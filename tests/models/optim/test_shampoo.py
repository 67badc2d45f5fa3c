"""Shampoo beside the full Kronecker matrix it stands for, and beside Adafactor in its own eigenbasis."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.optim.adafactor import Adafactor, mean_outside, rank_one_root
from models.optim.adalayer import Adalayer
from models.optim.basis import contract
from models.optim.shampoo import Shampoo, inverse_power, is_due, refresh


def drive(optimizer_class, gradients, **options) -> list[torch.Tensor]:
    p = nn.Parameter(torch.ones_like(gradients[0]))
    optimizer = optimizer_class([p], **options)
    seen = []
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
        seen.append(p.detach().clone())
    return seen


def random_gradients(*shape, steps=5, seed=0) -> torch.Tensor:
    return torch.randn(steps, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    return scipy.linalg.fractional_matrix_power(matrix, exponent)


def twin(gradients, lr, betas, eps, weight_decay, power_, frequency, max_dim, correct_bias) -> np.ndarray:
    """The preconditioner as one matrix on vec(G): the Kronecker product of all sides' powers, left-out sides isotropic."""
    shape = gradients[0].shape
    p, m, square = np.ones(shape), np.zeros(shape), 0.0
    grams, inverse = [np.zeros((d, d)) for d in shape], None
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        square = betas[1] * square + (1 - betas[1]) * (g**2).sum()
        for k, d in enumerate(shape):
            rows = np.moveaxis(g, k, 0).reshape(d, -1)
            grams[k] = betas[1] * grams[k] + (1 - betas[1]) * rows @ rows.T
        bias = 1 - betas[1] ** t if correct_bias else 1.0
        if t % frequency == 0 or t in (1, 2, 4, 8) and t < frequency:
            trace, inverse = square / bias, np.ones((1, 1))
            for d, gram in zip(shape, grams, strict=True):
                if d <= max_dim:
                    largest = np.linalg.eigvalsh(gram / bias)[-1]
                    side = power(gram / bias + eps * largest * np.eye(d), -power_)
                else:
                    side = power(trace / d * np.eye(d), -power_)
                inverse = np.kron(inverse, side)
            inverse = inverse * trace ** (len(shape) * power_ - 0.5)
        update = (inverse @ m.reshape(-1)).reshape(shape) / (1 - betas[0] ** t if correct_bias else 1.0)
        p = p * (1 - lr * weight_decay) - lr * update
    return p


@pytest.mark.parametrize(
    ("shape", "power_", "frequency", "max_dim", "correct_bias"),
    [
        ((3, 4), 0.5, 1, 10, True),
        ((4, 3), 0.5, 3, 10, True),
        ((3, 4), 0.25, 1, 10, True),
        ((3, 4), 0.4, 3, 10, False),
        ((3, 4), 0.5, 10, 3, True),
        ((5, 4), 0.4, 1, 3, True),
        ((5,), 0.5, 1, 10, True),
        ((5,), 0.25, 1, 3, True),
        ((2, 3, 2), 0.5, 1, 10, True),
        ((2, 4, 3), 0.3, 3, 3, True),
    ],
)
def test_equal_to_the_whole_matrix_on_the_flattened_gradient(shape, power_, frequency, max_dim, correct_bias):
    gradients = random_gradients(*shape, steps=7)
    shared = dict(lr=0.1, betas=(0.8, 0.7), eps=1e-2, weight_decay=0.2, correct_bias=correct_bias)
    found = drive(Shampoo, gradients, power=power_, precondition_frequency=frequency, max_precond_dim=max_dim, **shared)[-1]
    expected = twin(gradients.numpy(), power_=power_, frequency=frequency, max_dim=max_dim, **shared)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), m=st.integers(2, 6), n=st.integers(2, 6))
def test_power_one_half_is_idealised_adafactor_in_the_eigenbasis(seed, m, n):
    """2409.11321, claim 1: over a data set of gradients, exactly; nothing is assumed of the gradients."""
    data = random_gradients(m, n, steps=2 * (m + n), seed=seed)
    L, R = torch.einsum("Nij,Nkj->ik", data, data) / len(data), torch.einsum("Nji,Njk->ik", data, data) / len(data)
    state = {"exp_avg": data[0], "square": data.square().sum((1, 2)).mean(), "scale": torch.zeros((), dtype=data.dtype)}
    state |= {"gram_0": L, "gram_1": R, "root_0": torch.zeros_like(L), "root_1": torch.zeros_like(R)}
    refresh([state], [1.0], power=0.5, eps=0.0)
    shampoo = state["scale"] * state["root_0"] @ data[0] @ state["root_1"]

    QL, QR = torch.linalg.eigh(L).eigenvectors, torch.linalg.eigh(R).eigenvectors
    squares = (QL.T @ data @ QR).square().mean(0)
    adafactor = QL @ ((QL.T @ data[0] @ QR) / rank_one_root([mean_outside(squares, 0), mean_outside(squares, 1)])) @ QR.T
    torch.testing.assert_close(shampoo, adafactor, rtol=1e-7, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), betas=st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)))
def test_whole_trajectories_are_adafactors_where_the_eigenbasis_stays(seed, betas):
    generator = torch.Generator().manual_seed(seed)
    U, V = (torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator)).Q for _ in range(2))
    diagonals = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    diagonals = diagonals.sign() * (diagonals.abs() + 0.1)  # no Gram matrix becomes singular
    options = dict(lr=0.1, betas=betas, eps=0.0)
    shampoo = drive(Shampoo, [U @ d.diag() @ V.T for d in diagonals], precondition_frequency=1, **options)
    adafactor = drive(Adafactor, [d.diag() for d in diagonals], **options)
    ones = torch.ones(4, 4, dtype=torch.float64)
    for ours, theirs in zip(shampoo, adafactor, strict=True):
        torch.testing.assert_close(ours - ones, U @ (theirs - ones) @ V.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 3, 2)])
def test_without_any_axis_it_is_adalayer(shape):
    gradients = random_gradients(*shape)
    shampoo = drive(Shampoo, gradients, lr=0.1, betas=(0.9, 0.95), max_precond_dim=0, precondition_frequency=1)
    adalayer = drive(Adalayer, gradients, lr=0.1, betas=(0.9, 0.95), eps=0.0)
    torch.testing.assert_close(shampoo, adalayer, rtol=1e-10, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), power_=st.sampled_from([0.25, 0.4, 0.5]), scale=st.floats(1e-3, 1e3))
def test_updates_know_neither_the_scale_of_gradients_nor_the_axes_they_are_written_in(seed, power_, scale):
    gradients = random_gradients(3, 4, seed=seed)
    U, V = torch.linalg.qr(random_gradients(3, 3, steps=1, seed=seed)[0]).Q, torch.linalg.qr(random_gradients(4, 4, steps=1)[0]).Q
    options = dict(lr=0.1, power=power_, precondition_frequency=2)
    plain = drive(Shampoo, gradients, **options)[-1] - 1
    turned = drive(Shampoo, [scale * U @ g @ V.T for g in gradients], **options)[-1] - 1
    torch.testing.assert_close(turned, U @ plain @ V.T, rtol=1e-6, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), exponent=st.floats(0.1, 1.0), rank=st.integers(0, 5))
def test_the_inverse_power_undoes_the_damped_matrix(seed, exponent, rank):
    x = random_gradients(5, max(rank, 1), steps=3, seed=seed) * (rank > 0)
    grams = x @ x.mT
    damped = grams + 1e-2 * torch.linalg.eigvalsh(grams)[:, -1, None, None] * torch.eye(5, dtype=x.dtype)
    inverse = inverse_power(grams, exponent, 1e-2)
    assert inverse.isfinite().all()
    if rank:
        np.testing.assert_allclose(inverse[1], power(damped[1].numpy(), -exponent), rtol=1e-8, atol=1e-10)


def test_negative_eigenvalues_are_rounding_and_count_as_zero():
    gram = torch.tensor([[1.0, 0.0], [0.0, -1e-2]])
    torch.testing.assert_close(inverse_power(gram[None], 0.5, 1e-4)[0], torch.tensor([[1.0, 0.0], [0.0, 100.0]]), rtol=1e-4, atol=0)


def test_a_matrix_that_is_not_finite_is_an_error_and_not_a_result():
    with pytest.raises(torch.linalg.LinAlgError):
        inverse_power(torch.full((1, 3, 3), float("nan")), 0.5, 1e-4)


def test_powers_are_computed_often_at_first_and_then_at_multiples_of_the_frequency():
    assert [step for step in range(1, 32) if is_due(step, 10)] == [1, 2, 4, 8, 10, 20, 30]
    assert [step for step in range(1, 7) if is_due(step, 1)] == [1, 2, 3, 4, 5, 6]
    gradients = random_gradients(3, 3, steps=12)
    p = nn.Parameter(torch.ones(3, 3, dtype=torch.float64))
    optimizer, roots = Shampoo([p], precondition_frequency=5), []
    for g in gradients:
        p.grad = g
        optimizer.step()
        roots.append(optimizer.state[p]["root_0"].clone())
    changed = [step for step in range(2, 13) if not torch.equal(roots[step - 1], roots[step - 2])]
    assert changed == [2, 4, 5, 10]


def test_gradients_of_zeros_do_not_count_until_there_is_another():
    gradients = random_gradients(3, 4)
    p = nn.Parameter(torch.ones(3, 4, dtype=torch.float64))
    optimizer = Shampoo([p], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert torch.equal(p.detach(), torch.ones_like(p)) and optimizer.state[p]["step"] == 0
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    assert torch.equal(p.detach(), drive(Shampoo, gradients, lr=0.1, weight_decay=0.1)[-1])
    for _ in range(40):  # later zeros are gradients as others are
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert p.isfinite().all() and optimizer.state[p]["step"] == 45


@pytest.mark.parametrize("max_precond_dim", [0, 3, 4])
def test_a_layer_that_dies_stays_finite_when_its_moments_underflow(max_precond_dim):
    p = nn.Parameter(torch.ones(3, 4))
    optimizer = Shampoo([p], betas=(0.5, 0.1), max_precond_dim=max_precond_dim)
    for step in range(60):
        p.grad = torch.full((3, 4), 1e-3) if step < 2 else torch.zeros(3, 4)
        optimizer.step()
    assert optimizer.state[p]["square"] == 0 and p.isfinite().all()


def test_parameters_of_one_size_are_refreshed_together_as_each_alone():
    shapes, seen = [(4, 4), (4, 3), (4,), (3, 4)], []
    for foreach in (True, False):
        params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        optimizer = Shampoo(params, lr=0.1, foreach=foreach)
        generator = torch.Generator().manual_seed(0)
        for _ in range(12):
            for p in params:
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        seen.append(params)
    for together, alone in zip(*seen, strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_roots_are_symmetric_so_that_contracting_with_them_is_multiplying():
    x = random_gradients(3, 4, steps=2)
    root = inverse_power(x @ x.mT, 0.5, 1e-4)
    torch.testing.assert_close(contract(x, 0, root), root @ x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"power": 0.0}, r"power is 0.0; give a number in \(0, 1\]"),
        ({"precondition_frequency": 0}, "precondition_frequency is 0; give an integer >= 1"),
        ({"precondition_frequency": 2.5}, "precondition_frequency is 2.5"),
        ({"max_precond_dim": -1}, "max_precond_dim is -1; give an integer >= 0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=f"Shampoo: {words}"):
        Shampoo([nn.Parameter(torch.ones(2))], **options)
