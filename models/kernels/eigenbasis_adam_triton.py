"""The Triton kernel of eigenbasis_adam, apart from its twin so that importing the twin never needs Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def kernel(g_ptr, m_ptr, v_ptr, u_ptr, num_elements, beta1, beta2, eps, BLOCK: tl.constexpr):
    """One block of elements: read g, m, v; write m, v, u."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < num_elements
    g = tl.load(g_ptr + at, mask=inside)
    m = tl.load(m_ptr + at, mask=inside)
    v = tl.load(v_ptr + at, mask=inside, other=1.0)  # beyond the end nothing is written, and nothing is divided by zero
    m += (g - m) * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    tl.store(m_ptr + at, m, mask=inside)
    tl.store(v_ptr + at, v, mask=inside)
    tl.store(u_ptr + at, m / (tl.sqrt(v) + eps), mask=inside)


def launch(g: Tensor, m: Tensor, v: Tensor, beta1: float, beta2: float, eps: float) -> Tensor:
    """eigenbasis_adam of contiguous tensors of one shape and dtype."""
    u = torch.empty_like(g)
    grid = (triton.cdiv(g.numel(), BLOCK),)
    kernel[grid](g, m, v, u, g.numel(), beta1, beta2, eps, BLOCK=BLOCK)
    return u
