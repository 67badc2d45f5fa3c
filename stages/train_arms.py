"""Train the runs of a study: many small models that differ in optimizer, learning rate, batch size or seed, two or more at a time.

reads: train and validation tokens, the tokenizer, tables of earlier runs (for best learning rates)
writes: one row for every evaluation of every run
cost: 6 x parameters x tokens FLOPs a run; one process of `num_threads` threads for each worker. Killed, it goes on from the runs that
are finished and, within a run, from its last checkpoint.
"""

import dataclasses
import difflib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.dataset import Dataset
from stages.core.fingerprint import SHORT, digest
from stages.core.first_call import one_at_a_time
from stages.core.processes import run_tasks
from stages.core.stage import Inputs, Resources, stage
from stages.core.store import commit_text

RUNS = {
    "run": pa.string(),
    "group": pa.string(),
    "optimizer": pa.string(),
    "options": pa.string(),
    "lr": pa.float64(),
    "batch_size": pa.int32(),
    "num_tokens_planned": pa.int64(),
    "seed": pa.int32(),
    "schedule": pa.string(),
    "extended": pa.bool_(),
    "step": pa.int32(),
    "num_steps": pa.int32(),
    "num_tokens": pa.int64(),
    "ewa_decay": pa.float64(),
    "val_loss": pa.float64(),
    "train_loss": pa.float64(),
    "diverged": pa.bool_(),
    "grad_sq": pa.float64(),
    "part_grad_sq": pa.float64(),
    "part_size": pa.int32(),
}
"""One row an evaluation: raw weights (`ewa_decay` null), then each average. Losses in nats per token; `train_loss`, `grad_sq` and
`part_grad_sq` are means over the steps since the evaluation before. A diverged run is one row without losses, at the step where it ended."""

FIRST_LOG_EVAL = 0.01
"""Share of a run's steps at which its first evaluation stands where evaluations are spaced logarithmically."""

MEMORY_BYTES = 1 << 30
"""Two processes, each with torch (0.3 GB) and a model of some megabytes; it does not grow with the rows of the input."""


@config
class Arm:
    """One run: all that it is a function of, but for the data."""

    group: str
    """What is tuned or compared as one thing, such as "soap", "soap/f=100" or "B=128"."""
    optimizer: str = "adamw"
    """A name of models.optim.choose."""
    options: tuple[tuple[str, Any], ...] = ()
    """Keyword arguments of the optimizer."""
    lr: float | None = None
    """Peak learning rate; None = the best one of group `lr_from` in the earlier runs."""
    lr_from: str = ""
    """"" = the arm's own group."""
    batch_size: int | None = None
    """Sequences in a step; None = the scale's own."""
    num_tokens: int | None = None
    """Target tokens to train on, none of them twice; None = the scale's own."""
    seed: int = 0
    """Of the initial weights and of the order of sequences."""
    schedule: Literal["constant", "cosine", "wsd"] = "cosine"
    """Of the learning rate, after the warm-up."""
    warmup_fraction: float = 0.1
    """Share of the steps in which the learning rate rises."""
    ewa_decays: tuple[float, ...] = ()
    """Decays of averages of the weights that are evaluated beside them."""
    num_evals: int = 1
    """Evaluations, spread evenly over the steps; the last one is at the end."""
    log_evals: bool = False
    """Spread them evenly over the logarithm of the steps, from a hundredth of them on."""
    measure_noise: bool = False
    """Measure the squared norms of gradients of the whole batch and of its parts."""
    noise_parts: int = 4
    """Equal parts of a batch for that; they divide it."""

    def __post_init__(self) -> None:
        names = [name for name, _ in self.options]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.group}: an option is given twice ({', '.join(names)})")
        if self.lr is not None and not self.lr >= 0:
            raise ValueError(f"{self.group}: lr is {self.lr}; it must be 0 or more")
        if self.num_evals < 1 or not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"{self.group}: num_evals is {self.num_evals} and warmup_fraction {self.warmup_fraction}; give 1 or more, and [0, 1)")


@config
class TrainArms:
    scale: str = "tiny"
    """The model: a name of models.study_scales."""
    arms: tuple[Arm, ...]
    extend_lr: float = 0.0
    """Above 1: where the best lr of a group lies at an end of its grid, go on there with lr times (or over) this factor."""
    max_extensions: int = 2
    """At most so many further learning rates a group."""
    validation_sequences: int = 512
    """Evaluate on the first so many of the shuffled validation sequences, the same for all; 0 = all."""
    num_threads: int = 1
    """Threads of each run: it never follows the number of workers, because sums over threads differ in their last bits."""

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("train_arms: there are no arms; give one or more")
        if self.extend_lr and self.extend_lr <= 1:
            raise ValueError(f"train_arms: extend_lr is {self.extend_lr}; it must be above 1, or 0 for no extension")


