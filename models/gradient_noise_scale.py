"""The gradient noise scale of McCandlish et al.: the batch size at which noise and signal of a gradient are equally large.

    scale = NoiseScale(small=8, big=32)
    for part_grad_sq, grad_sq in steps:
        scale.update(part_grad_sq, grad_sq)
    scale.value                                                             # B_simple = tr(Sigma) / |G|^2, sequences

The gradient of n sequences is G plus noise of covariance Sigma / n, so its squared norm has the expectation |G|^2 + tr(Sigma) / n. Two sizes
give two equations, and gradient accumulation gives two sizes for nothing: the parts of a batch and the whole batch. Measure before clipping.

With `scales` (Adam's 1 / sqrt(v)) `squared_norm` measures in the metric of the preconditioner instead: the same estimators then give the noise
scale that preconditioned steps see. Source: arXiv 1812.06162, section 2.2 and appendix A.1; for the metric, its appendix on preconditioning.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Gradient(NamedTuple):
    """What two squared norms say of a gradient, both unbiased."""

    signal: float
    """|G|^2 of the true gradient; an estimate may be negative where noise prevails."""
    noise: float
    """tr(Sigma), the variance of the gradient of one sequence."""

    @property
    def noise_scale(self) -> float:
        """tr(Sigma) / |G|^2 in sequences; nan where the signal is not positive, for it drowned in noise."""
        return self.noise / self.signal if self.signal > 0 else float("nan")


def estimate(small_sq: float, big_sq: float, small: int, big: int) -> Gradient:
    """Solve E|g_n|^2 = |G|^2 + tr(Sigma) / n for the two unknowns.

    small_sq: mean squared norm of gradients of `small` sequences; big_sq: that of `big` sequences. Both may be means over many steps: the
    solution is linear. Raises ValueError unless 0 < small < big.
    """
    if not 0 < small < big:
        raise ValueError(f"gradient_noise_scale: small is {small} and big {big} sequences; split a batch in at least two parts")
    return Gradient((big * big_sq - small * small_sq) / (big - small), (small_sq - big_sq) / (1 / small - 1 / big))


class NoiseScale:
    """B_simple over a training: moving averages of signal and noise, and then their ratio, for a mean of ratios would be biased."""

    def __init__(self, small: int, big: int, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"NoiseScale: decay is {decay}; it must be in [0, 1)")
        self.small, self.big, self.decay = small, big, decay
        self.weight = self.signal = self.noise = 0.0

    def update(self, small_sq: float, big_sq: float) -> None:
        """Take in the squared norms of one step."""
        now = estimate(small_sq, big_sq, self.small, self.big)
        self.weight = self.decay * self.weight + 1 - self.decay
        self.signal = self.decay * self.signal + (1 - self.decay) * now.signal
        self.noise = self.decay * self.noise + (1 - self.decay) * now.noise

    @property
    def gradient(self) -> Gradient:
        """The averages, corrected for the zeros that they began with. ValueError before the first update."""
        if not self.weight:
            raise ValueError("NoiseScale: nothing was measured yet; call update first")
        return Gradient(self.signal / self.weight, self.noise / self.weight)

    @property
    def value(self) -> float:
        """B_simple in sequences; nan where the average signal is not positive."""
        return self.gradient.noise_scale


def squared_norm(grads: Iterable[Tensor], scales: Iterable[Tensor] | None = None) -> Tensor:
    """Sum of g^2 over all gradients, or of scale * g^2 with one scale a coordinate; a scalar in float64."""
    grads = list(grads)
    weights = [None] * len(grads) if scales is None else list(scales)
    terms = [(g.double().square() if w is None else g.double().square() * w).sum() for g, w in zip(grads, weights, strict=True)]
    return torch.stack(terms).sum()
