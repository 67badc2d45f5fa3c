"""The fused kernel beside its twin, the twin beside the formula, and compiled."""

import importlib
import importlib.util
import math
import sys

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from models.kernels.eigenbasis_adam import eigenbasis_adam, plain_eigenbasis_adam

SETTINGS = dict(beta1=0.9, beta2=0.95, eps=1e-8)


def tensors(shape: tuple[int, ...], dtype=torch.float32, device="cpu") -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    g, m, v = (torch.randn(shape, generator=generator, dtype=dtype).to(device) for _ in range(3))
    return [g, m, v.abs()]


def test_is_the_formula():
    g, m, v = ([x.item() for x in each] for each in tensors((7,), torch.float64))
    rows = tensors((7,), torch.float64)
    u = eigenbasis_adam(*rows, **SETTINGS)
    for at in range(7):
        m_new, v_new = 0.9 * m[at] + 0.1 * g[at], 0.95 * v[at] + 0.05 * g[at] ** 2
        assert (rows[1][at].item(), rows[2][at].item()) == pytest.approx((m_new, v_new), rel=1e-14)
        assert u[at].item() == pytest.approx(m_new / (math.sqrt(v_new) + 1e-8), rel=1e-14)
        assert rows[0][at].item() == g[at], "the gradient stays"


def assert_kernel_is_twin(launch, shape: tuple[int, ...], device: str) -> None:
    ours, twins = tensors(shape, device=device), tensors(shape, device=device)
    u, twin = launch(*ours, **SETTINGS), plain_eigenbasis_adam(*twins, **SETTINGS)
    for x, y in zip([u, *ours], [twin, *twins], strict=True):
        torch.testing.assert_close(x, y, rtol=2e-6, atol=1e-7)


SHAPES = [(1,), (3, 5, 7), (2, 1024), (4, 33, 65)]  # less than a block, whole blocks, blocks and a rest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed; PyTorch's wheels for CPUs come without it")
def test_interpreted_kernel_is_its_twin(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, "models.kernels.eigenbasis_adam_triton", raising=False)  # the variable counts when a kernel is declared
    kernel = importlib.import_module("models.kernels.eigenbasis_adam_triton")
    for shape in SHAPES:
        assert_kernel_is_twin(kernel.launch, shape, "cpu")
    monkeypatch.delitem(sys.modules, "models.kernels.eigenbasis_adam_triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_compiled_kernel_is_its_twin():
    for shape in SHAPES:
        assert_kernel_is_twin(eigenbasis_adam, shape, "cuda")


def test_twin_compiles_as_one_graph_for_all_shapes():
    counter = CompileCounter()
    compiled = torch.compile(plain_eigenbasis_adam, fullgraph=True, backend=counter)
    for size in range(2, 9):
        rows, twins = tensors((size, 3 * size, 5)), tensors((size, 3 * size, 5))
        torch.testing.assert_close(compiled(*rows, **SETTINGS), plain_eigenbasis_adam(*twins, **SETTINGS))
    assert counter.frame_count <= 3
