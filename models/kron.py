"""How well Kronecker products A (x) B fit a layer's second moment H = sum_s w_s vec(G_s) vec(G_s)^T, never forming H.

H (MN x MN) is the Gauss-Newton matrix where gradients are per sample with labels drawn from the model, and Adagrad's covariance where
they are those of training. Adagrad divides by the root of H, so Shampoo's powers -1/4 say H ~ L^(1/2) (x) R^(1/2) with L = sum_s w_s G_s G_s^T
and R = sum_s w_s G_s^T G_s, and powers -1/2 say H ~ L (x) R. Rearranged (Van Loan and Pitsianis 1993), H is the map
B -> sum_s w_s G_s B G_s^T: its largest singular value over its Frobenius norm is the cosine of the best product, and L (x) R is what one round of
power iteration from two identities gives.

    kron_cosines(grads).shampoo2                                          # of gradients (S, M, N)
    kron_cosines(None, deltas, acts).kfac                                 # of outer products: many thousand cost little
    shampoo_cosines(SecondMoment(grads), SecondMoment(others).factors)    # factors of other gradients

Source: A New Perspective on Shampoo's Preconditioner (2406.17748).

Shapes: S gradients, M x N the layer's weight, P positions of a sample, so that G_s = sum_p delta_sp act_sp^T.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CONVERGED = 1e-8
"""Power iteration ends early where a round adds less than this to the cosine."""

BLOCK = 1024
"""Rows and columns of the Gram matrix of outer products that exist at a time: 8 MiB."""


@dataclass(frozen=True)
class KronCosines:
    """Cosines with H of four Kronecker products, each in [0, 1]; scales do not enter."""

    shampoo: float
    """Of L^(1/2) (x) R^(1/2), what Shampoo's powers of -1/4 assume."""
    shampoo2: float
    """Of L (x) R, Shampoo squared: powers of -1/2."""
    kfac: float | None
    """Of E[delta delta^T] (x) E[act act^T]; None where deltas and acts were not given."""
    optimal: float
    """Of the best product that power iteration found."""
    per_iteration: tuple[float, ...]
    """After each round, never falling: the first is shampoo2, the last is optimal."""
    effective_rank: float
    """trace(H)^2 / |H|^2. Unless there are many times as many gradients, all cosines are those of this sample, below those of the whole."""


