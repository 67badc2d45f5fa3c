"""Measure how well Kronecker products fit the second moments of three small networks' layers while they train on a text.

reads: sequences of tokens, their tokenizer   writes: one row per network, layer, step, view, source of the factors, seed and estimator
cost: about 65 CPU seconds a seed, of which the transformer takes 50. A run is a network and a seed; those that are finished outlive a kill.

Views: `gn`, the Gauss-Newton matrix (gradients sample by sample, labels drawn from the model); `adagrad`, the sum over the gradients of training so
far; `adagrad_ema`, their exponential average. Each is compared with products of factors that come from its own gradients. The Gauss-Newton matrix is
compared besides with factors from the gradients of other windows (held_out), sample by sample or of whole batches, with drawn or with real labels:
what an optimizer has at hand. The mathematics: models/kron.py (2406.17748); the networks: models/small_networks.py.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.processes import run_tasks
from stages.core.stage import Inputs, Resources, stage

COSINES = {
    "network": pa.string(),
    "layer": pa.string(),
    "step": pa.int32(),
    "view": pa.string(),
    "held_out": pa.bool_(),
    "labels": pa.string(),
    "batch": pa.int32(),
    "num_samples": pa.int32(),
    "seed": pa.int32(),
    "estimator": pa.string(),
    "cosine": pa.float64(),
    "effective_rank": pa.float64(),
    "loss": pa.float64(),
}
"""The factors come from `num_samples` gradients of `batch` windows each with `labels`; `effective_rank` is that of the matrix, `loss` the network's
in nats a letter, with the text's labels."""

ESTIMATORS = ("shampoo", "shampoo2", "kfac", "optimal")


@config
class MeasurePreconditioner:
    networks: tuple[str, ...] = ("linear", "mlp", "transformer")
    """From the cheapest to the dearest."""
    seeds: tuple[int, ...] = (6, 7, 8, 9, 10)
    """Each draws its own weights, windows of text and labels. The analysis was written with seed 0 at hand and tried on seeds 1 to 5."""
    checkpoints: tuple[int, ...] = (0, 32, 128, 512)
    """Steps of training at which to measure, ascending."""
    num_outer_products: int = 4096
    """Gradients of a Gauss-Newton matrix where each is an outer product; it is measured with twice as many, too."""
    num_samples: int = 512
    """The same where they are not, and the gradients of which held-out factors come."""
    batch_sizes: tuple[int, ...] = (1, 8, 64)
    """Windows whose mean gradient is one of those of held-out factors."""
    ema_beta: float = 0.95
    """Decay of the exponential average, SOAP's and Shampoo's default."""
    num_threads: int = 1
    """Threads of torch in each run."""

    def __post_init__(self) -> None:
        if not self.checkpoints or list(self.checkpoints) != sorted(set(self.checkpoints)) or self.checkpoints[0] < 0:
            raise ValueError(f"measure_preconditioner: checkpoints are {self.checkpoints}; give numbers of steps in ascending order")


