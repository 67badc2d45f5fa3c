"""Saved models: equal after a round trip, equal in bytes, and never half written."""

import json

import pytest
import torch

from models.checkpoint import load_model, load_tensors, replacing, save_model, save_tensors
from models.transformer import Transformer, TransformerConfig

TINY = TransformerConfig(vocab_size=19, d_model=8, num_layers=2, num_heads=2, ffn_dim=12, seq_len=8)


def test_a_saved_model_comes_back_equal(tmp_path):
    model = Transformer(TINY, seed=3)
    again = load_model(save_model(model, tmp_path / "deep" / "model"))
    assert again.config == TINY
    assert not again.training
    for (name, tensor), (other_name, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(tensor, other)
    tokens = torch.arange(8)[None]
    assert torch.equal(model(tokens), again(tokens))
    again.loss(tokens, tokens, 0.0).total.backward()  # loaded weights can be trained on


def test_same_weights_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(Transformer(TINY, seed=3), tmp_path / name)
    save_model(Transformer(TINY, seed=4), tmp_path / "c")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a/model.safetensors").read_bytes() != (tmp_path / "c/model.safetensors").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o644}


def test_tensors_and_facts_come_back_and_repeat_in_bytes(tmp_path):
    tensors = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.ones(2)}
    facts = {"step": 3, "run": {"seed": 1, "lr": 0.1}}
    for name in ("one", "two"):
        save_tensors(tmp_path / name, tensors, facts)
    found, found_facts = load_tensors(tmp_path / "one")
    assert found_facts == facts
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as aside:
        aside.write_text("half")
        raise RuntimeError("killed")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_unreadable_and_foreign_checkpoints_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="config.json does not exist"):
        load_model(tmp_path)
    save_model(Transformer(TINY), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "ffn_dim": 16}))
    with pytest.raises(ValueError, match=r"4 tensors differ, the first is 'layers.0.feed_forward.w12.weight'"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "dropout": 0.1}))
    with pytest.raises(ValueError, match="has fields"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="training has not finished"):
        load_model(tmp_path)
    (tmp_path / "torn").write_bytes(b"\x08\x00\x00")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_tensors(tmp_path / "torn")