class SecondMoment:
    """H of any gradients, as the two maps that it is: each takes S * M * N * (M + N) multiplications and additions, in fp64.

    grads_SMN of any dtype; weights_S, none negative, 1 by default; deltas_SPM and acts_SPN for K-FAC's factors. Raises ValueError for shapes
    that do not fit, for values or weights that are not finite, and for H = 0.
    """

    def __init__(
        self, grads_SMN: Tensor, deltas_SPM: Tensor | None = None, acts_SPN: Tensor | None = None, weights_S: Tensor | None = None
    ) -> None:
        if grads_SMN.ndim != 3:
            raise ValueError(
                f"SecondMoment: grads have shape {tuple(grads_SMN.shape)}; give gradients of one matrix, (samples, rows, columns)"
            )
        S, self.M, self.N = grads_SMN.shape
        self.kfac_factors: tuple[Tensor, Tensor] | None = None
        """E[delta delta^T] (M, M) and E[act act^T] (N, N) over samples and positions, where they were given."""
        if deltas_SPM is not None and acts_SPN is not None:
            found = deltas_SPM.shape, acts_SPN.shape
            if found[0][:-1] != found[1][:-1] or (S, self.M, self.N) != (found[0][0], found[0][-1], found[1][-1]):
                raise ValueError(
                    f"SecondMoment: deltas and acts have shapes {tuple(found[0])} and {tuple(found[1])} for gradients {(S, self.M, self.N)}"
                )
            moments = [_weighted(x_SPX, weights_S).reshape(-1, x_SPX.shape[-1]) for x_SPX in (deltas_SPM, acts_SPN)]
            self.kfac_factors = moments[0].T @ moments[0], moments[1].T @ moments[1]
        self._grads_MSN = (
            _weighted(grads_SMN, weights_S).transpose(0, 1).contiguous()
        )  # so ordered, both maps are plain products of matrices

    def left(self, right_NN: Tensor) -> Tensor:
        """sum_s w_s G_s B G_s^T (M, M), up to scale: the best left factor for a right factor B."""
        rows_MSN = self._grads_MSN.reshape(-1, self.N) @ right_NN
        return rows_MSN.reshape(self.M, -1) @ self._grads_MSN.reshape(self.M, -1).T

    def right(self, left_MM: Tensor) -> Tensor:
        """sum_s w_s G_s^T A G_s (N, N), up to scale: the best right factor for a left factor A."""
        rows_MSN = left_MM @ self._grads_MSN.reshape(self.M, -1)
        return rows_MSN.reshape(-1, self.N).T @ self._grads_MSN.reshape(-1, self.N)

    @cached_property
    def norm(self) -> float:
        """|H|, by |H|^2 = sum_st w_s w_t <G_s, G_t>^2."""
        return math.sqrt(self._squared_gram())

    @property
    def effective_rank(self) -> float:
        """trace(H)^2 / |H|^2: the rank where all eigenvalues that are not 0 are equal, and less where not."""
        return (float(self.factors[0].trace()) / self.norm) ** 2

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor]:
        """L (M, M) and R (N, N)."""
        eye_MM, eye_NN = (torch.eye(size, dtype=torch.float64, device=self._device) for size in (self.M, self.N))
        return self.left(eye_NN), self.right(eye_MM)

    def cosine(self, left_MM: Tensor, right_NN: Tensor) -> float:
        """<H, A (x) B> / (|H| |A| |B|), by <H, A (x) B> = <left(B), A>; A and B symmetric."""
        return float((self.left(right_NN) * left_MM).sum() / (self.norm * left_MM.norm() * right_NN.norm()))

    @property
    def _device(self) -> torch.device:
        return self._grads_MSN.device

    def _squared_gram(self) -> float:
        grads_SX = self._grads_MSN.transpose(0, 1).flatten(1)
        return float((grads_SX @ grads_SX.T).square().sum())


class OuterProducts(SecondMoment):
    """H of gradients G_s = delta_s act_s^T, deltas (S, M) and acts (S, N): each map takes S * (M^2 + N^2) multiplications and additions."""

    def __init__(self, deltas_SM: Tensor, acts_SN: Tensor, weights_S: Tensor | None = None) -> None:
        if deltas_SM.ndim != 2 or acts_SN.ndim != 2 or len(deltas_SM) != len(acts_SN):
            raise ValueError(
                f"OuterProducts: deltas and acts have shapes {tuple(deltas_SM.shape)} and {tuple(acts_SN.shape)}; give (S, M) and (S, N)"
            )
        self.M, self.N = deltas_SM.shape[1], acts_SN.shape[1]
        self._deltas_SM, self._acts_SN = _weighted(deltas_SM, weights_S), _weighted(acts_SN, None)
        weighted_acts_SN = _weighted(acts_SN, weights_S)
        self.kfac_factors = self._deltas_SM.T @ self._deltas_SM, weighted_acts_SN.T @ weighted_acts_SN

    def left(self, right_NN: Tensor) -> Tensor:
        """As of SecondMoment: sum_s w_s (act_s^T B act_s) delta_s delta_s^T."""
        return (self._deltas_SM.T * ((self._acts_SN @ right_NN) * self._acts_SN).sum(1)) @ self._deltas_SM

    def right(self, left_MM: Tensor) -> Tensor:
        """As of SecondMoment: sum_s w_s (delta_s^T A delta_s) act_s act_s^T."""
        return (self._acts_SN.T * ((self._deltas_SM @ left_MM) * self._deltas_SM).sum(1)) @ self._acts_SN

    @property
    def _device(self) -> torch.device:
        return self._deltas_SM.device

    def _squared_gram(self) -> float:
        blocks = list(zip(self._deltas_SM.split(BLOCK), self._acts_SN.split(BLOCK), strict=True))
        total = 0.0
        for i, (deltas, acts) in enumerate(blocks):
            for j, (other_deltas, other_acts) in enumerate(blocks[: i + 1]):
                gram = (deltas @ other_deltas.T).mul_(acts @ other_acts.T)
                total += float(gram.square_().sum()) * (1 if i == j else 2)  # the matrix is symmetric
        return total


