"""The scorer on a real decoder against its twin: every choice alone, unpadded, through the plain forward pass."""

import dataclasses
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluation
from evaluation.requests import compile_requests
from evaluation.scorer import score_requests
from evaluation.subset import nested_subset
from evaluation.tasks import GENERATION, LANGUAGE_MODELING, load_suite
from models.language_model import TransformerLanguageModel
from models.scales import SCALES
from models.transformer import Transformer

VOCAB = SCALES["nano"].model.vocab_size
TOLERANCE = 1e-5


class WordTokenizer:
    """Words and marks, each with the space before it, hashed to an id; 0 ends a text."""

    eos_token_id = 0

    def __init__(self):
        self.words = {}

    def encode(self, text, add_special_tokens=False):
        ids = []
        for word in re.findall(r" ?\w+| ?[^\w ]| ", text):
            ids.append(1 + zlib.crc32(word.encode()) % (VOCAB - 1))
            self.words.setdefault(ids[-1], word)
        return ids

    def decode(self, ids):
        return "".join(self.words.get(token, " ") for token in ids if token)


class Rows:
    """A model that knows no trees."""

    def __init__(self, model):
        self.max_seq_len, self.vocab_size, self.score, self.generate = model.max_seq_len, model.vocab_size, model.score, model.generate


def nano(seq_len: int) -> TransformerLanguageModel:
    return TransformerLanguageModel(Transformer(dataclasses.replace(SCALES["nano"].model, seq_len=seq_len), seed=3))


def compiled(directory: Path, tokenizer, model, limit: int, **options):
    suite, requests = load_suite(directory), []
    for label, task in suite.tasks.items():
        rows = suite.rows(label)
        only = nested_subset(task, rows, limit)
        requests += compile_requests(task, rows, tokenizer, 1234, model.max_seq_len, only_rows=only, **options)
    assert {request.task for request in requests} == set(suite.tasks)
    return requests


@torch.inference_mode()
def alone(model, context, continuation):
    """(sum of log-probabilities, greedy) of one continuation."""
    tokens = torch.from_numpy(np.concatenate([context, continuation[:-1]]).astype(np.int64))
    logits_KV = model.model(tokens[None])[0, len(context) - 1 :].double()
    targets_K = torch.from_numpy(continuation.astype(np.int64))
    picked_K = logits_KV.log_softmax(-1).gather(1, targets_K[:, None])
    return picked_K.sum().item(), bool((logits_KV.argmax(-1) == targets_K).all())


@torch.inference_mode()
def continued(model, tokenizer, request):
    """Greedy tokens up to the limit, the whole row through the model again for each, no stop but the end of text."""
    row = request.contexts[0].tolist()
    for _ in range(request.max_new_tokens):
        token = int(model.model(torch.tensor([row]))[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        row.append(token)
    return tokenizer.decode(row[len(request.contexts[0]) :])


def check(items, model, requests, tokenizer, generations: int) -> None:
    """Item by item; a prediction may differ only where the two best choices lie closer than the tolerance."""
    by_key = {(request.task, request.row): request for request in requests}
    assert items.num_rows == len(by_key) == len(requests)
    for item in items.to_pylist():
        request, where = by_key[item["task"], item["row"]], (item["task"], item["row"])
        if request.continuations:
            expected = [alone(model, *pair) for pair in zip(request.contexts, request.continuations, strict=True)]
            sums = [each[0] for each in expected]
            assert item["log_probs"] == pytest.approx(sums, abs=TOLERANCE, rel=0), where
            assert item["greedy"] == [each[1] for each in expected], where
            if request.gold_bytes:
                bits = -sums[request.gold or 0] / math.log(2)
                assert item["gold_bpb"] == pytest.approx(bits / request.gold_bytes, abs=TOLERANCE), where
        if request.task_type == GENERATION:
            if generations:
                generations -= 1
                text = continued(model, tokenizer, request)
                stops = "|".join(request.early_stops)
                assert item["generated"].startswith(re.split(stops, text)[0] if stops else text), where
        elif request.task_type == LANGUAGE_MODELING:
            assert item["correct"] == expected[0][1], where
        else:
            means = [total / len(end) for total, end in zip(sums, request.continuations, strict=True)]
            best = means.index(max(means))
            assert item["prediction"] == best or means[best] - means[item["prediction"]] < TOLERANCE, where
            weights = np.exp(np.array(means) - max(means))
            assert item["gold_prob"] == pytest.approx(weights[request.gold] / weights.sum(), abs=TOLERANCE), where


@pytest.mark.parametrize("seq_len", [128, 512])  # at 128 most contexts are cut
def test_all_tasks_of_mini_v1(seq_len):
    model, tokenizer = nano(seq_len), WordTokenizer()
    requests = compiled(Path(evaluation.__file__).parent / "mini_v1", tokenizer, model, 6, faithful=False)
    items = score_requests(model, requests, tokenizer)
    check(items, model, requests, tokenizer, generations=6)
    scored = [request for request in requests if request.task_type != GENERATION]
    plans = [
        score_requests(other, scored, tokenizer, max_batch_tokens=budget) for other, budget in ((model, 700), (Rows(model), 4096))
    ]
    flat = [np.concatenate([np.array(each) for each in plan.column("log_probs").to_pylist()]) for plan in plans]
    assert np.abs(flat[0] - flat[1]).max() < TOLERANCE
    same = score_requests(model, scored, tokenizer, max_batch_tokens=700)
    assert same.equals(plans[0]), "one plan, one result, bit for bit"


class FoldedTokenizer:
    """GPT-NeoX's ids, folded into nano's vocabulary: what a token is does not matter here, where it stands does."""

    def __init__(self, tokenizer):
        self._tokenizer, self.eos_token_id = tokenizer, 0

    def encode(self, text, add_special_tokens=False):
        return [token % VOCAB for token in self._tokenizer.encode(text, add_special_tokens)]

    def encode_batch(self, texts, add_special_tokens=False):
        return [[token % VOCAB for token in ids] for ids in self._tokenizer.encode_batch(texts, add_special_tokens)]

    def decode(self, ids):
        return self._tokenizer.decode(ids)


def test_a_sample_of_the_real_tasks(shared):
    from evaluation.protocol import HuggingFaceTokenizer

    path = shared / "tokenizers" / "gpt-neox-20b-olmo.json"
    if not path.is_file() or not (shared / "eval").is_dir():
        pytest.skip("no task files or no GPT-NeoX tokenizer in ../shared/data")
    model, tokenizer = nano(2048), FoldedTokenizer(HuggingFaceTokenizer(path))
    requests = compiled(shared / "eval", tokenizer, model, 1)
    # an answer of hundreds of tokens by a model of random weights shows nothing that a short one does not
    requests = [dataclasses.replace(each, max_new_tokens=min(each.max_new_tokens, 12)) for each in requests]
    items = score_requests(model, requests, tokenizer)
    check(items, model, requests, tokenizer, generations=6)
