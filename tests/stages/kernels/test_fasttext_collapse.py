"""Collapsed classifiers against fastText's own prediction, and against a plain twin in float64 where fastText takes no such text or is inexact itself."""

import random
import re
import sys
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stages.kernels.fasttext_collapse as kernel
from stages.formats.fasttext_model import read_fasttext_model
from stages.kernels.fasttext_collapse import collapse, score, why_not_collapsible
from stages.kernels.text_view import text_view

TEXTS = Path(__file__).resolve().parents[3] / "../shared/data/text"
KNOWN = ["alpha", "beta", "gamma", "exactly8", "quite-a-long-word", "and-a-much-longer-word-than-that", "é", "жук", "\x1f", "\xa0", "\u3000", "x\u2003y", "z"]


def trained(folder, **settings):
    rng = random.Random(1)
    with open(folder / "lines.txt", "w", newline="") as file:
        for i in range(300):
            words = rng.choices(KNOWN[i % 2 :: 2] + ["the"], k=8)
            file.write(f"__label__{'hq' if i % 2 else 'cc'} {' '.join(words)}\n")
    settings = {"wordNgrams": 2, "dim": 10, "bucket": 1000, "epoch": 15, "lr": 0.3, "thread": 1, "verbose": 0, **settings}
    fasttext.train_supervised(str(folder / "lines.txt"), **settings).save_model(str(folder / "model.bin"))
    return fasttext.load_model(str(folder / "model.bin")), read_fasttext_model(folder / "model.bin")


@pytest.fixture(scope="module", params=[1, 2, 4])
def models(request, tmp_path_factory):
    theirs, ours = trained(tmp_path_factory.mktemp(f"n{request.param}"), wordNgrams=request.param, bucket=1000 if request.param > 1 else 0)
    return theirs, ours, collapse(ours, "__label__hq")


def scores(collapsed, texts, type_=None):
    return score(collapsed, text_view(pa.array(texts, type_ or pa.string())))


def prepared(text):
    return " ".join(text.strip().splitlines())


def predicted(theirs, texts):
    found = [dict(zip(*theirs.predict(prepared(text), k=-1), strict=True)) for text in texts]
    return np.minimum([probabilities["__label__hq"] for probabilities in found], 1)


def plain(model, line):
    """p(hq) of one line of bytes, step by step in float64."""
    entries = {word: number for number, word in enumerate(model.words)} | {label.encode(): -1 for label in model.labels}
    rows, hashes = [], []
    for word in [*filter(None, re.split(rb"[ \t\n\v\f\r\0]", line)), b"</s>"]:
        if word in entries:
            if entries[word] < 0:
                continue
            rows.append(entries[word])
        elif word.startswith(b"__label__"):
            continue
        h = 2166136261
        for byte in word:
            h = (h ^ (byte - 256 if byte > 127 else byte) % 2**32) * 16777619 % 2**32
        hashes.append(h - 2**32 if h >= 2**31 else h)
        if word == b"</s>":
            break
    for i in range(len(hashes)):
        h = hashes[i]
        for j in range(i + 1, min(len(hashes), i + model.settings["word_n_grams"])):
            h = (h * 116049371 + hashes[j]) % 2**64
            rows.append(model.num_words + h % model.settings["bucket"])
    hidden = model.input_rows()[rows].astype(np.float64).mean(axis=0)
    logits = model.output_rows().astype(np.float64) @ hidden
    weights = np.exp(logits - logits.max())
    return min(1.0, (weights / weights.sum())[model.labels.index("__label__hq")] + 1e-5)