def kron_cosines(
    grads: Tensor | None, deltas: Tensor | None = None, acts: Tensor | None = None, iters: int = 30, weights: Tensor | None = None
) -> KronCosines:
    """Compare Shampoo, Shampoo squared, K-FAC and the best Kronecker product with the second moment of one layer's gradients.

    grads (S, M, N); None = the outer products of deltas (S, M) and acts (S, N). For K-FAC beside grads, deltas (S, P, M), the gradients
    by the layer's outputs, and acts (S, P, N), its inputs, at each position; (S, M) and (S, N) for one position. weights (S,) of a weighted
    sum, such as an exponential average's. iters as in `compare`. Raises ValueError like SecondMoment, and where one of deltas and acts is missing.
    """
    if (deltas is None) != (acts is None) or (grads is None and deltas is None):
        given = ", ".join(name for name, x in (("grads", grads), ("deltas", deltas), ("acts", acts)) if x is not None)
        raise ValueError(
            f"kron_cosines: given are {given or 'no gradients'}; give grads, grads with deltas and acts, or None with deltas and acts"
        )
    return compare(OuterProducts(deltas, acts, weights) if grads is None else SecondMoment(grads, deltas, acts, weights), iters)


def compare(H: SecondMoment, iters: int = 30) -> KronCosines:
    """The cosines of `kron_cosines` with a second moment that is at hand.

    At most `iters` rounds of power iteration: an identity has at least 1/sqrt(M) of the top singular vector, which is positive semi-definite,
    so what the cosine lacks after k rounds is of the order of ln(M) / 4k of it at worst, and far less where the second singular value is
    clearly smaller. Raises ValueError for iters < 1.
    """
    if iters < 1:
        raise ValueError(f"kron_cosines: iters is {iters}; Shampoo squared is the first round, so give at least 1")
    shampoo, shampoo2 = shampoo_cosines(H, H.factors)
    per_iteration = [shampoo2]
    right_NN = H.factors[1] / H.factors[1].norm()
    while len(per_iteration) < iters:
        left_MM = H.left(right_NN)
        right_NN = H.right(left_MM / left_MM.norm())
        per_iteration.append(float(right_NN.norm()) / H.norm)  # for a unit A and B = right(A): <H, A (x) B> = <B, B>
        right_NN = right_NN / right_NN.norm()
        if per_iteration[-1] - per_iteration[-2] < CONVERGED:
            break
    kfac = H.cosine(*H.kfac_factors) if H.kfac_factors else None
    return KronCosines(shampoo, shampoo2, kfac, per_iteration[-1], tuple(per_iteration), H.effective_rank)


def shampoo_cosines(H: SecondMoment, factors: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Cosines with H of L^(1/2) (x) R^(1/2) and of L (x) R, the factors of H itself or of other gradients: of batches, of other labels."""
    return H.cosine(_root(factors[0]), _root(factors[1])), H.cosine(*factors)


def _root(matrix: Tensor) -> Tensor:
    """The square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _weighted(x: Tensor, weights_S: Tensor | None) -> Tensor:
    """x (S, ...) in fp64 times the roots of the weights, over its largest entry: no cosine sees the scale, and no square overflows."""
    x = x.double()
    if weights_S is not None:
        if weights_S.shape != x.shape[:1] or not bool((weights_S >= 0).all()):
            raise ValueError(f"SecondMoment: weights have shape {tuple(weights_S.shape)} or a negative entry; give {len(x)}, none negative")
        x = x * weights_S.to(x.device, x.dtype).sqrt().reshape(-1, *[1] * (x.ndim - 1))
    largest = float(x.abs().max()) if x.numel() else 0.0
    if not 0 < largest < math.inf:
        raise ValueError(
            f"SecondMoment: the largest entry of {tuple(x.shape)} weighted values is {largest}; give finite gradients, not all zero"
        )
    return x / largest
