"""A tiny comparison from texts to checkpoints: training resumes to the same bytes, and refuses what it can not train on.

The world here (two strategies, two seeds, on sixty short texts) is what the tests of evaluate and leaderboard look at, too.
"""

import json
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from models.scales import SCALES, Recipe, Scale
from models.transformer import TransformerConfig
from stages.apply_verdicts import apply_verdicts
from stages.core.dataset import Dataset
from stages.core.engine import run_plan
from stages.core.fingerprint import file_digest
from stages.core.plan import Node, Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.dedup_exact import dedup_exact
from stages.evaluate import evaluate
from stages.leaderboard import leaderboard
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.tokenize_shuffle import tokenize_shuffle
from stages.train import load_sequences, train
from stages.train_tokenizer import train_tokenizer

TINY = Scale(
    name="tiny",
    model=TransformerConfig(vocab_size=320, d_model=32, num_layers=1, num_heads=2, ffn_dim=64, seq_len=64),
    recipe=Recipe(
        num_tokens=20 * 4 * 64,
        batch_size=4,
        lr=1e-2,
        cooldown_lr=1e-3,
        warmup_steps=4,
        weight_decay=0.03,
        z_loss_weight=1e-4,
    ),
)
NUM_TEXTS, NUM_REPEATED, NUM_BLANK, NUM_SHORT = 60, 6, 3, 1
LIMIT = 2


@dataclass(frozen=True)
class World:
    """A store in which the tiny comparison has run."""

    store: Store
    plan: Plan

    def __getitem__(self, node: str) -> Dataset:
        return open_node(self.store, self.plan, node)


