"""What studies train on: sizes that agree with the scales, enough text for every run, and none of it in the text that validates."""

import pytest

from models.study_scales import STUDY_SCALES
from pipelines.sample.build import ngrams
from pipelines.study_data import VOCAB_AND_CONTEXT, study_data, variant
from stages.core.engine import run_plan
from stages.core.plan import Plan, PlanError
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The nodes by name, having run."""
    store, data = Store(tmp_path_factory.mktemp("study") / "store"), study_data("tiny")
    plan = Plan("study_data", [data.train, data.validation])
    run_plan(plan, store, Resources(workers=0))
    return lambda name: open_node(store, plan, name)


def texts(dataset):
    return [text for shard in dataset.shards for text in dataset.table(shard.name, ["text"])["text"].to_pylist()]


def test_sizes_agree_with_the_scales():
    assert {name: (scale.model.vocab_size, scale.model.seq_len) for name, scale in STUDY_SCALES.items()} == VOCAB_AND_CONTEXT


def test_there_is_text_enough_to_see_none_of_it_twice(opened):
    rows = {name: sum(shard.rows_out for shard in opened(name).shards) for name in ("train_tokens", "validation_tokens")}
    assert opened("tokenizer").summary["vocab_size"] == 512
    assert 4_300_000 < rows["train_tokens"] * 64 < 4_350_000
    assert 120_000 < rows["validation_tokens"] * 64 < 135_000
    assert STUDY_SCALES["tiny"].num_tokens * 6 < rows["train_tokens"] * 64


def test_training_and_validation_text_share_no_13_gram(opened):
    held_out = {gram for text in texts(opened("held_out")) for gram in ngrams(text)}
    assert len(held_out) > 30_000
    pages = texts(opened("extract"))
    assert len(pages) > 1_700
    assert not any(gram in held_out for text in pages for gram in ngrams(text))


def test_all_learn_from_the_same_nodes():
    data = study_data("tiny")
    assert data.train.inputs[1] is data.validation.inputs[1] is data.tokenizer
    assert data.train.inputs[0] is data.tokenizer.inputs[0], "the tokenizer knows nothing of the text that validates"
    assert study_data("smoke").train.recipe == data.train.recipe != study_data("small").train.recipe


def test_variants_and_unknown_scales():
    assert [variant(scale) for scale in ("tiny", "smoke", "small")] == ["default", "smoke", "small"]
    with pytest.raises(PlanError, match=r"studies have no scale 'smal'; did you mean 'small'\? \(scales: smoke, tiny, small, medium\)"):
        study_data("smal")
