"""One update of a model: the batch in parts, gradients added up, clipping, the optimizer's step.

    optimizer = make_recipe_optimizer(recipe, model)
    update = train_step(model, optimizer, recipe, batch_BT, lr)

Parts of a batch (gradient accumulation) bound memory, and their gradients one by one against that of the whole are what
the gradient noise scale is measured from: An Empirical Model of Large-Batch Training (arXiv 1812.06162, appendix A.1).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.optim.choose import make_optimizer
from models.scales import Recipe
from models.transformer import Transformer


class Update(NamedTuple):
    """What one update saw."""

    loss: float
    """Cross-entropy in nats per token, z-loss left out, mean over the batch before its update."""
    z_loss: float
    """The z-loss term, already weighted."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    part_grad_sq: float | None
    """Mean over the equal parts of the squared norm of each part's gradient, before clipping; None if not measured."""


def make_recipe_optimizer(recipe: Recipe, model: Transformer) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters of the model."""
    options = {"weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adamw":
        options |= {"betas": recipe.betas, "eps": recipe.eps}
    return make_optimizer(recipe.optimizer, model, recipe.lr, **options | dict(recipe.options))


def train_step(model: Transformer, optimizer: torch.optim.Optimizer, recipe: Recipe, batch_BT: Tensor, lr: float) -> Update:
    """One update on batch_BT (sequences, seq_len + 1), which goes through the model in the recipe's number of parts."""
    device = batch_BT.device.type
    cross_entropy = z_loss = torch.zeros((), device=device)
    summed_grads, part_grad_sqs = [], []
    for part_BT in batch_BT.tensor_split(min(recipe.accumulation_steps, len(batch_BT))):
        share = len(part_BT) / len(batch_BT)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            parts = model.loss(part_BT[:, :-1], part_BT[:, 1:], recipe.z_loss_weight)
        (parts.total * share).backward()
        cross_entropy, z_loss = cross_entropy + parts.cross_entropy * share, z_loss + parts.z_loss * share
        if recipe.measure_noise:  # each part's gradient by itself, added up as backward would have done
            grads = [parameter.grad for parameter in model.parameters()]
            part_grad_sqs.append((torch.nn.utils.get_total_norm(grads).double() / share).square())
            summed_grads = torch._foreach_add(summed_grads, grads) if summed_grads else grads
            optimizer.zero_grad()
    for parameter, grad in zip(model.parameters(), summed_grads, strict=False):
        parameter.grad = grad
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    optimizer.step()
    optimizer.zero_grad()
    part_grad_sq = torch.stack(part_grad_sqs).mean().item() if part_grad_sqs else None
    return Update(cross_entropy.item(), z_loss.item(), grad_norm.item(), part_grad_sq)


def check_noise(recipe: Recipe, seq_len: int) -> None:
    """Refuse to measure noise where the parts of a batch are not two or more of one size. Raises ValueError."""
    if not recipe.measure_noise:
        return
    parts, num_steps, num_sequences = recipe.accumulation_steps, recipe.num_steps(seq_len), recipe.num_sequences(seq_len)
    if parts < 2:
        raise ValueError(f"train: measure_noise compares parts of a batch, accumulation_steps is {parts}; give 2 or more")
    if num_sequences != num_steps * recipe.batch_size or recipe.batch_size % parts:
        raise ValueError(
            f"train: measure_noise needs equal parts, and {num_sequences:,} sequences make no {num_steps} batches of "
            f"{recipe.batch_size} in {parts} parts each; change num_tokens, batch_size or accumulation_steps"
        )
