"""Training: exact token counts, reproducible and resumable bytes, PyTorch's own optimiser as the oracle."""

import json
import math
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

from models.checkpoint import load_model
from models.scales import Recipe
from models.trainer import DataOrder, is_checkpoint, learning_rate, train
from models.transformer import Transformer, TransformerConfig

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
ROOT = Path(__file__).resolve().parents[2]


def sequences(count: int = 19) -> np.ndarray:
    return np.random.default_rng(0).integers(23, size=(count, 9)).astype(np.uint16)


def run(out_dir: Path, recipe: Recipe = RECIPE, **options):
    given_options = {"sequences": sequences(), "seed": 0, "num_threads": 1, "device": "cpu", **options}
    return train(CONFIG, recipe, given_options.pop("sequences"), out_dir=out_dir, **given_options)


def outputs(out_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out_dir.iterdir()}


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
    records = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert (result.num_tokens, result.num_steps, result.first_step) == (
        400,
        12,
        0,
    )  # 50 sequences, 12 batches of 4 or 5
    assert result.epochs == 50 / 19
    assert result.num_parameters == CONFIG.num_parameters
    assert [record["step"] for record in records] == list(range(12)) == [record.step for record in seen]
    batches = np.diff([0, *(record["num_tokens"] // 8 for record in records)])
    assert set(batches) == {4, 5} and records[-1]["num_tokens"] == 400
    assert result.final_loss == pytest.approx(np.mean([record["loss"] for record in records]))
    assert sorted(outputs(tmp_path)) == ["config.json", "losses.jsonl", "model.safetensors"]
    assert load_model(tmp_path).config == CONFIG


def test_equal_to_a_plain_loop_of_pytorch(tmp_path):
    recipe = replace(RECIPE, num_tokens=8 * 24, grad_clip=0.5)
    run(tmp_path, recipe)
    model = Transformer(CONFIG, seed=0).double()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False, fused=False
    )
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
    killed = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "killed"], cwd=ROOT, capture_output=True, text=True
    )
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "killed/training.safetensors").exists()
    assert run(tmp_path / "killed").first_step == 6
    run(tmp_path / "whole")
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def test_the_seed_changes_weights_and_order_and_nothing_else_does(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed)
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    assert outputs(tmp_path / "a")["model.safetensors"] != outputs(tmp_path / "c")["model.safetensors"]
    assert not np.array_equal(DataOrder(19, 0).rows(0, 19), DataOrder(19, 1).rows(0, 19))


def test_a_memmap_trains_like_the_array(tmp_path):
    np.save(tmp_path / "sequences.npy", sequences())
    run(tmp_path / "array")
    run(tmp_path / "memmap", sequences=np.load(tmp_path / "sequences.npy", mmap_mode="r"))
    assert outputs(tmp_path / "array") == outputs(tmp_path / "memmap")


def test_accumulation_changes_rounding_only(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", replace(RECIPE, accumulation_steps=3))
    for found, expected in zip(
        load_model(tmp_path / "parts").parameters(), load_model(tmp_path / "whole").parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_state_of_another_run_is_refused_and_can_be_overruled(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, on_step=stop_after(5))
    with pytest.raises(ValueError, match=r"another seed \(saved 0, now 1\); pass resume=False"):
        run(tmp_path, seed=1)
    with pytest.raises(ValueError, match="another recipe"):
        run(tmp_path, replace(RECIPE, lr=2e-2))
    with pytest.raises(ValueError, match="another sequences"):
        run(tmp_path, sequences=sequences() // 2)
    assert run(tmp_path, seed=1, resume=False).first_step == 0


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
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, **options)


def test_a_loss_that_is_not_finite_names_step_and_lr(tmp_path):
    with pytest.raises(ValueError, match=r"step \d+ of 12 at lr \d\.\d+e\+29 gave loss nan .*; lower lr"):
        run(tmp_path, replace(RECIPE, lr=1e30, weight_decay=1.0))
    assert not (tmp_path / "model.safetensors").exists()


def test_schedule_warms_up_and_ends_near_the_cooldown():
    rates = [learning_rate(RECIPE, step, 100) for step in range(100)]
    assert rates[:4] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 1e-3 < rates[-1] < 1.01e-3
    assert learning_rate(RECIPE, 51, 99) == pytest.approx((1e-2 + 1e-3) / 2)


@given(num_rows=st.integers(1, 12), seed=st.integers(0, 3), cuts=st.lists(st.integers(0, 50), max_size=6))
def test_order_gives_every_row_once_an_epoch_however_it_is_cut(num_rows, seed, cuts):
    order, marks = DataOrder(num_rows, seed), sorted({0, *cuts, 50})
    rows = np.concatenate([order.rows(a, b) for a, b in zip(marks, marks[1:], strict=False)])
    for epoch in range(50 // num_rows):
        assert sorted(rows[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))
    assert np.array_equal(rows[marks[-2] :], DataOrder(num_rows, seed).rows(marks[-2], 50))


@given(num_steps=st.integers(1, 60), num_checkpoints=st.integers(1, 8))
def test_checkpoints_are_as_many_as_asked_and_the_last_step_is_one(num_steps, num_checkpoints):
    marks = [step for step in range(1, num_steps + 1) if is_checkpoint(step, num_steps, num_checkpoints)]
    assert len(marks) == min(num_steps, num_checkpoints) and marks[-1] == num_steps
