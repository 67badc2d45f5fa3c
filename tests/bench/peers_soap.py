"""SOAP as others compute it: the released rule written plainly, and the SOAPs of pytorch-optimizer and heavyball, set to that rule."""

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

from flows.errors import UserError

PACKAGES = ("pytorch_optimizer", "heavyball")
SETTINGS = dict(lr=3e-3, betas=(0.95, 0.95), eps=1e-8, weight_decay=0.01, precondition_frequency=10)


class Released(torch.optim.Optimizer):
    """The released rule for matrices and vectors, as released: one parameter after the other, momentum out of the basis and in again on every step."""

    def __init__(self, params):
        super().__init__(params, SETTINGS)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.update(p, self.state[p], group)

    def update(self, p: Tensor, state: dict, group: dict) -> None:
        g = p.grad
        beta1, beta2 = group["betas"]
        if not state:
            has_basis = g.dim() > 1
            state |= {"t": 0, "m": torch.zeros_like(g), "v": torch.zeros_like(g)}
            state["grams"] = [torch.zeros(d, d, device=g.device) for d in g.shape] if has_basis else []
            accumulate(state["grams"], g, beta2)
            state["Qs"] = [torch.linalg.eigh(gram + 1e-30 * torch.eye(len(gram), device=g.device))[1].flip(1) for gram in state["grams"]]
            return
        state["t"] += 1
        g_rotated = rotated(g, state["Qs"], 0)
        state["m"].mul_(beta1).add_(g_rotated, alpha=1 - beta1)
        state["v"].mul_(beta2).add_(g_rotated.square(), alpha=1 - beta2)
        denominator = state["v"].sqrt().add_(group["eps"])
        size = group["lr"] * math.sqrt(1 - beta2 ** state["t"]) / (1 - beta1 ** state["t"])
        p.add_(rotated(state["m"] / denominator, state["Qs"], 1), alpha=-size)
        p.add_(p, alpha=-group["lr"] * group["weight_decay"])
        state["m"] = rotated(state["m"], state["Qs"], 1)
        accumulate(state["grams"], g, beta2)
        if state["t"] % group["precondition_frequency"] == 0:
            for k, gram in enumerate(state["grams"]):
                Q = state["Qs"][k]
                order = torch.diag(Q.T @ gram @ Q).argsort(descending=True)
                state["v"] = state["v"].index_select(k, order)
                state["Qs"][k] = torch.linalg.qr(gram @ Q[:, order]).Q
        state["m"] = rotated(state["m"], state["Qs"], 0)


def accumulate(grams: list[Tensor], g: Tensor, beta: float) -> None:
    """Each Gram matrix kept by its exponential average."""
    for k, gram in enumerate(grams):
        gram.lerp_(torch.tensordot(g, g, dims=([1 - k], [1 - k])), 1 - beta)


def rotated(x: Tensor, Qs: list[Tensor], side: int) -> Tensor:
    """Contract axis after axis with the bases: side 0 goes into them, side 1 out."""
    for Q in Qs:
        x = torch.tensordot(x, Q, dims=([0], [side]))
    return x


def pytorch_optimizer_soap(params: list[Tensor]) -> torch.optim.Optimizer:
    from pytorch_optimizer import SOAP

    return SOAP(params, **SETTINGS)


def heavyball_soap(params: list[Tensor]) -> torch.optim.Optimizer:
    """Without torch.compile, whose autotuning takes minutes on a CPU and changes none of the matrix products, which take the time."""
    import heavyball
    import heavyball.utils

    heavyball.utils.compile_mode = None
    return heavyball.SOAP(params, shampoo_beta=0.95, max_precond_dim=10_000, merge_dims=False, **SETTINGS)


PEERS: dict[str, tuple[Callable[[list[Tensor]], torch.optim.Optimizer], float]] = {
    "released rule, written plainly": (Released, 1e-3),
    "pytorch-optimizer 4.1.0": (pytorch_optimizer_soap, 1e-3),
    "heavyball 3.2.1, not compiled": (heavyball_soap, 5e-2),
}
"""How each is made, and by how much of the distance moved it may differ; heavyball orders columns its own way, which shows in the second moment."""


def need_peers() -> None:
    """UserError with the command to run if a peer is not installed: no row is left out in silence."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"bench optim: the peers {', '.join(missing)} are not installed; "
            "run .venv/bin/python -m pip install --no-deps --requirement requirements-bench.txt"
        )
