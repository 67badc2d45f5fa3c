"""Muon and AdamW as one: the numbers of both apart, one state, one set of groups."""

import copy

import pytest
import torch
from torch import nn

from models.optim.muon import MuonAdamW


def parameters() -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(5, 3))], [
        nn.Parameter(torch.randn(7)),
        nn.Parameter(torch.randn(3, 2)),
    ]


def take_steps(optimizers, params, first=0, last=6) -> None:
    for step in range(first, last):
        for place, p in enumerate(params):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + place))
        for optimizer in optimizers:
            optimizer.step()


def test_equal_to_the_bit_to_both_run_apart():
    (matrices, others), (matrices_apart, others_apart) = parameters(), parameters()
    together = MuonAdamW(matrices, others, lr=0.1, weight_decay=0.05)
    muon = torch.optim.Muon(matrices_apart, lr=0.1, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others_apart, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05)
    take_steps([together], matrices + others)
    take_steps([muon, adamw], matrices_apart + others_apart)
    assert all(torch.equal(p, q) for p, q in zip(matrices + others, matrices_apart + others_apart, strict=True))
    assert set(together.state) == {*matrices, *others}


def test_the_rate_of_each_group_is_its_own():
    matrices, others = parameters()
    before = copy.deepcopy(others)
    optimizer = MuonAdamW(matrices, others, lr=0.1)
    optimizer.param_groups[1]["lr"] = 0.0
    take_steps([optimizer], matrices + others)
    assert all(torch.equal(p, q) for p, q in zip(others, before, strict=True))
    assert not torch.equal(matrices[0], parameters()[0][0])


@pytest.mark.parametrize("how", ["state_dict", "deepcopy"])
def test_a_copy_goes_on_as_the_original_does(how):
    matrices, others = parameters()
    optimizer = MuonAdamW(matrices, others, lr=0.1)
    take_steps([optimizer], matrices + others, last=3)
    if how == "deepcopy":
        copied_params, copied = copy.deepcopy((matrices + others, optimizer))
    else:
        copied_params = copy.deepcopy(matrices + others)
        copied = MuonAdamW(copied_params[:2], copied_params[2:], lr=0.7)
        copied.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps([optimizer], matrices + others, first=3)
    take_steps([copied], copied_params, first=3)
    assert all(torch.equal(p, q) for p, q in zip(matrices + others, copied_params, strict=True))


def test_later_groups_have_the_defaults_of_their_rule_and_its_checks():
    matrices, others = parameters()
    optimizer = MuonAdamW(matrices, others, lr=0.1)
    late = [nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))]
    optimizer.add_param_group({"params": late[:1], "lr": 0.2})
    optimizer.add_param_group({"params": iter(late[1:]), "rule": "adamw"})
    assert [group["rule"] for group in optimizer.param_groups] == ["muon", "adamw", "muon", "adamw"]
    assert (optimizer.param_groups[2]["momentum"], optimizer.param_groups[3]["betas"]) == (0.95, (0.9, 0.95))
    take_steps([optimizer], late, last=1)
    assert all(not torch.equal(p, torch.ones_like(p)) for p in late)
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))]})
    with pytest.raises(ValueError, match="MuonAdamW: rule is 'sgd'"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))], "rule": "sgd"})
    assert len(optimizer.param_groups) == 4
