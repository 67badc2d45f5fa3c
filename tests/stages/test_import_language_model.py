"""A Hugging Face model of random weights, brought into a plan and evaluated there."""

import json
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from stages.core.engine import run_plan  # noqa: E402
from stages.core.plan import Plan  # noqa: E402
from stages.core.resolve import open_node  # noqa: E402
from stages.core.stage import Resources  # noqa: E402
from stages.core.store import Store  # noqa: E402
from stages.evaluate import evaluate  # noqa: E402
from stages.import_language_model import import_language_model, model_digest  # noqa: E402


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A directory as save_pretrained leaves it: a tiny Llama, and a tokenizer whose end of text has a name of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    directory = tmp_path_factory.mktemp("saved")
    vocab = {symbol: number for number, symbol in enumerate(["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(directory)
    shape = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=96)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(vocab), **shape)).save_pretrained(directory)
    return directory


def test_it_is_evaluated_like_a_model_of_ours(saved, tmp_path):
    store = Store(tmp_path / "store")
    model = import_language_model.on(model=str(saved))
    plan = Plan("other", [evaluate.on(model, model, validation=(), limit=1)])
    run_plan(plan, store, Resources(workers=0))
    made = open_node(store, plan, "import_language_model")
    weights = transformers.LlamaForCausalLM.from_pretrained(saved)
    assert made.summary["architecture"] == "LlamaForCausalLM" and made.summary["eos_token"] == "<end>"
    assert made.summary["params"] == weights.num_parameters() and not made.summary["dequantised"]
    summary = open_node(store, plan, "evaluate").summary
    assert len(summary["tasks"]) == 53 and summary["val_bpb"] == {} and len(summary["core_bpb_tasks"]) > 15
    assert all(facts["num_items"] == 1 for facts in summary["tasks"].values())


def test_its_identity_is_its_files_and_not_their_place(saved, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in saved.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert model_digest(str(moved)) == model_digest(str(saved))
    settings = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
    assert model_digest(str(moved)) != model_digest(str(saved))


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a .gguf file nor a directory with config.json.*hf download"):
        model_digest(str(tmp_path))
    with pytest.raises(ValueError, match="neither"):
        model_digest(str(tmp_path / "absent.gguf"))
