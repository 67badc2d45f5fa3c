"""Scales of the studies: the sizes of the papers' proxies, and recipes that say only what a run changes."""

from dataclasses import replace

import pytest
import torch

from models.schedule import check_schedule, learning_rate
from models.study_scales import STUDY_SCALES
from models.transformer import Transformer

# 2410.21676: parameters without embeddings, in millions, layers and heads of the proxies
PROXIES = {"small": (2.4, 3, 4), "medium": (9.4, 3, 8)}


def non_embedding(scale) -> int:
    return scale.model.num_parameters - 2 * scale.model.vocab_size * scale.model.d_model


def test_names_and_order():
    assert list(STUDY_SCALES) == ["smoke", "tiny", "small", "medium"]
    assert all(name == scale.name for name, scale in STUDY_SCALES.items())
    assert STUDY_SCALES["smoke"] == replace(STUDY_SCALES["tiny"], name="smoke", num_tokens=16 * 32 * 64)


def test_tiny_is_a_third_of_a_million_parameters():
    tiny = STUDY_SCALES["tiny"].model
    assert (tiny.vocab_size, tiny.seq_len, tiny.num_parameters) == (512, 64, 320_352)
    assert Transformer(tiny).num_parameters == tiny.num_parameters


@pytest.mark.parametrize("name", PROXIES)
def test_larger_scales_are_the_papers_proxies(name):
    millions, num_layers, num_heads = PROXIES[name]
    scale = STUDY_SCALES[name]
    assert (scale.model.num_layers, scale.model.num_heads) == (num_layers, num_heads)
    assert non_embedding(scale) == pytest.approx(millions * 1e6, rel=0.02)
    assert scale.num_tokens == pytest.approx(20 * non_embedding(scale), rel=0.01)
    with torch.device("meta"):
        assert Transformer(scale.model).num_parameters == scale.model.num_parameters


@pytest.mark.parametrize("scale", STUDY_SCALES.values(), ids=STUDY_SCALES)
def test_a_recipe_is_whole_batches_of_a_tenth_warm_up(scale):
    recipe = scale.recipe(lr=0.01)
    num_steps = recipe.num_steps(scale.model.seq_len)
    assert num_steps * scale.batch_size * scale.model.seq_len == recipe.num_tokens == scale.num_tokens
    assert recipe.warmup_steps == round(0.1 * num_steps)
    assert (recipe.weight_decay, recipe.grad_clip, recipe.z_loss_weight) == (0.0, 1.0, 1e-4)
    assert recipe.batch_size == scale.batch_size and recipe.cooldown_lr == 0.001
    assert learning_rate(recipe, num_steps - 1, num_steps) == pytest.approx(0.001, rel=0.15)


def test_a_run_changes_what_it_names():
    tiny = STUDY_SCALES["tiny"]
    recipe = tiny.recipe(lr=0.1, batch_size=512, num_tokens=20 * 512 * 64, warmup_fraction=0.25, schedule="constant", ewa_decays=(0.9,))
    assert (recipe.num_steps(64), recipe.warmup_steps, recipe.schedule, recipe.ewa_decays) == (20, 5, "constant", (0.9,))
    assert replace(recipe, batch_size=32, num_tokens=tiny.num_tokens, warmup_steps=32, schedule="cosine", ewa_decays=()) == tiny.recipe(
        lr=0.1
    )
    assert tiny.recipe(lr=0.1, warmup_steps=7, cooldown_lr=0.0).warmup_steps == 7
    short = tiny.recipe(lr=0.0, num_tokens=2 * 32 * 64)
    assert short.warmup_steps == 1 and short.cooldown_lr == 0.0
    check_schedule(short, 2)
    with pytest.raises(ValueError, match="not a positive multiple of seq_len 64"):
        tiny.recipe(lr=0.1, num_tokens=100)