@dataclass(frozen=True)
class _Task:
    """A run as a process gets it."""

    arm: Arm
    scale: str
    num_threads: int
    device: str
    work: Path
    """Directory with train.npy and validation.npy; runs/ has the checkpoints, results/ what is done."""
    key: str


@dataclass
class _Study:
    """Which runs there are, what came of them, and the runs that their results ask for."""

    config: TrainArms
    arms: list[tuple[Arm, bool]]
    """All arms, their learning rates known, each with whether it was added to extend a grid."""
    work: Path
    device: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, Arm] = field(default_factory=dict)

    def key(self, arm: Arm) -> str:
        """What tells one run from all others; its group is only a name."""
        fields = {f.name: getattr(arm, f.name) for f in dataclasses.fields(arm) if f.name not in ("group", "lr_from")}
        return digest([self.config.scale, self.config.num_threads, fields])[:SHORT]

    def tasks(self, arms: Iterable[Arm]) -> dict[str, _Task]:
        """The runs of these arms that nobody has asked for yet."""
        new = {key: arm for arm in arms if (key := self.key(arm)) not in self.asked}
        self.asked |= new
        return {key: _Task(arm, self.config.scale, self.config.num_threads, self.device, self.work, key) for key, arm in new.items()}

    def done(self, key: str, result: dict[str, Any]) -> dict[str, _Task]:
        """Take the result of a run; return the runs by which grids of learning rates must grow."""
        self.results[key] = result
        more: dict[str, _Task] = {}
        for group in dict.fromkeys(arm.group for arm, _ in self.arms if self.key(arm) == key) if self.config.extend_lr else ():
            while added := self._extension(group):
                self.arms += [(arm, True) for arm in added]
                more |= self.tasks(added)
        return more

    def _extension(self, group: str) -> list[Arm]:
        """The arms that the grid of a group lacks; none while its runs are under way."""
        from evaluation.studies.learning_rates import best_learning_rate, next_learning_rate

        mine = [(arm, extended) for arm, extended in self.arms if arm.group == group]
        if any(self.key(arm) not in self.results for arm, _ in mine) or len({arm.lr for arm, new in mine if new}) >= self.config.max_extensions:
            return []
        losses = self._losses(group)
        lr = next_learning_rate(losses, self.config.extend_lr)
        return [] if lr is None else [dataclasses.replace(arm, lr=lr) for arm, _ in mine if arm.lr == best_learning_rate(losses)]

    def _losses(self, group: str) -> dict[float, float]:
        """Learning rate -> mean final loss of a group whose runs are done."""
        from evaluation.studies.learning_rates import mean_losses
        from evaluation.studies.runs import read_runs

        return mean_losses(read_runs([self._table(pair for pair in self.arms if pair[0].group == group)]))[group]

    def _rows(self, arm: Arm, extended: bool) -> list[dict[str, Any]]:
        key = self.key(arm)
        same = {
            "run": key, "group": arm.group, "optimizer": arm.optimizer, "options": _options(arm), "lr": arm.lr, "batch_size": arm.batch_size,
            "num_tokens_planned": arm.num_tokens, "seed": arm.seed, "schedule": arm.schedule, "extended": extended,
        }  # fmt: skip
        return [same | row for row in self.results[key]["rows"]]

    def table(self) -> pa.Table:
        """All rows: the arms in order, then the extensions, by group, for it is chance which group was done first."""
        groups = list(dict.fromkeys(arm.group for arm, _ in self.arms))
        ordered = sorted(self.arms, key=lambda pair: (pair[1], groups.index(pair[0].group) if pair[1] else 0))
        return self._table(ordered)

    def _table(self, arms: Iterable[tuple[Arm, bool]]) -> pa.Table:
        return pa.Table.from_pylist([row for pair in arms for row in self._rows(*pair)], schema=pa.schema(list(RUNS.items())))

    def summary(self) -> dict[str, Any]:
        """What is worth knowing about the runs and is no content; a warning for each grid that still ends with its best."""
        from evaluation.studies.learning_rates import best_learning_rate, next_learning_rate

        facts = [{"run": key, "group": arm.group} | {k: v for k, v in self.results[key].items() if k != "rows"} for key, arm in self.asked.items()]
        warnings = []
        for group in dict.fromkeys(arm.group for arm, _ in self.arms) if self.config.extend_lr else ():
            losses = self._losses(group)
            if next_learning_rate(losses, self.config.extend_lr) is not None:
                warnings.append(f"the best lr of '{group}', {best_learning_rate(losses):g}, lies at an end of its grid; give it others or raise max_extensions")
        return {"runs": facts, "diverged": sum(result["rows"][0]["diverged"] for result in self.results.values()), "warnings": warnings}


