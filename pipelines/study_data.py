"""What the studies train on: the pages of a pool as extracted, and held-out texts of other sources, in sequences of a study's model.

The embedded pool gives 4.3 million tokens at 512 token ids, so that no run of the scale "tiny" sees a token twice. A larger scale needs a
larger pool: `winnow study NAME --scale small --set pool.root=DIRECTORY`, where the directory holds WARC files.
"""

import difflib
from dataclasses import dataclass

from pipelines.sample import POOL, VALIDATION
from stages.core.plan import Node, PlanError
from stages.extract import extract
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.tokenize_shuffle import tokenize_shuffle
from stages.train_tokenizer import train_tokenizer

VOCAB_AND_CONTEXT = {"smoke": (512, 64), "tiny": (512, 64), "small": (4096, 256), "medium": (4096, 256)}
"""Token ids and positions of each scale (a test holds this against models/study_scales.py). "smoke" is a study in seconds, for a first look."""


@dataclass(frozen=True)
class StudyData:
    """The nodes that every study begins with."""

    scale: str
    tokenizer: Node
    train: Node
    validation: Node


def variant(scale: str) -> str:
    """The variant of a study's plan at a scale, so that a first look does not take the place of the study itself in SQL."""
    return "default" if scale == "tiny" else scale


def study_data(scale: str = "tiny") -> StudyData:
    """Tokens to train on and, from other sources, to validate on; PlanError for a scale that no study has."""
    if scale not in VOCAB_AND_CONTEXT:
        near = difflib.get_close_matches(scale, VOCAB_AND_CONTEXT, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise PlanError(f"studies have no scale '{scale}'{hint} (scales: {', '.join(VOCAB_AND_CONTEXT)})")
    vocab_size, seq_len = VOCAB_AND_CONTEXT[scale]
    pages = extract.on(list_warcs.on(root=str(POOL), source="pool", name="pool"))
    held_out = read_texts.on(
        list_warcs.on(root=str(VALIDATION), source="validation", pattern=r"\.jsonl$", name="validation_texts"), name="held_out"
    )
    tokenizer = train_tokenizer.on(pages, vocab_size=vocab_size, name="tokenizer")
    return StudyData(
        scale=scale,
        tokenizer=tokenizer,
        train=tokenize_shuffle.on(pages, tokenizer, seq_len=seq_len, name="train_tokens"),
        validation=tokenize_shuffle.on(held_out, tokenizer, seq_len=seq_len, name="validation_tokens"),
    )
