"""Series of a plot that hide nothing: every seed a dot, and over them the means with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.studies.equivalence import Losses, arm_means


def seeds_and_means(losses: Losses, at: Mapping[float, str], *, name: str = "", jitter: float = 0.0) -> list[dict[str, Any]]:
    """Two series of evaluation.figure for the arms at their places x: the seeds (None where one diverged), and means with 95 % t intervals.

    name: of both, which are then one line; without, the places are categories and the means are not joined. jitter: distance of neighbouring seeds.
    Arms of which every run diverged have no mean.
    """
    means = arm_means(losses)
    dots = [(x + jitter * (i - (len(losses[arm]) - 1) / 2), loss) for x, arm in at.items() for i, loss in enumerate(losses[arm].values())]
    shown = [(x, means[arm]) for x, arm in at.items() if means[arm].mean is not None]
    bars = {"x": [x for x, _ in shown], "y": [m.mean for _, m in shown], "low": [m.low for _, m in shown], "high": [m.high for _, m in shown]}
    return [
        {"name": name or "each seed", "x": [x for x, _ in dots], "y": [loss for _, loss in dots], "marks": "dots"},
        {"name": name or "mean", **bars, "marks": "both" if name else "dots"},
    ]