@stage(
    version=1, kind="reduce", takes=("table", "artifact"), needs={"tokens"}, adds=COSINES, uses=("torch", "tokenizers"),
    reproducible="torch, device class, num_threads", resumes=True,
)  # fmt: skip
def measure_preconditioner(config: MeasurePreconditioner, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Train each network with each seed, and measure it at the checkpoints; the one shard is called cosines."""
    from evaluation.journal import Journal
    from models.small_networks import NETWORKS

    for name in config.networks:
        if name not in NETWORKS:
            raise ValueError(f"measure_preconditioner: there is no network '{name}'; the networks are {', '.join(NETWORKS)}")
    runs = [f"{network}/{seed}" for network in config.networks for seed in config.seeds]
    scratch = Path(resources.scratch)
    journal = Journal(scratch, "finished")
    waiting = [run for number, run in enumerate(runs) if number not in journal.finished]
    found = {runs[number]: results for number, results in journal.finished.items()}

    def done(run: str, results: dict[str, Any]) -> Mapping[str, Any]:
        journal.append(runs.index(run), results)
        found[run] = results
        return {}

    if waiting:
        windows = _windows(inputs.one("table"), inputs.artifact.file("tokenizer.json"))
        tasks = {run: (config, run, windows) for run in reversed(waiting)}  # the longest first, so that no process idles at the end
        run_tasks(
            measure_run, tasks, processes=resources.workers, logs=scratch / "logs", done=done,
            size=lambda task: 1.0 if NETWORKS[task[1].partition("/")[0]].one_position else 8.0, report=resources.report, noun="runs",
        )  # fmt: skip
    journal.close()
    rows = [row for run in runs for row in found[run]["rows"]]
    yield "cosines", pa.Table.from_pylist(rows, schema=pa.schema(list(COSINES.items())))
    return {"runs": [{"run": run, **{key: found[run][key] for key in ("started", "seconds")}} for run in runs]}


def measure_run(task: tuple[MeasurePreconditioner, str, np.ndarray], progress: Callable[[float], None]) -> dict[str, Any]:
    """Train one network with one seed and measure it: {"rows": rows of COSINES, "started": UTC time, "seconds": wall clock}."""
    import torch

    from models.small_networks import NETWORKS, layer_gradients, train_through

    config, run, windows = task
    name, _, seed = run.partition("/")
    network, clock, started = NETWORKS[name], time.perf_counter(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    torch.set_num_threads(config.num_threads)
    parts = (
        2 * (config.num_outer_products if network.one_position else config.num_samples),
        config.num_samples * max(config.batch_sizes),
        network.batch_size * config.checkpoints[-1],
    )
    if sum(parts) > len(windows):
        raise ValueError(
            f"measure_preconditioner: {run} takes {sum(parts):,} windows of the text, which has {len(windows):,}; give more text"
        )
    chosen = torch.from_numpy(np.random.default_rng(int(seed)).permutation(windows)[: sum(parts)]).long()
    own, others, training = chosen.split(parts)
    model, labels, rows = network.build(int(seed)), torch.Generator().manual_seed(int(seed)), []
    for step, past in train_through(network, model, training, config.checkpoints):
        _, loss = layer_gradients(model, network.layers, own)
        found = [*_gauss_newton(config, network, model, own, others, labels), *_adagrad(config, network, past)]
        rows += [{"network": name, "step": step, "seed": int(seed), "loss": loss, **row} for row in found]
        progress((config.checkpoints.index(step) + 1) / len(config.checkpoints))
    return {"rows": rows, "started": started, "seconds": round(time.perf_counter() - clock, 2)}


def _gauss_newton(
    config: MeasurePreconditioner, network: Any, model: Any, own_BL: Any, others_BL: Any, labels: Any
) -> Iterator[dict[str, Any]]:
    """Rows of the Gauss-Newton matrices of the first half of the windows and of all, and of the first with factors from other windows."""
    from models.kron import OuterProducts, SecondMoment, compare, shampoo_cosines
    from models.small_networks import batch_gradients, layer_gradients

    drawn, _ = layer_gradients(model, network.layers, own_BL, labels)
    matrices = {}
    for layer, gradients in drawn.items():
        half = len(own_BL) // 2
        for count in (2 * half, half):
            deltas, acts = gradients.deltas_BPM[:count], gradients.acts_BPN[:count]
            if network.one_position:
                H = OuterProducts(deltas[:, 0], acts[:, 0])
            else:
                H = SecondMoment(gradients.of_batches()[:count], deltas, acts)
            yield from _rows(compare(H), layer=layer, view="gn", labels="sampled", batch=1, num_samples=count)
        matrices[layer] = H
    for batch in config.batch_sizes:
        for name, generator in (("sampled", labels), ("real", None)):
            windows_BL = others_BL[: batch * config.num_samples]
            for layer, grads in batch_gradients(model, network.layers, windows_BL, batch, generator).items():
                H = matrices[layer]
                where = {"layer": layer, "view": "gn", "held_out": True, "labels": name, "batch": batch, "num_samples": len(grads)}
                for estimator, cosine in zip(("shampoo", "shampoo2"), shampoo_cosines(H, SecondMoment(grads).factors), strict=True):
                    yield {**where, "estimator": estimator, "cosine": cosine, "effective_rank": H.effective_rank}


def _adagrad(config: MeasurePreconditioner, network: Any, past: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the sum and of the exponential average over the gradients of training so far, if there are any."""
    import torch

    from models.kron import kron_cosines

    for layer, grads in past.items():
        weights = {"adagrad": None, "adagrad_ema": config.ema_beta ** torch.arange(len(grads) - 1.0, -1.0, -1.0)}
        for view, weights_S in weights.items() if len(grads) else ():
            found = kron_cosines(grads, weights=weights_S)
            yield from _rows(found, layer=layer, view=view, labels="real", batch=network.batch_size, num_samples=len(grads))


def _rows(found: Any, **where: Any) -> Iterator[dict[str, Any]]:
    """A row of each estimator that was measured."""
    for estimator in ESTIMATORS:
        if (cosine := getattr(found, estimator)) is not None:
            yield {**where, "held_out": False, "estimator": estimator, "cosine": cosine, "effective_rank": found.effective_rank}


def _windows(tokens: Dataset, tokenizer_file: str) -> np.ndarray:
    """Windows (number, WINDOW) of letters from the text of each sequence; those with a letter outside ASCII are left out."""
    from tokenizers import Tokenizer

    from models.small_networks import FOREIGN, WINDOW, fold_letters

    tokenizer = Tokenizer.from_file(tokenizer_file)
    parts = []
    for shard in tokens.shards:
        for text in tokenizer.decode_batch(tokens.sequences(shard.name).tolist()):
            letters = fold_letters(text)
            parts.append(letters[: len(letters) // WINDOW * WINDOW].reshape(-1, WINDOW))
    windows = np.concatenate(parts) if parts else np.zeros((0, WINDOW), np.uint8)
    return windows[(windows != FOREIGN).all(axis=1)]
