"""Training: exact token counts, reproducible and resumable bytes, PyTorch's own optimiser as the oracle."""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from models.checkpoint import load_model, load_tensors
from models.optim.choose import MAKERS
from models.scales import Recipe
from models.trainer import Diverged, is_checkpoint, train
from models.transformer import Transformer, TransformerConfig
from models.validation import validation_loss

CONFIG = TransformerConfig(vocab_size=23, d_model=16, num_layers=2, num_heads=2, ffn_dim=24, seq_len=8)
RECIPE = Recipe(
    num_tokens=8 * 50,
    batch_size=4,
    lr=1e-2,
    cooldown_lr=1e-3,
    warmup_steps=3,
    weight_decay=0.1,
    z_loss_weight=1e-3,
    num_checkpoints=4,
)
EVALUATED = replace(RECIPE, ewa_decays=(0.5, 0.9))
EVAL_STEPS = (0, 4, 6, 12)
ROOT = Path(__file__).resolve().parents[2]


def sequences(count: int = 19) -> np.ndarray:
    return np.random.default_rng(0).integers(23, size=(count, 9)).astype(np.uint16)


def run(out_dir: Path, recipe: Recipe = RECIPE, **options):
    given_options = {"sequences": sequences(), "seed": 0, "num_threads": 1, "device": "cpu", **options}
    return train(CONFIG, recipe, given_options.pop("sequences"), out_dir=out_dir, **given_options)


def evaluated_run(out_dir: Path, recipe: Recipe = EVALUATED, **options):
    return run(out_dir, recipe, **{"validation": sequences(23)[19:], "eval_steps": EVAL_STEPS, **options})


def outputs(out_dir: Path) -> dict[str, bytes]:
    """Every file of a run by its path, but for what a kill leaves beside them."""
    files = [path for path in out_dir.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]
    return {str(path.relative_to(out_dir)): path.read_bytes() for path in files}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Stopped(Exception):
    pass


def stop_after(steps: int):
    def on_step(record) -> None:
        if record.step + 1 == steps:
            raise Stopped

    return on_step


