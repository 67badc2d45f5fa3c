"""The scorer on nano beside two ways without its savings, and beside the bare forward pass.

Peers score every choice as a row of its own, padded to 2,048 (as the reference does) or, sorted by length, to the longest of its batch, at
the same token budget and with the same head at the same positions. The bare pass is hidden states only, for rows of the trees' lengths.
Figures come from the processor time of one thread, which a busy neighbour hardly changes; wall clock stands beside them.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from curation_cases.measure import Seconds, in_turns, not_measured, row

from .mix import MAX_SEQ_LEN, Mix, absent, load_mix

BUDGET = 8192
ROUNDS = 3
TOLERANCE = 1e-5  # of a choice's log-probability on nano
PAD, SORTED, BARE = "every choice a row of 2,048", "every choice a row, padded to its batch's longest", "hidden states of rows of the same lengths"
CASES = (
    ("tokens/processed_over_minimum", "tokens fed over the least possible", PAD, 1.10),
    ("padding/waste", "share of tokens fed that are padding", SORTED, 0.05),
    ("speedup/pad2048", "share of the token ratio", PAD, 0.75),
    ("speedup/batch_max", "share of the token ratio", SORTED, 0.75),
    ("throughput/of_forward_cpu", "share of the bare forward pass's speed", BARE, 0.6),
    ("throughput/of_forward_gpu", "share of the bare forward pass's speed", BARE, 0.8),
)
"""Name, metric, peer, target."""


def rows(quick: bool) -> list[dict[str, Any]]:
    """All rows but those of compilation; quick takes one question a task, and a single round."""
    if (why := absent()) is not None:
        return [_missing(case, why) for case in CASES]
    import torch

    from models.scales import SCALES

    mix = load_mix(quick, SCALES["nano"].model.vocab_size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measured = _cpu_rows(mix, quick)
        if torch.cuda.is_available():
            return [*measured, _gpu_row(mix, quick)]
        return [*measured, _missing(CASES[5], "no GPU here")]
    finally:
        torch.set_num_threads(threads)


def _missing(case: tuple, why: str) -> dict[str, Any]:
    return not_measured(*case[:3], why) | {"target": case[3]}


def _cpu_rows(mix: Mix, quick: bool) -> list[dict[str, Any]]:
    model = _nano("cpu")
    real = sum(map(len, mix.trees))
    (ours, processed), (padded, pad_tokens), (sorted_, sorted_tokens) = (
        _counted(model, call)
        for call in (lambda: _scored(model, mix), lambda: _row_by_row(model, mix, MAX_SEQ_LEN), lambda: _row_by_row(model, mix, None))
    )
    seconds = in_turns(
        1 if quick else ROUNDS,
        ours=lambda: _scored(model, mix),
        pad=lambda: _row_by_row(model, mix, MAX_SEQ_LEN),
        sorted=lambda: _row_by_row(model, mix, None),
        bare=lambda: _bare(model, mix),
    )
    choices = sum(len(context) + len(end) - 1 for each in mix.requests for context, end in zip(each.contexts, each.continuations, strict=True))
    pad, sort = _difference(mix, ours, padded), _difference(mix, ours, sorted_)
    over, waste = processed / mix.minimum, 1 - real / processed
    return [
        row(
            *CASES[0][:2], over, "x", peer=PAD, peer_value=pad_tokens / mix.minimum, ratio=pad_tokens / processed,
            target=CASES[0][3], met=over <= CASES[0][3], equal=pad["equal"], tokens=processed, minimum=mix.minimum, note=mix.words,
        ),
        row(
            *CASES[1][:2], waste, "share", peer=SORTED, peer_value=1 - choices / sorted_tokens, ratio=sorted_tokens / processed,
            target=CASES[1][3], met=waste <= CASES[1][3], equal=sort["equal"], note=f"{BUDGET:,} tokens a batch; rows of 2,048 are padding to {1 - choices / pad_tokens:.0%}",
        ),
        _speedup(CASES[2], seconds["ours"], seconds["pad"], pad_tokens / processed, pad),
        _speedup(CASES[3], seconds["ours"], seconds["sorted"], sorted_tokens / processed, sort),
        _throughput(CASES[4], mix, seconds["ours"], seconds["bare"], sort, "cpu"),
    ]  # fmt: skip


def _gpu_row(mix: Mix, quick: bool) -> dict[str, Any]:
    model = _nano("cuda")
    rough = _difference(mix, _scored(model, mix), _row_by_row(model, mix, None), tolerance=0.5)  # both in bf16
    seconds = in_turns(1 if quick else ROUNDS, ours=lambda: _scored(model, mix), bare=lambda: _bare(model, mix))
    return _throughput(CASES[5], mix, seconds["ours"], seconds["bare"], rough, "wall")


def _speedup(case: tuple, ours: Seconds, peer: Seconds, token_ratio: float, difference: dict[str, Any]) -> dict[str, Any]:
    speedup = peer.cpu / ours.cpu
    return row(
        *case[:2], speedup / token_ratio, "x", peer=case[2], peer_value=1.0, ratio=speedup, target=case[3],
        met=speedup >= case[3] * token_ratio, equal=difference["equal"], speedup=round(speedup, 3), token_ratio=round(token_ratio, 3),
        wall_speedup=round(peer.wall / ours.wall, 3), seconds=round(ours.cpu, 3), peer_seconds=round(peer.cpu, 3),
        largest_difference=difference["largest"], near_ties=difference["near_ties"],
        note=f"speedup {speedup:.2f} for {token_ratio:.2f} times fewer tokens; wall clock {peer.wall / ours.wall:.2f}",
    )  # fmt: skip


def _throughput(case: tuple, mix: Mix, ours: Seconds, bare: Seconds, difference: dict[str, Any], clock: str) -> dict[str, Any]:
    share = getattr(bare, clock) / getattr(ours, clock)
    tokens = sum(map(len, mix.trees))
    return row(
        *case[:2], share, "x", peer=case[2], peer_value=1.0, ratio=share, target=case[3], met=share >= case[3], equal=difference["equal"],
        tokens_per_second=round(tokens / getattr(ours, clock)), peer_tokens_per_second=round(tokens / getattr(bare, clock)),
        wall_value=round(bare.wall / ours.wall, 3), clock=clock,
        note="scoring with planning, head and results against the last states of as many rows as long, without a head",
    )  # fmt: skip


def _nano(device: str) -> Any:
    """The smallest scale's shape, with positions for whole prompts and random weights."""
    from models.language_model import TransformerLanguageModel
    from models.scales import SCALES
    from models.transformer import Transformer

    return TransformerLanguageModel(Transformer(replace(SCALES["nano"].model, seq_len=2 * MAX_SEQ_LEN), seed=0).to(device))


