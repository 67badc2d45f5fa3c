"""What makes a good optimizer? Nine of them tuned alike, what in Adam has to adapt, and whether its hyperparameters matter.

Each sweeps its learning rate on seed 0, grows the grid where the best lies at an end, and runs at the best on fresh seeds. The plan follows
"Deconstructing What Makes a Good Optimizer" (arXiv 2407.07972); what may be concluded is fixed in evaluation/studies/optimizers.py.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.study_data import StudyData, study_data, variant
from stages.core.plan import Node, Plan
from stages.judge_optimizers import judge_optimizers
from stages.render_study import render_study
from stages.train_arms import Arm, train_arms

COST = "about 21 minutes"

NUM_TOKENS = {"smoke": 32_768, "tiny": 655_360, "small": 47_185_920, "medium": 188_743_680}
"""Of a run without a number of its own (a test holds this against models/study_scales.py)."""

HALF_DECADE = 10**0.5
FRESH_SEEDS = (1, 2, 3, 4, 5)

CENTRES = {
    "adamw": 1e-2, "soap": 1e-2, "shampoo": 1e-2,
    "muon": 3.16e-2, "adafactor": 1e-2, "lion": 3.16e-3, "signum": 3.16e-3, "adalayer": 1e-2, "sgd": 0.316,
    "sgd_adalayer": 10.0, "sgd_adalayer/last=False": 3.16, "sgd_adalayer/norms=False": 10.0,
}  # fmt: skip
"""Where the grid of learning rates is centred: near the optimum of a few runs on seed 0 at the scale "tiny"."""

MATRIX = ("adamw", "soap", "shampoo")
"""Those that the study of SOAP compares too: nodes of their own, so that both studies share the runs."""
OTHERS = ("muon", "adafactor", "lion", "signum", "adalayer", "sgd")

ADAPTIVE_LR = 3.16e-2
"""Learning rate of what adapts in SGD + Adalayer, held fixed as in the paper: the better of 1e-2 and this in runs on seed 0."""
ADAPTIVITY: Mapping[str, Mapping[str, Any]] = {
    "sgd_adalayer": {"adaptive_lr": ADAPTIVE_LR},
    "sgd_adalayer/last=False": {"adaptive_lr": ADAPTIVE_LR, "last": False},
    "sgd_adalayer/norms=False": {"adaptive_lr": ADAPTIVE_LR, "norms": False},
}

LINES = {
    "adamw/beta1=0": ("adamw", (0.0, 0.95)), "adamw/beta2=0.8": ("adamw", (0.9, 0.8)), "adamw/beta2=0.99": ("adamw", (0.9, 0.99)),
    "lion/beta1=0": ("lion", (0.0, 0.95)), "lion/beta2=0.99": ("lion", (0.9, 0.99)),
}  # fmt: skip
"""group -> optimizer and its betas: one of them changed, at the learning rate that is best for (0.9, 0.95)."""


def plan(scale: str = "tiny") -> Plan:
    """Sweeps, runs on fresh seeds, verdicts, page; "smoke" is a few arms on a little text."""
    data, smoke = study_data(scale), scale == "smoke"
    sweep_matrix, confirm_matrix = matrix_runs(data)
    others, changed = (("sgd",), {}) if smoke else (OTHERS, ADAPTIVITY)
    sweep = sweep_of(data, others, changed, name="sweep")
    lines = () if smoke else tuple(
        Arm(group=group, optimizer=name, options=(("betas", betas),), lr_from=name, seed=seed)
        for group, (name, betas) in LINES.items() for seed in FRESH_SEEDS
    )  # fmt: skip
    confirm = train_arms.on(
        data.train, data.validation, data.tokenizer, sweep_matrix, sweep, scale=data.scale,
        arms=(*fresh_seeds(data, others, changed), *lines), name="confirm",
    )  # fmt: skip
    runs = (sweep_matrix, sweep, confirm_matrix, confirm)
    verdicts = judge_optimizers.on(*runs, name="verdicts")
    page = render_study.on(verdicts, *runs, scale=scale, nodes=tuple(node.name for node in runs), name="page")
    return Plan("study_optimizers", [page], variant=variant(scale))


def matrix_runs(data: StudyData) -> tuple[Node, Node]:
    """The sweeps of MATRIX on seed 0, and their best settings on fresh seeds with the sanity arms of both studies."""
    sweep = sweep_of(data, MATRIX, {}, name="sweep_matrix")
    num_tokens = max(NUM_TOKENS[data.scale] // 20, NUM_TOKENS["smoke"])
    sanity = (
        Arm(group="sanity/lr=0", lr=0.0, num_tokens=num_tokens, num_evals=2),
        Arm(group="sanity/ascent", lr=CENTRES["adamw"], options=(("maximize", True),), num_tokens=num_tokens),
    )
    confirm = train_arms.on(
        data.train, data.validation, data.tokenizer, sweep, scale=data.scale, arms=(*fresh_seeds(data, MATRIX, {}), *sanity), name="confirm_matrix"
    )
    return sweep, confirm


def sweep_of(data: StudyData, names: tuple[str, ...], changed: Mapping[str, Mapping[str, Any]], name: str) -> Node:
    """Runs on seed 0 over half decades around the centres: five for an optimizer, three for what is changed in one."""
    smoke = data.scale == "smoke"
    arms = [Arm(group=group, optimizer=group, lr=lr) for group in names for lr in grid(CENTRES[group], 2 if smoke else 5)]
    arms += [
        Arm(group=group, optimizer=group.partition("/")[0], options=tuple(options.items()), lr=lr)
        for group, options in changed.items()
        for lr in grid(CENTRES[group], 3)
    ]
    extend = 0.0 if smoke else HALF_DECADE
    return train_arms.on(data.train, data.validation, data.tokenizer, scale=data.scale, arms=tuple(arms), extend_lr=extend, name=name)


def fresh_seeds(data: StudyData, names: tuple[str, ...], changed: Mapping[str, Mapping[str, Any]]) -> tuple[Arm, ...]:
    """Each at the best learning rate of its own sweep on five seeds that no sweep has seen."""
    options = {name: {} for name in names} | dict(changed)
    seeds = FRESH_SEEDS[: 2 if data.scale == "smoke" else None]
    return tuple(
        Arm(group=group, optimizer=group.partition("/")[0], options=tuple(fields.items()), seed=seed)
        for group, fields in options.items()
        for seed in seeds
    )


def grid(centre: float, num: int) -> list[float]:
    """So many learning rates half a decade apart, the middle one `centre`, with three digits."""
    return [float(f"{centre * HALF_DECADE ** (i - num // 2):.3g}") for i in range(num)]
