"""Muon for hidden matrices and AdamW for the rest, as one optimizer with one learning rate."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class MuonAdamW(torch.optim.Optimizer):
    """torch.optim.Muon on `matrices`, torch.optim.AdamW on `others`; both optimizers work on this one's groups and state.

    Each group says in "rule" whose it is: "muon", the default of later groups, or "adamw". By default Muon's step has the
    root mean square of AdamW's, so that both share lr and weight_decay (Liu et al. 2025, 2502.16982, section 2.2).
    Raises ValueError where `matrices` holds anything but 2-D parameters.
    """

    def __init__(
        self,
        matrices: list[Tensor],
        others: list[Tensor],
        lr: float = 3e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adjust_lr_fn: str = "match_rms_adamw",
    ) -> None:
        muon = torch.optim.Muon(matrices, lr, weight_decay, momentum, adjust_lr_fn=adjust_lr_fn)
        adamw = torch.optim.AdamW(others, lr, betas, eps, weight_decay)
        self._parts = {"muon": muon, "adamw": adamw}
        super().__init__([{"params": part.param_groups[0]["params"], "rule": rule} for rule, part in self._parts.items()], {})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_parts": self._parts}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        rule = param_group.get("rule", "muon")
        if rule not in self._parts:
            raise ValueError(f'MuonAdamW: rule is {rule!r}; give "muon" or "adamw"')
        part = self._parts[rule]
        checked = type(part)([{**part.defaults, **param_group, "rule": rule}])  # refuses what can not be, as that optimizer does
        super().add_param_group(checked.param_groups[0])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what the closure returned, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for rule, part in self._parts.items():
            # load_state_dict and add_param_group put new containers in place of the old ones
            part.state, part.param_groups = self.state, [group for group in self.param_groups if group["rule"] == rule]
            part.step()
        return loss
