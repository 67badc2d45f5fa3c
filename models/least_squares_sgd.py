"""How the critical batch size grows with the data where everything is known: averaged SGD on Gaussian least squares.

    found = exponent(Problem(a=2.0, b=4.0))          # 0.50 measured
    theory(a=2.0, b=4.0)                             # 0.50, = 1 - a / min(b, 2 a + 1)

Features have a covariance with eigenvalues i^-a, the true weights have i^-b of the signal's variance in direction i. One pass over D samples
in batches of B makes N = D / B steps of constant size, and all iterates are averaged. N steps learn k = (step N)^(1/a) directions; the rest
is bias, k^(1-b), and the variance is k / D. B may grow until the largest step is too small to learn the best k within N steps, so that

    B* ~ D^(1 - a / min(b, 2a + 1))     for b > a, and B* ~ 1 for b <= a, where bias prevails and every step counts

(min with 2a + 1: averaging from the start never forgets the first direction faster than 1 / N^2). Source: arXiv 2410.21676, section 4.2.

The risk here is exact for SGD whose gradient noise is additive, which leaves out terms of relative size step * trace / B. Shapes: I directions,
S step sizes.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.critical_batch_size import power_law

THEORY_PAIRS = ((1.5, 3.0), (2.0, 3.0), (2.0, 4.0), (1.5, 6.0), (2.0, 1.5))
"""(a, b) with exponents 1/2, 1/3, 1/2, 5/8 and 0."""

DATA_SIZES = (1e4, 1e5, 1e6, 1e7)


@dataclass(frozen=True)
class Problem:
    """Gaussian least squares with label noise of variance 1. Raises ValueError unless a > 1 and b > 1 (finite traces)."""

    a: float
    """Eigenvalues of the covariance fall as i^-a."""
    b: float
    """The signal's variance in direction i, eigenvalue times squared weight, falls as i^-b."""
    num_directions: float = 1e8
    """Many more than are ever learned. Beyond the first 100 they are taken in stretches of equal log-width."""

    def __post_init__(self) -> None:
        if not (self.a > 1 and self.b > 1):
            raise ValueError(f"Problem: a is {self.a} and b {self.b}; both must exceed 1, or the traces are infinite")

    @cached_property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """(index_I, count_I): directions singly, then stretches by their geometric middle."""
        edges = np.geomspace(100.5, self.num_directions, 150)
        index_I = np.concatenate([np.arange(1, 101), np.sqrt(edges[1:] * edges[:-1])])
        return index_I, np.concatenate([np.ones(100), np.diff(edges)])

    @property
    def largest_step(self) -> float:
        """Stable for single samples: half of 1 / trace."""
        index_I, count_I = self.directions
        return 0.5 / float((count_I * index_I**-self.a).sum())


def risk(problem: Problem, num_samples: float, batch_size: float, steps: np.ndarray) -> np.ndarray:
    """Expected excess risk (S,) of the averaged iterates of step sizes (S,) after num_samples / batch_size updates from zero."""
    index_I, count_I = problem.directions
    eigenvalue_I, signal_I, updates = index_I**-problem.a, index_I**-problem.b, num_samples / batch_size
    rate_SI = steps[:, None] * eigenvalue_I
    log_keep_SI = np.log1p(-rate_SI)
    gone_SI = -np.expm1(updates * log_keep_SI)  # 1 - r^N with r = 1 - rate
    bias_SI = gone_SI / (updates * rate_SI)  # share of a weight that the average has not learned
    # Mean over the updates of (1 - r^j)^2: how much of the noise's stationary spread has built up.
    gone_twice_SI = -np.expm1(2 * updates * log_keep_SI)
    spread_SI = 1 - 2 * bias_SI + gone_twice_SI / (updates * rate_SI * (2 - rate_SI))
    # Where next to nothing has built up the three terms cancel; there (1 - r^j)^2 ~ (rate j)^2.
    spread_SI = np.where(updates * rate_SI < 1e-3, (updates * rate_SI) ** 2 / 3, spread_SI)
    return (count_I * (signal_I * bias_SI**2 + spread_SI / num_samples)).sum(1)


def critical_batch(problem: Problem, num_samples: float, tolerance: float = 0.05, num_steps: int = 24) -> float:
    """The largest batch whose risk, at its best step size, is within `tolerance` of the best of any batch; real, at least 1."""
    steps_S = problem.largest_step * np.geomspace(1e-4, 1, num_steps)
    limit = (1 + tolerance) * risk(problem, num_samples, 1, steps_S).min()
    low, high = 0.0, math.log(num_samples)  # a smaller batch can do whatever a larger one does, with smaller steps: bisect
    for _ in range(15):
        middle = (low + high) / 2
        low, high = (middle, high) if risk(problem, num_samples, math.exp(middle), steps_S).min() <= limit else (low, middle)
    return math.exp(low)


def exponent(problem: Problem, data_sizes: tuple[float, ...] = DATA_SIZES) -> float:
    """The measured exponent of the critical batch size in the number of samples."""
    return power_law(data_sizes, [critical_batch(problem, size) for size in data_sizes]).exponent


def theory(a: float, b: float) -> float:
    """The paper's exponent: 0 for b <= a, else 1 - a / min(b, 2a + 1)."""
    return 0.0 if b <= a else 1 - a / min(b, 2 * a + 1)
