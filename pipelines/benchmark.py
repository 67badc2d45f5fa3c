"""Strategies x scales x seeds: tokenise, train and evaluate what another recipe's strategies curate, and put all on one board.

A recipe that can be compared exports `comparison() -> Comparison`;
see pipelines/demo.py. All arms train on the same number of tokens, with one tokenizer, and are evaluated on the same texts. The board also
says which of the questions each strategy's documents have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.plan import Node, Plan, PlanError, import_recipe
from stages.evaluate import evaluate
from stages.flag_contamination import flag_contamination
from stages.leaderboard import leaderboard
from stages.tokenize_shuffle import tokenize_shuffle
from stages.train import train
from stages.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class Strategy:
    """One way of curating a pool."""

    name: str
    documents: Node
    description: str


@dataclass(frozen=True)
class Comparison:
    """What a recipe hands over to be compared."""

    strategies: tuple[Strategy, ...]
    tokenizer_text: Node
    """Documents on which the one tokenizer of all arms is trained: the least curated, so that it favours none."""
    validation: tuple[tuple[str, Node], ...]
    """(name, documents) of each validation text, from sources that the pool does not have."""


VOCAB_AND_CONTEXT = {"nano": (4096, 128)} | dict.fromkeys(("400m-1x", "1b-1x", "3b-1x", "7b-1x", "7b-2x"), (50_432, 2048))
"""Token ids and positions of each scale (a test holds this against models/scales.py)."""


def plan(
    pipeline: str = "demo",
    scales: tuple[str, ...] = ("nano",),
    seeds: tuple[int, ...] = (0, 1, 2),
    evaluation: Mapping[str, Any] | None = None,
) -> Plan:
    """The whole comparison, from web-archive files to the leaderboard; `evaluation` are fields of Evaluate."""
    place = pipeline.partition(":")[0]
    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    name = re.sub(r"\W|^(?=\d)", "_", stem)
    recipe = import_recipe(place)
    if not hasattr(recipe, "comparison"):
        raise PlanError(f"pipeline '{pipeline}' has no comparison() -> Comparison; see pipelines/demo.py for one")
    compared: Comparison = recipe.comparison()
    evaluations, names = [], []
    for scale in scales:
        if scale not in VOCAB_AND_CONTEXT:
            raise PlanError(f"there is no scale '{scale}'; the scales are {', '.join(VOCAB_AND_CONTEXT)}")
        vocab_size, seq_len = VOCAB_AND_CONTEXT[scale]
        tag = scale.replace("-", "_")
        tokenizer = train_tokenizer.on(compared.tokenizer_text, vocab_size=vocab_size, name=f"tokenizer_{tag}")
        for strategy in compared.strategies:
            tokens = tokenize_shuffle.on(strategy.documents, tokenizer, seq_len=seq_len, name=f"tokens_{strategy.name}_{tag}")
            for seed in seeds:
                arm = f"{strategy.name}_{tag}_{seed}"
                model = train.on(tokens, tokenizer, scale=scale, seed=seed, name=f"train_{arm}")
                texts = [documents for _, documents in compared.validation]
                named = tuple(name for name, _ in compared.validation)
                evaluations.append(evaluate.on(model, tokenizer, *texts, validation=named, name=f"evaluate_{arm}", **(evaluation or {})))
                names.append(strategy.name)
    questions = {name: value for name, value in (evaluation or {}).items() if name in ("eval_data", "tasks")}
    flags = [flag_contamination.on(s.documents, name=f"contamination_{s.name}", **questions) for s in compared.strategies]
    board = leaderboard.on(
        *evaluations,
        *flags,
        strategies=tuple(names),
        descriptions=tuple((s.name, s.description) for s in compared.strategies),
        pipeline=name,
        title=f"{name}: curation strategies compared",
    )
    return Plan(name, [board])
