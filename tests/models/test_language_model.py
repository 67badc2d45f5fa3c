"""Scoring and generation against the model's own logits, computed whole and one row at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import language_model
from models.checkpoint import save_model
from models.language_model import TransformerLanguageModel
from models.transformer import Transformer, TransformerConfig

TINY = TransformerConfig(vocab_size=31, d_model=16, num_layers=2, num_heads=2, ffn_dim=24, seq_len=24)
MODEL = Transformer(TINY, seed=5)


def greedy(prompt: list[int], max_new_tokens: int, stop=None) -> list[int]:
    """The obvious twin: the whole row through the model again for every token."""
    new: list[int] = []
    while len(new) < max_new_tokens and not (new and stop is not None and stop(new)):
        with torch.no_grad():
            new.append(int(MODEL(torch.tensor([prompt + new]))[0, -1].argmax()))
    return new


def test_score_equals_log_softmax_of_the_rows_alone(monkeypatch):
    monkeypatch.setattr(language_model, "BODY_TOKENS", {"cpu": 30})  # two rows at a time
    monkeypatch.setattr(language_model, "HEAD_PLACES", {"cpu": 3})
    monkeypatch.setattr(language_model, "HEAD_LOGITS", {"cpu": 3 * 7})  # blocks of seven tokens, the last one shorter
    random = np.random.default_rng(0)
    lengths = [12, 3, 7, 1, 9]
    tokens_BT = np.zeros((5, 12), dtype=np.int64)
    for row, length in enumerate(lengths):
        tokens_BT[row, :length] = random.integers(31, size=length)
    places = [(row, col) for row, length in enumerate(lengths) for col in range(length)]
    random.shuffle(places)
    rows_N, cols_N = np.array(places).T
    targets_N = random.integers(31, size=len(places))
    logprobs_N, argmax_N = TransformerLanguageModel(MODEL).score(tokens_BT, rows_N, cols_N, targets_N)
    assert logprobs_N.dtype == np.float64 and argmax_N.dtype == np.int64
    for n, (row, col) in enumerate(places):
        with torch.no_grad():
            expected = MODEL(torch.from_numpy(tokens_BT[row : row + 1, : col + 1]))[0, -1].log_softmax(-1)
        assert logprobs_N[n] == pytest.approx(expected[targets_N[n]].item(), abs=1e-5)
        assert expected.max().item() - expected[argmax_N[n]].item() < 1e-5


@st.composite
def forests(draw):
    """Tokens and parents of a few random trees, none deeper than the model takes."""
    parents, depth = [], []
    for _ in range(draw(st.integers(1, 4))):
        begin = len(parents)
        parents.append(-1)
        depth.append(1)
        for _ in range(draw(st.integers(0, 15))):
            straight = draw(st.booleans())
            parent = len(parents) - 1 if straight else draw(st.integers(begin, len(parents) - 1))
            if depth[parent] < TINY.seq_len:
                parents.append(parent)
                depth.append(depth[parent] + 1)
    tokens = draw(st.lists(st.integers(0, 30), min_size=len(parents), max_size=len(parents)))
    return np.array(tokens, dtype=np.int64), np.array(parents, dtype=np.int64)


@settings(max_examples=40, deadline=None)
@given(forest=forests(), at_once=st.sampled_from([1, 10, 2048]), seed=st.integers(0, 99))
def test_forest_equals_every_path_alone(forest, at_once, seed):
    tokens_T, parents_T = forest
    random = np.random.default_rng(seed)
    places_N = random.integers(len(tokens_T), size=12)
    targets_N = random.integers(31, size=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_model, "BODY_TOKENS", {"cpu": at_once})
        logprobs_N, argmax_N = TransformerLanguageModel(MODEL).score_forest(tokens_T, parents_T, places_N, targets_N)
    for place, target, logprob, argmax in zip(places_N, targets_N, logprobs_N, argmax_N, strict=True):
        path = []
        while place >= 0:
            path.insert(0, int(tokens_T[place]))
            place = parents_T[place]
        with torch.no_grad():
            expected = MODEL(torch.tensor([path]))[0, -1].log_softmax(-1)
        assert logprob == pytest.approx(expected[target].item(), abs=1e-5)
        assert expected.max().item() - expected[argmax].item() < 1e-5


def test_forest_of_a_deep_tree_or_an_unknown_token_is_refused():
    model, one = TransformerLanguageModel(MODEL), np.zeros(1, dtype=np.int64)
    chain = np.arange(-1, 24)
    with pytest.raises(ValueError, match="25 positions"):
        model.score_forest(np.zeros(25, dtype=np.int64), chain, one, one)
    wide = np.where(chain > 3, 3, chain)  # 25 tokens, of which none stands deeper than the fifth
    model.score_forest(np.zeros(25, dtype=np.int64), wide, one, one)
    with pytest.raises(ValueError, match="hold ids from 31 to 31"):
        model.score_forest(np.array([31]), np.array([-1]), one, one)


def test_bf16_stays_close():
    model, rough = TransformerLanguageModel(MODEL), TransformerLanguageModel(MODEL, torch.bfloat16)
    tokens_T, parents_T = np.arange(12), np.array([-1, 0, 1, 2, 3, 4, 5, 4, 7, 4, 9, 10])
    places_N, targets_N = np.arange(12), np.arange(12) + 3
    exact, _ = model.score_forest(tokens_T, parents_T, places_N, targets_N)
    near, _ = rough.score_forest(tokens_T, parents_T, places_N, targets_N)
    assert 0 < np.abs(near - exact).max() < 0.1
    assert len(rough.generate([[1, 2, 3], [4]], 5)[0]) == 5


def test_score_of_nothing_is_empty():
    none = np.zeros(0, dtype=np.int64)
    logprobs_N, argmax_N = TransformerLanguageModel(MODEL).score(np.zeros((2, 4), dtype=np.int64), none, none, none)
    assert len(logprobs_N) == len(argmax_N) == 0


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=6),
    max_new_tokens=st.integers(0, 8),
    stop_below=st.integers(0, 12),
)
def test_generate_equals_one_row_at_a_time(prompts, max_new_tokens, stop_below):
    def stop(new: list[int]) -> bool:
        return new[-1] < stop_below

    found = TransformerLanguageModel(MODEL).generate(prompts, max_new_tokens, stop)
    assert found == [greedy(prompt, max_new_tokens, stop) for prompt in prompts]


def test_generate_spans_several_batches_and_the_whole_context(monkeypatch):
    monkeypatch.setattr(language_model, "GENERATE_ROWS", 2)
    prompts = [[1, 2, 3], [4], [5] * 14, [7, 8], [9, 9, 9]]
    found = TransformerLanguageModel(MODEL).generate(prompts, 10)
    assert found == [greedy(prompt, 10) for prompt in prompts]


def test_load_gives_the_saved_model(tmp_path):
    save_model(MODEL, tmp_path)
    loaded = TransformerLanguageModel.load(tmp_path)
    assert (loaded.max_seq_len, loaded.vocab_size) == (24, 31)
    assert loaded.generate([[3, 1]], 5) == [greedy([3, 1], 5)]


def test_what_does_not_fit_is_refused():
    model = TransformerLanguageModel(MODEL)
    zero = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="prompt 1 has 20 tokens"):
        model.generate([[1], [1] * 20], 5)
    with pytest.raises(ValueError, match="prompt 0 has 0 tokens"):
        model.generate([[]], 5)
    with pytest.raises(ValueError, match="hold ids from 31 to 31"):
        model.score(np.array([[31]]), zero, zero, zero)
    with pytest.raises(ValueError, match="25 positions"):
        model.score(np.zeros((1, 25), dtype=np.int64), zero, zero, zero)
