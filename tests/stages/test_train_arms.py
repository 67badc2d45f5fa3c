"""Runs of a study: the same rows from any number of processes and after any kill, rows that are what the trainer logged, grids that grow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.study_scales import STUDY_SCALES
from models.trainer import train
from stages.core.config import ConfigError
from stages.core.stage import Inputs, Resources
from stages.train_arms import RUNS, Arm, TrainArms, _eval_steps, train_arms
from tests.stages.memory_dataset import Memory

ROOT = Path(__file__).resolve().parents[2]
SCALE = STUDY_SCALES["smoke"]
SEQ_LEN, VOCAB = SCALE.model.seq_len, SCALE.model.vocab_size
BATCH, STEPS = 4, 6
TOKENS = STEPS * BATCH * SEQ_LEN


def tokens(seed: int, count: int) -> np.ndarray:
    """Sequences with something to learn: every token is followed by one of two."""
    rng = np.random.default_rng(seed)
    rows = np.empty((count, SEQ_LEN + 1), np.uint16)
    rows[:, 0] = rng.integers(VOCAB, size=count)
    for i in range(SEQ_LEN):
        rows[:, i + 1] = (3 * rows[:, i] + rng.integers(2, size=count)) % VOCAB
    return rows


def dataset(rows: np.ndarray) -> Memory:
    """The rows as a dataset of two shards."""
    halves = np.array_split(rows, 2)
    column = [pa.FixedSizeListArray.from_arrays(pa.array(half.reshape(-1)), SEQ_LEN + 1) for half in halves]
    return Memory({f"{i:05d}": pa.table({"tokens": part}) for i, part in enumerate(column)})


TRAIN, VALIDATION = tokens(1, 60), tokens(2, 16)


def inputs(*earlier: pa.Table, vocab_size: int = VOCAB, train_rows: np.ndarray = TRAIN) -> Inputs:
    tables = [dataset(train_rows), dataset(VALIDATION)]
    tokenizer = SimpleNamespace(summary={"vocab_size": vocab_size})
    return Inputs((*tables, tokenizer, *(Memory({"runs": table}) for table in earlier)), ("table", "table", "artifact", *["table"] * len(earlier)))


def run(scratch: Path, arms, *earlier: pa.Table, workers: int = 0, progress=None, given: Inputs | None = None, **fields) -> tuple[pa.Table, dict]:
    """Call the stage as the engine does."""
    scratch.mkdir(parents=True, exist_ok=True)
    config = TrainArms(scale="smoke", arms=tuple(arms), **fields)
    made = train_arms(config, given or inputs(*earlier), Resources(workers=workers, scratch=str(scratch), progress=progress))
    (name, table) = next(made)
    assert name == "runs" and table.schema == pa.schema(list(RUNS.items()))
    with pytest.raises(StopIteration) as end:
        next(made)
    return table, end.value.value


def arm(group: str, **fields) -> Arm:
    return Arm(**{"group": group, "batch_size": BATCH, "num_tokens": TOKENS, "lr": 1e-2, **fields})


ARMS = (
    arm("adamw", ewa_decays=(0.5, 0.9), num_evals=3),
    arm("soap", optimizer="soap", options=(("precondition_frequency", 2),), lr=3e-3, num_evals=2),
    arm("noise", measure_noise=True, noise_parts=2, num_evals=2, schedule="constant", seed=1),
    arm("diverges", optimizer="sgd", lr=1e30, num_evals=2),
    arm("low", lr=1e-6),
    arm("low", lr=1e-5),
)
GROW = {"extend_lr": 10.0, "max_extensions": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The arms, run in this process: what every other way must equal."""
    return run(tmp_path_factory.mktemp("whole") / "scratch", ARMS, **GROW)


