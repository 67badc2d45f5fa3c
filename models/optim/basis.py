"""The eigenbases that SOAP works in: Gram matrices of gradients, their eigenvectors, and how both are kept current.

Every function takes B tensors of one shape at once, stacked on a leading axis, so that a whole bucket of layers costs
one launch. A basis is the matrix Q whose columns are eigenvectors, largest eigenvalue first.

Shapes: B tensors, d the size of one axis k of them, `x` is (B, *axes).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

Bases = Mapping[int, Tensor]
"""Axis -> Q_Bdd; an axis without an entry stays as it is."""

STRIP = 256  # of a symmetric product: below it a product is too small to run at full speed

MAX_FIRST_PASS_DEFECT = 0.5
"""Frobenius norm of QᵀQ - I after one CholeskyQR below which a second one is orthogonal to rounding (Yamamoto et al. 2015, section 3)."""


@dataclass(frozen=True)
class Layout:
    """How a parameter's axes become the axes that have bases."""

    shape: tuple[int, ...]
    """The parameter's."""
    axes: tuple[int, ...]
    """The shape that gradients and moments are folded into."""
    rotated: tuple[int, ...]
    """Places in `axes` that have a basis."""
    channels_last: bool = False
    """Whether the parameter's last axis comes second before folding."""

    def fold(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, *axes)."""
        return (x.permute(0, 1, 4, 2, 3) if self.channels_last else x).reshape(-1, *self.axes)

    def unfold(self, x: Tensor) -> Tensor:
        """(B, *axes) -> (B, *shape)."""
        if not self.channels_last:
            return x.reshape(-1, *self.shape)
        num, height, width, channels = self.shape
        return x.reshape(-1, num, channels, height, width).permute(0, 1, 3, 4, 2)


@cache
def layout_of(
    shape: tuple[int, ...], max_precond_dim: int, merge_dims: bool, precondition_1d: bool, data_format: str, one_sided: bool
) -> Layout:
    """The released rule: axes up to max_precond_dim have a basis, vectors only with precondition_1d; one_sided keeps the smallest."""
    if len(shape) == 1 and not precondition_1d:
        return Layout(shape, shape, ())
    channels_last = merge_dims and data_format == "channels_last" and len(shape) == 4
    axes = shape
    if merge_dims and len(shape) > 1:
        num, *rest = shape
        axes = merged((num, rest[-1], *rest[:-1]) if channels_last else shape, max_precond_dim)
    rotated = tuple(k for k, d in enumerate(axes) if d <= max_precond_dim)
    if one_sided and len(axes) > 1:
        rotated = tuple(sorted(rotated, key=lambda k: axes[k])[:1])
    return Layout(shape, axes, rotated, channels_last)


def merged(shape: tuple[int, ...], max_dim: int) -> tuple[int, ...]:
    """Neighbouring axes multiplied from the left while the product stays at most max_dim."""
    axes, current = [], 1
    for d in shape:
        if current * d <= max_dim:
            current *= d
        elif current > 1:
            axes.append(current)
            current = d
        else:
            axes.append(d)
    return tuple(axes) if axes and current == 1 else (*axes, current)


def contract(x: Tensor, k: int, matrix_Bde: Tensor) -> Tensor:
    """Multiply axis k of x by the transposed matrix: y[.., e, ..] = sum over d of matrix[d, e] x[.., d, ..]."""
    if k == x.dim() - 2:
        return torch.bmm(x.reshape(len(x), -1, x.shape[-1]), matrix_Bde).reshape(x.shape)
    front = x.movedim(k + 1, 1)
    return torch.bmm(matrix_Bde.mT, front.reshape(*front.shape[:2], -1)).reshape(front.shape).movedim(1, k + 1).contiguous()


def rotate(x: Tensor, bases: Bases) -> Tensor:
    """Coordinates of x in the bases: QᵀG for axis 0, GQ for axis 1."""
    for k, Q_Bdd in bases.items():
        x = contract(x, k, Q_Bdd)
    return x


def rotate_back(x: Tensor, bases: Bases) -> Tensor:
    """The inverse of `rotate`."""
    for k, Q_Bdd in bases.items():
        x = contract(x, k, Q_Bdd.mT)
    return x


def update_gram_(gram_Bdd: Tensor, x: Tensor, k: int, beta: float) -> None:
    """gram <- beta gram + (1 - beta) x xᵀ, where x is unfolded along axis k."""
    if k == x.dim() - 2:
        rows = x.reshape(len(x), -1, x.shape[-1]).mT
    else:
        rows = x.movedim(k + 1, 1).reshape(len(x), x.shape[k + 1], -1)
    add_self_product_(gram_Bdd, rows, beta, 1 - beta)


def add_self_product_(out_Bdd: Tensor, rows_Bdn: Tensor, beta: float, alpha: float) -> None:
    """out <- beta out + alpha rows rowsᵀ: strips from the diagonal to the right, and mirrored; half the work where d is many strips."""
    d = rows_Bdn.shape[1]
    for start in range(0, d, STRIP):
        stop = min(start + STRIP, d)
        strip = out_Bdd[:, start:stop, start:]
        strip.baddbmm_(rows_Bdn[:, start:stop], rows_Bdn[:, start:].mT, beta=beta, alpha=alpha)
        out_Bdd[:, stop:, start:stop] = strip[:, :, stop - start :].mT


def first_basis(gram_Bdd: Tensor) -> Tensor:
    """Eigenvectors of a Gram matrix, largest eigenvalue first; where fp32 does not converge, in fp64.

    Raises torch.linalg.LinAlgError for a matrix that holds NaN or infinity.
    """
    floor_dd = 1e-30 * torch.eye(gram_Bdd.shape[-1], dtype=gram_Bdd.dtype, device=gram_Bdd.device)
    try:
        vectors_Bdd = torch.linalg.eigh(gram_Bdd + floor_dd).eigenvectors
    except torch.linalg.LinAlgError:
        vectors_Bdd = torch.linalg.eigh(gram_Bdd.double() + floor_dd).eigenvectors
    return vectors_Bdd.flip(-1).to(gram_Bdd.dtype)


def refreshed(gram_Bdd: Tensor, Q_Bdd: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """One step of orthogonal iteration: the new basis, and the order (B, d) in which the old columns went into it.

    The columns of gram @ Q give both the estimated eigenvalues that are sorted by (their dot products with Q's) and, in
    that order, what is made orthonormal. method: "qr" (Householder) or "cholesky". Source: SOAP, algorithm 4.
    """
    powered_Bdd = gram_Bdd @ Q_Bdd
    eigenvalues_Bd = (Q_Bdd * powered_Bdd).sum(-2)
    order_Bd = eigenvalues_Bd.argsort(dim=-1, descending=True, stable=True)
    powered_Bdd = powered_Bdd.take_along_dim(order_Bd.unsqueeze(-2), -1)
    return (cholesky_orthonormal if method == "cholesky" else householder_orthonormal)(powered_Bdd), order_Bd


def householder_orthonormal(columns_Bdd: Tensor) -> Tensor:
    """Q of the QR factorisation."""
    return torch.linalg.qr(columns_Bdd).Q


def cholesky_orthonormal(columns_Bdd: Tensor) -> Tensor:
    """The same Q, up to signs of columns, by two rounds of CholeskyQR on normalised columns, where that is safe.

    Q does not change when columns are scaled by positive numbers, and once each has norm one their condition number is
    that of the mixing between eigenvectors alone, mostly below 4. Matrices for which a factorisation failed or the
    first round left too much (a nearly singular Gram matrix) are done by Householder: asking which costs one sync.
    """
    tiny = torch.finfo(columns_Bdd.dtype).tiny
    Q_Bdd = columns_Bdd / torch.linalg.vector_norm(columns_Bdd, dim=-2, keepdim=True).clamp_min(tiny)
    gram_Bdd = torch.empty_like(Q_Bdd)
    add_self_product_(gram_Bdd, Q_Bdd.mT, beta=0, alpha=1)
    R_Bdd, failed_B = torch.linalg.cholesky_ex(gram_Bdd, upper=True)
    Q_Bdd = torch.linalg.solve_triangular(R_Bdd, Q_Bdd, upper=True, left=False)
    add_self_product_(gram_Bdd, Q_Bdd.mT, beta=0, alpha=1)
    R_Bdd, failed_again_B = torch.linalg.cholesky_ex(gram_Bdd, upper=True)
    gram_Bdd.diagonal(dim1=-2, dim2=-1).sub_(1)
    defect_B = torch.linalg.matrix_norm(gram_Bdd)
    Q_Bdd = torch.linalg.solve_triangular(R_Bdd, Q_Bdd, upper=True, left=False)
    safe_B = (failed_B == 0) & (failed_again_B == 0) & (defect_B < MAX_FIRST_PASS_DEFECT)  # false for NaN
    unsafe = [at for at, safe in enumerate(safe_B.tolist()) if not safe]
    if unsafe:
        Q_Bdd[unsafe] = householder_orthonormal(columns_Bdd[unsafe])
    return Q_Bdd


def permuted(x: Tensor, k: int, order_Bd: Tensor) -> Tensor:
    """Axis k of x in the given order, one for each of the B."""
    shape = [1] * x.dim()
    shape[0], shape[k + 1] = order_Bd.shape
    return x.take_along_dim(order_Bd.reshape(shape), k + 1)


def transported(x: Tensor, k: int, old_Bdd: Tensor, new_Bdd: Tensor) -> Tensor:
    """A second moment after the basis of axis k changed: (R * R)ᵀ x with R = oldᵀ new.

    Exact where coordinates are uncorrelated in the old basis. Columns of R * R sum to one both ways: nothing becomes negative, the sum stays.
    """
    return contract(x, k, (old_Bdd.mT @ new_Bdd).square())