def write_texts(path: Path, count: int, seed: int) -> list[dict]:
    """Write short English-like documents as JSON lines, and return them."""
    rng = random.Random(seed)
    subjects, verbs = (
        ["the river", "a clerk", "our neighbour", "the old mill", "every child"],
        ["follows", "paints", "forgets", "counts"],
    )
    objects, places = (
        ["seven boats", "the quiet road", "a letter", "bread and salt"],
        ["before dawn", "in winter", "at the bridge"],
    )
    rows = [
        {
            "id": f"{path.stem}/{n}",
            "text": " ".join(
                f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(objects)} {rng.choice(places)}.".capitalize()
                for _ in range(12)
            ),
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def texts_of(root: Path, stem: str) -> Node:
    """Read one file of `root` as documents."""
    return read_texts.on(
        list_warcs.on(root=str(root), source="tiny", pattern=f"^{stem}", name=f"list_{stem}"), name=stem
    )


def comparison(root: Path, seeds: tuple[int, ...] = (0, 1)) -> Plan:
    """Two strategies x two seeds, and their board."""
    everything = texts_of(root, "web")
    distinct = apply_verdicts.on(everything, dedup_exact.on(everything), name="distinct")
    validation = texts_of(root, "held")
    tokenizer = train_tokenizer.on(everything, vocab_size=300)
    short = texts_of(root, "short")
    runs, names = [], []
    for name, documents in (("everything", everything), ("distinct", distinct)):
        tokens = tokenize_shuffle.on(documents, tokenizer, seq_len=64, name=f"tokens_{name}")
        for seed in seeds:
            model = train.on(tokens, tokenizer, scale="tiny", seed=seed, name=f"train_{name}_{seed}")
            runs.append(
                evaluate.on(
                    model, tokenizer, validation, validation=("held",), limit=LIMIT, name=f"evaluate_{name}_{seed}"
                )
            )
            names.append(name)
    board = leaderboard.on(
        *runs, strategies=tuple(names), descriptions=(("distinct", "No text twice."),), pipeline="tiny", title="Tiny"
    )
    none = tokenize_shuffle.on(short, tokenizer, seq_len=64, name="tokens_none")
    large = train_tokenizer.on(everything, vocab_size=400, name="tokenizer_large")
    return Plan("tiny", [board, none, large])


@cache
def _world(root: Path) -> World:
    (root / "texts").mkdir(parents=True)
    rows = write_texts(root / "texts" / "web.jsonl", NUM_TEXTS, seed=1)
    with open(root / "texts" / "web.jsonl", "a", encoding="utf-8") as file:
        for n in range(NUM_REPEATED):
            file.write(json.dumps({"id": f"copy/{n}", "text": rows[n]["text"]}) + "\n")
        for n in range(NUM_BLANK):
            file.write(json.dumps({"id": f"blank/{n}", "text": " "}) + "\n")
    write_texts(root / "texts" / "held.jsonl", 3, seed=2)
    (root / "texts" / "short.jsonl").write_text(json.dumps({"id": "short/0", "text": "Hm."}) + "\n")
    world = World(Store(root / "store"), comparison(root / "texts"))
    with patch.dict(SCALES, {"tiny": TINY}):
        run_plan(world.plan, world.store, Resources(workers=0))
    return world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """The tiny comparison; made once a session, whichever file of tests asks first."""
    return _world(tmp_path_factory.getbasetemp() / "tiny_world")


@pytest.fixture(autouse=True)
def tiny_scale(monkeypatch):
    monkeypatch.setitem(SCALES, "tiny", TINY)


def run_train(
    world: World, scratch: Path, progress=None, tokens="tokens_distinct", tokenizer="train_tokenizer", **fields
):
    """Call the stage as the engine does."""
    scratch.mkdir(exist_ok=True)
    inputs = Inputs((world[tokens], world[tokenizer]), ("table", "artifact"))
    return train(
        train.config_type(**{"scale": "tiny", **fields}),
        inputs,
        Resources(scratch=str(scratch), progress=progress, device="cpu"),
    )


def test_training_learns_and_says_what_it_did(world):
    model = world["train_distinct_0"]
    losses = [json.loads(line)["loss"] for line in Path(model.file("losses.jsonl")).read_text().splitlines()]
    assert len(losses) == 20 == TINY.num_steps and losses[-1] < losses[0] - 1
    summary = model.summary
    assert (summary["scale"], summary["seed"], summary["steps"], summary["train_tokens"]) == (
        "tiny",
        0,
        20,
        20 * 4 * 64,
    )
    assert summary["params"] == TINY.model.num_parameters and summary["final_loss"] == pytest.approx(np.mean(losses))
    sequences = sum(shard.rows_out for shard in world["tokens_distinct"].shards)
    assert summary["dataset_tokens"] == sequences * 64
    assert summary["epochs"] == pytest.approx(20 * 4 / sequences)
    assert file_digest(model.file("model.safetensors")) != file_digest(
        world["train_distinct_1"].file("model.safetensors")
    )


@pytest.mark.parametrize("stop_after", [1, 4, 11, 19])
def test_an_interrupted_training_ends_in_the_same_bytes(world, tmp_path, stop_after):
    steps = []

    class Stop(Exception):
        pass

    def stop(fraction, words):
        steps.append(words)
        if len(steps) == stop_after:
            raise Stop

    with pytest.raises(Stop):
        run_train(world, tmp_path / "scratch", stop)
    assert not (tmp_path / "scratch" / "model.safetensors").exists()
    again = []
    made = run_train(world, tmp_path / "scratch", lambda fraction, words: again.append(fraction))
    assert len(again) == 20 - stop_after // 4 * 4 and again[-1] == 1.0, "it goes on from the last of five saved states"
    for name in made.files:
        assert (tmp_path / "scratch" / name).read_bytes() == Path(world["train_distinct_0"].file(name)).read_bytes(), (
            name
        )
    assert {**made.summary, "train_seconds": 0} == {**world["train_distinct_0"].summary, "train_seconds": 0}


def test_tokens_and_lr_of_the_config_replace_those_of_the_scale(world, tmp_path):
    made = run_train(world, tmp_path / "scratch", num_tokens=10 * 4 * 64, lr=2e-3)
    records = [json.loads(line) for line in (tmp_path / "scratch" / "losses.jsonl").read_text().splitlines()]
    assert made.summary["steps"] == 10 and made.summary["train_tokens"] == 10 * 4 * 64
    assert max(record["lr"] for record in records) == 2e-3
    assert SCALES["tiny"] == TINY


def test_unknown_scale(world, tmp_path):
    with pytest.raises(ValueError, match=r"train\.scale is 'tinny'; the scales are nano, 400m-1x"):
        run_train(world, tmp_path / "scratch", scale="tinny")


def test_tokenizer_too_large(world, tmp_path):
    size = world["tokenizer_large"].summary["vocab_size"]
    assert size > 320
    with pytest.raises(
        ValueError, match=f"scale tiny has 320 token ids, the tokenizer {size}; train a smaller tokenizer"
    ):
        run_train(world, tmp_path / "scratch", tokenizer="tokenizer_large")


def test_no_sequences(world, tmp_path):
    with pytest.raises(ValueError, match=r"train: tokenize_shuffle/\w{12} holds no sequence"):
        run_train(world, tmp_path / "scratch", tokens="tokens_none")


def test_sequences_of_another_length(world, tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES, "tiny", replace(TINY, model=replace(TINY.model, seq_len=32)))
    with pytest.raises(ValueError, match=r"seq_len 32 needs \(N, 33\); tokenise with this seq_len"):
        run_train(world, tmp_path / "scratch")


def test_load_sequences_keeps_the_order_of_shards_and_rows(world):
    dataset = world["tokens_everything"]
    rows = [row for shard in dataset.shards for row in dataset.table(shard.name).column("tokens").to_pylist()]
    loaded = load_sequences(dataset)
    assert loaded.dtype == np.uint16 and loaded.shape == (len(rows), 65) and loaded.tolist() == rows
