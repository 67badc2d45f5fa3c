"""Triton kernels, each beside a plain PyTorch twin that is its oracle and what runs where Triton can not."""
