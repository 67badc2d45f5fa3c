"""How much data one optimizer needs for the loss of another: fit a + b N^-beta to final losses, read off where it hits a target.

    curve = fit_curve(fractions, losses)                         # runs on .5 to 1 of the data, each with its own cosine
    curve.reach(target, target_error, deviation, df)             # the fraction of the data, with its standard error
    curve.below(target, 1.0, target_error, deviation, df)        # is it reached before all of the data is used?

Runs with a cosine can not be compared at equal step: a shorter run is another run, with its schedule brought to an end. So the
final losses of runs on several fractions of the data are joined by a curve.

The error is the delta method's: sd(N*) = sqrt(var f(N*) + var target) / |f'(N*)|, where f's variance is that of least squares with the noise
of one run taken from the deviation pooled over all arms of a study, not from the handful of residuals.

Source: Vyas et al. 2409.11321 (the efficiency benefit).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from evaluation.studies.equivalence import Contrast

BETAS = (0.05, 8.0)
"""Range of the exponent: at its ends the curve is a line in log N, or a step; losses over a factor of two of data tell little more."""
FARTHEST = 2.0
"""A curve is not followed beyond so many times the data that it was fitted to."""


@dataclass(frozen=True, slots=True)
class LossCurve:
    """f(N) = a + b N^-beta with the covariance of (a, b, beta) per unit of noise variance."""

    a: float
    b: float
    beta: float
    covariance: np.ndarray
    lowest: float
    """Range of N that was fitted."""
    highest: float

    @property
    def at_bound(self) -> bool:
        """Whether the exponent lies at an end of its range, where the curve can not bend as the losses do."""
        return min(self.beta / BETAS[0], BETAS[1] / self.beta) < 1.001

    def loss(self, n: float) -> float:
        """f(N)."""
        return self.a + self.b * n**-self.beta

    def below(self, target: float, n: float, target_error: float, deviation: float, df: int) -> Contrast:
        """target - f(N), above 0 where the target is reached before N. target_error: standard error of the target; deviation, df: noise of one run."""
        gradient = _gradient(np.array([n]), self.b, self.beta)[0]
        variance = deviation**2 * float(gradient @ self.covariance @ gradient) + target_error**2
        return Contrast(target - self.loss(n), math.sqrt(variance), df)

    def slope(self, n: float) -> float:
        """-f'(N), which is positive."""
        return self.b * self.beta * n ** (-self.beta - 1)

    def reach(self, target: float, target_error: float, deviation: float, df: int) -> Contrast | None:
        """N at which f hits `target`; None where that is beyond FARTHEST times the data that was fitted, or never."""
        if target <= self.loss(FARTHEST * self.highest):
            return None
        n = ((target - self.a) / self.b) ** (-1 / self.beta)
        return Contrast(n, self.below(target, n, target_error, deviation, df).error / self.slope(n), df)


def fit_curve(num: Sequence[float], losses: Sequence[float]) -> LossCurve:
    """Least squares of a + b N^-beta, beta within BETAS; N in any unit, best near 1.

    Raises ValueError for fewer than three different N and for losses that do not fall with N.
    """
    n, y = np.asarray(num, float), np.asarray(losses, float)
    if len(set(n.tolist())) < 3:
        raise ValueError(f"loss_curve: {len(set(n.tolist()))} different amounts of data; three parameters need three")

    def line(beta: float) -> tuple[np.ndarray, float]:  # given beta the fit is a straight line
        design = np.stack([np.ones_like(n), n**-beta], 1)
        coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
        return coefficients, float(((y - design @ coefficients) ** 2).sum())

    grid = np.geomspace(*BETAS, 60)
    at = int(np.argmin([line(beta)[1] for beta in grid]))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    beta = float(optimize.minimize_scalar(lambda beta: line(beta)[1], bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)
    (a, b), _ = line(beta)
    if b <= 0:
        raise ValueError(f"loss_curve: losses rise from {y[n.argmin()]:.4f} to {y[n.argmax()]:.4f} as the data grows; there is no curve to read")
    jacobian = _gradient(n, b, beta)
    return LossCurve(float(a), float(b), beta, np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-12), float(n.min()), float(n.max()))


def _gradient(n: np.ndarray, b: float, beta: float) -> np.ndarray:
    """Derivatives of f by (a, b, beta), a row for each N."""
    power = n**-beta
    return np.stack([np.ones_like(n), power, -b * power * np.log(n)], 1)
