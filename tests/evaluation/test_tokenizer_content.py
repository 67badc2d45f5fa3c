import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.protocol import HuggingFaceTokenizer
from evaluation.tokenizer_content import splits_at_newlines, tokenizer_hash

ROOT = Path(__file__).resolve().parents[2]


def backend():
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3, "Ċ": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def test_the_hash_is_that_of_the_content(tmp_path):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    backend().save(str(first))
    second.write_text(json.dumps(json.loads(first.read_text()), indent=7))
    expected = tokenizer_hash(HuggingFaceTokenizer(first))
    assert expected == tokenizer_hash(HuggingFaceTokenizer(second)) == tokenizer_hash(HuggingFaceTokenizer(backend()))
    padded = backend()
    padded.enable_padding(length=9)
    padded.enable_truncation(3)
    assert tokenizer_hash(HuggingFaceTokenizer(padded)) == expected  # both are switched off anyhow
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom evaluation.tokenizer_content import *\nprint(tokenizer_hash(HuggingFaceTokenizer({str(first)!r})))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == expected


def test_whatever_changes_ids_changes_the_hash():
    tokenizers = pytest.importorskip("tokenizers")
    normalized, spaced, other = backend(), backend(), backend()
    normalized.normalizer = tokenizers.normalizers.NFC()
    spaced.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    other.add_tokens(["c"])
    several = [HuggingFaceTokenizer(each) for each in (backend(), normalized, spaced, other)]
    several.append(HuggingFaceTokenizer(backend(), eos_token=None))
    assert len({tokenizer_hash(each) for each in several}) == 5


def test_a_tokenizer_of_another_kind_states_its_own():
    class Own:
        eos_token_id = None
        content_hash = "v1"

    named, changed = Own(), Own()
    changed.content_hash = "v2"
    assert tokenizer_hash(named) == tokenizer_hash(Own()) != tokenizer_hash(changed)
    assert not splits_at_newlines(named)
    changed.content_hash = ""
    with pytest.raises(ValueError, match="Own has no tokenizer.json.*content_hash"):
        tokenizer_hash(changed)


def test_lines_may_be_cut_only_where_that_is_known_to_be_exact():
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

    def cuts(**changes):
        each = backend()
        added = changes.pop("added", None)
        for name, value in changes.items():
            setattr(each, name, value)
        if added is not None:
            each.add_tokens([added])
        return splits_at_newlines(HuggingFaceTokenizer(each))

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert cuts() and cuts(normalizer=normalizers.NFC()) and cuts(added=AddedToken("   "))
    assert cuts(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]))
    # an expression that joins punctuation and line ends, as later models have
    joins = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[^\s\w]+[\r\n]*|\s+|\w+"), "isolated"), byte_level])
    assert not cuts(pre_tokenizer=joins)
    assert not cuts(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))
    assert not cuts(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    assert not cuts(pre_tokenizer=pre_tokenizers.Metaspace())
    assert not cuts(normalizer=normalizers.NFKC()) and not cuts(normalizer=normalizers.Prepend("▁"))
    assert not cuts(added=AddedToken("a\nb")) and not cuts(added=AddedToken("c", rstrip=True)) and not cuts(added=AddedToken("c", lstrip=True))
    dropout = tokenizers.Tokenizer(models.BPE(vocab={"<|endoftext|>": 0, "a": 1}, merges=[], dropout=0.5))
    dropout.pre_tokenizer = byte_level
    assert not splits_at_newlines(HuggingFaceTokenizer(dropout))
    bare = tokenizers.Tokenizer(models.BPE(vocab={"<|endoftext|>": 0, "a": 1}, merges=[]))
    assert not splits_at_newlines(HuggingFaceTokenizer(bare))
