"""The classifier: the same bytes from the same inputs, in any process and for any layout; DCLM's settings; labels in
texts."""

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest

import stages.train_fasttext as module
from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.train_fasttext import TrainFasttext, train_fasttext
from tests.stages.memory_dataset import Memory

WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had they one".split()
)


def documents(prefix, count, words, seed=0, cut=0, name=None):
    """Documents of seeded random words, in two shards."""
    rng = random.Random(f"{prefix}{seed}")
    texts = [" ".join(rng.choices(words, k=rng.randint(5, 40))) + "\nand so on" for _ in range(count)]
    table = pa.table({"id": [f"{prefix}-{i}" for i in range(count)], "text": texts})
    return Memory({"a": table.slice(0, cut or count // 3), "b": table.slice(cut or count // 3)}, name or f"{prefix}/0")


GOOD, PLAIN = [*WORDS, "theorem", "explain", "because"], [*WORDS, "click", "buy", "cart"]
SMALL = {"bucket": 1000, "dim": 8}


def train(scratch, positives=None, negatives=None, resources=None, **fields):
    scratch.mkdir(exist_ok=True)
    inputs = Inputs(
        (positives or documents("good", 60, GOOD), negatives or documents("plain", 60, PLAIN)), ("documents",) * 2
    )
    made = train_fasttext(TrainFasttext(**SMALL | fields), inputs, resources or Resources(scratch=str(scratch)))
    assert made.files == ("model.bin",) and [path.name for path in scratch.iterdir()] == ["model.bin"]
    return made.summary, (scratch / "model.bin").read_bytes()


def test_separates_the_labels_and_says_what_it_saw(tmp_path):
    summary, _ = train(tmp_path, num_positives=50, epoch=25, lr=1.0)
    assert (summary["num_positives"], summary["num_negatives"], summary["num_examples_tested"]) == (50, 60, 110)
    assert summary["labels"] == ["__label__cc", "__label__hq"]
    assert summary["training_accuracy"] > 0.95 and summary["majority_share"] == round(60 / 110, 6)
    model = fasttext.load_model(str(tmp_path / "model.bin"))
    right, asked = 0, 0  # training accuracy can be memory: documents that were not seen, and that hold a telling word
    for prefix, words, label in (("good", GOOD, "__label__hq"), ("plain", PLAIN, "__label__cc")):
        for text in documents(prefix, 100, words, seed=1).table("b")["text"].to_pylist():
            if set(text.split()) & set(words[-3:]):
                right, asked = right + (model.predict(text.replace("\n", " "))[0][0] == label), asked + 1
    assert asked > 80 and right / asked > 0.9


def test_a_classifier_that_learns_nothing_says_so(tmp_path):
    summary, _ = train(tmp_path / "well")
    assert "warnings" not in summary
    summary, _ = train(tmp_path / "badly", epoch=1, lr=1e-6)
    assert "learnt next to nothing; raise epoch or lr" in summary["warnings"][0]


def test_defaults_are_dclms():
    defaults = TrainFasttext()
    assert (defaults.word_n_grams, defaults.lr, defaults.dim, defaults.epoch, defaults.min_count) == (2, 0.1, 100, 5, 1)
    assert (defaults.loss, defaults.bucket, defaults.num_positives, defaults.num_negatives) == (
        "softmax",
        2_000_000,
        200_000,
        200_000,
    )


def test_every_setting_reaches_fasttext(tmp_path, monkeypatch):
    seen = {}
    real = fasttext.train_supervised

    def spy(path, **settings):
        seen.update(settings)
        return real(path, **settings)

    monkeypatch.setattr(fasttext, "train_supervised", spy)
    train(tmp_path, seed=5, min_count=2, epoch=3, lr=0.2)
    assert seen == {
        "wordNgrams": 2, "lr": 0.2, "dim": 8, "epoch": 3, "minCount": 2, "bucket": 1000, "loss": "softmax",
        "seed": 5, "thread": 1, "verbose": 0,
    }  # fmt: skip


def test_same_bytes_for_any_batches_shards_and_runs_but_not_for_another_seed(tmp_path, monkeypatch):
    _, first = train(tmp_path / "1")
    scratch = tmp_path / "2"
    _, second = train(
        scratch,
        documents("good", 60, GOOD, cut=51),
        resources=Resources(scratch=str(scratch), batch_rows=7, workers=4, threads=4),
    )
    monkeypatch.setattr(module, "RUN_LINES", 13)
    _, third = train(tmp_path / "3")
    _, other = train(tmp_path / "4", seed=1)
    assert first == second == third != other


PROGRAM = """
import json, sys
sys.path[:0] = [{tests!r}]
from test_train_fasttext import train
from pathlib import Path
import hashlib
print(hashlib.sha256(train(Path({scratch!r}))[1]).hexdigest())
"""


def test_same_bytes_in_another_process(tmp_path):
    _, here = train(tmp_path / "here")
    program = PROGRAM.format(tests=str(Path(__file__).parent), scratch=str(tmp_path / "there"))
    root = Path(__file__).resolve().parents[2]
    there = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_examples_are_one_line_each_mixed_and_free_of_foreign_labels(tmp_path):
    texts = [
        "  one\ntwo\r\nthree\u2028four ",
        "__label__hq not a label",
        "in __label__x the\n__label__y middle but not__label__z",
        "__label__only",
        " \n ",
    ]
    table = pa.table({"id": [f"d{i}" for i in range(5)], "text": texts})
    target = tmp_path / "examples.txt"
    both = (Memory({"a": table}), documents("plain", 200, PLAIN))
    counts = module._write_examples(TrainFasttext(num_positives=None, num_negatives=100), both, target, Resources())
    lines = target.read_bytes().decode().split("\n")[:-1]
    assert counts == [3, 100] and len(lines) == 103
    positives = {" ".join(line.split()) for line in lines if line.startswith("__label__hq ")}
    assert positives == {
        "__label__hq one two three four",
        "__label__hq not a label",
        "__label__hq in the middle but not__label__z",
    }
    assert [line.replace("not__label__z", "").count("__label__") for line in lines] == [1] * 103


def test_the_rarer_label_is_spread_over_the_file(tmp_path):
    target = tmp_path / "examples.txt"
    both = (documents("good", 2000, GOOD), documents("plain", 200, PLAIN))
    module._write_examples(TrainFasttext(num_positives=200), both, target, Resources())
    labels = [line[:11] for line in target.read_text().splitlines()]
    first_half = labels[:200].count("__label__hq")  # hypergeometric: mean 100, standard deviation 5
    assert 75 < first_half < 125


def test_a_sample_does_not_depend_on_the_order_of_shards(tmp_path):
    table = documents("good", 90, GOOD).table("b")
    halves = [{"a": table.slice(0, 20), "b": table.slice(20)}, {"a": table.slice(20), "b": table.slice(0, 20)}]
    models = [train(tmp_path / str(i), Memory(half), num_positives=15)[1] for i, half in enumerate(halves)]
    assert models[0] == models[1]


def test_no_text_is_an_error(tmp_path):
    empty = Memory({"a": pa.table({"id": ["x"], "text": ["  "]})}, "empty/0")
    with pytest.raises(ValueError, match="empty/0 has no text for __label__cc"):
        train(tmp_path, negatives=empty)
    with pytest.raises(ConfigError, match="num_positives is 0"):
        TrainFasttext(num_positives=0)
    with pytest.raises(ConfigError, match="seed is -1"):
        TrainFasttext(seed=-1)


def test_in_a_plan(tmp_path):
    nodes = []
    for name, words in (("good", GOOD), ("plain", PLAIN)):
        (tmp_path / name).mkdir()
        rows = documents(name, 30, words).table("b").to_pylist()
        (tmp_path / name / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
        nodes.append(
            read_texts.on(
                list_warcs.on(root=str(tmp_path / name), source=name, pattern="jsonl$", name=f"list_{name}"), name=name
            )
        )
    plan = Plan("test_train", [train_fasttext.on(*nodes, **SMALL)])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    model = open_node(store, plan, "train_fasttext")
    assert model.summary["num_positives"] == 20
    assert fasttext.load_model(model.file("model.bin")).get_dimension() == 8
