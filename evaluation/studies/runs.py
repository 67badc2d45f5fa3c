"""Finished runs of a study, read from tables of `train_arms`: one row per run and evaluation becomes one run.

    runs = read_runs(tables)
    losses = losses_by_seed(run for run in runs if run.seed != 0)           # group -> seed -> final validation loss, None if it diverged

A run that diverged is a run with a bad end: it is counted, never dropped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

COLUMNS = ("run", "group", "optimizer", "options", "lr", "num_tokens_planned", "seed", "step", "num_steps", "val_loss", "diverged")

SANITY = ZERO_LR, ASCENT = "sanity/lr=0", "sanity/ascent"
"""Groups of the two runs of which the end is known beforehand: nothing learnt at lr 0 and, climbing the gradient, no good."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its validation losses: where averages of the weights are evaluated beside them, the lowest of all at that step."""

    run: str
    """Digest of all that the run is a function of."""
    group: str
    optimizer: str
    options: dict[str, Any]
    lr: float
    num_tokens: int
    """Tokens that were planned."""
    seed: int
    loss: float | None
    """Validation loss after the last step, nats per token; None for a run that diverged."""
    evaluations: tuple[tuple[int, float], ...]
    """(steps done, validation loss), in order."""

    @property
    def diverged(self) -> bool:
        """Whether it ended in a loss or gradient that is not finite."""
        return self.loss is None


def read_runs(tables: Iterable[pa.Table]) -> list[Run]:
    """Runs in the order of their first rows. ValueError for a run without its last evaluation: it was never finished."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in tables:
        for row in table.select(list(COLUMNS)).to_pylist():
            rows.setdefault((row["group"], row["run"]), []).append(row)  # twice, where two tables hold the same run of the same group
    return [_run(found) for found in rows.values()]


def losses_by_seed(runs: Iterable[Run]) -> dict[str, dict[int, float | None]]:
    """group -> seed -> final loss. ValueError where a group has two runs of one seed: it is no single setting."""
    losses: dict[str, dict[int, float | None]] = {}
    for run in runs:
        of_group = losses.setdefault(run.group, {})
        if run.seed in of_group:
            raise ValueError(f"runs: group '{run.group}' has two runs of seed {run.seed}; give every setting its own group")
        of_group[run.seed] = run.loss
    return losses


def losses_by_lr(runs: Iterable[Run]) -> dict[str, dict[float, float | None]]:
    """group -> lr -> final loss, lr ascending, of runs on one seed. ValueError where a group has two runs of one lr."""
    losses: dict[str, dict[float, float | None]] = {}
    for run in sorted(runs, key=lambda run: run.lr):
        of_group = losses.setdefault(run.group, {})
        if run.lr in of_group:
            raise ValueError(f"runs: group '{run.group}' has two runs of lr {run.lr:g}; give runs of one seed")
        of_group[run.lr] = run.loss
    return losses


def check_sanity(runs: Iterable[Run]) -> float:
    """Return the loss at initialisation, which the run with lr 0 shows; ValueError if that run learns or the ascending one trains."""
    by_group = {run.group: run for run in runs if run.group in SANITY}
    if len(by_group) < len(SANITY):
        raise ValueError(f"sanity: the sanity arms are '{ZERO_LR}' and '{ASCENT}' (has: {', '.join(by_group) or 'none'}); run both")
    zero, ascent = by_group[ZERO_LR], by_group[ASCENT]
    seen = {loss for _, loss in zero.evaluations}
    if zero.lr != 0 or zero.diverged or len(zero.evaluations) < 2 or len(seen) != 1:
        raise ValueError(f"sanity: at lr {zero.lr:g} (step, loss) went {zero.evaluations}; what moves at lr 0 makes every run worthless")
    (init,) = seen
    if not ascent.diverged and ascent.loss <= init:
        raise ValueError(f"sanity: climbing the gradient ends at {ascent.loss:.4f}, from {init:.4f} at the start; the sign of an update is wrong")
    return init


def _run(rows: list[dict[str, Any]]) -> Run:
    last = max(rows, key=lambda row: row["step"])
    diverged = any(row["diverged"] for row in rows)
    by_step: dict[int, float] = {}
    for row in rows:
        if row["val_loss"] is not None:
            by_step[row["step"]] = min(row["val_loss"], by_step.get(row["step"], math.inf))
    if not diverged and last["num_steps"] not in by_step:
        raise ValueError(f"runs: run {last['run']} of '{last['group']}' ends at step {last['step']} of {last['num_steps']}; let it finish")
    return Run(
        run=last["run"], group=last["group"], optimizer=last["optimizer"], options=json.loads(last["options"]), lr=last["lr"],
        num_tokens=last["num_tokens_planned"], seed=last["seed"], loss=None if diverged else by_step[last["num_steps"]],
        evaluations=tuple(sorted(by_step.items())),
    )  # fmt: skip
