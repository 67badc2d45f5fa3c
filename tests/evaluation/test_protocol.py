import numpy as np
import pytest

from evaluation.protocol import HuggingFaceTokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def byte_level(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {"<|endoftext|>": 0}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[symbol] = len(vocab)
    vocab["Ġa"] = len(vocab)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[("Ġ", "a")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    backend.enable_padding(length=16)
    backend.enable_truncation(max_length=4)
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    return path


def test_a_tokenizer_file_round_trips_unpadded_and_uncut(byte_level):
    tokenizer = HuggingFaceTokenizer(byte_level)
    text = "Janet’s ducks lay 16 eggs"
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(" a")) == 1
    assert tokenizer.encode_batch([text, " a"]) == [tokenizer.encode(text), tokenizer.encode(" a")]
    assert np.max(tokenizer.encode(text)) < tokenizer.vocab_size


def test_special_tokens_are_left_out_of_decoded_text(byte_level):
    tokenizer = HuggingFaceTokenizer(byte_level)
    assert tokenizer.eos_token_id == 0
    assert tokenizer.decode([0, *tokenizer.encode("yes"), 0]) == "yes"


def test_an_unknown_end_of_text_token_is_an_error(byte_level):
    with pytest.raises(ValueError, match="'</s>'.*eos_token"):
        HuggingFaceTokenizer(byte_level, eos_token="</s>")
    assert HuggingFaceTokenizer(byte_level, eos_token=None).eos_token_id is None