def test_rows_are_in_order_and_say_what_they_are_of(whole):
    table, summary = whole
    rows = table.to_pylist()
    seen = [(row["group"], row["step"], row["ewa_decay"]) for row in rows if not row["diverged"]]
    assert seen == [
        *[("adamw", step, decay) for step in (2, 4, 6) for decay in (None, 0.5, 0.9)],
        ("soap", 3, None), ("soap", 6, None), ("noise", 3, None), ("noise", 6, None), *[("low", 6, None)] * 3,
    ]  # fmt: skip
    assert {row["num_steps"] for row in rows} == {STEPS} and {row["num_tokens_planned"] for row in rows} == {TOKENS}
    assert all(row["num_tokens"] == row["step"] * BATCH * SEQ_LEN for row in rows)
    assert next(row["options"] for row in rows if row["group"] == "soap") == '{"precondition_frequency": 2}'
    learnt = [row["val_loss"] for row in rows if row["group"] == "adamw" and row["ewa_decay"] is None]
    assert learnt == sorted(learnt, reverse=True) and learnt[0] > learnt[-1] + 0.1
    assert len({row["run"] for row in rows}) == len(ARMS) + 1 == len(summary["runs"])
    assert [row["lr"] for row in rows if row["extended"]] == [pytest.approx(1e-4)] and rows[-1]["extended"]


def test_a_diverged_run_is_one_row(whole):
    table, summary = whole
    (row,) = [row for row in table.to_pylist() if row["diverged"]]
    assert row["group"] == "diverges" and row["val_loss"] is None and row["train_loss"] is None and 0 < row["step"] < STEPS
    assert row["num_tokens"] == row["step"] * BATCH * SEQ_LEN and summary["diverged"] == 1


def test_losses_and_noise_are_those_of_the_trainer(whole, tmp_path):
    recipe = SCALE.recipe(
        lr=1e-2, num_tokens=TOKENS, batch_size=BATCH, warmup_fraction=0.1, schedule="constant", measure_noise=True, accumulation_steps=2
    )
    train(SCALE.model, recipe, TRAIN, seed=1, num_threads=1, out_dir=tmp_path, validation=VALIDATION, eval_steps=(3, 6), device="cpu")
    steps = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    evaluations = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    rows = [row for row in whole[0].to_pylist() if row["group"] == "noise"]
    for row, evaluation, part in zip(rows, evaluations, (steps[:3], steps[3:]), strict=True):
        assert row["val_loss"] == evaluation["val_loss"]
        assert row["train_loss"] == pytest.approx(np.mean([step["loss"] for step in part]), rel=1e-14)
        assert row["grad_sq"] == pytest.approx(np.mean([step["grad_norm"] ** 2 for step in part]), rel=1e-14)
        assert row["part_grad_sq"] == pytest.approx(np.mean([step["part_grad_sq"] for step in part]), rel=1e-14)
        assert row["part_size"] == BATCH // 2 and row["part_grad_sq"] > row["grad_sq"]
    others = [row for row in whole[0].to_pylist() if row["group"] != "noise"]
    assert all(row["grad_sq"] is row["part_grad_sq"] is row["part_size"] is None for row in others)


def test_two_processes_give_the_same_content(whole, tmp_path):
    told = []
    table, summary = run(tmp_path / "scratch", ARMS, workers=2, **GROW, progress=lambda *words: told.append(words))
    assert table == whole[0]
    assert all(0 <= fraction <= 1 for fraction, _ in told) and told[-1][0] == 1.0 and told[-1][1].startswith("7 of 7 runs")
    for facts in summary["runs"]:
        assert facts["started"] <= facts["finished"] and facts["run"] in table["run"].to_pylist()
        assert facts["step_seconds"] is None if facts["group"] == "diverges" else 0 < facts["step_seconds"] < facts["seconds"]


