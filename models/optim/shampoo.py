"""Shampoo: the gradient multiplied on every side by an inverse power of that side's Gram matrix.

    Shampoo(model.parameters(), lr=3e-3, precondition_frequency=10)

Which power? Of a matrix gradient G (m x n), L = E[G Gᵀ] and R = E[Gᵀ G]. Adagrad divides by the root of H = E[vec(G) vec(G)ᵀ].
Shampoo of 2018 has L^(-1/4) G R^(-1/4), `power=1/4`. Yet the Kronecker product nearest to H is about L ⊗ R / tr(L) (2406.17748),
and its inverse root is tr(L)^(1/2) L^(-1/2) G R^(-1/2): `power=1/2`, the default, which is also where SOAP comes from. DistributedShampoo's
"exponent override" e is power = 1/e. For an axis left out its Gram matrix is taken to be isotropic, tr / n times the identity.

Shapes: d the size of one axis of a parameter, B matrices of that size.
"""

from typing import Any

import torch
from torch import Tensor

from models.optim.base import Optimizer, count_steps, decay, descend, refuse, scale_, zeros_for
from models.optim.basis import contract, update_gram_


class Shampoo(Optimizer):
    """p <- p (1 - lr weight_decay) - lr tr^(K power - 1/2) (L_1^(-power) x ... x L_K^(-power)) m^, K the number of axes.

    The power of the trace makes the update indifferent to the scale of gradients, as Adam's is, so no step size has to be
    grafted from another optimizer. Moments and Gram matrices are moving averages, with `correct_bias` over 1 - beta^t.
    States: `exp_avg`; `square`, the moving mean of ||g||^2, which is every Gram's trace; for each axis k of at most
    `max_precond_dim`: `gram_k` and its inverse power `root_k` (d, d); `scale`.
    Powers are computed every `precondition_frequency` steps and before that at steps 1, 2, 4, 8 ...: the Gram matrices of a
    step or two know little of the next gradients, which their inverses then blow up. `eps`: what eigenvalues are raised
    by, in units of the largest of their matrix.
    A parameter whose gradients have all been zero is left alone and not counted; asking is one host sync a step till the first
    that is not. Source: Gupta et al. 2018 (1802.09568), algorithm 2; 2406.17748, section 3; 2409.11321, algorithm 1.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        power: float = 0.5,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10_000,
        correct_bias: bool = True,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        shared = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=foreach)
        own = dict(power=power, precondition_frequency=precondition_frequency, max_precond_dim=max_precond_dim)
        super().__init__(params, {**shared, **own, "correct_bias": correct_bias})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not 0 < group["power"] <= 1:
            refuse(self, "power", group["power"], "a number in (0, 1]")
        for name, least in (("precondition_frequency", 1), ("max_precond_dim", 0)):
            if not (isinstance(group[name], int) and group[name] >= least):
                refuse(self, name, group[name], f"an integer >= {least}")

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"exp_avg": zeros_for(p), "square": zeros_for(p, ()), "scale": zeros_for(p, ())}
        for k, d in enumerate(p.shape):
            if d <= group["max_precond_dim"]:
                state[f"gram_{k}"], state[f"root_{k}"] = zeros_for(p, (d, d)), zeros_for(p, (d, d))
        return state

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        new = [place for place, state in enumerate(states) if state["step"] == 0]
        if new:
            is_zero = torch.stack(torch._foreach_norm([grads[place] for place in new])).eq(0).tolist()
            zero = {place for place, each in zip(new, is_zero, strict=True) if each}
            params, grads, states = ([x for place, x in enumerate(each) if place not in zero] for each in (params, grads, states))
            if not params:
                return

        steps, (beta1, beta2) = count_steps(states), group["betas"]
        averages = [state["exp_avg"] for state in states]
        torch._foreach_lerp_(averages, grads, 1 - beta1)
        torch._foreach_lerp_([state["square"] for state in states], [g.square().sum() for g in grads], 1 - beta2)
        for g, state in zip(grads, states, strict=True):
            for k in preconditioned_axes(state):
                update_gram_(state[f"gram_{k}"][None], g[None], k, beta2)

        due = [place for place, step in enumerate(steps) if is_due(step, group["precondition_frequency"])]
        if due:
            corrections = [1 - beta2 ** steps[place] if group["correct_bias"] else 1.0 for place in due]
            refresh([states[place] for place in due], corrections, group["power"], group["eps"])

        updates = []
        for average, state in zip(averages, states, strict=True):
            update = average[None] * state["scale"]
            for k in preconditioned_axes(state):
                update = contract(update, k, state[f"root_{k}"][None])
            updates.append(update[0])
        if group["correct_bias"]:
            scale_(updates, [1 / (1 - beta1**step) for step in steps])
        decay(params, group["lr"], group["weight_decay"])
        descend(params, updates, group["lr"])


def is_due(step: int, frequency: int) -> bool:
    """Whether powers are computed at this step: at multiples of the frequency, before the first also at powers of two."""
    return step % frequency == 0 or (step < frequency and step & (step - 1) == 0)


def preconditioned_axes(state: dict[str, Any]) -> list[int]:
    """Axes that have a Gram matrix."""
    return [k for k in range(state["exp_avg"].ndim) if f"gram_{k}" in state]


def refresh(states: list[dict[str, Any]], corrections: list[float], power: float, eps: float) -> None:
    """Compute `root_k` and `scale` anew from Gram matrices over their bias corrections, all of one size in one eigh."""
    places_of: dict[int, list[tuple[dict[str, Any], int, float]]] = {}
    for state, correction in zip(states, corrections, strict=True):
        shape, axes = state["exp_avg"].shape, preconditioned_axes(state)
        for k in axes:
            places_of.setdefault(shape[k], []).append((state, k, correction))
        trace = (state["square"] / correction).clamp_min(torch.finfo(state["square"].dtype).tiny)
        num_isotropic = shape.numel() // max(1, torch.Size(shape[k] for k in axes).numel())
        state["scale"].copy_(trace ** (len(axes) * power - 0.5) * num_isotropic**power)
    for places in places_of.values():
        grams_Bdd = torch.stack([state[f"gram_{k}"] / correction for state, k, correction in places])
        for (state, k, _), root_dd in zip(places, inverse_power(grams_Bdd, power, eps), strict=True):
            state[f"root_{k}"].copy_(root_dd)


def inverse_power(gram_Bdd: Tensor, power: float, eps: float) -> Tensor:
    """(gram + eps * its largest eigenvalue * I)^(-power); rounding's negative eigenvalues count as 0.

    Where eigh does not converge in fp32 it is done in fp64. Raises torch.linalg.LinAlgError for NaN or infinity.
    """
    try:
        values_Bd, vectors_Bdd = torch.linalg.eigh(gram_Bdd)
    except torch.linalg.LinAlgError:
        values_Bd, vectors_Bdd = (each.to(gram_Bdd.dtype) for each in torch.linalg.eigh(gram_Bdd.double()))
    values_Bd = values_Bd.clamp_min(0)
    values_Bd = (values_Bd + eps * values_Bd[:, -1:]).clamp_min(torch.finfo(values_Bd.dtype).tiny)
    return (vectors_Bdd * values_Bd.pow(-power).unsqueeze(-2)) @ vectors_Bdd.mT
