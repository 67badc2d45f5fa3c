"""Optimizers that torch does not have, each a torch.optim.Optimizer; `choose.make_optimizer` gives any of them by name."""

from models.optim.adafactor import Adafactor
from models.optim.adalayer import Adalayer
from models.optim.sgd import SGD
from models.optim.shampoo import Shampoo
from models.optim.signed import Lion, Signum
from models.optim.soap import SOAP

__all__ = ["SGD", "SOAP", "Adafactor", "Adalayer", "Lion", "Shampoo", "Signum"]
