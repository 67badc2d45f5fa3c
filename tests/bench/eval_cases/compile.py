"""Compiling the requests of the whole suite for the first time, and reading them from the store after that.

Tokens are the ids of the compiled requests, after truncation: a question's context once for all choices that share it, each continuation
once. The peer is the same compiler with every prompt tokenised whole, as the reference does, on a few tasks; `equal` is that both give
the same requests for these, and for the store that what is read equals what was compiled, task by task.
Figures come from the processor time of all threads, so a second core or a busy neighbour changes little; wall clock stands beside them.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from curation_cases.measure import clocked, not_measured, row

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
SUITE, TOKENIZER = SHARED / "eval", SHARED / "tokenizers" / "gpt-neox-20b-olmo.json"
PEER = "every prompt tokenised whole"
PEER_TASKS = ("arc_challenge", "commonsense_qa", "agi_eval_lsat_rc", "bigbench_understanding_fables", "svamp_cot", "winogrande")
"""Multiple choice with short and with long texts, generation and schema: 2.2 million tokens."""
QUICK_TASKS = ("arc_challenge", "svamp_cot", "winogrande", "gpqa_diamond")
TOKENS_PER_SECOND, STORE_SECONDS = 1_000_000, 2.0


class Whole:
    """A tokenizer of which the compiler knows no rule, so that it cuts nothing."""

    def __init__(self, tokenizer: Any):
        self.eos_token_id, self.encode = tokenizer.eos_token_id, tokenizer.encode
        self.encode_batch, self.decode = tokenizer.encode_batch, tokenizer.decode


def rows(quick: bool) -> list[dict[str, Any]]:
    """The two rows; quick takes four tasks, and then promises nothing about the store."""
    cases = ("compile/tokens_per_second", "ids a second, first time"), ("compile/store_seconds", "whole suite from the store")
    if not (SUITE.is_dir() and TOKENIZER.is_file()):
        return [not_measured(case, metric, PEER, "../shared/data (eval, tokenizers) is absent") for case, metric in cases]

    from evaluation.protocol import HuggingFaceTokenizer
    from evaluation.request_store import stored_requests
    from evaluation.request_table import RequestTable, to_arrow
    from evaluation.requests import compile_requests
    from evaluation.subset import choose_tasks
    from evaluation.tasks import load_suite

    tokenizer, suite = HuggingFaceTokenizer(TOKENIZER), load_suite(SUITE)
    if quick:
        suite = choose_tasks(suite, QUICK_TASKS)
    inputs = [(task, suite.rows(label)) for label, task in suite.tasks.items()]

    def compiled(tasks: list, tokenizer: Any) -> list:
        return [(task, to_arrow(compile_requests(task, texts, tokenizer))) for task, texts in tasks]

    ours, seconds = clocked(lambda: compiled(inputs, tokenizer))
    num_tokens, num_questions = RequestTable(ours).num_tokens, len(RequestTable(ours))
    some = [(task, texts) for task, texts in inputs if task.label in PEER_TASKS]
    whole, peer_seconds = clocked(lambda: compiled(some, Whole(tokenizer)))
    ours = {task.label: table for task, table in ours}
    value, peer_value = num_tokens / seconds.cpu, RequestTable(whole).num_tokens / peer_seconds.cpu

    with tempfile.TemporaryDirectory() as directory:
        _, first = clocked(lambda: list(stored_requests(suite, tokenizer, directory)))
        times = []
        for _ in range(1 if quick else 5):
            read, each = clocked(lambda: list(stored_requests(suite, tokenizer, directory)))
            times.append(each)
    cpu, wall = statistics.median(each.cpu for each in times), statistics.median(each.wall for each in times)
    what = f"{len(inputs)} tasks, {num_questions:,} questions, {num_tokens:,} ids"
    parts = iter(read)
    same = all(to_arrow([next(parts) for _ in range(len(table))]).equals(table) for table in ours.values())
    return [
        row(
            *cases[0], value, "ids/s", peer=PEER, peer_value=peer_value, ratio=value / peer_value,
            target=TOKENS_PER_SECOND, met=value >= TOKENS_PER_SECOND, equal=all(ours[task.label].equals(table) for task, table in whole),
            wall_value=num_tokens / seconds.wall, note=f"{what}; the peer on {len(whole)} of the tasks",
        ),
        row(
            *cases[1], cpu, "s", peer="compiling and storing", peer_value=first.cpu, ratio=first.cpu / cpu,
            target=STORE_SECONDS, met=None if quick else cpu < STORE_SECONDS, equal=same,
            wall_value=wall, wall_peer_value=first.wall, note=f"{what}, made into requests",
        ),
    ]  # fmt: skip
