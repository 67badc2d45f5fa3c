"""Lion and Signum: optimizers that keep of the momentum nothing but its sign, so every coordinate moves by lr."""

from typing import Any

import torch
from torch import Tensor

from models.optim.base import Optimizer, count_steps, decay, descend, zeros_for


class Lion(Optimizer):
    """p <- p (1 - lr weight_decay) - lr sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g.

    The state is one tensor of the parameter's shape. Where nothing was ever seen the sign is 0 and nothing moves.
    Source: Chen et al. 2023 (2302.06675), algorithm 2, which has betas (0.9, 0.99); the default here is that of
    "Deconstructing What Makes a Good Optimizer" (2407.07972), section 3.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize, foreach=foreach))

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"exp_avg": zeros_for(p)}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        count_steps(states)
        decay(params, group["lr"], group["weight_decay"])
        averages, (beta1, beta2) = [state["exp_avg"] for state in states], group["betas"]
        signs = torch._foreach_lerp(averages, grads, 1 - beta1)
        torch._foreach_sign_(signs)
        descend(params, signs, group["lr"])
        torch._foreach_lerp_(averages, grads, 1 - beta2)


class Signum(Optimizer):
    """m <- momentum m + (1 - momentum) g, then p <- p (1 - lr weight_decay) - lr sign(m): Lion with both betas equal.

    The state is one tensor of the parameter's shape. Source: Bernstein et al. 2018 (1802.04434), algorithm 2, as
    "Deconstructing What Makes a Good Optimizer" (2407.07972), section 3, uses it.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-4,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, maximize=maximize, foreach=foreach)
        super().__init__(params, defaults)

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"exp_avg": zeros_for(p)}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        count_steps(states)
        decay(params, group["lr"], group["weight_decay"])
        averages = [state["exp_avg"] for state in states]
        torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
        descend(params, torch._foreach_sign(averages), group["lr"])
