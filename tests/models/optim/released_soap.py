"""SOAP's released rule, written plainly in fp64 from its description: one parameter at a time, every rotation on every step."""

import math

import torch
from torch import Tensor


class ReleasedSOAP:
    """One parameter. `step(gradient)` moves `self.p`; the order of everything is the release's."""

    def __init__(
        self, p: Tensor, *, lr=3e-3, betas=(0.95, 0.95), shampoo_beta=-1.0, eps=1e-8, weight_decay=0.01, precondition_frequency=10,
        max_precond_dim=10000, merge_dims=False, precondition_1d=False, normalize_grads=False, data_format="channels_first", correct_bias=True,
    ):  # fmt: skip
        self.p = p.detach().double().clone()
        self.lr, (self.beta1, self.beta2), self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.gram_beta = shampoo_beta if shampoo_beta >= 0 else self.beta2
        self.frequency, self.max_dim, self.correct_bias = precondition_frequency, max_precond_dim, correct_bias
        self.merge, self.precondition_1d, self.normalize_grads = merge_dims, precondition_1d, normalize_grads
        self.permute = merge_dims and data_format == "channels_last" and p.dim() == 4
        self.t = 0
        self.m = self.v = self.grams = self.Qs = None

    def fold(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or not self.merge:
            return x
        if self.permute:
            x = x.permute(0, 3, 1, 2)
        sizes, current = [], 1
        for size in x.shape:
            if current * size > self.max_dim:
                sizes.append(current if current > 1 else size)
                current = size if current > 1 else 1
            else:
                current *= size
        if current > 1 or not sizes:
            sizes.append(current)
        return x.reshape(sizes)

    def unfold(self, x: Tensor) -> Tensor:
        if not self.permute:
            return x.reshape(self.p.shape)
        n, h, w, c = self.p.shape
        return x.reshape(n, c, h, w).permute(0, 2, 3, 1)

    def has_basis(self, folded: Tensor, k: int) -> bool:
        return folded.shape[k] <= self.max_dim and (self.p.dim() != 1 or self.precondition_1d)

    def gram(self, g: Tensor, k: int) -> Tensor:
        rows = g.movedim(k, 0).reshape(g.shape[k], -1)
        return rows @ rows.T

    def rotated(self, x: Tensor, back: bool = False) -> Tensor:
        for k, Q in enumerate(self.Qs):
            if Q is not None:
                x = torch.tensordot(x, Q.T if back else Q, dims=([k], [0])).movedim(-1, k)
        return x

    def step(self, gradient: Tensor) -> None:
        g = self.fold(gradient.double())
        if self.grams is None:
            self.m, self.v = torch.zeros_like(g), torch.zeros_like(g)
            self.grams = [(1 - self.gram_beta) * self.gram(g, k) if self.has_basis(g, k) else None for k in range(g.dim())]
            self.Qs = [None if gram is None else torch.linalg.eigh(gram).eigenvectors.flip(1) for gram in self.grams]
            return
        self.t += 1
        g_rotated = self.rotated(g)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g_rotated
        self.v = self.beta2 * self.v + (1 - self.beta2) * g_rotated**2
        u = self.rotated(self.m / (self.v.sqrt() + self.eps), back=True)
        if self.normalize_grads:
            u = u / (1e-30 + (u**2).mean().sqrt())
        size = self.lr
        if self.correct_bias:
            size *= math.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        self.p = self.p - size * self.unfold(u)
        self.p = self.p - self.lr * self.weight_decay * self.p
        self.m = self.rotated(self.m, back=True)
        for k, gram in enumerate(self.grams):
            if gram is not None:
                self.grams[k] = self.gram_beta * gram + (1 - self.gram_beta) * self.gram(g, k)
        if self.t % self.frequency == 0:
            self.refresh()
        self.m = self.rotated(self.m)

    def refresh(self) -> None:
        for k, gram in enumerate(self.grams):
            if gram is not None:
                Q = self.Qs[k]
                order = torch.diag(Q.T @ gram @ Q).argsort(descending=True)
                self.v = self.v.index_select(k, order)
                self.Qs[k] = torch.linalg.qr(gram @ Q[:, order]).Q
