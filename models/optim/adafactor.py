"""Adafactor with momentum: Adam whose second moment is kept as one vector per dimension, their outer product.

Not torch.optim.Adafactor: no relative step, no update clipping, no scaling by the parameter, a momentum of full size.
"""

from typing import Any

import torch
from torch import Tensor

from models.optim.base import Optimizer, count_steps, decay, descend, refuse, scale_, zeros_for


class Adafactor(Optimizer):
    """p <- p (1 - lr weight_decay) - lr m^ / (sqrt(v^) + eps), v of rank one, both moments bias-corrected.

    States: `exp_avg` of the parameter's shape and for each dimension k a vector `v_k`, the moving mean of g^2 over all
    other dimensions; v is their outer product over their common mean (see `rank_one_root`). A vector's v is Adam's.
    `neuron_only`: v_0 alone, one value for each row, which is a neuron's weights (the other vectors averaged).
    Source: "Deconstructing What Makes a Good Optimizer" (2407.07972), section 3; the rank-one v is that of Shazeer and
    Stern 2018 (1804.04235), algorithm 4.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
        neuron_only: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, neuron_only=neuron_only)
        super().__init__(params, {**defaults, "maximize": maximize, "foreach": foreach})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not isinstance(group["neuron_only"], bool):
            refuse(self, "neuron_only", group["neuron_only"], "True or False")

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        num_vectors = 1 if group["neuron_only"] else max(1, p.ndim)
        shapes = [[size if dim == k else 1 for dim, size in enumerate(p.shape)] for k in range(num_vectors)]
        return {"exp_avg": zeros_for(p), **{f"v_{k}": zeros_for(p, tuple(shape)) for k, shape in enumerate(shapes)}}

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        steps, (beta1, beta2) = count_steps(states), group["betas"]
        decay(params, group["lr"], group["weight_decay"])
        averages = [state["exp_avg"] for state in states]
        torch._foreach_lerp_(averages, grads, 1 - beta1)

        vectors_of = [[value for key, value in state.items() if key.startswith("v_")] for state in states]
        squares = torch._foreach_mul(grads, grads)
        means = [mean_outside(square, k) for square, vs in zip(squares, vectors_of, strict=True) for k in range(len(vs))]
        torch._foreach_lerp_([v for vectors in vectors_of for v in vectors], means, 1 - beta2)

        denominators = [rank_one_root(vectors) for vectors in vectors_of]
        scale_(denominators, [(1 - beta2**step) ** -0.5 for step in steps])
        torch._foreach_add_(denominators, group["eps"])
        updates = list(torch._foreach_div(averages, denominators))
        scale_(updates, [1 / (1 - beta1**step) for step in steps])
        descend(params, updates, group["lr"])


def mean_outside(x: Tensor, dim: int) -> Tensor:
    """Mean over all dimensions but `dim`, each kept with size 1, so that the means of all dims broadcast together."""
    others = [other for other in range(x.ndim) if other != dim]
    return x.mean(others, keepdim=True) if others else x


def rank_one_root(vectors: list[Tensor]) -> Tensor:
    """Square root of the product of v_k, each after the first over the mean that all of them share.

    For a matrix with rows r and columns c: sqrt(r_i c_j / mean(r)). Roots are taken of the vectors, which are small,
    and the division comes before the product, which could underflow. Vectors of zeros give zeros.
    """
    mean = vectors[0].mean().clamp_min(torch.finfo(vectors[0].dtype).tiny)
    root = vectors[0].sqrt()
    for vector in vectors[1:]:
        root = root * (vector / mean).sqrt()
    return root
