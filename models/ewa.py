"""Exponentially weighted averages of the weights, several decays in one run.

    averages = WeightAverages(model.parameters(), decays=(0.99, 0.999))
    averages.update()                        # after every optimizer step
    with averages.swapped(0.99):             # the model now holds the average; afterwards its own weights, to the bit
        loss = evaluate(model)

xi <- tau * xi + (1 - tau) * theta from xi = 0, read as xi / (1 - tau^t), so that early averages are means of what there
was and not pulled to zero. A constant rate with a few decays stands for schedules of many lengths at once. Source: How
Does Critical Batch Size Scale in Pre-training? (arXiv 2410.21676) and its code.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverages:
    """Averages of `parameters`, one for each of `decays`, in at least fp32 on the parameters' devices."""

    def __init__(self, parameters: Iterable[Tensor], decays: tuple[float, ...]) -> None:
        for decay in decays:
            if not 0 <= decay < 1:
                raise ValueError(f"WeightAverages: a decay is {decay}; give numbers from 0 to below 1, such as 0.999")
        if len(set(decays)) < len(decays):
            raise ValueError(f"WeightAverages: decays {decays} name one twice; give each once")
        self.parameters = list(parameters)
        self.num_updates = 0
        self.sums = {
            decay: [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32), requires_grad=False) for p in self.parameters]
            for decay in decays
        }
        self.num_swaps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are now into every average."""
        assert not self.num_swaps, "an update inside `swapped` would average the averages"
        self.num_updates += 1
        for decay, sums in self.sums.items():
            values = [p.to(total.dtype) for p, total in zip(self.parameters, sums, strict=True)]
            torch._foreach_lerp_(sums, values, 1 - decay)

    @torch.no_grad()
    def weights(self, decay: float) -> list[Tensor]:
        """The average of this decay, free of its zero start, in the order of the parameters. Raises ValueError before the first update."""
        if not self.num_updates:
            raise ValueError("WeightAverages: there is no average yet; call update() after a step")
        # 1 - tau^t without the cancellation that a tau near 1 suffers
        share = -math.expm1(self.num_updates * math.log(decay)) if decay else 1.0
        return torch._foreach_div(self.sums[decay], share)

    @contextmanager
    def swapped(self, decay: float) -> Iterator[None]:
        """Let the parameters hold this average inside the block; blocks may be nested, and errors put the weights back as well."""
        averages = self.weights(decay)
        with torch.no_grad():
            own = [p.clone() for p in self.parameters]
            torch._foreach_copy_(self.parameters, averages)
        self.num_swaps += 1
        try:
            yield
        finally:
            self.num_swaps -= 1
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, own)

    def state_dict(self) -> dict:
        """Everything that a resumed run needs: the averages before division, and how many updates they hold."""
        return {"num_updates": self.num_updates, "sums": {str(decay): list(sums) for decay, sums in self.sums.items()}}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Take up a state of the same decays and parameters. Raises ValueError for other decays."""
        if set(state["sums"]) != {str(decay) for decay in self.sums}:
            raise ValueError(
                f"WeightAverages: the state holds decays {sorted(state['sums'])}, this run has {sorted(self.sums)}; give the same"
            )
        self.num_updates = state["num_updates"]
        for decay, sums in self.sums.items():
            for total, saved in zip(sums, state["sums"][str(decay)], strict=True):
                total.copy_(saved)
