"""Any optimizer of a comparison by its name, with the groups that it needs found in the model's modules.

    optimizer = make_optimizer("sgd_adalayer", model, lr=1.0, norms=False)
    for group in optimizer.param_groups:
        group["lr"] = schedule(step) * group.get("lr_scale", 1.0)

Defaults are those of "Deconstructing What Makes a Good Optimizer" (2407.07972), section 3, where an optimizer is of that
paper, and without weight decay everywhere.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from models.optim.adafactor import Adafactor
from models.optim.adalayer import Adalayer
from models.optim.muon import MuonAdamW
from models.optim.sgd import SGD
from models.optim.shampoo import Shampoo
from models.optim.signed import Lion, Signum
from models.optim.soap import SOAP
from models.transformer import Attention, GainNorm, Transformer

Group = dict[str, Any]


def make_optimizer(name: str, model: Transformer, lr: float, **options: Any) -> torch.optim.Optimizer:
    """The optimizer of this name over all parameters of the model.

    names: adamw, muon (with AdamW on everything but the hidden matrices), soap, shampoo, adafactor, lion, signum, sgd,
    adalayer and sgd_adalayer. options: the class's keyword arguments and those of this module's function of that name.
    A group's "lr_scale" says what its rate is in units of the schedule's. Raises ValueError for names that do not exist,
    of optimizers and of options.
    """
    if name not in MAKERS:
        raise ValueError(f"make_optimizer: there is no optimizer {name!r}; {nearest(name, MAKERS)}")
    make, optimizer_class = MAKERS[name]
    accepted = {**inspect.signature(make).parameters, **inspect.signature(optimizer_class).parameters}
    known = [option for option in accepted if option not in ("model", "lr", "options", "params", "self", "matrices", "others")]
    for option in options:
        if option not in known:
            raise ValueError(f"make_optimizer: {name} has no option {option!r}; {nearest(option, known)}")
    return make(model, lr, **options)


def nearest(word: str, known: Any) -> str:
    """What to do about a word that is none of the known ones."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose among {', '.join(sorted(known))}"


def one_group(optimizer_class: type[torch.optim.Optimizer], **defaults: Any) -> Callable[..., torch.optim.Optimizer]:
    """A maker that treats all parameters alike."""

    def make(model: Transformer, lr: float, **options: Any) -> torch.optim.Optimizer:
        return optimizer_class(model.parameters(), lr=lr, **{**defaults, **options})

    return make


def muon(model: Transformer, lr: float, **options: Any) -> MuonAdamW:
    """Muon on the matrices inside blocks; AdamW on embedding, head and norms."""
    hidden = [module.weight for module in model.layers.modules() if isinstance(module, nn.Linear)]
    return MuonAdamW(hidden, rest(model, hidden), lr, **options)


def adalayer(
    model: Transformer, lr: float, last_rows: bool = True, split_qkv: bool = True, first_rows: bool = False, **options: Any
) -> Adalayer:
    """Adalayer*: one second moment per logit in the last layer, three in a fused projection of queries, keys and values.

    first_rows: one per token in the embedding, too. Both corrections off is plain Adalayer. Raises ValueError for
    first_rows together with frozen: a token not seen while v is measured would have v = 0 for ever.
    """
    if first_rows and options.get("frozen"):
        raise ValueError("make_optimizer: adalayer can not be frozen with first_rows (rare tokens have v = 0); drop one of them")
    groups: list[Group] = []
    if last_rows:
        groups.append({"params": [model.output.weight], "blocks": "rows"})
    if split_qkv:
        fused = [module.in_proj.weight for module in model.modules() if isinstance(module, Attention)]
        groups.append({"params": fused, "blocks": 3})
    if first_rows:
        groups.append({"params": [model.tok_embeddings.weight], "blocks": "rows"})
    return Adalayer([*groups, {"params": rest(model, of_groups(groups))}], lr, **options)


def sgd_adalayer(
    model: Transformer, lr: float, last: bool = True, norms: bool = True, adaptive_lr: float = 3.16e-3, **options: Any
) -> Adalayer:
    """SGD everywhere but in the last layer, which has Adalayer by rows, and the norms, which have Adalayer.

    Each can be left to SGD as well. lr is SGD's peak rate, adaptive_lr that of the adaptive groups: their "lr_scale" is
    the ratio. Source: 2407.07972, section 4.3.
    """
    adaptive = {"lr": adaptive_lr, "lr_scale": adaptive_lr / lr if lr else 1.0}
    groups: list[Group] = []
    if last:
        groups.append({"params": [model.output.weight], "blocks": "rows", **adaptive})
    if norms:
        gains = [module.weight for module in model.modules() if isinstance(module, GainNorm)]
        groups.append({"params": gains, **adaptive})
    return Adalayer([{"params": rest(model, of_groups(groups)), "adaptive": False}, *groups], lr, **options)


def of_groups(groups: list[Group]) -> list[nn.Parameter]:
    """All parameters of the groups."""
    return [p for group in groups for p in group["params"]]


def rest(model: Transformer, taken: list[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters of the model that were not taken, in its order."""
    ids = {id(p) for p in taken}
    return [p for p in model.parameters() if id(p) not in ids]


MAKERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], type[torch.optim.Optimizer]]] = {
    "adamw": (one_group(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.0, fused=True), torch.optim.AdamW),
    "muon": (muon, MuonAdamW),
    "soap": (one_group(SOAP, weight_decay=0.0), SOAP),
    "shampoo": (one_group(Shampoo), Shampoo),
    "adafactor": (one_group(Adafactor), Adafactor),
    "lion": (one_group(Lion), Lion),
    "signum": (one_group(Signum), Signum),
    "sgd": (one_group(SGD), SGD),
    "adalayer": (adalayer, Adalayer),
    "sgd_adalayer": (sgd_adalayer, Adalayer),
}
"""How each optimizer is made, and the class whose options it takes."""