SPECIAL = ["</s>", "</s>x", "x</s>", "__label__hq", "__label__cc", "__label__zz", "__label__", "__labe", "no", "a stranger", "\0", "", " ", "  ", "\n", "\r\n"]
SPECIAL += ["\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u1680", "\u2000", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b"]
SPECIAL += ["\x84", "\x86", "\u2027", "\u202a", "“", "’", "a’b", "\U0001f600", "\ufeff", "ㄨ", "\u30a8\u20a8", "fifteen-bytes-x", "sixteen-bytes-xx", "seventeen-bytes-x"]
PIECES = st.one_of(st.sampled_from([*KNOWN, *SPECIAL]), st.sampled_from(" \n\t\0\x85\u2028"), st.text(max_size=4))
DOCUMENTS = st.lists(st.lists(PIECES, max_size=30).map("".join), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_equals_fasttext_on_any_unicode(models, texts):
    theirs, _, collapsed = models
    found = scores(collapsed, texts)
    assert np.abs(found - predicted(theirs, texts)).max() < 1e-5
    assert found.tolist() == [scores(collapsed, [text])[0] for text in texts], "a document's score is its own"


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS)
def test_equals_the_plain_twin_exactly(models, texts):
    _, ours, collapsed = models
    assert np.abs(scores(collapsed, texts) - [plain(ours, prepared(text).encode()) for text in texts]).max() < 3e-7


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda b: b.translate(None, b"\x1c\x1d\x1e\x1f\x85\x80\xa8\xa9")), min_size=1, max_size=5))
def test_invalid_utf8_is_taken_byte_by_byte_as_fasttext_does(models, lines):
    theirs, ours, collapsed = models
    lines = [line.replace(b"\n", b" ").strip() for line in lines]
    column = pa.Array.from_buffers(pa.string(), len(lines), pa.array(lines, pa.binary()).buffers())
    found = score(collapsed, text_view(column))
    for line, value in zip(lines, found, strict=True):
        expected = {name: p for p, name in theirs.f.predict(line + b"\n", 2, 0.0, "strict")}["__label__hq"]
        assert value == pytest.approx(min(1, expected), abs=1e-5) and value == pytest.approx(plain(ours, line), abs=3e-7)


@pytest.mark.parametrize("models", [2], indirect=True)
def test_every_character_splits_and_strips_as_python_says(models):
    """str.strip and str.splitlines for all of Unicode: at both ends of a text, and inside."""
    *_, collapsed = models
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    texts = [f"{c}{c}alpha{c}beta{c} {c}gamma exactly8{c}" for c in characters]
    assert np.array_equal(scores(collapsed, texts), scores(collapsed, [prepared(text) for text in texts]))


