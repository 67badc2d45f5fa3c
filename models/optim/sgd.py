"""Stochastic gradient descent with heavy-ball momentum, the one arm of a comparison that adapts to nothing."""

from typing import Any

import torch
from torch import Tensor

from models.optim.base import Optimizer, count_steps, decay, descend, zeros_for


class SGD(Optimizer):
    """Heavy ball without dampening or Nesterov: m <- momentum m + g; p <- p (1 - lr weight_decay) - lr m.

    The state is one tensor of the parameter's shape. A gradient that lasts moves p by lr / (1 - momentum) times itself,
    so a learning rate goes with its momentum. Source: "Deconstructing What Makes a Good Optimizer" (2407.07972),
    section 3, whose SGD this is, with decay decoupled from the gradient.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-1,
        momentum: float = 0.98,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, maximize=maximize, foreach=foreach)
        super().__init__(params, defaults)

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum": zeros_for(p)}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        count_steps(states)
        decay(params, group["lr"], group["weight_decay"])
        momenta = [state["momentum"] for state in states]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, grads)
        descend(params, momenta, group["lr"])