@stage(
    version=1, kind="reduce", takes=("table", "table", "artifact", "table*"), needs={"tokens"}, adds=RUNS, uses=("torch",),
    reproducible="torch, device class, num_threads", resumes=True, memory_bytes=lambda config: MEMORY_BYTES,
)  # fmt: skip
def train_arms(config: TrainArms, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Train every arm, extend grids of learning rates whose best lies at an end, and yield the one shard `runs`.

    The summary holds what is no content: when each run began and ended, and how long one of its steps took.
    """
    train_tokens, validation_tokens, *earlier = inputs.of("table")
    scale = _scale(config, inputs)
    arms = _complete(config.arms, scale, earlier)
    work = Path(resources.scratch) / resources.device.partition(":")[0]
    _check_arms(arms, scale, _write_tokens(train_tokens, work / "train.npy"))
    _write_tokens(validation_tokens, work / "validation.npy", config.validation_sequences or None)
    study = _Study(config, [(arm, False) for arm in arms], work, resources.device)
    resources.report(0.0, "waiting for its turn")
    # Two such stages side by side would slow each other down, and the time of a step is one of their results.
    with one_at_a_time(f"train_arms-{digest(str(Path(resources.scratch).parents[1]))[:SHORT]}"):
        run_tasks(
            _train, study.tasks(arms), processes=resources.workers, logs=work / "logs", done=study.done,
            size=lambda task: task.arm.num_tokens, report=resources.report, noun="runs",
        )  # fmt: skip
    yield "runs", study.table()
    return study.summary()


def _options(arm: Arm) -> str:
    return json.dumps(dict(arm.options), sort_keys=True)


def _scale(config: TrainArms, inputs: Inputs) -> Any:
    from models.study_scales import STUDY_SCALES

    if config.scale not in STUDY_SCALES:
        raise ValueError(f"train_arms.scale is '{config.scale}'; the scales are {', '.join(STUDY_SCALES)}")
    scale, vocabulary = STUDY_SCALES[config.scale], inputs.artifact.summary["vocab_size"]
    if vocabulary > scale.model.vocab_size:
        raise ValueError(f"scale {config.scale} has {scale.model.vocab_size} token ids, the tokenizer {vocabulary}; train a smaller tokenizer")
    return scale


def _complete(arms: tuple[Arm, ...], scale: Any, earlier: list[Dataset]) -> list[Arm]:
    """Fill in what the scale and the earlier runs decide: batch sizes, tokens and learning rates."""
    from evaluation.studies.learning_rates import best_learning_rates
    from evaluation.studies.runs import read_runs

    best = best_learning_rates(read_runs(dataset.table(shard.name) for dataset in earlier for shard in dataset.shards))
    complete = []
    for arm in arms:
        source = arm.lr_from or arm.group
        if arm.lr is None and source not in best:
            near = difflib.get_close_matches(source, best, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"train_arms: arm '{arm.group}' has no lr, and the earlier runs no group '{source}'{hint} (groups: {', '.join(best) or 'none'})")
        given = {"lr": arm.lr, "batch_size": arm.batch_size, "num_tokens": arm.num_tokens}
        known = {"lr": best.get(source), "batch_size": scale.batch_size, "num_tokens": scale.num_tokens}
        complete.append(dataclasses.replace(arm, **{name: known[name] if value is None else value for name, value in given.items()}))
    return complete


def _check_arms(arms: list[Arm], scale: Any, num_sequences: int) -> None:
    """Refuse before the first run what would fail in the last one: an unknown optimizer or option, a bad recipe, too little text."""
    from models.schedule import check_schedule
    from models.train_step import check_noise, make_recipe_optimizer
    from models.transformer import Transformer

    seq_len, model, made = scale.model.seq_len, Transformer(scale.model, seed=0), set()
    for arm in arms:
        try:
            recipe = _recipe(arm, scale)
            check_schedule(recipe, recipe.num_steps(seq_len))
            check_noise(recipe, seq_len)
            if recipe.num_sequences(seq_len) > num_sequences:
                raise ValueError(
                    f"it trains on {arm.num_tokens:,} tokens and the text has {num_sequences * seq_len:,}, none of which is to be seen twice; "
                    "lower num_tokens or give a larger pool (--set pool.root=DIRECTORY)"
                )
            if (arm.optimizer, _options(arm)) not in made:
                make_recipe_optimizer(recipe, model)
                made.add((arm.optimizer, _options(arm)))
        except ValueError as error:
            raise ValueError(f"train_arms: arm '{arm.group}' (optimizer {arm.optimizer}, options {_options(arm)}): {error}") from error


def _write_tokens(dataset: Dataset, path: Path, limit: int | None = None) -> int:
    """Write the sequences (the first `limit`) as an array (N, seq_len + 1) that processes map into memory; return N."""
    path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(shard.rows_out for shard in dataset.shards)
    total = min(total, limit or total)
    if not total:
        raise ValueError(f"train_arms: {dataset.name} holds no sequence; the documents before it are too few")
    array, start = None, 0
    for shard in dataset.shards:
        part = dataset.sequences(shard.name)[: total - start]
        if array is None:
            array = np.lib.format.open_memmap(path, "w+", part.dtype, (total, part.shape[1]))
        array[start : start + len(part)] = part
        start += len(part)
    array.flush()
    return total


def _recipe(arm: Arm, scale: Any) -> Any:
    """The scale's recipe with what the arm changes."""
    return scale.recipe(
        lr=arm.lr, num_tokens=arm.num_tokens, batch_size=arm.batch_size, warmup_fraction=arm.warmup_fraction, optimizer=arm.optimizer,
        options=tuple((name, _frozen(value)) for name, value in arm.options), schedule=arm.schedule, ewa_decays=arm.ewa_decays,
        measure_noise=arm.measure_noise, accumulation_steps=arm.noise_parts if arm.measure_noise else 1,
    )  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _eval_steps(arm: Arm, num_steps: int) -> tuple[int, ...]:
    """Numbers of steps after which a run is evaluated, num_steps last; fewer than num_evals where they would coincide."""
    if arm.log_evals:
        steps = np.geomspace(max(1.0, FIRST_LOG_EVAL * num_steps), num_steps, arm.num_evals) if arm.num_evals > 1 else [num_steps]
    else:
        steps = np.linspace(0, num_steps, arm.num_evals + 1)[1:]
    return tuple(sorted({max(1, round(float(step))) for step in steps} | {num_steps}))


def _train(task: _Task, progress: Callable[[float], None]) -> dict[str, Any]:
    """Train one run and commit its result, or return that of an earlier attempt; in a process of its own, but for 0 workers."""
    result = task.work / "results" / f"{task.key}.json"
    if result.exists():
        return json.loads(result.read_text())
    from models.study_scales import STUDY_SCALES
    from models.trainer import Diverged, StepRecord, train

    scale, folder = STUDY_SCALES[task.scale], task.work / "runs" / task.key
    recipe = _recipe(task.arm, scale)
    num_steps = recipe.num_steps(scale.model.seq_len)
    if not (folder / "began").exists():
        commit_text(_now(), folder / "began")

    def on_step(record: StepRecord) -> None:
        if (record.step + 1) % max(1, num_steps // 50) == 0:
            progress((record.step + 1) / num_steps)

    facts: dict[str, Any] = {"seconds": None, "step_seconds": None, "resumed_from": None}
    try:
        made = train(
            scale.model, recipe, np.load(task.work / "train.npy", mmap_mode="r"), seed=task.arm.seed, num_threads=task.num_threads,
            out_dir=folder, on_step=on_step, device=task.device, validation=np.load(task.work / "validation.npy", mmap_mode="r"),
            eval_steps=_eval_steps(task.arm, num_steps),
        )  # fmt: skip
        facts = {"seconds": made.seconds, "step_seconds": made.step_seconds, "resumed_from": made.first_step}
        rows = _evaluations(folder, task.arm, num_steps)
    except Diverged as error:
        tokens = error.step * recipe.num_sequences(scale.model.seq_len) // num_steps * scale.model.seq_len
        rows = [{"step": error.step, "num_steps": num_steps, "num_tokens": tokens, "diverged": True}]
    made_of = {"rows": rows, **facts, "started": (folder / "began").read_text(), "finished": _now()}
    commit_text(json.dumps(made_of), result)
    shutil.rmtree(folder)
    return made_of


def _evaluations(folder: Path, arm: Arm, num_steps: int) -> list[dict[str, Any]]:
    """The rows of a finished run: evaluations, with the means of what its steps logged since the evaluation before."""
    losses = _lines(folder / "losses.jsonl")
    rows, start, stop = [], 0, 0
    for evaluation in _lines(folder / "evaluations.jsonl"):
        if evaluation["step"] != stop:
            start, stop = stop, evaluation["step"]
        steps = losses[start:stop]
        row = {**evaluation, "num_steps": num_steps, "train_loss": fmean(step["loss"] for step in steps), "diverged": False}
        if arm.measure_noise:
            row |= {
                "grad_sq": fmean(step["grad_norm"] ** 2 for step in steps),
                "part_grad_sq": fmean(step["part_grad_sq"] for step in steps),
                "part_size": arm.batch_size // arm.noise_parts,
            }
        rows.append(row)
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
