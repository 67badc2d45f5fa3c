"""Adafactor beside a twin in plain numpy; where g^2 has rank one it is Adam."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.optim.adafactor import Adafactor, mean_outside, rank_one_root

SHAPES = [(), (5,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]


def drive(optimizer_class, gradients, **options) -> list[torch.Tensor]:
    p = nn.Parameter(torch.ones_like(torch.as_tensor(gradients[0])))
    optimizer = optimizer_class([p], **options)
    seen = []
    for g in gradients:
        p.grad = torch.as_tensor(g).clone()
        optimizer.step()
        seen.append(p.detach().clone())
    return seen


def twin(gradients, lr, beta1, beta2, eps, weight_decay, neuron_only) -> np.ndarray:
    """The rule over the indices of an array, every mean over the other dimensions written as a sum."""
    shape = gradients[0].shape
    num_vectors = 1 if neuron_only or not shape else len(shape)
    p, m = np.ones(shape), np.zeros(shape)
    vectors = [np.zeros(shape[k] if shape else 1) for k in range(num_vectors)]
    for t, g in enumerate(gradients, start=1):
        p *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g
        for k, vector in enumerate(vectors):
            for i in range(len(vector)):
                part = np.take(g, i, axis=k) if shape else g
                vector[i] = beta2 * vector[i] + (1 - beta2) * (part**2).sum() / part.size
        for index in np.ndindex(*shape):
            v = np.prod([vector[index[k]] if shape else vector[0] for k, vector in enumerate(vectors)])
            v /= vectors[0].mean() ** (num_vectors - 1)
            p[index] -= lr * m[index] / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


@pytest.mark.parametrize("neuron_only", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_the_rule_written_out(shape, neuron_only):
    gradients = [np.asarray(g) for g in np.random.default_rng(0).normal(size=(5, *shape))]
    options = dict(lr=0.1, eps=1e-3, weight_decay=0.2, neuron_only=neuron_only)
    found = drive(Adafactor, gradients, betas=(0.8, 0.6), **options)[-1]
    expected = twin(gradients, beta1=0.8, beta2=0.6, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), beta1=st.floats(0, 0.99), beta2=st.floats(0, 0.99), shape=st.sampled_from(SHAPES[2:]))
def test_adam_where_every_squared_gradient_is_the_same_outer_product(seed, beta1, beta2, shape):
    rng = np.random.default_rng(seed)
    magnitude = np.ones(())
    for size in shape:
        magnitude = np.multiply.outer(magnitude, np.exp(rng.normal(size=size)))
    # scales and signs change from step to step; the pattern of g^2, and so its average's rank, does not
    gradients = [rng.choice([-1.0, 1.0], size=shape) * magnitude * np.exp(rng.normal()) for _ in range(5)]
    options = dict(lr=0.1, betas=(beta1, beta2), eps=1e-15)
    adam = drive(torch.optim.Adam, gradients, **options)
    for ours, theirs in zip(drive(Adafactor, gradients, **options), adam, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_adam_on_vectors_and_scalars(shape):
    gradients = [np.asarray(g) for g in np.random.default_rng(1).normal(size=(6, *shape))]
    options = dict(lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3)
    adam = drive(torch.optim.AdamW, gradients, **options)
    torch.testing.assert_close(drive(Adafactor, gradients, **options)[-1], adam[-1], rtol=1e-12, atol=1e-14)


def test_the_rank_one_root_keeps_the_means_of_a_matrix_and_survives_zeros_and_tiny_gradients():
    square = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = rank_one_root([mean_outside(square, 0), mean_outside(square, 1)]).square()
    torch.testing.assert_close(v.mean(0), square.mean(0))
    torch.testing.assert_close(v.mean(1), square.mean(1))
    assert torch.linalg.matrix_rank(v) == 1
    zeros = torch.zeros(4, 6)
    assert torch.equal(rank_one_root([mean_outside(zeros, 0), mean_outside(zeros, 1)]), zeros)
    tiny = torch.full((4, 6), 1e-30)  # r c = 1e-60 is 0 in fp32
    root = rank_one_root([mean_outside(tiny, 0), mean_outside(tiny, 1)])
    torch.testing.assert_close(root, torch.full((4, 6), 1e-15), rtol=1e-5, atol=0)


def test_rows_without_a_gradient_stay_where_they_are():
    gradients = [torch.zeros(3, 4) for _ in range(3)]
    for g in gradients:
        g[1] = 1.0
    found = drive(Adafactor, gradients, lr=0.1)[-1]
    assert torch.equal(found[[0, 2]], torch.ones(2, 4)) and (found[1] < 1).all()


def test_an_option_that_is_no_choice_is_refused():
    with pytest.raises(ValueError, match="Adafactor: neuron_only is 'rows'; give True or False"):
        Adafactor([nn.Parameter(torch.ones(2))], neuron_only="rows")
