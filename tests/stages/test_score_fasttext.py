"""Scores against fastText's own prediction, one text at a time, and against the softmax worked out in float64."""

import json
import random
from types import SimpleNamespace

import fasttext
import numpy as np
import pyarrow as pa
import pytest

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.score_fasttext import ScoreFasttext, score_fasttext
from stages.train_fasttext import train_fasttext

TEXTS = [
    "alpha beta",
    "beta  gamma\n\nalpha",
    " gamma\tunknown words ",
    "",
    "alpha " * 300,
    "only strangers here",
    "\u2028x\x00alpha",
    "</s> alpha",
]


WORDS = [["alpha", "beta", "the"], ["gamma", "delta", "the"], ["epsilon", "zeta", "the"]]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("model") / "model.bin"
    lines = [f"__label__hq {' '.join(rng.choices(['alpha', 'beta', 'the'], k=8))}" for _ in range(80)]
    lines += [f"__label__cc {' '.join(rng.choices(['gamma', 'delta', 'the'], k=8))}" for _ in range(80)]
    (path.parent / "lines.txt").write_text("\n".join(lines) + "\n")
    model = fasttext.train_supervised(
        str(path.parent / "lines.txt"), wordNgrams=2, dim=10, bucket=500, epoch=30, thread=1, verbose=0
    )
    model.save_model(str(path))
    return str(path)


def artifact(model_file):
    return SimpleNamespace(name="train_fasttext/0", file=lambda name: {"model.bin": model_file}[name])


