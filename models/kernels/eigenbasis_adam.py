"""Adam's elementwise part, as SOAP does it in the eigenbasis: both moments kept and the update made in one pass.

    u = eigenbasis_adam(g, m, v, beta1, beta2, eps)

On CUDA with Triton one kernel reads g, m, v and writes m, v, u: 24 bytes an element in fp32, where PyTorch's separate operations
move 56. Elsewhere the plain twin runs. All tensors have one shape.
"""

from functools import cache

import torch
from torch import Tensor


def eigenbasis_adam(g: Tensor, m: Tensor, v: Tensor, beta1: float, beta2: float, eps: float) -> Tensor:
    """m <- beta1 m + (1 - beta1) g and v <- beta2 v + (1 - beta2) g², in place; returns m / (√v + eps).

    Neither moment is corrected for its bias: what remains of the correction is a factor of the learning rate. Source: SOAP, algorithm 3.
    """
    if g.is_cuda and g.dtype == torch.float32 and has_triton() and all(x.is_contiguous() for x in (g, m, v)):
        from models.kernels.eigenbasis_adam_triton import launch

        return launch(g, m, v, beta1, beta2, eps)
    return plain_eigenbasis_adam(g, m, v, beta1, beta2, eps)


def plain_eigenbasis_adam(g: Tensor, m: Tensor, v: Tensor, beta1: float, beta2: float, eps: float) -> Tensor:
    """The same in PyTorch."""
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    u = v.sqrt().add_(eps)
    return torch.div(m, u, out=u)


@cache
def has_triton() -> bool:
    """Whether Triton can be imported; PyTorch's wheels for CPUs come without it."""
    from importlib.util import find_spec

    return find_spec("triton") is not None
