"""How large may a batch be? Steps to a target loss at six batch sizes, the critical batch size, and the gradient noise scale beside it.

Every run holds its learning rate after a warm-up and averages its weights with several decays, so that one run serves every target loss (Zhang
et al., arXiv 2410.21676, section 2). A sweep on seed 0 tunes the learning rate of each batch size and fixes the targets; fresh seeds are judged.
No run sees a token twice.
"""

from pipelines.study_data import VOCAB_AND_CONTEXT, study_data, variant
from stages.core.plan import Plan
from stages.judge_batch_sizes import judge_batch_sizes
from stages.render_study import render_study
from stages.train_arms import Arm, train_arms

COST = "about 15 minutes"

SMOKE = "smoke"
BATCH_SIZES = {SMOKE: (8, 16, 32, 64)}
DEFAULT_BATCH_SIZES = (4, 8, 16, 32, 128, 512)
"""Sequences. B* of a tiny model is a few dozen: 128 and 512 lie beyond it, 4 and 8 where steps can still be traded for a larger batch one to one."""

GUESS = {SMOKE: (12, 30), "tiny": (60, 100), "small": (300, 150), "medium": (900, 200)}
"""Steps a that no batch saves, and noise scale b/a, by which runs are sized: a (1 + b/a / B) steps for the largest batch, and MARGIN times as many
for the others, so that all reach the losses of the largest one. Those of tiny were measured: a = 60 is what its pool allows without repeats."""
MARGIN = 1.2

LEARNING_RATES = {SMOKE: (7e-3,)}
DEFAULT_LEARNING_RATES = (3.5e-3, 7e-3, 1.4e-2)
"""Of every batch size: on so few steps AdamW's optimum hardly moves. A grid whose best lies at an end is extended."""
SEEDS = {SMOKE: (1, 2)}
DEFAULT_SEEDS = (1, 2, 3, 4, 5)

AVERAGED_SHARES = (0.04, 0.1)
"""Averages of the weights over about these shares of a run's steps: at a constant learning rate only an average is what the run is worth."""


def plan(scale: str = "tiny") -> Plan:
    """The sweep, the fresh seeds, the verdicts and their page."""
    data = study_data(scale)
    sizes, seeds = BATCH_SIZES.get(scale, DEFAULT_BATCH_SIZES), SEEDS.get(scale, DEFAULT_SEEDS)
    rates = LEARNING_RATES.get(scale, DEFAULT_LEARNING_RATES)
    of_all = {"scale": data.scale, "validation_sequences": 64 if scale == SMOKE else 256}
    tokens = (data.train, data.validation, data.tokenizer)
    sweep = train_arms.on(*tokens, arms=tuple(_arm(scale, b, lr=lr) for b in sizes for lr in rates), extend_lr=2.0, max_extensions=1, name="sweep", **of_all)
    confirm = train_arms.on(*tokens, sweep, arms=tuple(_arm(scale, b, seed=seed) for b in sizes for seed in seeds), name="confirm", **of_all)
    verdicts = judge_batch_sizes.on(sweep, confirm, name="verdicts")
    page = render_study.on(verdicts, sweep, confirm, scale=scale, nodes=("sweep", "confirm", "verdicts"), name="page")
    return Plan("study_critical_batch_size", [page], variant=variant(scale))


def num_steps(scale: str, batch_size: int) -> int:
    """Steps of a run, by the guess of its scale."""
    floor, noise = GUESS[scale]
    largest = max(BATCH_SIZES.get(scale, DEFAULT_BATCH_SIZES))
    return round((1 if batch_size == largest else MARGIN) * floor * (1 + noise / batch_size))


def _arm(scale: str, batch_size: int, lr: float | None = None, seed: int = 0) -> Arm:
    steps, (_, seq_len) = num_steps(scale, batch_size), VOCAB_AND_CONTEXT[scale]
    return Arm(
        group=f"B={batch_size}",
        lr=lr,
        seed=seed,
        batch_size=batch_size,
        num_tokens=steps * batch_size * seq_len,
        schedule="constant",
        ewa_decays=tuple(sorted({round(1 - 1 / max(2.0, share * steps), 5) for share in AVERAGED_SHARES})),
        num_evals=12,
        measure_noise=batch_size > min(DEFAULT_BATCH_SIZES),  # halves of 4 sequences would cost half as much time again
        noise_parts=2,
    )
