"""The table of scales against DCLM's published figures."""

import pytest
import torch

from models.scales import SCALES, Recipe
from models.transformer import Transformer

# scale: parameters, tokens, steps, FLOPs (two digits, as published), lr, weight decay, warm-up, z-loss, batch
PUBLISHED = {
    "400m-1x": (411_616_256, 8_232_325_120, 7_851, 2.0e19, 3e-3, 0.033, 2000, 1e-4, 512),
    "1b-1x": (1_439_795_200, 28_795_904_000, 54_924, 2.4e20, 3e-3, 0.033, 5000, 1e-4, 256),
    "3b-1x": (2_795_932_160, 55_918_643_200, 106_656, 9.4e20, 3e-3, 0.033, 5000, 1e-4, 256),
    "7b-1x": (6_889_410_560, 137_788_211_200, 32_851, 5.7e21, 2e-3, 0.05, 5000, 5e-6, 2048),
    "7b-2x": (6_889_410_560, 275_576_422_400, 65_702, 1.1e22, 2e-3, 0.05, 5000, 5e-6, 2048),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_plans_are_the_published_ones(name):
    params, tokens, steps, flops, lr, weight_decay, warmup_steps, z_loss_weight, batch_size = PUBLISHED[name]
    plan, recipe = SCALES[name].plan(), SCALES[name].recipe
    assert (plan["scale"], plan["params"], plan["tokens"], plan["steps"]) == (name, params, tokens, steps)
    assert plan["flops"] == pytest.approx(flops, rel=0.04)  # published with two digits, some of them cut, not rounded
    assert plan["flops"] == 6 * params * tokens
    assert (recipe.lr, recipe.cooldown_lr, recipe.weight_decay) == (lr, 3e-5, weight_decay)
    assert (recipe.warmup_steps, recipe.z_loss_weight, recipe.batch_size) == (warmup_steps, z_loss_weight, batch_size)
    assert (recipe.betas, recipe.eps, recipe.grad_clip) == ((0.9, 0.95), 1e-8, 1.0)
    assert recipe.batch_size % recipe.accumulation_steps == 0


def test_names_and_order():
    assert list(SCALES) == ["nano", *PUBLISHED]
    assert all(name == scale.name for name, scale in SCALES.items())


def test_nano_is_about_half_a_million_parameters_in_whole_batches():
    nano = SCALES["nano"]
    assert 400_000 <= nano.model.num_parameters <= 600_000
    assert Transformer(nano.model).num_parameters == nano.model.num_parameters
    assert nano.num_steps * nano.recipe.batch_size * nano.model.seq_len == nano.recipe.num_tokens
    assert nano.recipe.warmup_steps < nano.num_steps


def test_published_models_fit_their_heads():
    with torch.device("meta"):
        for name in PUBLISHED:
            assert Transformer(SCALES[name].model).num_parameters == SCALES[name].model.num_parameters


def test_tokens_that_no_whole_sequence_holds_are_refused():
    recipe = Recipe(
        num_tokens=1000, batch_size=2, lr=1e-3, cooldown_lr=1e-5, warmup_steps=1, weight_decay=0.0, z_loss_weight=0.0
    )
    with pytest.raises(ValueError, match="not a positive multiple of seq_len 128; the nearest is 1,024"):
        recipe.num_steps(128)