def test_a_run_trains_on_exactly_its_tokens_and_reports_them(tmp_path):
    seen = []
    result = run(tmp_path, on_step=seen.append)
    records = lines(tmp_path / "losses.jsonl")
    assert (result.num_tokens, result.num_steps, result.first_step) == (400, 12, 0)  # 50 sequences, 12 batches of 4 or 5
    assert result.epochs == 50 / 19
    assert result.num_parameters == CONFIG.num_parameters
    assert [record["step"] for record in records] == list(range(12)) == [record.step for record in seen]
    batches = np.diff([0, *(record["num_tokens"] // 8 for record in records)])
    assert set(batches) == {4, 5} and records[-1]["num_tokens"] == 400
    assert result.final_loss == pytest.approx(np.mean([record["loss"] for record in records]))
    assert sorted(outputs(tmp_path)) == ["config.json", "losses.jsonl", "model.safetensors"]
    assert load_model(tmp_path).config == CONFIG
    assert 0 < result.step_seconds * 12 < result.seconds
    assert list(records[0]) == ["step", "num_tokens", "loss", "z_loss", "grad_norm", "lr"]


def test_equal_to_a_plain_loop_of_pytorch(tmp_path):
    recipe = replace(RECIPE, num_tokens=8 * 24, grad_clip=0.5)
    run(tmp_path, recipe)
    model = Transformer(CONFIG, seed=0).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False, fused=False)
    order = np.concatenate([np.random.default_rng([0, epoch]).permutation(19) for epoch in range(2)])
    for step in range(6):
        batch = torch.from_numpy(sequences()[order[4 * step : 4 * step + 4]].astype(np.int64))
        logits = model.output(model.hidden(batch[:, :-1])).flatten(0, 1)
        loss = F.cross_entropy(logits, batch[:, 1:].flatten()) + 1e-3 * logits.logsumexp(-1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        cosine = 0.5 * (1 + math.cos(math.pi * (step - 3) / 3))
        optimizer.param_groups[0]["lr"] = 1e-2 * (step + 1) / 3 if step < 3 else 1e-3 + 9e-3 * cosine
        optimizer.step()
    for (name, found), expected in zip(load_model(tmp_path).named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("stopped_after", [2, 3, 7, 12])
def test_a_stopped_run_ends_in_the_same_bytes(tmp_path, stopped_after):
    run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", on_step=stop_after(stopped_after))
    result = run(tmp_path / "stopped")
    assert result.first_step == {2: 0, 3: 3, 7: 6, 12: 9}[stopped_after]  # states at 3, 6 and 9
    assert outputs(tmp_path / "stopped") == outputs(tmp_path / "whole")


def test_a_killed_process_ends_in_the_same_bytes(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "sys.path.insert(0, 'tests/models'); import test_trainer as t\n"
        "t.run(Path(sys.argv[1]), on_step=lambda r: r.step == 7 and os.kill(os.getpid(), signal.SIGKILL))"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "killed"], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "killed/training.safetensors").exists()
    assert run(tmp_path / "killed").first_step == 6
    run(tmp_path / "whole")
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def test_a_run_killed_between_any_two_writes_ends_in_the_same_bytes(tmp_path, monkeypatch):
    """What lies on disk before each fsync, each rename and after each step is what a kill would leave: resume from all."""
    kept, seen = [], set()

    def keep() -> None:
        content = outputs(tmp_path / "whole")
        if frozenset(content.items()) not in seen:
            seen.add(frozenset(content.items()))
            kept.append(shutil.copytree(tmp_path / "whole", tmp_path / f"killed_{len(kept)}"))

    for name in ("fsync", "replace"):
        called = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, called=called: (keep(), called(*args))[1])
    recipe = replace(EVALUATED, num_checkpoints=3)  # states at 4 and 8: after an evaluation, and without one
    evaluated_run(tmp_path / "whole", recipe, on_step=lambda _: keep())
    monkeypatch.undo()

    assert len(kept) > 10
    resumed_from = {evaluated_run(path, recipe).first_step for path in kept}
    assert resumed_from == {0, 4, 8}
    expected = outputs(tmp_path / "whole")
    assert sorted(expected) == sorted(
        ["evaluations.jsonl", "losses.jsonl"]
        + [f"{folder}{name}" for folder in ("", "ewa_0.5/", "ewa_0.9/") for name in ("config.json", "model.safetensors")]
    )
    for path in kept:
        assert outputs(path) == expected, path.name


@pytest.mark.parametrize("optimizer", MAKERS)
def test_any_optimizer_resumes_to_the_same_bytes(tmp_path, optimizer):
    recipe = replace(EVALUATED, optimizer=optimizer, lr=1e-3, schedule="wsd", accumulation_steps=2)
    evaluated_run(tmp_path / "whole", recipe)
    for stopped_after, first_step in ((4, 3), (11, 9)):
        with pytest.raises(Stopped):
            evaluated_run(tmp_path / "stopped", recipe, on_step=stop_after(stopped_after))
        # a line that a kill tore in two
        with (tmp_path / "stopped/losses.jsonl").open("a") as log:
            log.write('{"step": 1')
        assert evaluated_run(tmp_path / "stopped", recipe).first_step == first_step
        assert outputs(tmp_path / "stopped") == outputs(tmp_path / "whole")


class Langevin(torch.optim.SGD):
    """SGD with noise from torch's generator: what an optimizer draws must be resumed, too."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)


def test_what_an_optimizer_draws_is_seeded_resumed_and_none_of_the_callers(tmp_path, monkeypatch):
    monkeypatch.setattr("models.trainer.make_recipe_optimizer", lambda recipe, model: Langevin(model.parameters(), recipe.lr))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", on_step=stop_after(8))
    assert run(tmp_path / "stopped").first_step == 6
    assert outputs(tmp_path / "stopped") == outputs(tmp_path / "whole")
    run(tmp_path / "seeded", seed=1)
    assert outputs(tmp_path / "seeded")["model.safetensors"] != outputs(tmp_path / "whole")["model.safetensors"]


def test_the_seed_changes_weights_and_order_and_nothing_else_does(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed)
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    assert outputs(tmp_path / "a")["model.safetensors"] != outputs(tmp_path / "c")["model.safetensors"]


def test_a_memmap_trains_like_the_array(tmp_path):
    np.save(tmp_path / "sequences.npy", sequences())
    run(tmp_path / "array")
    run(tmp_path / "memmap", sequences=np.load(tmp_path / "sequences.npy", mmap_mode="r"))
    assert outputs(tmp_path / "array") == outputs(tmp_path / "memmap")


def test_accumulation_changes_rounding_only(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", replace(RECIPE, accumulation_steps=3))
    for found, expected in zip(load_model(tmp_path / "parts").parameters(), load_model(tmp_path / "whole").parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_measuring_noise_changes_no_bit_of_the_weights(tmp_path):
    recipe = replace(RECIPE, num_tokens=8 * 48, accumulation_steps=2)
    run(tmp_path / "plain", recipe)
    run(tmp_path / "measured", replace(recipe, measure_noise=True))
    plain, measured = outputs(tmp_path / "plain"), outputs(tmp_path / "measured")
    assert plain["model.safetensors"] == measured["model.safetensors"]
    records = lines(tmp_path / "measured/losses.jsonl")
    assert all(record.pop("part_grad_sq") > record["grad_norm"] ** 2 for record in records)
    assert records == lines(tmp_path / "plain/losses.jsonl")


def test_evaluations_are_of_the_weights_and_of_their_averages(tmp_path):
    validation, weights = sequences(23)[19:], []
    recipe = replace(EVALUATED, num_tokens=8 * 24, num_checkpoints=6)

    def keep_weights(record) -> None:  # of every step, from the state that was just saved
        if record.step < 5:
            weights.append(load_tensors(tmp_path / "run/training.safetensors")[0])

    evaluated_run(tmp_path / "run", recipe, validation=validation, eval_steps=(0, 2, 5, 6), on_step=keep_weights)
    records = lines(tmp_path / "run/evaluations.jsonl")
    assert [(r["step"], r["num_tokens"], r["ewa_decay"]) for r in records] == [(0, 0, None)] + [
        (step, 32 * step, decay) for step in (2, 5, 6) for decay in (None, 0.5, 0.9)
    ]
    losses = {(r["step"], r["ewa_decay"]): r["val_loss"] for r in records}
    model = Transformer(CONFIG, seed=0)
    assert losses[0, None] == validation_loss(model, validation)
    for decay in (None, 0.5, 0.9):
        shares = np.array([(decay or 0.0) ** (4 - step) for step in range(5)])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(sum(share * w[f"model.{name}"] for share, w in zip(shares / shares.sum(), weights, strict=True)))
        assert losses[5, decay] == pytest.approx(validation_loss(model, validation), rel=1e-6)
        folder = tmp_path / "run" / ("" if decay is None else f"ewa_{decay}")
        assert losses[6, decay] == validation_loss(load_model(folder), validation)


def test_evaluating_and_averaging_change_no_bit_of_the_weights(tmp_path):
    run(tmp_path / "plain")
    evaluated_run(tmp_path / "evaluated")
    plain, evaluated = outputs(tmp_path / "plain"), outputs(tmp_path / "evaluated")
    assert all(evaluated[name] == content for name, content in plain.items())


def test_a_log_that_is_behind_its_state_is_refused(tmp_path):
    for name in ("losses.jsonl", "evaluations.jsonl"):
        with pytest.raises(Stopped):
            evaluated_run(tmp_path, on_step=stop_after(7))
        (tmp_path / name).write_text("")
        with pytest.raises(ValueError, match=rf"{name} lacks its first \d records, which the saved state is ahead of"):
            evaluated_run(tmp_path)
        shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_options_and_decay_reach_the_optimizer(tmp_path, name):
    recipe = replace(RECIPE, optimizer=name, lr=1e-3)
    made = {}
    for case, changed in (
        ("plain", recipe),
        ("same", replace(recipe, options=(("weight_decay", RECIPE.weight_decay),))),
        ("option", replace(recipe, options=(("betas", (0.5, 0.6)),))),
        ("decay", replace(recipe, weight_decay=0.5)),
    ):
        run(tmp_path / case, changed)
        made[case] = outputs(tmp_path / case)["model.safetensors"]
    assert made["plain"] == made["same"] and len(set(made.values())) == 3
    with pytest.raises(ValueError, match="no option 'betos'; did you mean 'betas'"):
        run(tmp_path / "wrong", replace(recipe, options=(("betos", (0.5, 0.6)),)))


def test_a_state_of_another_run_is_refused_and_can_be_overruled(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, on_step=stop_after(5))
    with pytest.raises(ValueError, match=r"another seed \(saved 0, now 1\); pass resume=False"):
        run(tmp_path, seed=1)
    with pytest.raises(ValueError, match="another recipe"):
        run(tmp_path, replace(RECIPE, lr=2e-2))
    with pytest.raises(ValueError, match="another sequences"):
        run(tmp_path, sequences=sequences() // 2)
    with pytest.raises(Stopped):
        run(tmp_path, seed=1, resume=False, on_step=stop_after(1))
    assert not (tmp_path / "training.safetensors").exists(), "the other run's state is gone before this one has its own"
    assert run(tmp_path, seed=1).first_step == 0


def test_the_callers_thread_count_is_put_back(tmp_path):
    before = torch.get_num_threads()
    during = []
    run(tmp_path, num_threads=before + 1, on_step=lambda _: during.append(torch.get_num_threads()))
    assert set(during) == {before + 1} and torch.get_num_threads() == before


def test_it_learns(tmp_path):
    counting = (np.arange(9) + np.arange(40)[:, None]) % 23
    recipe = replace(RECIPE, num_tokens=8 * 8 * 150, batch_size=8)
    result = run(tmp_path, recipe, sequences=counting.astype(np.uint16))
    assert result.final_loss < 0.1 < math.log(23)


def test_what_can_not_be_trained_on_says_why(tmp_path):
    for options, message in (
        ({"sequences": sequences(3)}, "3 sequences are too few for one batch of 4"),
        ({"sequences": sequences()[:, :8]}, r"shape \(19, 8\), a model of seq_len 8 needs \(N, 9\)"),
        ({"sequences": sequences().astype(np.float32)}, "sequences are float32"),
        ({"sequences": sequences() + np.uint16(9)}, "vocabulary ends at 22"),
        ({"num_threads": 0}, "num_threads is 0"),
        ({"recipe": replace(RECIPE, warmup_steps=12)}, "warmup_steps 12 leave nothing of 12 steps"),
        ({"recipe": replace(RECIPE, measure_noise=True)}, "accumulation_steps is 1; give 2 or more"),
        ({"recipe": replace(RECIPE, schedule="linear")}, "'linear' is not one of constant, cosine, wsd"),
        ({"recipe": replace(RECIPE, optimizer="adam")}, "did you mean 'adamw'"),
        ({"eval_steps": (1,)}, "eval_steps is given without validation"),
        ({"eval_steps": (13,), "validation": sequences()}, "not rising numbers from 0 to the run's 12 steps"),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, **options)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion", "soap"])
def test_a_run_at_a_huge_lr_diverges_by_name_and_step(tmp_path, optimizer):
    recipe = replace(RECIPE, lr=1e30, weight_decay=1.0, optimizer=optimizer)
    with pytest.raises(Diverged, match=r"step (\d+) of 12 at lr \S+e\+\d+ gave loss nan .*; lower lr") as raised:
        run(tmp_path, recipe)
    assert f"step {raised.value.step} of" in str(raised.value)
    assert len((tmp_path / "losses.jsonl").read_text().splitlines()) == raised.value.step > 0
    assert not (tmp_path / "model.safetensors").exists()
    again = pickle.loads(pickle.dumps(raised.value))  # as it comes out of a worker process
    assert isinstance(again, ValueError) and (str(again), again.step) == (str(raised.value), raised.value.step)


def test_weights_that_only_an_evaluation_finds_lost_have_diverged(tmp_path):
    recipe = replace(EVALUATED, lr=1e30, weight_decay=1.0)
    with pytest.raises(Diverged, match="after 1 steps the weights give validation loss nan") as raised:
        evaluated_run(tmp_path, recipe, eval_steps=(0, 1))
    assert raised.value.step == 1
    assert [record["step"] for record in lines(tmp_path / "evaluations.jsonl")] == [0]


@given(num_steps=st.integers(1, 60), num_checkpoints=st.integers(1, 8))
def test_checkpoints_are_as_many_as_asked_and_the_last_step_is_one(num_steps, num_checkpoints):
    marks = [step for step in range(1, num_steps + 1) if is_checkpoint(step, num_steps, num_checkpoints)]
    assert len(marks) == min(num_steps, num_checkpoints) and marks[-1] == num_steps