class NoText:
    """Stands where a tokenizer is asked for and nothing is generated."""

    eos_token_id = 0


def _scored(model: Any, mix: Mix) -> dict[tuple[str, int], list[float]]:
    from evaluation.scorer import score_requests

    items = score_requests(model, mix.requests, NoText(), max_batch_tokens=BUDGET)
    keys = zip(items.column("task").to_pylist(), items.column("row").to_pylist(), strict=True)
    return dict(zip(keys, items.column("log_probs").to_pylist(), strict=True))


def _row_by_row(model: Any, mix: Mix, width: int | None) -> dict[tuple[str, int], list[float]]:
    """Score every choice as a row, padded to `width` or, sorted by length, to the longest of its batch."""
    from evaluation.scorer import plan_batches

    choices = [(request, choice) for request in mix.requests for choice in range(len(request.continuations))]
    lengths = np.array([len(request.contexts[choice]) + len(request.continuations[choice]) - 1 for request, choice in choices])
    found = {(request.task, request.row): [0.0] * len(request.continuations) for request in mix.requests}
    for batch in plan_batches(lengths if width is None else np.full(len(lengths), width), BUDGET):
        tokens_BT = np.zeros((len(batch), width or int(lengths[batch].max())), dtype=np.int64)
        rows_N, cols_N, targets_N = [], [], []
        for number, at in enumerate(batch):
            request, choice = choices[at]
            context, end = request.contexts[choice], request.continuations[choice]
            tokens_BT[number, : lengths[at]] = np.concatenate([context, end[:-1]])
            rows_N.append(np.full(len(end), number))
            cols_N.append(np.arange(len(context) - 1, lengths[at]))
            targets_N.append(end)
        log_probs_N, _ = model.score(tokens_BT, *map(np.concatenate, (rows_N, cols_N, targets_N)))
        ends = np.cumsum([len(each) for each in targets_N])
        for at, part in zip(batch, np.split(log_probs_N, ends[:-1]), strict=True):
            request, choice = choices[at]
            found[request.task, request.row][choice] = float(part.sum())
    return found


def _bare(model: Any, mix: Mix) -> None:
    """Last states of rows as long as the trees, sorted and padded to the longest of what runs at once."""
    import torch

    from evaluation.scorer import plan_batches
    from models.language_model import BODY_TOKENS

    lengths = np.array([len(tree) for tree in mix.trees])
    at_once = BODY_TOKENS[model.device.type]
    with torch.inference_mode(), torch.autocast(model.device.type, model.dtype, enabled=model.dtype != torch.float32):
        for batch in plan_batches(lengths, BUDGET):
            longest = int(lengths[batch].max())
            for start in range(0, len(batch), max(1, at_once // longest)):
                count = min(len(batch) - start, max(1, at_once // longest))
                model.model.hidden(torch.zeros(count, longest, dtype=torch.long, device=model.device))
    if model.device.type == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def _counting(model: Any) -> Iterator[list[int]]:
    fed = [0]

    def count(_module: Any, given: tuple) -> None:
        fed[0] += given[0].numel()

    hook = model.model.tok_embeddings.register_forward_pre_hook(count)
    try:
        yield fed
    finally:
        hook.remove()


def _counted(model: Any, call: Any) -> tuple[Any, int]:
    """A result, and the tokens that went into the model's embedding for it, padding included."""
    with _counting(model) as fed:
        result = call()
    return result, fed[0]


def _difference(mix: Mix, ours: dict, theirs: dict, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """The largest difference of a choice's log-probability, and the questions whose prediction differs, with their margin."""
    largest, near_ties = 0.0, []
    for request in mix.requests:
        key = request.task, request.row
        a, b = np.array(ours[key]), np.array(theirs[key])
        largest = max(largest, float(np.abs(a - b).max()))
        lengths = np.array([len(end) for end in request.continuations])
        if (picked := int((a / lengths).argmax())) != (other := int((b / lengths).argmax())):
            near_ties.append({"task": key[0], "row": key[1], "margin": float(b[other] / lengths[other] - b[picked] / lengths[picked])})
    equal = largest <= tolerance and all(each["margin"] < tolerance for each in near_ties)
    return {"largest": largest, "near_ties": near_ties, "equal": equal}
