"""Tables of runs whose truth is known, in the columns of train_arms."""

import json

import pyarrow as pa

INIT = 6.24


def run_row(group, loss, *, seed, lr=0.01, num_tokens=655_360, step=320, num_steps=320, **changes):
    """One evaluation of one run; a loss of None is a run that diverged."""
    optimizer = "adamw" if group.startswith("sanity") else group.partition("/")[0]
    row = {
        "run": f"{group}|{lr:g}|{seed}|{num_tokens}", "group": group, "optimizer": optimizer, "options": json.dumps({}), "lr": lr, "batch_size": 32,
        "num_tokens_planned": num_tokens, "seed": seed, "schedule": "cosine", "extended": False, "step": step, "num_steps": num_steps,
        "num_tokens": num_tokens, "ewa_decay": None, "val_loss": loss, "train_loss": loss, "diverged": loss is None,
    }  # fmt: skip
    return {**row, **changes}


def sanity_rows(init=INIT, end=INIT, ascent=9.0):
    """The two sanity arms."""
    same = dict(seed=0, num_tokens=32_768, num_steps=16)
    zero = [run_row("sanity/lr=0", loss, lr=0.0, step=step, **same) for step, loss in ((8, init), (16, end))]
    return [*zero, run_row("sanity/ascent", ascent, step=16, **same)]


def sweep_rows(group, best, *, best_lr=0.01, steepness=0.2, lost_above=None):
    """A sweep on seed 0: a valley of |log10(lr / best_lr)| * steepness over two decades, in half decades."""
    lrs = [best_lr * 10 ** (k / 2) for k in range(-2, 3)]
    losses = [None if lost_above and lr > lost_above else best + steepness * abs(k) / 2 for lr, k in zip(lrs, range(-2, 3), strict=True)]
    return [run_row(group, loss, seed=0, lr=lr) for lr, loss in zip(lrs, losses, strict=True)]


def fresh_rows(rng, group, mean, deviation, seeds=(1, 2, 3, 4, 5), **fields):
    """Runs on fresh seeds with normal noise."""
    return [run_row(group, float(mean + rng.normal(0, deviation)), seed=seed, **fields) for seed in seeds]


def table_of(rows):
    """The rows as a table, whole numbers and nulls typed as train_arms does."""
    types = {"ewa_decay": pa.float64(), "val_loss": pa.float64(), "train_loss": pa.float64(), "seed": pa.int32(), "step": pa.int32()}
    names = list(rows[0])
    return pa.table({name: pa.array([row[name] for row in rows], types.get(name)) for name in names})