def scores(model_file, texts, **fields):
    judge = score_fasttext(ScoreFasttext(**fields), Inputs((artifact(model_file),), ("artifact",)), Resources())
    batch = pa.RecordBatch.from_pydict(
        {"id": [f"d{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())}
    )
    verdict = judge(batch)
    assert verdict.keep is None and verdict.columns["score_fasttext"].type == pa.float32()
    return verdict.columns["score_fasttext"].to_numpy()


def test_equals_prediction_of_single_texts_as_dclm_writes_it(model_file):
    model = fasttext.load_model(model_file)
    expected = []
    for text in TEXTS:
        labels, probabilities = model.predict(" ".join(text.strip().splitlines()))
        expected.append(probabilities[0] if labels[0] == "__label__hq" else 1 - probabilities[0])
    assert np.abs(scores(model_file, TEXTS) - np.clip(expected, 0, 1)).max() < 3e-5


def test_equals_the_softmax_in_float64(model_file):
    model = fasttext.load_model(model_file)
    expected = []
    for text in TEXTS[:2]:
        hidden = model.get_sentence_vector("x")  # only its length is used
        words = " ".join(text.strip().splitlines()).split() + ["</s>"]
        rows, hashes = [], []
        for word in words:
            if (number := model.get_word_id(word)) >= 0:
                rows.append(number)
            h = 2166136261
            for byte in word.encode():
                h = (h ^ (byte - 256 if byte > 127 else byte) % 2**32) * 16777619 % 2**32
            hashes.append(h)
        for first, second in zip(hashes, hashes[1:], strict=False):
            signed = [h - 2**32 if h >= 2**31 else h for h in (first, second)]
            rows.append(len(model.get_words()) + (signed[0] * 116049371 + signed[1]) % 2**64 % 500)
        vectors = np.array([model.get_input_vector(row) for row in rows], np.float64)
        logits = model.get_output_matrix().astype(np.float64) @ vectors.mean(axis=0)
        assert vectors.shape[1] == len(hidden)
        weights = np.exp(logits - logits.max())
        expected.append((weights / weights.sum())[model.get_labels().index("__label__hq")] + 1e-5)
    assert np.abs(scores(model_file, TEXTS[:2]) - np.clip(expected, 0, 1)).max() < 1e-5


def test_a_batch_is_no_more_than_its_texts_and_null_is_empty(model_file):
    whole = scores(model_file, TEXTS)
    assert whole.tolist() == [scores(model_file, [text])[0] for text in TEXTS]
    assert scores(model_file, [None]).tolist() == scores(model_file, [""]).tolist()
    assert len(scores(model_file, [])) == 0
    assert (whole >= 0).all() and (whole <= 1).all()


def test_a_probability_above_one_is_clipped(tmp_path):
    (tmp_path / "lines.txt").write_text("__label__hq alpha\n__label__cc gamma\n" * 300)
    model = fasttext.train_supervised(
        str(tmp_path / "lines.txt"), dim=10, bucket=500, epoch=30, lr=1.0, thread=1, verbose=0
    )
    model.save_model(str(tmp_path / "model.bin"))
    assert model.predict("alpha alpha")[1][0] > 1
    assert scores(str(tmp_path / "model.bin"), ["alpha alpha"]).tolist() == [1.0]


@pytest.mark.parametrize(
    "settings",
    [{"minn": 2, "maxn": 3}, {"loss": "hs"}, {"loss": "ova"}, {"third": True}, {"quantised": True}],
    ids=lambda settings: next(iter(settings)),
)
def test_models_that_do_not_collapse_go_through_fasttext(tmp_path, settings):
    rng = random.Random(0)
    third, quantised = settings.pop("third", False), settings.pop("quantised", False)
    labels = ["hq", "cc", "other"] if third else ["hq", "cc"]
    lines = [f"__label__{labels[i % len(labels)]} {' '.join(rng.choices(WORDS[i % len(labels)], k=6))} w{i}\n" for i in range(400)]
    (tmp_path / "lines.txt").write_text("".join(lines))
    model = fasttext.train_supervised(str(tmp_path / "lines.txt"), **{"dim": 8, "bucket": 300, "epoch": 8, "thread": 1, "verbose": 0, **settings})
    if quantised:
        model.quantize()
    model.save_model(str(tmp_path / "model.bin"))
    found = scores(str(tmp_path / "model.bin"), TEXTS)
    for text, value in zip(TEXTS, found, strict=True):
        expected = dict(zip(*model.predict(" ".join(text.strip().splitlines()), k=-1), strict=True))
        assert value == pytest.approx(min(1, expected["__label__hq"]), abs=1e-6)
    assert len(scores(str(tmp_path / "model.bin"), [])) == 0
    with pytest.raises(ValueError, match="has no label __label__good"):
        scores(str(tmp_path / "model.bin"), TEXTS, label="__label__good")


def test_the_library_is_not_loaded_for_a_model_that_collapses(model_file, monkeypatch):
    monkeypatch.setattr(fasttext, "load_model", None)
    assert len(scores(model_file, TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("fields", [{}, {"loss": "ova"}], ids=["collapsed", "through fastText"])
def test_a_document_that_the_model_says_nothing_about_is_an_error(tmp_path, fields):
    (tmp_path / "lines.txt").write_text("__label__hq alpha alpha\n__label__cc beta beta\n" * 20)
    model = fasttext.train_supervised(str(tmp_path / "lines.txt"), dim=4, bucket=0, epoch=1, thread=1, verbose=0, **fields)
    model.save_model(str(tmp_path / "model.bin"))
    bytes_ = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(bytes_.replace(b"</s>\0", b"<xx>\0"))  # a dictionary without the end of a line
    with pytest.raises(ValueError, match="knows no word of document d1 and no end of line"):
        scores(str(tmp_path / "model.bin"), ["alpha", "nobody"])


def test_labels_add_up(model_file):
    other = scores(model_file, TEXTS, label="__label__cc")
    assert np.abs(scores(model_file, TEXTS) + other - 1).max() < 3e-5


def test_an_unknown_label_is_an_error(model_file):
    with pytest.raises(ValueError, match="train_fasttext/0 has no label __label__good"):
        scores(model_file, TEXTS, label="__label__good")


def test_in_a_plan(tmp_path):
    nodes = []
    for name, word in (("good", "alpha"), ("plain", "gamma")):
        (tmp_path / name).mkdir()
        rows = [{"id": f"{name}{i}", "text": f"{word} the {i % 3}"} for i in range(40)]
        (tmp_path / name / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
        nodes.append(
            read_texts.on(
                list_warcs.on(root=str(tmp_path / name), source=name, pattern="jsonl$", name=f"list_{name}"), name=name
            )
        )
    trained = train_fasttext.on(*nodes, bucket=500, dim=8, epoch=40)
    plan = Plan("test_score", [score_fasttext.on(node, trained, name=f"score_{node.name}") for node in nodes])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    good, plain = (
        open_node(store, plan, f"score_{name}").table(f"{name}-x.jsonl")["score_fasttext"].to_numpy()
        for name in ("good", "plain")
    )
    assert good.min() > plain.max()