def test_characters_that_matter_against_fasttext(models):
    theirs, _, collapsed = models
    near = {c + d for c in [*range(33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000] for d in (-1, 0, 1)} - {-1}
    texts = [pattern.format(*[chr(c)] * 3) for c in sorted(near) for pattern in ("{}alpha{}", "alpha{}beta", "the {} z", "{}{}x{}")]
    assert np.abs(scores(collapsed, texts) - predicted(theirs, texts)).max() < 1e-5


def test_batches_types_nulls_slices_and_what_is_kept_change_nothing(models, monkeypatch):
    _, ours, collapsed = models
    rng = random.Random(5)
    texts = ["".join(rng.choices([*KNOWN, *SPECIAL, " ", " ", "\n"], k=rng.randint(0, 60))) for _ in range(500)]
    whole = scores(collapsed, texts)
    for type_ in (pa.large_string(), pa.string_view()):
        assert np.array_equal(whole, scores(collapsed, texts, type_))
    assert np.array_equal(whole[100:300], score(collapsed, text_view(pa.array(texts).slice(100, 200))))
    assert np.array_equal(scores(collapsed, [None, texts[1], None]), scores(collapsed, ["", texts[1], ""]))
    assert len(scores(collapsed, [])) == 0
    assert np.array_equal(whole, scores(collapse(ours, "__label__hq"), texts))
    monkeypatch.setattr(kernel, "CACHE_SLOTS", 1)
    assert np.array_equal(whole, scores(collapse(ours, "__label__hq"), texts))


def twins():
    """Two words of one hash that begin and end alike: a birthday among 300,000, of whom 10 pairs are expected to share 32 bits."""
    words = np.tile(np.frombuffer(b"prefix--________--suffix", np.uint8), (300_000, 1))
    words[:, 8:16] = np.random.default_rng(0).integers(97, 123, (len(words), 8))
    h = np.full(len(words), 2166136261, np.uint64)
    for column in words.T.astype(np.uint64):
        h = (h ^ column) * np.uint64(16777619) % np.uint64(2**32)
    order = np.argsort(h, kind="stable")
    first = np.flatnonzero(np.diff(h[order]) == 0)[0]
    return tuple(words[order[i]].tobytes().decode() for i in (first, first + 1))


def test_a_stranger_with_the_hash_of_a_known_word_is_still_a_stranger(tmp_path):
    known, stranger = twins()
    (tmp_path / "lines.txt").write_text(f"__label__hq {known} the\n__label__cc beta the\n" * 40)
    theirs = fasttext.train_supervised(str(tmp_path / "lines.txt"), wordNgrams=1, dim=8, bucket=0, epoch=20, lr=1.0, thread=1, verbose=0)
    theirs.save_model(str(tmp_path / "model.bin"))
    texts = [f"{known} and more words", f"{stranger} and more words", f"{stranger} {known} and more words"]
    found, expected = scores(collapse(read_fasttext_model(tmp_path / "model.bin"), "__label__hq"), texts), predicted(theirs, texts)
    assert theirs.get_word_id(known) >= 0 > theirs.get_word_id(stranger) and expected[0] > expected[1] + 0.1
    assert np.abs(found - expected).max() < 1e-5


def test_labels_add_up(models):
    _, ours, collapsed = models
    texts = ["alpha beta", "gamma z", "", "é"]
    other = scores(collapse(ours, "__label__cc"), texts)
    assert np.abs(scores(collapsed, texts).astype(float) + other - 1 - 2e-5).max() < 1e-6


@pytest.mark.skipif(not TEXTS.exists(), reason="shared texts are absent")
def test_equals_fasttext_on_real_text_of_many_languages(tmp_path):
    paths = sorted(TEXTS.glob("*/*.txt"))[::3]
    texts = [path.read_text(encoding="utf-8", errors="replace")[:20_000] for path in paths]
    with open(tmp_path / "lines.txt", "w", newline="") as file:
        for path, text in zip(paths, texts, strict=True):
            label = "cc" if path.parent.name == "udhr2" else "hq"  # any language, or English
            file.writelines(f"__label__{label} {line.replace(chr(13), ' ')}\n" for line in text.split("\n")[:40])
    theirs = fasttext.train_supervised(str(tmp_path / "lines.txt"), wordNgrams=2, dim=20, bucket=100_000, epoch=3, lr=0.3, thread=1, verbose=0)
    theirs.save_model(str(tmp_path / "model.bin"))
    ours = read_fasttext_model(tmp_path / "model.bin")
    found, expected = scores(collapse(ours, "__label__hq"), texts), predicted(theirs, texts)
    assert len(texts) > 100 and expected.min() < 0.1 and expected.max() > 0.9
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(found[::9] - [plain(ours, prepared(text).encode()) for text in texts[::9]]).max() < 3e-7


def test_what_is_not_collapsible_is_said(tmp_path, models):
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"__label__{'abc'[i % 3]} w{i} v{i % 7}\n" for i in range(400)))
    for fields, reason in (
        ({}, "of 3 labels with loss softmax"),
        ({"loss": "hs"}, "loss hs"),
        ({"minn": 2, "maxn": 3}, "of 3 labels"),
    ):
        fasttext.train_supervised(str(lines), dim=4, bucket=50, epoch=1, thread=1, verbose=0, **fields).save_model(str(tmp_path / "m.bin"))
        assert reason in why_not_collapsible(read_fasttext_model(tmp_path / "m.bin"))
    lines.write_text("".join(f"__label__{'ab'[i % 2]} w{i} v{i % 7}\n" for i in range(400)))
    model = fasttext.train_supervised(str(lines), dim=4, bucket=50, epoch=1, minn=2, maxn=3, thread=1, verbose=0)
    model.save_model(str(tmp_path / "m.bin"))
    assert "n-grams of 2 to 3 characters" in why_not_collapsible(read_fasttext_model(tmp_path / "m.bin"))
    model = fasttext.train_supervised(str(lines), dim=4, bucket=50, epoch=1, wordNgrams=2, thread=1, verbose=0)
    model.quantize()
    model.save_model(str(tmp_path / "m.bin"))
    with pytest.raises(ValueError, match="can not be collapsed: it is quantised; score it with fastText itself"):
        collapse(read_fasttext_model(tmp_path / "m.bin"), "__label__a")
    with pytest.raises(ValueError, match="has no label __label__good"):
        collapse(models[1], "__label__good")


def test_a_model_that_says_nothing_gives_nan(tmp_path):
    (tmp_path / "lines.txt").write_text("__label__hq alpha alpha\n__label__cc beta beta\n" * 20)
    model = fasttext.train_supervised(str(tmp_path / "lines.txt"), dim=4, bucket=0, epoch=1, minCount=30, thread=1, verbose=0)
    model.save_model(str(tmp_path / "m.bin"))
    bytes_ = (tmp_path / "m.bin").read_bytes().replace(b"</s>\0", b"<xx>\0")  # a dictionary without the end of a line
    (tmp_path / "m.bin").write_bytes(bytes_)
    collapsed = collapse(read_fasttext_model(tmp_path / "m.bin"), "__label__hq")
    found = scores(collapsed, ["nobody here", "", "alpha"])
    assert np.isnan(found).tolist() == [True, True, False]
    theirs = fasttext.load_model(str(tmp_path / "m.bin"))
    assert theirs.predict("nobody here")[0] == () and found[2] == pytest.approx(predicted(theirs, ["alpha"])[0], abs=1e-5)
