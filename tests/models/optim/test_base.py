"""The contract that every optimizer gets from its base: what reaches `_update`, what is refused, what a state survives."""

import pytest
import torch
from torch import nn

from models.optim.base import Optimizer, count_steps, decay, descend, state_dtype, zeros_for


class Recorder(Optimizer):
    """Keeps what `_update` was given."""

    def __init__(self, params, **options):
        self.calls = []
        super().__init__(params, {"lr": 0.5, "betas": (0.9, 0.9), "eps": 0.0, "momentum": 0.0, "weight_decay": 0.0, **options})

    def _init_state(self, p, group):
        return {"sum": zeros_for(p), "table": zeros_for(p, (2, 3)), "num_seen": 7}

    def _update(self, params, grads, states, group):
        self.calls.append((params, grads, states, group))
        count_steps(states)
        torch._foreach_add_([state["sum"] for state in states], grads)
        descend(params, grads, group["lr"])


def parameter(*shape, dtype=torch.float32, grad=1.0):
    p = nn.Parameter(torch.ones(shape, dtype=dtype))
    if grad is not None:
        p.grad = torch.full(shape, grad, dtype=dtype)
    return p


def test_only_parameters_with_gradients_arrive_and_have_a_state():
    seen, unseen = parameter(2), parameter(2, grad=None)
    optimizer = Recorder([unseen, seen])
    optimizer.step()
    (params, grads, states, group) = optimizer.calls[0]
    assert len(params) == 1 and params[0] is seen and torch.equal(grads[0], seen.grad)
    assert states[0] is optimizer.state[seen] and states[0]["step"] == 1 and states[0]["num_seen"] == 7
    assert group is optimizer.param_groups[0]
    assert unseen not in optimizer.state
    unseen.grad = torch.ones(2)
    optimizer.step()
    assert (optimizer.state[seen]["step"], optimizer.state[unseen]["step"]) == (2, 1)


@pytest.mark.parametrize(("foreach", "sizes"), [(None, [2, 1]), (True, [2, 1]), (False, [1, 1, 1])])
def test_batches_hold_one_dtype_and_with_foreach_off_one_parameter(foreach, sizes):
    params = [parameter(2), parameter(3, dtype=torch.float64), parameter(4)]
    optimizer = Recorder(params, foreach=foreach)
    optimizer.step()
    assert [len(call[0]) for call in optimizer.calls] == sizes
    assert all(len({p.dtype for p in call[0]}) == 1 for call in optimizer.calls)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_states_and_the_gradients_that_arrive_are_at_least_fp32(dtype, expected):
    p = parameter(2, dtype=dtype)
    optimizer = Recorder([p])
    optimizer.step()
    assert state_dtype(p) == optimizer.state[p]["sum"].dtype == optimizer.state[p]["table"].dtype == expected
    assert optimizer.calls[0][1][0].dtype == expected and p.dtype == dtype


def test_maximize_negates_a_copy_of_the_gradient():
    p = parameter(2)
    optimizer = Recorder([p], maximize=True)
    optimizer.step()
    assert torch.equal(p.detach(), torch.tensor([1.5, 1.5])) and torch.equal(p.grad, torch.ones(2))


def test_a_closure_can_go_backward_and_its_loss_is_returned():
    p = parameter(2, grad=None)
    optimizer = Recorder([p])

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert torch.equal(p.detach(), torch.zeros(2)) and p.requires_grad
    assert optimizer.step() is None


@pytest.mark.parametrize("saved_by_torch", [False, True])
def test_a_loaded_state_keeps_its_dtype_and_is_a_copy(tmp_path, saved_by_torch):
    p = parameter(2, dtype=torch.bfloat16, grad=1 / 3)
    optimizer = Recorder([p])
    optimizer.step()
    saved = optimizer.state_dict()
    if saved_by_torch:
        torch.save(saved, tmp_path / "state.pt")
        saved = torch.load(tmp_path / "state.pt", weights_only=True)
    twin = Recorder([parameter(2, dtype=torch.bfloat16)])
    twin.load_state_dict(saved)
    (state,) = twin.state.values()
    assert state["sum"].dtype == torch.float32 and torch.equal(state["sum"], optimizer.state[p]["sum"])
    assert state["step"] == 1 and state["num_seen"] == 7
    optimizer.step()
    assert state["step"] == 1 and not torch.equal(state["sum"], optimizer.state[p]["sum"])


def test_a_state_of_other_groups_is_refused():
    with pytest.raises(ValueError, match="different number of parameter groups"):
        Recorder([parameter(2)]).load_state_dict({"state": {}, "param_groups": []})


def test_sparse_and_complex_gradients_are_refused_by_the_name_of_their_parameter():
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"Recorder: the gradient of table.weight, shape \(5, 2\), is sparse"):
        Recorder([("table.weight", embedding.weight)]).step()
    with pytest.raises(ValueError, match=r"gradient of parameter 1 of its group, shape \(2,\), is complex"):
        Recorder([parameter(2), parameter(2, dtype=torch.complex64)]).step()


BAD = {
    "lr": [-1.0, float("nan")],
    "betas": [(1.0, 0.9), (0.9, -0.1), (0.9,)],
    "momentum": [1.0, -0.5],
    "eps": [-1e-8],
    "weight_decay": [-0.1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_hyperparameters_out_of_range_are_refused_in_every_group(name, value):
    with pytest.raises(ValueError, match=rf"Recorder: {name} is .*; give (a|two) number"):
        Recorder([parameter(2)], **{name: value})
    optimizer = Recorder([parameter(2)])
    with pytest.raises(ValueError, match=rf"Recorder: {name} is "):
        optimizer.add_param_group({"params": [parameter(3)], name: value})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("lr", [0.25, torch.tensor(0.25)])
def test_decay_and_descent_are_their_formulas(lr):
    params = [torch.full((2,), 8.0), torch.full((1, 3), 4.0)]
    decay(params, lr, 2.0)
    descend(params, [torch.ones(2), torch.full((1, 3), 2.0)], lr)
    assert params[0].tolist() == [3.75, 3.75] and params[1].tolist() == [[1.5, 1.5, 1.5]]
    before = [p.clone() for p in params]
    decay(params, lr, 0.0)
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_a_base_without_a_rule_says_so():
    with pytest.raises(NotImplementedError):
        Optimizer([parameter(2)], {"lr": 1.0}).step()
