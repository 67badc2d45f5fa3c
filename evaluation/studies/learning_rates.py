"""Choosing learning rates from finished runs: the best one of a group, and where its grid must go on.

    best_learning_rates(read_runs(tables))                    # {"soap": 3e-3, "adamw": 1e-2}
    next_learning_rate({1e-3: 3.1, 3e-3: 2.9}, factor=3.0)    # 9e-3: the best lies at the upper end
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean

from evaluation.studies.runs import Run


def mean_losses(runs: Iterable[Run]) -> dict[str, dict[float, float]]:
    """group -> learning rate -> final validation loss, mean over the runs there; infinite where one of them diverged."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        found.setdefault(run.group, {}).setdefault(run.lr, []).append(math.inf if run.loss is None else run.loss)
    return {group: {lr: fmean(losses) for lr, losses in by_lr.items()} for group, by_lr in found.items()}


def best_learning_rate(losses: Mapping[float, float]) -> float:
    """The learning rate of the lowest loss, the smaller of equals: where all diverged, training is stabler below."""
    return min(losses, key=lambda lr: (losses[lr], lr))


def best_learning_rates(runs: Iterable[Run]) -> dict[str, float]:
    """By group, the best learning rate of its runs."""
    return {group: best_learning_rate(losses) for group, losses in mean_losses(runs).items()}


def next_learning_rate(losses: Mapping[float, float], factor: float) -> float | None:
    """Where the grid of `losses` (learning rate -> loss) must go on, in three digits; None if its best lies inside or there is no grid.

    Raises ValueError for a factor that would not lead on.
    """
    if factor <= 1:
        raise ValueError(f"next_learning_rate: factor is {factor}; give one above 1")
    if len(losses) < 2:
        return None
    best = best_learning_rate(losses)
    beyond = best * factor if best == max(losses) else best / factor if best == min(losses) else 0.0
    return float(f"{beyond:.3g}") or None  # half decades from 1e-3 on are 3.16e-3 and 1e-2, not 9.99e-3
