"""Evaluations of made runs whose steps to a loss are a + b / B exactly, but for a factor drawn for every run."""

import numpy as np

SIZES = (4, 8, 16, 32, 128, 512)
FLOOR, NOISE = 60, 100
"""Steps that the largest batch has beyond its noise, and b/a at the loss that they reach."""


def loss_of(floor_steps):
    return 2.5 + 8 * floor_steps**-0.4


def rows_of(size, seed, *, spread=0.0, lr=0.01, growth=1.0, evals=12, share=1.0, noisy=True, diverged=False):
    """One run: after u floor steps it has done u (1 + NOISE (u / FLOOR)^growth / B) steps, times its factor; averages are better than raw weights."""
    factor = np.exp(spread * np.random.default_rng([size, seed, round(lr * 1e6)]).standard_normal())
    num_steps = round(share * FLOOR * (1 + NOISE / size))
    same = {"run": f"{size}-{seed}-{lr}", "group": f"B={size}", "batch_size": size, "seed": seed, "lr": lr, "num_steps": num_steps, "diverged": diverged}
    if diverged:
        return [same | dict.fromkeys(("ewa_decay", "val_loss", "grad_sq", "part_grad_sq", "part_size")) | {"step": 3, "num_tokens": 3 * size * 64}]
    grid = np.geomspace(1e-2, 10 * FLOOR, 4000)
    steps_of_grid = factor * grid * (1 + NOISE * (grid / FLOOR) ** growth / size)
    rows = []
    for number in range(1, evals + 1):
        step = max(1, round(number * num_steps / evals))
        floor_steps = np.interp(step, steps_of_grid, grid)
        scale = NOISE * (floor_steps / FLOOR) ** growth
        norms = {"grad_sq": 1 + scale / size, "part_grad_sq": 1 + 2 * scale / size, "part_size": size // 2} if noisy else {}
        for decay in (None, 0.9):
            row = same | dict.fromkeys(("grad_sq", "part_grad_sq", "part_size")) | norms
            rows.append(row | {"step": step, "num_tokens": step * size * 64, "ewa_decay": decay, "val_loss": float(loss_of(floor_steps)) + (decay is None) * 0.1})
    return rows
