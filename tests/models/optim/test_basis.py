"""Bases and what is done with them, beside plain linear algebra in fp64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.optim import basis


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(num: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(randn(num, d, d, seed=seed)).Q


def grams(num: int, d: int, seed: int = 0) -> torch.Tensor:
    """Of samples whose spectrum falls by a decade."""
    rows = randn(num, d, 4 * d, seed=seed) * torch.logspace(0, -0.5, d, dtype=torch.float64)[:, None]
    return rows @ rows.mT / (4 * d)


def off_diagonal(gram: torch.Tensor, Q: torch.Tensor) -> float:
    inside = Q.mT @ gram @ Q
    return ((inside - torch.diag_embed(inside.diagonal(dim1=-2, dim2=-1))).norm() / inside.norm()).item()


@pytest.mark.parametrize(
    ("shape", "max_dim", "axes"),
    [((128, 64, 3, 3), 10_000, (8192, 9)), ((4, 3, 2, 2), 12, (12, 4)), ((20, 3), 10, (20, 3)), ((5, 1, 7), 5, (5, 7)), ((3, 4), 0, (3, 4)), ((2, 3), 6, (6,))],
)  # fmt: skip
def test_neighbouring_axes_are_merged_from_the_left(shape, max_dim, axes):
    assert basis.merged(shape, max_dim) == axes


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(0, 40))
def test_merging_keeps_the_elements_and_folding_can_be_undone(shape, max_dim):
    for data_format in ("channels_first", "channels_last"):
        layout = basis.layout_of(tuple(shape), max_dim, True, False, data_format, False)
        x = randn(2, *shape)
        assert torch.equal(layout.unfold(layout.fold(x)), x)
        assert all(layout.axes[k] <= max_dim for k in layout.rotated)


def test_which_axes_have_a_basis():
    def rotated(*shape, max_dim=8, precondition_1d=False, one_sided=False):
        return basis.layout_of(shape, max_dim, False, precondition_1d, "channels_first", one_sided).rotated

    assert rotated(4, 8) == (0, 1) and rotated(4, 9) == (0,) and rotated(9, 9) == rotated() == ()
    assert rotated(5) == () and rotated(5, precondition_1d=True) == (0,) and rotated(9, precondition_1d=True) == ()
    assert rotated(5, 3, one_sided=True) == (1,) and rotated(4, 4, one_sided=True) == (0,) and rotated(5, one_sided=True, precondition_1d=True) == (0,)


@pytest.mark.parametrize("shape", [(5,), (4, 6), (4, 3, 2), (3, 2, 4, 2)])
def test_rotation_is_the_product_along_each_axis_and_can_be_undone(shape):
    x, bases = randn(2, *shape), {k: orthogonal(2, d, seed=k) for k, d in enumerate(shape)}
    found = basis.rotate(x, bases)
    for b in range(2):
        plain = x[b]
        for k in bases:
            plain = torch.tensordot(plain, bases[k][b], dims=([k], [0])).movedim(-1, k)
        torch.testing.assert_close(found[b], plain)
    torch.testing.assert_close(basis.rotate_back(found, bases), x)
    assert found.is_contiguous()


@pytest.mark.parametrize(("shape", "k"), [((5,), 0), ((4, 6), 0), ((4, 6), 1), ((3, 4, 2), 1), ((600, 3), 0), ((3, 513), 1)])
def test_gram_is_the_plain_product(shape, k):
    x, gram = randn(2, *shape), grams(2, shape[k])
    unfolded = x.movedim(k + 1, 1).reshape(2, shape[k], -1)
    plain = 0.9 * gram + 0.1 * unfolded @ unfolded.mT
    basis.update_gram_(gram, x, k, 0.9)
    torch.testing.assert_close(gram, plain)


def test_first_basis_is_sorted_and_orthogonal_and_diagonal():
    gram = grams(3, 12)
    Q = basis.first_basis(gram)
    eigenvalues = (Q.mT @ gram @ Q).diagonal(dim1=-2, dim2=-1)
    assert (eigenvalues.diff(dim=-1) <= 0).all() and off_diagonal(gram, Q) < 1e-14
    assert basis.first_basis(gram.float()).dtype == torch.float32
    with pytest.raises(torch.linalg.LinAlgError):
        basis.first_basis(torch.full((1, 3, 3), torch.nan))


@pytest.mark.parametrize("method", ["qr", "cholesky"])
def test_refreshing_is_orthogonal_iteration(method):
    gram, Q = grams(3, 12), basis.first_basis(grams(3, 12, seed=1))
    start = off_diagonal(gram, Q)
    for _ in range(200):
        Q, order = basis.refreshed(gram, Q, method)
    torch.testing.assert_close(Q.mT @ Q, torch.eye(12, dtype=torch.float64).expand(3, 12, 12))
    assert off_diagonal(gram, Q) < 1e-3 * start
    assert torch.equal(order, torch.arange(12).expand(3, 12)), "once sorted, it stays so"


def test_cholesky_is_householder_but_for_signs():
    columns = grams(4, 40) @ orthogonal(4, 40)
    plain, found = basis.householder_orthonormal(columns), basis.cholesky_orthonormal(columns)
    torch.testing.assert_close(found, plain * (plain * found).sum(-2, keepdim=True).sign(), rtol=0, atol=1e-11)
    rough = basis.cholesky_orthonormal(columns.float())
    assert (rough.mT @ rough - torch.eye(40)).abs().max() < 2e-6


def test_where_cholesky_is_not_safe_householder_is_used_for_that_matrix_alone():
    columns = (grams(3, 10) @ orthogonal(3, 10)).float()
    columns[1, :, 4] = columns[1, :, 3]  # rank 9
    columns[2, :, 5] = columns[2, :, 3] * (1 + 1e-6)  # nearly so
    columns[2, 0, 5] += 1e-5
    found = basis.cholesky_orthonormal(columns)
    assert (found.mT @ found - torch.eye(10)).abs().max() < 1e-5
    assert torch.equal(found[1], basis.householder_orthonormal(columns[1:2])[0])
    assert torch.equal(found[0], basis.cholesky_orthonormal(columns[:1])[0])
    columns[1] = 0
    zero = basis.cholesky_orthonormal(columns)[1]
    assert torch.equal(zero.mT @ zero, torch.eye(10))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_transport_keeps_the_sum_and_what_is_not_negative(m, n, seed):
    v, old, new = randn(2, m, n, seed=seed).square(), orthogonal(2, m, seed), orthogonal(2, m, seed + 1)
    moved = basis.transported(v, 0, old, new)
    assert (moved >= 0).all()
    torch.testing.assert_close(moved.sum(1), v.sum(1))


def test_transport_is_exact_for_uncorrelated_coordinates():
    v, old, new = randn(1, 5).square(), orthogonal(1, 5), orthogonal(1, 5, seed=1)
    covariance = old @ torch.diag_embed(v) @ old.mT
    torch.testing.assert_close(basis.transported(v, 0, old, new), (new.mT @ covariance @ new).diagonal(dim1=-2, dim2=-1))


def test_permuting_an_axis():
    x, order = randn(2, 3, 4), torch.tensor([[2, 0, 1], [0, 2, 1]])
    found = basis.permuted(x, 0, order)
    assert all(torch.equal(found[b], x[b][order[b]]) for b in range(2))
