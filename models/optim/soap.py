"""SOAP: Adam in the slowly changing eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321).

    optimizer = SOAP(model.parameters(), lr=3e-3, weight_decay=0.01)

The rule is that of the authors' released code; what differs is only how it is computed. Momentum stays in the eigenbasis
and is rotated on a refresh alone (the release rotates it out and in on every step: 4 of its 10 matrix products), and
parameters of one shape and age are stacked, so that a step is a few batched products however many layers there are.

Per step and m x n matrix 6 products, 6 mn(m + n) flops (the release: 10): into the basis, back from it, and the Gram matrices, two
each; of large Gram matrices little more than half is multiplied. Memory beside weights and gradients: 2m² + 2n² + 2mn numbers;
`one_sided` leaves only the smaller side's two squares, `factorized` replaces one mn by m + n.

Shapes: B stacked parameters; d the size of an axis; others are of the parameter, folded (see models.optim.basis).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.kernels.eigenbasis_adam import eigenbasis_adam
from models.optim import basis
from models.optim.base import Optimizer, decay, descend, refuse, state_dtype
from models.optim.basis import Layout

CHOICES = {"data_format": ("channels_first", "channels_last"), "transport": ("permute", "hadamard"), "refresh": ("qr", "cholesky")}
NOT_STARTED = -1  # the step of a parameter that has had no gradient, or only zeros


class SOAP(Optimizer):
    """SOAP as its authors released it, and the variants of the paper's section 7.

    The first gradient that is not all zeros only sets the bases and moves nothing; steps count from the next one. Of the
    second moment the bias correction is in the step size, so that eps acts undiminished; weight decay is decoupled and
    comes after the update. shampoo_beta: decay of the Gram matrices, betas[1] if negative. precondition_frequency: steps
    between refreshes of the bases. max_precond_dim: longest axis that has a basis; with 0 this is Adam. merge_dims:
    multiply neighbouring axes up to max_precond_dim (data_format says where convolutions have their channels).
    precondition_1d: vectors too. normalize_grads: each parameter's update scaled to RMS 1; helps at a frequency near 100.

    one_sided: a basis for the shortest axis only. factorized: second moment of rank one, as in Adafactor. transport: how the second
    moment follows a new basis: "permute" as released, or "hadamard", exact for uncorrelated coordinates. refresh: "qr", or "cholesky", the
    same basis by batched products, which GPUs do faster. Raises ValueError for hyperparameters out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float = -1,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10000,
        merge_dims: bool = False,
        precondition_1d: bool = False,
        normalize_grads: bool = False,
        data_format: str = "channels_first",
        correct_bias: bool = True,
        *,
        one_sided: bool = False,
        factorized: bool = False,
        transport: str = "permute",
        refresh: str = "qr",
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {name: value for name, value in locals().items() if name not in ("self", "params", "__class__")}
        self._stacks: dict[Tensor, Stack] = {}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._stacks = {}

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        for name, choices in CHOICES.items():
            if group[name] not in choices:
                refuse(self, name, group[name], " or ".join(map(repr, choices)))
        if group["shampoo_beta"] >= 1:
            refuse(self, "shampoo_beta", group["shampoo_beta"], "a number below 1; a negative one stands for betas[1]")
        if group["precondition_frequency"] < 1:
            refuse(self, "precondition_frequency", group["precondition_frequency"], "a whole number of steps, 1 or more")

    def _init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        layout, options = layout_in(p, group), {"dtype": state_dtype(p), "device": p.device}
        state = {"step": NOT_STARTED, "exp_avg": torch.zeros(layout.axes, **options)}
        if group["factorized"] and len(layout.axes) > 1:
            state |= {f"exp_avg_sq_{k}": torch.zeros(d, **options) for k, d in enumerate(layout.axes)}
        else:
            state["exp_avg_sq"] = torch.zeros(layout.axes, **options)
        for k in layout.rotated:
            d = layout.axes[k]
            state |= {f"gram_{k}": torch.zeros(d, d, **options), f"Q_{k}": torch.eye(d, **options)}
        return state

    def _update(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        alike: dict[tuple, list[int]] = {}
        for at, (p, state) in enumerate(zip(params, states, strict=True)):
            alike.setdefault((p.shape, state["step"]), []).append(at)
        for (_, step), places in alike.items():
            if step == NOT_STARTED:
                places = not_all_zero(places, grads)
            if places:
                self._update_alike(*([each[at] for at in places] for each in (params, grads, states)), group)

    def _update_alike(self, params: list[Tensor], grads: list[Tensor], states: list[dict], group: dict[str, Any]) -> None:
        """Update parameters of one shape and step: the whole rule, in its order."""
        layout = layout_in(params[0], group)
        state = self._stacked(params, states)
        g = layout.fold(grads[0].unsqueeze(0) if len(grads) == 1 else torch.stack(grads))
        beta1, beta2 = group["betas"]
        gram_beta = group["shampoo_beta"] if group["shampoo_beta"] >= 0 else beta2
        step = states[0]["step"] + 1
        for each in states:
            each["step"] = step

        if step == NOT_STARTED + 1:
            for k in layout.rotated:
                basis.update_gram_(state[f"gram_{k}"], g, k, gram_beta)
                state[f"Q_{k}"].copy_(basis.first_basis(state[f"gram_{k}"]))
            return

        u = layout.unfold(direction(state, g, layout, beta1, beta2, group["eps"]))
        if group["normalize_grads"]:
            rms_B = u.reshape(len(u), -1).square().mean(1).sqrt()
            u = u / (rms_B + 1e-30).reshape(-1, *[1] * (u.dim() - 1))
        lr = group["lr"]
        descend(params, list(u.unbind()), lr * ((1 - beta2**step) ** 0.5 / (1 - beta1**step) if group["correct_bias"] else 1.0))
        decay(params, lr, group["weight_decay"])
        for k in layout.rotated:  # after the update: the basis of a step knows nothing of its gradient
            basis.update_gram_(state[f"gram_{k}"], g, k, gram_beta)
        if step % group["precondition_frequency"] == 0:
            refresh(state, layout, group["refresh"], group["transport"])

    def _stacked(self, params: list[Tensor], states: list[dict]) -> dict[str, Tensor]:
        """The states' tensors on a leading axis, of which the states hold views: stacked anew only where something replaced a view."""
        stack = self._stacks.get(params[0])
        if stack is None or not stack.holds(params, states):
            stack = stacked(params, states)
            self._stacks |= dict.fromkeys(params, stack)
        return stack.whole


@dataclass(frozen=True)
class Stack:
    """The states of some parameters as one tensor each."""

    params: list[Tensor]
    views: list[dict[str, Tensor]]
    """What the parameters' states hold."""
    whole: dict[str, Tensor]
    """(B, ...) by key."""

    def holds(self, params: list[Tensor], states: list[dict]) -> bool:
        """Whether it is of just these parameters, and their states are still its views."""
        same = len(params) == len(self.params) and all(p is mine for p, mine in zip(params, self.params, strict=True))
        return same and all(state[key] is view for state, views in zip(states, self.views, strict=True) for key, view in views.items())


def stacked(params: list[Tensor], states: list[dict]) -> Stack:
    """Stack the states and make them views of the result; a single one is its own stack."""
    keys = [key for key, value in states[0].items() if isinstance(value, Tensor)]
    if len(states) == 1:
        return Stack(params, [{key: states[0][key] for key in keys}], {key: states[0][key].unsqueeze(0) for key in keys})
    whole = {}
    for key in keys:
        whole[key] = torch.stack([state[key] for state in states])
        for state, view in zip(states, whole[key].unbind(), strict=True):
            state[key] = view
    return Stack(params, [{key: state[key] for key in keys} for state in states], whole)


def layout_in(p: Tensor, group: dict[str, Any]) -> Layout:
    """The layout that a group's options give a parameter."""
    names = ("max_precond_dim", "merge_dims", "precondition_1d", "data_format", "one_sided")
    return basis.layout_of(tuple(p.shape), *(group[name] for name in names))


def not_all_zero(places: list[int], grads: list[Tensor]) -> list[int]:
    """Those of the places whose gradient has an element that is not zero; one sync, and only before a parameter's first step."""
    seen = torch.stack([grads[at].any() for at in places]).tolist()
    return [at for at, any_ in zip(places, seen, strict=True) if any_]


def direction(state: dict[str, Tensor], g: Tensor, layout: Layout, beta1: float, beta2: float, eps: float) -> Tensor:
    """Adam's direction (B, *axes) in the parameters' own coordinates, without bias correction; updates both moments."""
    bases = {k: state[f"Q_{k}"] for k in layout.rotated}
    rotated = basis.rotate(g, bases)
    if "exp_avg_sq" in state:
        u = eigenbasis_adam(rotated, state["exp_avg"], state["exp_avg_sq"], beta1, beta2, eps)
    else:
        factors = [state[f"exp_avg_sq_{k}"] for k in range(len(layout.axes))]
        u = factorized_adam(rotated, state["exp_avg"], factors, beta1, beta2, eps)
    return basis.rotate_back(u, bases)


def factorized_adam(g: Tensor, m: Tensor, factors: list[Tensor], beta1: float, beta2: float, eps: float) -> Tensor:
    """As eigenbasis_adam, with a second moment of rank one: for each axis k the mean of g² over the others, (B, d_k).

    v is the product of the factors over mean(v) to the power of their number less one. Source: SOAP, section 7.2.1; Adafactor, section 3.
    """
    m.lerp_(g, 1 - beta1)
    squared, num_axes = g.square(), len(factors)
    for k, factor in enumerate(factors):
        factor.lerp_(squared.mean([axis + 1 for axis in range(num_axes) if axis != k]), 1 - beta2)
    mean_B = factors[0].mean(-1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    v = mean_B.reshape(-1, *[1] * num_axes)
    for k, factor in enumerate(factors):
        v = v * (factor / mean_B).reshape(-1, *[1] * k, factor.shape[-1], *[1] * (num_axes - k - 1))
    return m / (v.sqrt() + eps)


def refresh(state: dict[str, Tensor], layout: Layout, method: str, transport: str) -> None:
    """New bases from the Gram matrices, and both moments moved into them, in place."""
    old = {k: state[f"Q_{k}"] for k in layout.rotated}
    new = {}
    for k in layout.rotated:
        new[k], order_Bd = basis.refreshed(state[f"gram_{k}"], old[k], method)
        for key, axis in (("exp_avg_sq", k), (f"exp_avg_sq_{k}", 0)):
            if key in state and transport == "hadamard":
                state[key].copy_(basis.transported(state[key], axis, old[k], new[k]))
            elif key in state:
                state[key].copy_(basis.permuted(state[key], axis, order_Bd))
    state["exp_avg"].copy_(basis.rotate(basis.rotate_back(state["exp_avg"], old), new))
    for k in layout.rotated:
        old[k].copy_(new[k])