@pytest.mark.parametrize("stop_after", [3, 12])
def test_an_interrupted_stage_ends_in_the_same_rows(whole, tmp_path, stop_after):
    class Stop(Exception):
        pass

    told = []

    def stop(fraction, words):
        told.append(words)
        if len(told) == stop_after + 1:  # the first word is that it waits
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "scratch", ARMS, progress=stop, **GROW)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch" / "cpu" / "results").glob("*")}
    table, summary = run(tmp_path / "scratch", ARMS, **GROW)
    assert table == whole[0]
    assert len(done) == stop_after // 7 and {path: path.stat().st_mtime_ns for path in done} == done, "what was finished is not run again"
    resumed = [facts["resumed_from"] for facts in summary["runs"]]
    assert resumed[stop_after // 7] > 0, "the run under way goes on from its checkpoint"


STAGE = """
import sys
from pathlib import Path
from tests.stages.test_train_arms import ARMS, GROW, run
run(Path(sys.argv[1]), ARMS, workers=2, **GROW)
"""


def test_a_killed_stage_keeps_its_finished_runs(whole, tmp_path):
    scratch, results = tmp_path / "scratch", tmp_path / "scratch" / "cpu" / "results"
    stage = subprocess.Popen([sys.executable, "-c", STAGE, str(scratch)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (results.is_dir() and any(results.glob("*.json"))):
        assert stage.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    done = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}
    table, _ = run(scratch, ARMS, **GROW)
    assert table == whole[0] and done and {path: path.stat().st_mtime_ns for path in done} == done


def test_the_best_lr_of_the_earlier_runs(tmp_path):
    sweep, _ = run(tmp_path / "sweep", [arm(g, optimizer=o, lr=lr) for g, o in (("a", "adamw"), ("s", "sgd")) for lr in (1e-4, 1e-2)])
    final = {(row["group"], row["lr"]): row["val_loss"] for row in sweep.to_pylist()}
    best = {group: min((1e-4, 1e-2), key=lambda lr: final[group, lr]) for group in "as"}
    table, _ = run(tmp_path / "confirm", [arm("a", lr=None, seed=5), arm("other", lr=None, lr_from="s", seed=5)], sweep)
    assert [(row["group"], row["lr"]) for row in table.to_pylist()] == [("a", best["a"]), ("other", best["s"])]
    with pytest.raises(ValueError, match=r"arm 'aa' has no lr, and the earlier runs no group 'aa'; did you mean 'a'\? \(groups: a, s\)"):
        run(tmp_path / "wrong", [arm("aa", lr=None)], sweep)
    with pytest.raises(ValueError, match=r"no group 'a' \(groups: none\)"):
        run(tmp_path / "none", [arm("a", lr=None)])


def test_a_grid_grows_where_its_best_lies_at_an_end(tmp_path):
    arms = [arm("low", lr=lr, num_evals=2) for lr in (1e-6, 1e-5)] + [arm("inside", lr=lr) for lr in (1e-4, 1e-2, 100.0)] + [arm("alone", lr=1e-6)]
    table, summary = run(tmp_path / "scratch", arms, extend_lr=10.0, max_extensions=2)
    rows = table.to_pylist()
    assert [(row["group"], row["lr"]) for row in rows if row["extended"]] == [
        ("low", pytest.approx(lr)) for lr in (1e-4, 1e-4, 1e-3, 1e-3)
    ], "two further rates, after all that was asked for"
    assert [row["group"] for row in rows[-4:]] == ["low"] * 4 and len(summary["runs"]) == len(arms) + 2
    assert summary["warnings"] == ["the best lr of 'low', 0.001, lies at an end of its grid; give it others or raise max_extensions"]
    assert not any(run(tmp_path / "not", arms[:2])[0]["extended"].to_pylist())


def test_one_run_in_two_groups_is_trained_once(tmp_path):
    table, summary = run(tmp_path / "scratch", [arm("a"), arm("b"), arm("c", seed=1)])
    rows = table.to_pylist()
    assert [row["group"] for row in rows] == ["a", "b", "c"] and len(summary["runs"]) == 2
    assert rows[0] | {"group": "b"} == rows[1] and rows[2]["run"] != rows[0]["run"]


def test_what_an_arm_leaves_out_is_the_scales(tmp_path):
    plenty = inputs(train_rows=tokens(1, SCALE.num_tokens // SEQ_LEN))
    table, _ = run(tmp_path / "scratch", [Arm(group="own", lr=1e-3)], given=plenty)
    (row,) = table.to_pylist()
    assert (row["batch_size"], row["num_tokens"]) == (SCALE.batch_size, SCALE.num_tokens)


def test_an_lr_of_zero_learns_nothing(tmp_path):
    table, _ = run(tmp_path / "scratch", [arm("zero", lr=0.0, num_evals=3)])
    assert len(set(table["val_loss"].to_pylist())) == 1


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([arm("a", optimizer="adamv")], "arm 'a' .optimizer adamv, options {}.: .*did you mean 'adamw'"),
        ([arm("a"), arm("b", options=(("beta", 0.9),))], "arm 'b' .*beta"),
        ([arm("a", num_tokens=61 * SEQ_LEN)], r"trains on 3,904 tokens and the text has 3,840, none of which is to be seen twice; lower num_tokens or"),
        ([arm("a", num_tokens=100)], "arm 'a' .*num_tokens 100 is not a positive multiple of seq_len 64"),
        ([arm("a", measure_noise=True, noise_parts=3)], "arm 'a' .*equal parts"),
    ],
)
def test_what_can_not_run_is_refused_before_the_first_run(tmp_path, arms, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "scratch", arms)
    assert not (tmp_path / "scratch" / "cpu" / "runs").exists()


def test_bad_inputs(tmp_path):
    with pytest.raises(ValueError, match=r"train_arms\.scale is 'tinny'; the scales are smoke, tiny"):
        next(train_arms(TrainArms(scale="tinny", arms=(arm("a"),)), inputs(), Resources(scratch=str(tmp_path))))
    with pytest.raises(ValueError, match="scale smoke has 512 token ids, the tokenizer 600; train a smaller tokenizer"):
        run(tmp_path / "scratch", [arm("a")], given=inputs(vocab_size=600))
    with pytest.raises(ValueError, match="holds no sequence"):
        run(tmp_path / "scratch", [arm("a")], given=inputs(train_rows=TRAIN[:0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainArms(arms=()), "there are no arms"),
        (lambda: TrainArms(arms=(arm("a"),), extend_lr=0.5), "extend_lr is 0.5; it must be above 1"),
        (lambda: arm("a", options=(("nesterov", True), ("nesterov", False))), "a: an option is given twice"),
        (lambda: arm("a", lr=-1.0), "a: lr is -1.0"),
        (lambda: arm("a", num_evals=0), "a: num_evals is 0"),
        (lambda: Arm(group="a", optimiser="adamw"), "unknown field 'optimiser'; did you mean 'optimizer'"),
    ],
)
def test_bad_configs(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_arms_as_json_are_the_same_arms():
    """As `--set sweep.arms=[...]` gives them."""
    one = TrainArms(arms=({"group": "a", "options": [["betas", [0.9, 0.99]]]},))
    from stages.core.fingerprint import digest

    assert digest(one) == digest(TrainArms(arms=(Arm(group="a", options=(("betas", (0.9, 0.99)),)),)))


@given(st.integers(1, 500), st.integers(1, 40), st.booleans())
def test_evaluations_are_spread_and_end_at_the_end(num_steps, num_evals, log_evals):
    steps = _eval_steps(Arm(group="a", num_evals=num_evals, log_evals=log_evals), num_steps)
    assert steps == tuple(sorted(set(steps))) and steps[0] >= 1 and steps[-1] == num_steps and len(steps) <= num_evals
    if not log_evals and num_evals <= num_steps:
        gaps = np.diff([0, *steps])
        assert len(steps) == num_evals and gaps.max() - gaps.min() <= 2
    if log_evals and num_steps >= 100 and num_evals > 1:
        assert steps[0] == round(num_steps / 100)


def test_validation_sequences_are_the_first_ones(tmp_path):
    few, _ = run(tmp_path / "few", [arm("a")], validation_sequences=5)
    every, _ = run(tmp_path / "all", [arm("a")], validation_sequences=0)
    assert len(np.load(tmp_path / "few" / "cpu" / "validation.npy")) == 5
    assert (np.load(tmp_path / "few" / "cpu" / "validation.npy") == VALIDATION[:5]).all()
    assert (np.load(tmp_path / "all" / "cpu" / "train.npy") == TRAIN).all() and len(np.load(tmp_path / "all" / "cpu" / "validation.npy")) == 16
    assert few["val_loss"] != every["val_loss"] and few["train_loss"] == every["train_loss"]
    assert os.listdir(tmp_path / "few" / "cpu" / "runs") == []
