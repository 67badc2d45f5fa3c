"""Adalayer: Adam with one second moment per tensor, the least adaptive optimizer that still trains a language model.

    Adalayer([{"params": [output], "blocks": "rows"}, {"params": [qkv], "blocks": 3}, {"params": rest}])    # Adalayer*
    Adalayer([{"params": rest, "adaptive": False}, {"params": norms, "lr": 3e-3}], lr=1.0)                  # SGD+Adalayer

All variants of "Deconstructing What Makes a Good Optimizer" (2407.07972), section 4, are fields of a parameter group.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from models.optim.base import Optimizer, count_steps, decay, descend, refuse, scale_, zeros_for


class Adalayer(Optimizer):
    """p <- p (1 - lr weight_decay) - lr m^ / (sqrt(v^) + eps) with one v per block of rows: the moving mean of its g^2.

    States: `exp_avg` of the parameter's shape and `v`, one value a block; both bias-corrected.
    `blocks`: equal blocks that a tensor's rows are cut into: 1, the tensor as a whole; 3, a fused projection of
    queries, keys and values; "rows", each row alone (the logits of a last layer, the tokens of an embedding).
    `adaptive` false: v is 1 and m^ bare, which is SGD with momentum.
    `measure_steps`: nothing moves for so many steps, the moments alone go on. With `frozen`, v is the plain mean of
    these steps and stays what it is ever after.
    Raises ValueError where rows do not divide into the blocks. Source: 2407.07972, section 4 and its appendix.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
        blocks: int | Literal["rows"] = 1,
        adaptive: bool = True,
        measure_steps: int = 0,
        frozen: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        shared = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=foreach)
        own = dict(blocks=blocks, adaptive=adaptive, measure_steps=measure_steps, frozen=frozen)
        super().__init__(params, {**shared, **own})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["blocks"] != "rows" and not (isinstance(group["blocks"], int) and group["blocks"] >= 1):
            refuse(self, "blocks", group["blocks"], 'a positive integer or "rows"')
        if not (isinstance(group["measure_steps"], int) and group["measure_steps"] >= 0):
            refuse(self, "measure_steps", group["measure_steps"], "an integer >= 0")
        if group["frozen"] and not group["measure_steps"]:
            refuse(self, "measure_steps", 0, "the number of steps after which v is frozen")

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if not group["adaptive"]:
            return {"exp_avg": zeros_for(p)}
        num_rows = len(p) if p.ndim else 1
        blocks = num_rows if group["blocks"] == "rows" else group["blocks"]
        if num_rows % blocks:
            refuse(self, "blocks", blocks, f"a divisor of the {num_rows} rows of its parameter of shape {tuple(p.shape)}")
        return {"exp_avg": zeros_for(p), "v": zeros_for(p, (blocks,))}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        steps, (beta1, beta2), lr = count_steps(states), group["betas"], group["lr"]
        averages = [state["exp_avg"] for state in states]
        torch._foreach_lerp_(averages, grads, 1 - beta1)
        if group["adaptive"]:
            means = [block_means(g, len(state["v"])) for g, state in zip(grads, states, strict=True)]
            weights = [ema_weight(step, beta2, group["measure_steps"], group["frozen"]) for step in steps]
            values = [state["v"] for state in states]
            changes = list(torch._foreach_sub(means, values))
            scale_(changes, weights)
            torch._foreach_add_(values, changes)

        moving = [place for place, step in enumerate(steps) if step > group["measure_steps"]]
        if not moving:
            return
        params, averages, steps, states = ([each[place] for place in moving] for each in (params, averages, steps, states))
        decay(params, lr, group["weight_decay"])
        updates = [average.clone() for average in averages]
        scale_(updates, [1 / (1 - beta1**step) for step in steps])
        if group["adaptive"]:
            corrections = [1.0 if group["frozen"] else (1 - beta2**step) ** -0.5 for step in steps]
            denominators = list(torch._foreach_sqrt([state["v"] for state in states]))
            scale_(denominators, corrections)
            torch._foreach_add_(denominators, group["eps"])
            updates = [divide_blocks(u, each) for u, each in zip(updates, denominators, strict=True)]
        descend(params, updates, lr)


def ema_weight(step: int, beta2: float, measure_steps: int, frozen: bool) -> float:
    """Weight of the newest mean square: 1 - beta2, or for a v that will be frozen 1 / step and then 0."""
    if not frozen:
        return 1 - beta2
    return 1 / step if step <= measure_steps else 0.0


def block_means(g: Tensor, num_blocks: int) -> Tensor:
    """Mean of g^2 in each of the equal blocks of rows, (num_blocks,)."""
    return g.reshape(num_blocks, -1).square().mean(1)


def divide_blocks(update: Tensor, denominators: Tensor) -> Tensor:
    """Each block of rows over its own number."""
    return (update.reshape(len(denominators), -1) / denominators[:, None]).view(update.shape)
