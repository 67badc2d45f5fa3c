"""Optimizers by name: every parameter once, groups where the paper puts them, one step of each on a real model."""

import pytest
import torch

from models.optim.choose import MAKERS, make_optimizer
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(vocab_size=23, d_model=16, num_layers=2, num_heads=2, ffn_dim=24, seq_len=8)
RATES = {"sgd": 0.05, "sgd_adalayer": 1.0}


def model() -> Transformer:
    return Transformer(CONFIG, seed=0)


def names_of(optimizer: torch.optim.Optimizer, of: Transformer) -> list[list[str]]:
    names = {p: name for name, p in of.named_parameters()}
    return [[names[p] for p in group["params"]] for group in optimizer.param_groups]


def losses(name: str, steps: int = 30, lr: float | None = None, **options) -> list[float]:
    m = model()
    lr = lr if lr is not None else RATES.get(name, 3e-3)
    optimizer, seen = make_optimizer(name, m, lr, **options), []
    tokens_BT = torch.randint(23, (8, 9), generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        loss = m.loss(tokens_BT[:, :-1], tokens_BT[:, 1:], 0.0).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(loss.item())
    return seen


@pytest.mark.parametrize("name", MAKERS)
def test_each_holds_every_parameter_once_takes_weight_decay_and_learns(name):
    m = model()
    optimizer = make_optimizer(name, m, 1e-3, weight_decay=0.25)
    names = [each for group in names_of(optimizer, m) for each in group]
    assert sorted(names) == sorted(each for each, _ in m.named_parameters())
    assert all(group["weight_decay"] == 0.25 for group in optimizer.param_groups)
    assert all(group["weight_decay"] == 0 for group in make_optimizer(name, m, 1e-3).param_groups)
    seen = losses(name)
    assert seen[-1] < seen[0] - 0.3, seen


@pytest.mark.parametrize("name", MAKERS)
def test_a_rate_of_zero_learns_nothing(name):
    assert len(set(losses(name, steps=4, lr=0.0, **({"adaptive_lr": 0.0} if name == "sgd_adalayer" else {})))) == 1


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "muon"])
def test_the_sign_flipped_goes_up(name):
    seen = losses(name, maximize=True)
    assert seen[-1] > seen[0] + 0.3, seen


def test_adamw_is_torchs_over_the_model_in_its_order():
    m = model()
    optimizer = make_optimizer("adamw", m, 1e-3, betas=(0.8, 0.9), eps=1e-6)
    assert type(optimizer) is torch.optim.AdamW and len(optimizer.param_groups) == 1
    group = optimizer.param_groups[0]
    assert all(p is q for p, q in zip(group["params"], m.parameters(), strict=True))
    assert (group["lr"], group["betas"], group["eps"], group["fused"]) == (1e-3, (0.8, 0.9), 1e-6, True)


def test_muon_has_the_matrices_inside_blocks():
    m = model()
    hidden, others = names_of(make_optimizer("muon", m, 1e-3), m)
    assert len(hidden) == 8 and all(name.startswith("layers.") and "norm" not in name for name in hidden)
    assert {"tok_embeddings.weight", "output.weight", "norm.weight", "layers.0.attention.q_norm.weight"} <= set(others)


def test_adalayer_star_cuts_the_last_layer_and_the_fused_projections():
    m = model()
    optimizer = make_optimizer("adalayer", m, 1e-3)
    fused = ["layers.0.attention.in_proj.weight", "layers.1.attention.in_proj.weight"]
    assert names_of(optimizer, m)[:2] == [["output.weight"], fused]
    assert [group["blocks"] for group in optimizer.param_groups] == ["rows", 3, 1]
    plain = make_optimizer("adalayer", m, 1e-3, last_rows=False, split_qkv=False)
    assert [group["blocks"] for group in plain.param_groups] == [1]
    first = make_optimizer("adalayer", m, 1e-3, first_rows=True, last_rows=False, split_qkv=False)
    assert names_of(first, m)[0] == ["tok_embeddings.weight"] and first.param_groups[0]["blocks"] == "rows"
    with pytest.raises(ValueError, match="adalayer can not be frozen with first_rows"):
        make_optimizer("adalayer", m, 1e-3, first_rows=True, frozen=True, measure_steps=3)


@pytest.mark.parametrize(("last", "norms"), [(True, True), (True, False), (False, True), (False, False)])
def test_sgd_adalayer_adapts_where_it_is_told_to_and_at_its_own_rate(last, norms):
    m = model()
    optimizer = make_optimizer("sgd_adalayer", m, 2.0, last=last, norms=norms, adaptive_lr=0.01)
    adaptive = {
        name for names, group in zip(names_of(optimizer, m), optimizer.param_groups, strict=True) if group["adaptive"] for name in names
    }
    gains = {name for name, _ in m.named_parameters() if "norm" in name}
    assert len(gains) == 9 and adaptive == (gains if norms else set()) | ({"output.weight"} if last else set())
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(2.0 * group.get("lr_scale", 1.0)) == (0.01 if group["adaptive"] else 2.0)
        assert group["blocks"] == ("rows" if group["adaptive"] and len(group["params"]) == 1 else 1)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adamv", {}, "there is no optimizer 'adamv'; did you mean 'adamw'?"),
        ("zzz", {}, "there is no optimizer 'zzz'; choose among adafactor, adalayer, adamw, lion, muon"),
        ("soap", {"precondition_freq": 3}, "soap has no option 'precondition_freq'; did you mean 'precondition_frequency'?"),
        ("sgd_adalayer", {"norm": False}, "sgd_adalayer has no option 'norm'; did you mean 'norms'?"),
        ("lion", {"params": []}, "lion has no option 'params'"),
    ],
)
def test_words_that_do_not_exist_are_refused_with_the_nearest(name, options, words):
    with pytest.raises(ValueError, match=words):
        make_optimizer(name, model(), 1e-3, **options)


def test_values_out_of_range_are_refused_by_the_optimizer():
    with pytest.raises(ValueError, match="Shampoo: power is 2; give a number"):
        make_optimizer("shampoo", model(), 1e-3, power=2)
