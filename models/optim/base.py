"""torch.optim's contract, kept once for every optimizer of this package.

    class SignDescent(Optimizer):
        def __init__(self, params, lr=1e-3):
            super().__init__(params, {"lr": lr})

        def _update(self, params, grads, states, group):
            descend(params, torch._foreach_sign(grads), group["lr"])

`_update` is written once, for lists of tensors. With `foreach` off the lists have length one: the plain loop over
parameters is the same code, so both give equal numbers and differ only in speed and in the size of temporaries.

A trainer sets the rate of each group to its schedule's times `group.get("lr_scale", 1.0)`.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "lr": ("a number >= 0", lambda x: x >= 0),
    "betas": ("two numbers in [0, 1)", lambda x: len(x) == 2 and all(0 <= beta < 1 for beta in x)),
    "momentum": ("a number in [0, 1)", lambda x: 0 <= x < 1),
    "eps": ("a number >= 0", lambda x: x >= 0),
    "weight_decay": ("a number >= 0", lambda x: x >= 0),
}
"""What the hyperparameters that most optimizers share must be."""


def refuse(optimizer: object, name: str, value: object, wanted: str) -> None:
    """Raise the ValueError of a hyperparameter that can not be used."""
    raise ValueError(f"{type(optimizer).__name__}: {name} is {value!r}; give {wanted}")


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer whose subclass writes only what is its own: `_init_state` and `_update`.

    Closures run with gradients enabled and their loss is returned. A parameter without a gradient is left alone and its
    state made when its first gradient arrives. States are in fp32 at least, whatever the parameter's dtype, and stay so
    through load_state_dict, which in torch casts them to the parameter's. Raises ValueError for sparse and complex
    gradients and for hyperparameters out of range, in later groups too.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"maximize": False, "foreach": None, **defaults})

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """State of a parameter before its first gradient: tensors and Python ints under flat keys, beside "step": 0."""
        return {}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        """Move params in place and their states with them, without gradient.

        params share a device and a dtype, grads are in the states' dtype and must not be changed. Counting "step" is
        the subclass's: see `count_steps`.
        """
        raise NotImplementedError

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for a hyperparameter of a group that can not be used; a subclass adds its own."""
        for name, (wanted, is_good) in RANGES.items():
            if name in group and not is_good(group[name]):
                refuse(self, name, group[name], wanted)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what the closure returned, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for params in self._batches(group):
                grads = [p.grad.to(state_dtype(p)) for p in params]
                if group["maximize"]:
                    grads = torch._foreach_neg(grads)
                self._update(params, list(grads), [self._state(p, group) for p in params], group)
        return loss

    def _batches(self, group: dict[str, Any]) -> Iterator[list[Tensor]]:
        """Parameters with gradients: those of a device and dtype together, or each alone where foreach is False."""
        batches: dict[Any, list[Tensor]] = {}
        for place, p in enumerate(group["params"]):
            if p.grad is None:
                continue
            if p.grad.is_sparse or p.is_complex():
                name = group["param_names"][place] if "param_names" in group else f"parameter {place} of its group"
                kind = "sparse" if p.grad.is_sparse else "complex"
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {name}, shape {tuple(p.shape)}, is {kind}; only dense real "
                    "gradients are supported"
                )
            batches.setdefault(place if group["foreach"] is False else (p.device, p.dtype), []).append(p)
        yield from batches.values()

    def _state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if not self.state[p]:
            self.state[p] = {"step": 0, **self._init_state(p, group)}
        return self.state[p]

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state. Tensors keep their saved dtype, move to the parameter's device and are copied."""
        super().load_state_dict(state_dict)
        saved_ids = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        for saved_id, p in zip(saved_ids, params, strict=True):
            for key, value in state_dict["state"].get(saved_id, {}).items():
                if isinstance(value, Tensor):
                    self.state[p][key] = value.to(p.device, copy=True)


def state_dtype(p: Tensor) -> torch.dtype:
    """The dtype of a parameter's states: its own, but fp32 for the half-width ones."""
    return torch.promote_types(p.dtype, torch.float32)


def zeros_for(p: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """A state of zeros, of the parameter's shape and layout unless a shape is given."""
    if shape is None:
        return torch.zeros_like(p, dtype=state_dtype(p))
    return torch.zeros(shape, dtype=state_dtype(p), device=p.device)


def count_steps(states: list[dict]) -> list[int]:
    """Count a step of each parameter and return the numbers, 1 for a first step."""
    for state in states:
        state["step"] += 1
    return [state["step"] for state in states]


def scale_(tensors: list[Tensor], factors: float | Tensor | list[float]) -> None:
    """Multiply in place by one number, or each by its own; a tensor is never read on the host."""
    if torch.compiler.is_compiling():  # inductor takes the float of a foreach call for a constant: a graph for every lr
        for x, factor in zip(tensors, factors if isinstance(factors, list) else [factors] * len(tensors), strict=True):
            x.mul_(factor)
    else:
        torch._foreach_mul_(tensors, factors)


def decay(params: list[Tensor], lr: float | Tensor, weight_decay: float) -> None:
    """Decoupled weight decay, in place: p <- p (1 - lr * weight_decay)."""
    if weight_decay:
        scale_(params, 1 - lr * weight_decay)


def descend(params: list[Tensor], updates: list[Tensor], lr: float | Tensor) -> None:
    """p <- p - lr * update, in place."""
    if torch.compiler.is_compiling():
        for p, update in zip(params, updates, strict=True):
            p.sub_(update * lr)
    elif isinstance(lr, Tensor):
        torch._foreach_sub_(params, torch._foreach_mul(updates, lr))
    else:
        torch._foreach_add_(params, updates, alpha=-lr)
