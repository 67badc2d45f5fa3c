"""SOAP beside its released rule in fp64, where that is determined; its invariants where the first basis is arbitrary; its limits."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from models.optim.soap import SOAP, Stack, factorized_adam
from tests.models.optim.released_soap import ReleasedSOAP

# The eigenvectors of eigenvalue zero are arbitrary, so trajectories are compared where the first Gram matrices have at most one.
SHAPES = {
    "scalar": ((), {}),
    "vector": ((6,), {}),
    "vector with a basis": ((2,), dict(precondition_1d=True)),
    "square": ((5, 5), {}),
    "matrix": ((4, 5), dict(max_precond_dim=4)),
    "tall": ((12, 4), dict(max_precond_dim=10)),
    "convolution": ((4, 3, 2, 2), {}),
    "convolution, one axis too long": ((4, 3, 2, 2), dict(max_precond_dim=3)),
    "merged": ((2, 3, 3, 2), dict(merge_dims=True, max_precond_dim=6)),
    "merged, channels last": ((3, 3, 2, 2), dict(merge_dims=True, max_precond_dim=6, data_format="channels_last")),
}
OPTIONS = {
    "as released": {},
    "other numbers": dict(lr=0.02, betas=(0.8, 0.9), shampoo_beta=0.7, eps=1e-3, weight_decay=0.3),
    "no bias correction": dict(correct_bias=False, weight_decay=0.0),
    "normalised": dict(normalize_grads=True),
}


def randn(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(shape: tuple[int, ...], step: int, count: int = 1, dtype=torch.float64) -> list[torch.Tensor]:
    """Of a step, each with its own scales along the axes, so that bases matter."""
    scale = torch.ones(shape, dtype=dtype)
    for k, d in enumerate(shape):
        scale = scale * torch.logspace(0, -1, d, dtype=dtype).reshape(-1, *[1] * (len(shape) - k - 1))
    return [randn(*shape, seed=100 * step + at, dtype=dtype) * scale for at in range(count)]


def run(optimizer: SOAP, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for p, g in zip(params, gradients(tuple(params[0].shape), step, len(params), params[0].dtype), strict=True):
            p.grad = g
        optimizer.step()


def parameters(*shape: int, count: int = 1, dtype=torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(randn(*shape, seed=10_000 + at, dtype=dtype)) for at in range(count)]


@pytest.mark.parametrize("refresh", ["qr", "cholesky"])
@pytest.mark.parametrize("frequency", [1, 3, 10])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_golden_trajectories(shape, options, frequency, refresh):
    """Three parameters at once, 24 steps: the rule that rotates momentum out and in on every step gives the same."""
    shape, settings = SHAPES[shape]
    settings = {**settings, **OPTIONS[options], "precondition_frequency": frequency}
    params = parameters(*shape, count=3)
    twins = [ReleasedSOAP(p, **settings) for p in params]
    optimizer = SOAP(params, refresh=refresh, **settings)
    for step in range(24):
        for p, twin, g in zip(params, twins, gradients(shape, step, 3), strict=True):
            p.grad = g
            twin.step(g)
        optimizer.step()
        for p, twin in zip(params, twins, strict=True):
            torch.testing.assert_close(p.detach(), twin.p, rtol=1e-9, atol=1e-9)


def test_golden_trajectories_hold_in_single_precision():
    (p,) = parameters(16, 16, dtype=torch.float32)
    twin, optimizer = ReleasedSOAP(p), SOAP([p])
    before = p.detach().clone()
    for step in range(31):
        (p.grad,) = gradients((16, 16), step, dtype=torch.float32)
        twin.step(p.grad)
        optimizer.step()
    moved = (p.double() - before.double()).norm()
    assert (p.double() - twin.p).norm() < 1e-3 * moved


@pytest.mark.parametrize("refresh", ["qr", "cholesky"])
@pytest.mark.parametrize(("shape", "options"), [((9, 2), {}), ((6,), dict(precondition_1d=True)), ((7, 1, 2), {})])
def test_where_the_first_basis_is_arbitrary_it_becomes_the_eigenbasis(shape, options, refresh):
    params = parameters(*shape, count=2)
    optimizer = SOAP(params, precondition_frequency=1, shampoo_beta=0.99, refresh=refresh, **options)
    run(optimizer, params, range(200))
    for p in params:
        state = optimizer.state[p]
        for k, d in enumerate(shape):
            Q, gram = state[f"Q_{k}"], state[f"gram_{k}"]
            torch.testing.assert_close(Q.T @ Q, torch.eye(d, dtype=torch.float64))
            inside = Q.T @ gram @ Q
            assert (inside - torch.diag(inside.diag())).norm() < 0.05 * inside.norm()
            assert (inside.diag().diff() < 0.02 * inside.diag()[0]).all(), "sorted, largest first"


@pytest.mark.parametrize("options", [{}, dict(transport="hadamard"), dict(one_sided=True), dict(factorized=True), dict(normalize_grads=True)])
def test_rotating_gradients_and_state_rotates_the_updates(options):
    (p,), (q,) = parameters(6, 4), parameters(6, 4)
    turn = {0: torch.linalg.qr(randn(6, 6)).Q, 1: torch.linalg.qr(randn(4, 4)).Q}
    if options.get("one_sided"):
        turn[0] = torch.eye(6, dtype=torch.float64)  # without a basis of its own an axis has Adam's coordinates
    ours, theirs = (SOAP([x], precondition_frequency=3, **options) for x in (p, q))
    run(ours, [p], range(8))
    saved = copy.deepcopy(ours.state_dict())
    for k, U in turn.items():
        if f"Q_{k}" in saved["state"][0]:
            saved["state"][0][f"Q_{k}"] = U.T @ saved["state"][0][f"Q_{k}"]
            saved["state"][0][f"gram_{k}"] = U.T @ saved["state"][0][f"gram_{k}"] @ U
    theirs.load_state_dict(saved)
    q.data = turn[0].T @ p.data @ turn[1]
    for step in range(8, 20):
        (p.grad,) = gradients((6, 4), step)
        q.grad = turn[0].T @ p.grad @ turn[1]
        ours.step()
        theirs.step()
    torch.testing.assert_close(turn[0] @ q.data @ turn[1].T, p.data, rtol=1e-9, atol=1e-9)


def test_without_a_basis_it_is_adam_in_the_released_form():
    (p,) = parameters(5, 3)
    optimizer = SOAP([p], lr=0.01, betas=(0.9, 0.95), eps=1e-4, weight_decay=0.1, max_precond_dim=0)
    run(optimizer, [p], range(1))  # which moves nothing
    plain, m, v = p.detach().clone(), torch.zeros(5, 3), torch.zeros(5, 3)
    for t in range(1, 12):
        run(optimizer, [p], range(t, t + 1))
        m, v = 0.9 * m + 0.1 * p.grad, 0.95 * v + 0.05 * p.grad**2
        plain = plain - 0.01 * math.sqrt(1 - 0.95**t) / (1 - 0.9**t) * m / (v.sqrt() + 1e-4)
        plain = plain * (1 - 0.01 * 0.1)
    torch.testing.assert_close(p.detach(), plain)


def test_the_first_gradient_moves_nothing_and_zeros_are_not_a_first_gradient():
    params = parameters(4, 4, count=2)
    before = [p.detach().clone() for p in params]
    optimizer = SOAP(params)
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    params[0].grad, params[1].grad = gradients((4, 4), 0)[0], torch.zeros_like(params[1])
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))
    assert not torch.equal(optimizer.state[params[0]]["Q_0"], torch.eye(4, dtype=torch.float64))
    assert torch.equal(optimizer.state[params[1]]["Q_0"], torch.eye(4, dtype=torch.float64)), "still without a basis"
    for p in params:
        (p.grad,) = gradients((4, 4), 1)
    optimizer.step()
    assert not torch.equal(params[0], before[0]) and torch.equal(params[1], before[1])
    assert [optimizer.state[p]["step"] for p in params] == [1, 0]


def test_a_parameter_that_comes_late_does_as_if_alone():
    together, alone = parameters(4, 4, count=2), parameters(4, 4, count=2)
    optimizer = SOAP(together, precondition_frequency=3)
    singles = [SOAP([p], precondition_frequency=3) for p in alone]
    for step in range(14):
        present = (True, step >= 5 and step != 9)  # and misses a step
        for pair in (together, alone):
            for p, g, here in zip(pair, gradients((4, 4), step, 2), present, strict=True):
                p.grad = g if here else None
        optimizer.step()
        for single in singles:
            single.step()
    for p, q in zip(together, alone, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, dict(factorized=True, one_sided=True, transport="hadamard", refresh="cholesky")])
def test_saved_between_refreshes_it_goes_on_to_the_bit(options):
    params = parameters(5, 5, count=2, dtype=torch.float32)
    optimizer = SOAP(params, **options)
    run(optimizer, params, range(14))
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), params], file)
    run(optimizer, params, range(14, 25))
    file.seek(0)
    saved, others = torch.load(file, weights_only=False)
    resumed = SOAP(others, **options)
    resumed.load_state_dict(saved)
    run(resumed, others, range(14, 25))
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_states_of_one_shape_lie_in_one_tensor():
    params = parameters(4, 6, count=3)
    optimizer = SOAP(params)
    run(optimizer, params, range(3))
    stack = optimizer._stacks[params[0]]
    assert isinstance(stack, Stack) and stack.whole["gram_1"].shape == (3, 6, 6)
    assert len({optimizer.state[p]["gram_1"].untyped_storage().data_ptr() for p in params}) == 1
    run(optimizer, params, range(3, 5))
    assert optimizer._stacks[params[0]] is stack, "nothing is stacked anew while nothing changed"


def test_memory_of_the_variants():
    def numbers(**options) -> int:
        (p,) = parameters(8, 4)
        optimizer = SOAP([p], **options)
        run(optimizer, [p], range(1))
        return sum(x.numel() for x in optimizer.state[p].values() if isinstance(x, torch.Tensor))

    m, n = 8, 4
    assert numbers() == 2 * m * m + 2 * n * n + 2 * m * n
    assert numbers(one_sided=True) == 2 * n * n + 2 * m * n
    assert numbers(factorized=True) == 2 * m * m + 2 * n * n + m * n + m + n
    assert numbers(one_sided=True, factorized=True) == 2 * n * n + m * n + m + n


@pytest.mark.parametrize("transport", ["permute", "hadamard"])
@pytest.mark.parametrize("factorized", [False, True])
def test_second_moments_stay_what_they_are_through_a_refresh(transport, factorized):
    """A refresh after a gradient of zeros: all that happens to v is decay and transport, which keep its mean and sign."""
    params = parameters(5, 5, count=2)
    optimizer = SOAP(params, precondition_frequency=4, transport=transport, factorized=factorized)
    run(optimizer, params, range(4))
    before = {k: [optimizer.state[p][k].sum() for p in params] for k in optimizer.state[params[0]] if k.startswith("exp_avg_sq")}
    for p in params:
        p.grad = torch.zeros_like(p)
    bases = [optimizer.state[p]["Q_0"].clone() for p in params]
    optimizer.step()
    assert not torch.equal(bases[0], optimizer.state[params[0]]["Q_0"])
    for key, sums in before.items():
        for p, total in zip(params, sums, strict=True):
            assert (optimizer.state[p][key] >= 0).all()
            torch.testing.assert_close(optimizer.state[p][key].sum(), 0.95 * total)


def test_factorized_in_the_eigenbasis_is_shampoo_with_power_one_half():
    """Claim 1 of the paper: over a whole data set, L^-1/2 G R^-1/2 times sqrt(trace L) is Adafactor's update in the eigenbasis."""
    G_Nmn = randn(50, 5, 4) * torch.logspace(0, -1, 5, dtype=torch.float64)[:, None]
    L, R = (G_Nmn @ G_Nmn.mT).mean(0), (G_Nmn.mT @ G_Nmn).mean(0)
    (lam, Q_L), (mu, Q_R) = torch.linalg.eigh(L), torch.linalg.eigh(R)
    shampoo = L.trace().sqrt() * (Q_L / lam.sqrt()) @ Q_L.T @ G_Nmn[0] @ (Q_R / mu.sqrt()) @ Q_R.T
    rotated = Q_L.T @ G_Nmn @ Q_R
    factors = [rotated.square().mean((0, 2))[None], rotated.square().mean((0, 1))[None]]
    u = factorized_adam(rotated[:1], torch.zeros(1, 5, 4, dtype=torch.float64), factors, beta1=0.0, beta2=1.0, eps=0.0)
    torch.testing.assert_close(Q_L @ u[0] @ Q_R.T, shampoo)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(transport="rotate"), "transport is 'rotate'; give 'permute' or 'hadamard'"),
        (dict(refresh="eigh"), "refresh is 'eigh'"),
        (dict(data_format="nhwc"), "data_format"),
        (dict(precondition_frequency=0), "precondition_frequency is 0"),
        (dict(shampoo_beta=1.5), "shampoo_beta is 1.5"),
    ],
)
def test_options_that_can_not_be_used_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        SOAP(parameters(2, 2), **options)
