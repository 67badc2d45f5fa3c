"""Kronecker products against H itself, formed; against the dense singular value of the rearranged matrix; and where the answer is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kron import OuterProducts, SecondMoment, compare, kron_cosines, shampoo_cosines

TIGHT = 1e-12


def draw(seed, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def formed(grads, weights=None):
    """H (MN, MN) itself, row-major vec, so that G -> A G B is A (x) B."""
    flat = grads.double().flatten(1)
    weights = torch.ones(len(flat), dtype=torch.float64) if weights is None else weights.double()
    return (flat.T * weights) @ flat


def rearranged(grads, weights=None):
    """H as a matrix (M^2, N^2) whose rank-one approximations are Kronecker products (Van Loan and Pitsianis)."""
    _, M, N = grads.shape
    return formed(grads, weights).reshape(M, N, M, N).permute(0, 2, 1, 3).reshape(M * M, N * N)


def dense_cosine(H, left, right):
    product = torch.kron(left, right)
    return float((H * product).sum() / (H.norm() * product.norm()))


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T


def brute_force(grads, deltas=None, acts=None, weights=None):
    """The four cosines with H formed: (shampoo, shampoo2, kfac, optimal)."""
    H, w = formed(grads, weights), torch.ones(len(grads)) if weights is None else weights
    left = sum(w_s * G @ G.T for w_s, G in zip(w.double(), grads.double(), strict=True))
    right = sum(w_s * G.T @ G for w_s, G in zip(w.double(), grads.double(), strict=True))
    kfac = None
    if deltas is not None:
        factors = [sum(w_s * x.T @ x for w_s, x in zip(w.double(), each.double(), strict=True)) for each in (deltas, acts)]
        kfac = dense_cosine(H, *factors)
    singular = torch.linalg.svdvals(rearranged(grads, weights))
    return dense_cosine(H, root(left), root(right)), dense_cosine(H, left, right), kfac, float(singular[0] / singular.norm())


@pytest.mark.parametrize("S, M, N, P", [(1, 3, 4, 1), (6, 2, 5, 2), (40, 5, 3, 3), (9, 4, 4, 1)])
def test_all_four_as_with_the_whole_matrix(S, M, N, P):
    deltas, acts = draw(1, S, P, M), draw(2, S, P, N)
    grads = torch.einsum("spm,spn->smn", deltas, acts)
    found = kron_cosines(grads, deltas, acts, iters=500)
    shampoo, shampoo2, kfac, optimal = brute_force(grads, deltas, acts)
    assert (found.shampoo, found.shampoo2, found.kfac) == pytest.approx((shampoo, shampoo2, kfac), rel=TIGHT)
    assert found.optimal == pytest.approx(optimal, abs=1e-6)


def test_shampoo_squared_is_the_first_power_iteration_on_the_rearranged_matrix():
    grads = draw(3, 30, 4, 6)
    matrix = rearranged(grads)
    left, right = matrix @ torch.eye(6, dtype=torch.float64).flatten(), matrix.T @ torch.eye(4, dtype=torch.float64).flatten()
    first = float(left @ matrix @ right / (left.norm() * right.norm() * matrix.norm()))
    found = kron_cosines(grads, iters=1)
    assert found.shampoo2 == pytest.approx(first, rel=1e-14)
    assert found.per_iteration == (found.shampoo2,) and found.optimal == found.shampoo2


def test_rounds_after_the_first_alternate_between_the_factors():
    grads = draw(4, 12, 3, 5)
    matrix, right = rearranged(grads), (grads.transpose(1, 2) @ grads).sum(0).flatten()
    expected = []
    for _ in range(4):
        left = matrix @ right
        right = matrix.T @ (left / left.norm())
        expected.append(float(right.norm() / matrix.norm()))
        right = right / right.norm()
    assert kron_cosines(grads, iters=5).per_iteration[1:] == pytest.approx(expected, rel=TIGHT)


def test_of_an_exact_kronecker_product_all_but_its_root_are_the_best():
    left, right = (root(x.T @ x) for x in (draw(5, 9, 3), draw(6, 9, 4)))
    grads = torch.stack([left @ unit.reshape(3, 4) @ right for unit in torch.eye(12, dtype=torch.float64)])  # H = left^2 (x) right^2
    found = kron_cosines(grads)
    assert torch.allclose(formed(grads), torch.kron(left @ left, right @ right))
    assert found.shampoo2 == pytest.approx(1, abs=TIGHT) and found.optimal == pytest.approx(1, abs=TIGHT)
    assert found.shampoo == pytest.approx(dense_cosine(formed(grads), left, right), rel=TIGHT) and found.shampoo < 0.99


def test_outer_products_are_their_gradients():
    deltas, acts, weights = draw(7, 2100, 3), draw(8, 2100, 5), draw(9, 2100).abs()  # more than one block of the Gram matrix
    grads = torch.einsum("sm,sn->smn", deltas, acts)
    direct, formed_first = kron_cosines(None, deltas, acts, weights=weights), kron_cosines(grads, deltas, acts, weights=weights)
    for name in ("shampoo", "shampoo2", "kfac", "optimal", "effective_rank"):
        assert getattr(direct, name) == pytest.approx(getattr(formed_first, name), rel=1e-10), name


def test_weights_stand_for_repeated_gradients():
    grads, counts = draw(10, 5, 3, 4), torch.tensor([1, 3, 0, 2, 1])
    weighted, repeated = kron_cosines(grads, weights=counts), kron_cosines(grads.repeat_interleave(counts, 0))
    for name in ("shampoo", "shampoo2", "optimal", "effective_rank"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-7), name


def test_effective_rank_is_the_rank_of_equal_directions():
    grads = torch.eye(12, dtype=torch.float64)[:7].reshape(7, 3, 4)
    assert compare(SecondMoment(grads)).effective_rank == pytest.approx(7)
    values = torch.linalg.eigvalsh(formed(draw(11, 9, 3, 4)))
    assert SecondMoment(draw(11, 9, 3, 4)).effective_rank == pytest.approx(float(values.sum() ** 2 / values.square().sum()))


def test_factors_of_other_gradients():
    own, others = draw(12, 20, 3, 4), draw(13, 20, 3, 4)
    left, right = (others @ others.transpose(1, 2)).sum(0), (others.transpose(1, 2) @ others).sum(0)
    H = formed(own)
    found = shampoo_cosines(SecondMoment(own), SecondMoment(others).factors)
    assert found == pytest.approx((dense_cosine(H, root(left), root(right)), dense_cosine(H, left, right)), rel=TIGHT)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6), st.floats(1e-20, 1e20), st.booleans())
def test_the_best_is_no_worse_than_any_and_nothing_sees_scales_or_order(S, M, N, seed, scale, weighted):
    deltas, acts = draw(seed, S, 2, M), draw(seed + 1, S, 2, N)
    grads = torch.einsum("spm,spn->smn", deltas, acts)
    weights = draw(seed + 2, S).abs() if weighted else None
    found = kron_cosines(grads, deltas, acts, iters=200, weights=weights)
    assert max(found.shampoo, found.shampoo2) <= found.optimal + 1e-12 and found.kfac <= found.optimal + 1e-5
    assert all(later >= sooner - 1e-12 for sooner, later in zip(found.per_iteration, found.per_iteration[1:], strict=False))
    assert 0 <= found.shampoo and found.optimal <= 1 + 1e-12 and found.effective_rank <= S + 1e-9
    order = torch.randperm(S, generator=torch.Generator().manual_seed(seed))
    other = kron_cosines((scale * grads)[order], iters=200, weights=None if weights is None else scale * weights[order])
    assert (other.shampoo, other.shampoo2) == pytest.approx((found.shampoo, found.shampoo2), rel=1e-6)
    turned = kron_cosines(grads.transpose(1, 2), iters=200, weights=weights)  # H of G^T: the factors change places
    assert (turned.shampoo, turned.shampoo2, turned.optimal) == pytest.approx((found.shampoo, found.shampoo2, found.optimal), abs=1e-5)


def test_low_precision_comes_in_and_fp64_is_inside():
    grads = draw(14, 10, 3, 4, dtype=torch.bfloat16)
    assert kron_cosines(grads) == kron_cosines(grads.double())


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(grads=torch.zeros(3, 2, 2)), "all zero"),
        (dict(grads=torch.full((3, 2, 2), torch.nan)), "finite"),
        (dict(grads=torch.ones(3, 4)), "shape \\(3, 4\\)"),
        (dict(grads=torch.ones(3, 2, 2), iters=0), "iters is 0"),
        (dict(grads=torch.ones(3, 2, 2), weights=torch.tensor([1.0, -1.0, 1.0])), "negative"),
        (dict(grads=torch.ones(3, 2, 2), weights=torch.ones(2)), "give 3"),
        (dict(grads=torch.ones(3, 2, 2), deltas=torch.ones(3, 2)), "given are grads, deltas"),
        (dict(grads=None), "no gradients"),
        (dict(grads=torch.ones(3, 2, 2), deltas=torch.ones(3, 2), acts=torch.ones(3, 4)), "for gradients \\(3, 2, 2\\)"),
        (dict(grads=None, deltas=torch.ones(3, 1, 2), acts=torch.ones(3, 1, 4)), "give \\(S, M\\)"),
    ],
)
def test_what_is_no_set_of_gradients_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        kron_cosines(**given)


def test_blocks_cover_the_gram_matrix_once():
    deltas, acts = draw(15, 1500, 2), draw(16, 1500, 3)
    grads = torch.einsum("sm,sn->smn", deltas, acts)
    scale = float(deltas.abs().max() * acts.abs().max())
    assert OuterProducts(deltas, acts).norm == pytest.approx(float(formed(grads).norm()) / scale**2, rel=TIGHT)
