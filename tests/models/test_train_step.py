"""One update: parts of a batch give the whole's gradient, and the noise between them, against brute force in fp64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.scales import Recipe
from models.train_step import check_noise, make_recipe_optimizer, train_step
from models.transformer import LossParts, Transformer, TransformerConfig

CONFIG = TransformerConfig(vocab_size=23, d_model=16, num_layers=2, num_heads=2, ffn_dim=24, seq_len=8)
RECIPE = Recipe(num_tokens=8 * 48, batch_size=4, lr=1e-2, cooldown_lr=1e-3, warmup_steps=3, weight_decay=0.1, z_loss_weight=1e-3)


def sequences(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(23, size=(count, 9)).astype(np.uint16)


class Exact(Transformer):
    """The decoder in fp64, with a loss that never leaves it."""

    def loss(self, tokens_BT, targets_BT, z_loss_weight):
        logits = self.output(self.hidden(tokens_BT)).flatten(0, 1)
        cross_entropy = F.cross_entropy(logits, targets_BT.flatten())
        z_loss = z_loss_weight * logits.logsumexp(-1).square().mean()
        return LossParts(cross_entropy + z_loss, cross_entropy.detach(), z_loss.detach())


def step_in_fp64(recipe: Recipe, batch: np.ndarray, **group):
    model = Exact(CONFIG, seed=0).double()
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), **group}], lr=1.0)
    update = train_step(model, optimizer, recipe, torch.from_numpy(batch.astype(np.int64)), lr=0.5)
    return update, model


@pytest.mark.parametrize("parts", [2, 3, 7, 100])
def test_accumulation_is_one_batch_to_1e_12_in_fp64(parts):
    batch = sequences(7)  # parts of 4 and 3; of 3, 2 and 2; of one each, which is as far as it goes
    whole, model = step_in_fp64(replace(RECIPE, grad_clip=0.5), batch)
    parted, parted_model = step_in_fp64(replace(RECIPE, grad_clip=0.5, accumulation_steps=parts), batch)
    assert parted[:3] == pytest.approx(whole[:3], rel=1e-12) and parted.part_grad_sq is whole.part_grad_sq is None
    for found, expected in zip(parted_model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_a_groups_own_factor_scales_its_rate():
    batch = sequences(5)
    start = Transformer(CONFIG, seed=0).double()
    _, whole = step_in_fp64(RECIPE, batch)
    _, half = step_in_fp64(RECIPE, batch, lr_scale=0.5)
    for a, b, c in zip(start.parameters(), whole.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(2 * (c - a), b - a, atol=1e-12, rtol=1e-9)


def test_noise_is_measured_part_by_part_before_clipping():
    batch = sequences(6)
    recipe = replace(RECIPE, grad_clip=0.01, accumulation_steps=3, measure_noise=True)
    update, _ = step_in_fp64(recipe, batch)
    squares = []
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6), slice(0, 6)):
        model, tokens = Exact(CONFIG, seed=0).double(), torch.from_numpy(batch[rows].astype(np.int64))
        model.loss(tokens[:, :-1], tokens[:, 1:], recipe.z_loss_weight).total.backward()
        squares.append(sum(parameter.grad.square().sum().item() for parameter in model.parameters()))
    assert update.part_grad_sq == pytest.approx(np.mean(squares[:3]), rel=1e-12)
    assert update.grad_norm**2 == pytest.approx(squares[3], rel=1e-12) and squares[3] < update.part_grad_sq


def test_the_recipe_makes_the_optimizer():
    model = Transformer(CONFIG, seed=0)
    adamw = make_recipe_optimizer(replace(RECIPE, betas=(0.8, 0.9), eps=1e-6), model)
    (group,) = adamw.param_groups
    assert type(adamw) is torch.optim.AdamW and group["fused"]
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-2, (0.8, 0.9), 1e-6, 0.1)
    changed = make_recipe_optimizer(replace(RECIPE, options=(("eps", 1e-4), ("weight_decay", 0.0))), model).param_groups[0]
    assert (changed["betas"], changed["eps"], changed["weight_decay"]) == ((0.9, 0.95), 1e-4, 0.0)
    lion = make_recipe_optimizer(replace(RECIPE, optimizer="lion", betas=(0.8, 0.9)), model).param_groups[0]
    assert lion["betas"] != (0.8, 0.9) and lion["weight_decay"] == 0.1  # betas are AdamW's alone


def test_noise_that_can_not_be_measured_says_why():
    check_noise(replace(RECIPE, measure_noise=True, accumulation_steps=2), seq_len=8)
    for fields, message in (
        ({"accumulation_steps": 1}, "accumulation_steps is 1; give 2 or more"),
        ({"accumulation_steps": 3}, "48 sequences make no 12 batches of 4 in 3 parts each"),
        ({"accumulation_steps": 2, "num_tokens": 8 * 50}, "50 sequences make no 12 batches of 4 in 2 parts each"),
    ):
        with pytest.raises(ValueError, match=message):
            check_noise(replace(RECIPE, measure_noise=True, **fields), seq_len=8)
