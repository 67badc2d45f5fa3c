from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.encoding import Encoder, join_examples
from evaluation.protocol import HuggingFaceTokenizer

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"

# newlines beside every kind of neighbour: spaces, other white space, combining marks, digits, a special token, other line ends
PIECES = ["\n", " ", "  ", "\t", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u3000", "\u180e", "\u200b", "\ufeff", "a", "the", " cat", "e", "\u0301", "7", "42",
          ".", "?!", "'s", "s", "é", "가", "ᄀ", "ᅡ", "猫", "😀", "<|endoftext|>", "<pad>", "_"]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def byte_level(front=False, digits=False, normalizer=True):
    """A byte-level BPE trained on a few lines; merges of a newline with its neighbours would form if they were ever joined."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    steps = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), steps]) if digits else steps
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = ["the cat\n\nate a fish \n\n 42\n7\tthe cat's é 가 猫\r\n", "Question: why?\nAnswer: because.\n \n  \n\n\n", "a\u0301\ne\n\u0301"]
    tokenizer.train_from_iterator(lines * 20, trainer)
    if front:
        tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    return tokenizer


@pytest.fixture(scope="module", params=["small", "front", "digits", "plain", "bos"])
def tokenizer(request):
    if request.param in ("plain", "bos"):
        path = SHARED / "tokenizers" / {"plain": "gpt-neox-20b-olmo.json", "bos": "gpt-neox-20b-bos.json"}[request.param]
        if not path.is_file():
            pytest.skip("../shared/data/tokenizers is absent")
        pytest.importorskip("tokenizers")
        return HuggingFaceTokenizer(path)
    return HuggingFaceTokenizer(byte_level(front=request.param == "front", digits=request.param == "digits"))


@settings(max_examples=300, deadline=None)
@given(some=st.lists(texts, max_size=6))
def test_ids_are_those_of_the_whole_text(tokenizer, some):
    encoder = Encoder(tokenizer)
    assert encoder._cuts
    for text, ids in zip(some, encoder.ids(some), strict=True):
        assert ids.dtype == np.int32 and ids.tolist() == tokenizer.encode(text)


@settings(max_examples=300, deadline=None)
@given(examples=st.lists(texts, min_size=1, max_size=5), data=st.data())
def test_a_preamble_is_one_text(tokenizer, examples, data):
    shots = st.lists(st.integers(0, len(examples) - 1), max_size=4)
    drawn = data.draw(st.lists(shots, max_size=5))
    encoder = Encoder(tokenizer)
    assert encoder._only_front
    for shots, ids in zip(drawn, encoder.preambles(examples, drawn), strict=True):
        expected = tokenizer.encode(join_examples(examples, shots), add_special_tokens=True)
        if len(expected) > 1 and expected[-1] == tokenizer.eos_token_id:
            expected = expected[:-1]
        assert ids.tolist() == expected


class Counting:
    eos_token_id = 0

    def __init__(self, inner):
        self.inner, self.texts = inner, []

    def encode(self, text, add_special_tokens=False):
        return self.inner.encode(text, add_special_tokens)

    def encode_batch(self, texts, add_special_tokens=False):
        self.texts += texts
        return self.inner.encode_batch(texts, add_special_tokens)


def test_every_line_is_tokenised_once(monkeypatch):
    counting = Counting(HuggingFaceTokenizer(byte_level()))
    monkeypatch.setattr("evaluation.encoding.splits_at_newlines", lambda tokenizer: tokenizer is counting)
    encoder = Encoder(counting)
    counting.texts.clear()
    questions = ["passage\nwhy?", "passage\nwho?", "passage\nwhy?\nyes"]
    assert [ids.tolist() for ids in encoder.ids(questions)] == [counting.encode(text) for text in questions]
    list(encoder.preambles(["passage\nwhy?", "new"], [[0, 1], [1, 0], [0]]))
    assert sorted(counting.texts) == ["new", "passage", "who?", "why?", "yes"]


def test_lines_are_cut_only_where_no_white_space_is():
    cut = Encoder(HuggingFaceTokenizer(byte_level()))._pieces
    assert cut("a\nb\n\nc") == ["a", "b\n\nc"]
    assert cut("\na\n") == ["", "a", ""]
    assert cut("a \nb\n c\nd") == ["a \nb\n c", "d"]
    assert cut("a\r\nb") == ["a\r\nb"] and cut("") == [""] and cut("\n\n") == ["\n\n"]


def test_longest_counts_special_tokens():
    encoder = Encoder(HuggingFaceTokenizer(byte_level(front=True)))
    assert encoder.longest([]) == 0 and encoder.longest([""]) == 1
    assert encoder.longest(["a", "7\n7\n7"]) == 6
