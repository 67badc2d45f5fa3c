"""What is scored: of every task at hand one question in 200 and at least one, as requests for nano.

Questions are the first of the order by hash in which `--limit` takes them; prompts are those of the full run, by GPT-NeoX's tokenizer.
Its ids are folded into nano's vocabulary: lengths and what is shared stay as they are, and the head weighs no more than it does in a
large model. Generation tasks take part by their first answer under teacher forcing; generating is not in these clocks.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .compile import SUITE, TOKENIZER

ONE_IN, QUICK_ONE_IN = 200, 100_000
MAX_SEQ_LEN = 2048


@dataclass(frozen=True)
class Mix:
    """Requests, and what scoring them takes at least."""

    requests: list[Any]
    tasks: int

    @cached_property
    def trees(self) -> list[Any]:
        """The token trees of all questions."""
        from evaluation.trees import trees_of

        return [tree for request in self.requests for tree in trees_of(request)]

    @property
    def minimum(self) -> int:
        """Tokens of every question's context once (its longest, where choices cut it differently) and of all its continuations."""
        return sum(max(map(len, each.contexts)) + sum(map(len, each.continuations)) for each in self.requests)

    @property
    def words(self) -> str:
        """The mix in a few words."""
        return f"{self.tasks} tasks, {len(self.requests)} questions, {self.minimum:,} tokens with every context once"


def absent() -> str | None:
    """Why there is no mix here, if there is none."""
    return None if SUITE.is_dir() and TOKENIZER.is_file() else "../shared/data (eval, tokenizers) is absent"


def load_mix(quick: bool, vocab_size: int) -> Mix:
    """Compile the mix; quick takes one question a task."""
    from evaluation.protocol import HuggingFaceTokenizer
    from evaluation.requests import compile_requests
    from evaluation.subset import nested_subset
    from evaluation.tasks import GENERATION, LANGUAGE_MODELING, load_suite

    tokenizer, suite, requests = HuggingFaceTokenizer(TOKENIZER), load_suite(SUITE), []
    for label, task in suite.tasks.items():
        rows = suite.rows(label)
        only = nested_subset(task, rows, max(1, len(rows) // (QUICK_ONE_IN if quick else ONE_IN)))
        for request in compile_requests(task, rows, tokenizer, max_seq_len=MAX_SEQ_LEN, only_rows=only):
            if request.task_type == GENERATION:
                answer = request.continuations or (np.array(tokenizer.encode(" " + request.answers[0]), dtype=np.int32),)
                request = replace(request, task_type=LANGUAGE_MODELING, continuations=answer, gold=0)
            folded = {id(context): context % vocab_size for context in request.contexts}
            requests.append(
                replace(
                    request,
                    contexts=tuple(folded[id(context)] for context in request.contexts),
                    continuations=tuple(each % vocab_size for each in request.continuations),
                )
            )
    return Mix(requests, len(suite.tasks))
