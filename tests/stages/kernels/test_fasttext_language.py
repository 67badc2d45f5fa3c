"""Labels and probabilities against fastText's own prediction, and against a plain twin in float64: fastText's float32 sums err by up to 2e-5 themselves."""

import random
import re
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stages.kernels.fasttext_language as kernel
from stages.filter_language import FilterLanguage, model_path
from stages.formats.fasttext_model import read_fasttext_model
from stages.kernels.fasttext_language import classifier, predict
from stages.kernels.text_view import text_view

UDHR = Path(__file__).resolve().parents[3] / "../shared/data/text/udhr2"
PACKED = Path(__file__).resolve().parents[3] / "../shared/data/warc/packed"

LANGUAGES = {
    "en": "the people of this country are born free and equal in their rights and they live with dignity",
    "de": "die Menschen sind frei und gleich an Würde und Rechten geboren und leben miteinander",
    "ru": "все люди рождаются свободными и равными в своём достоинстве и правах каждый человек",
    "el": "όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα",
    "zh": "人人生而自由 在尊严和权利上一律平等 他们赋有理性和良心",
}
WAYS = {
    "tree": {"loss": "hs"},
    "softmax": {"dim": 5},
    "tree of two labels": {"loss": "hs", "languages": ["en", "ru"]},
    "one to six characters": {"minn": 1, "maxn": 6, "dim": 17},
    "words alone": {"minn": 0, "maxn": 0, "bucket": 0},
    "quantised": {"loss": "hs", "quantise": {"qnorm": True}},
    "pruned": {"loss": "hs", "quantise": {"cutoff": 400, "qnorm": True}, "dim": 12},
    "pruned softmax": {"quantise": {"cutoff": 300}, "minn": 1},
}


def trained(folder, languages=None, quantise=None, **fields):
    rng = random.Random(2)
    languages = languages or list(LANGUAGES)
    with open(folder / "lines.txt", "w", newline="") as file:
        for i in range(600):
            language = languages[min(int(rng.expovariate(0.7)), len(languages) - 1)]
            words = LANGUAGES[language].split() + [f"n{i % 90}"]
            file.write(f"__label__{language} {' '.join(rng.choices(words, k=6))}\n")
    fields = {"dim": 16, "minn": 2, "maxn": 4, "bucket": 2000, "epoch": 6, "lr": 0.2, "thread": 1, "verbose": 0, **fields}
    model = fasttext.train_supervised(str(folder / "lines.txt"), **fields)
    if quantise is not None:
        model.quantize(**quantise)
    model.save_model(str(folder / "model.bin"))
    return fasttext.load_model(str(folder / "model.bin")), read_fasttext_model(folder / "model.bin")


@pytest.fixture(scope="module", params=WAYS)
def models(request, tmp_path_factory):
    theirs, ours = trained(tmp_path_factory.mktemp("model"), **WAYS[request.param])
    return theirs, ours, classifier(ours)


@pytest.fixture(scope="module")
def packaged():
    path = model_path(FilterLanguage())
    ours = read_fasttext_model(path)
    return fasttext.load_model(str(path)), ours, classifier(ours)


def found(made, texts, type_=None):
    best, probabilities = predict(made, text_view(pa.array(texts, type_ or pa.string())))
    return [made.labels[i] if i >= 0 else None for i in best], probabilities


def agree(theirs, made, texts, tolerance):
    """Labels are those of fastText, but for a tie; probabilities are near its own."""
    labels, probabilities = found(made, texts)
    for text, label, probability in zip(texts, labels, probabilities, strict=True):
        names, values = theirs.predict(text.replace("\n", " "), k=2)
        if not names:
            assert label is None and probability == 0
            continue
        tie = len(names) > 1 and values[0] - values[1] < 2 * tolerance
        assert label == names[0] or (tie and label in names), text
        assert probability == pytest.approx(values[0], abs=tolerance), text


def plain(theirs, model, text):
    """Label and probability, step by step in float64; the rows of a word are fastText's word."""
    known = set(model.words)
    rows = []
    for word in [*filter(None, re.split(rb"[ \t\n\v\f\r\0]", text.encode())), b"</s>"]:
        if word.startswith(b"__label__"):
            continue
        if word == b"</s>" or model.settings["maxn"] == 0:
            rows += [model.words.index(word)] if word in known else []
        else:
            rows += theirs.get_subwords(word.decode())[1].tolist()
        if word == b"</s>":
            break
    mean = model.input_rows()[rows].astype(np.float64).mean(axis=0)
    output, n = model.output_rows().astype(np.float64), model.num_labels
    if model.settings["loss"] == "softmax":
        weights = np.exp(output @ mean - (output @ mean).max())
        logs = np.log(weights / weights.sum() + 1e-5)
    else:
        logs = np.zeros(n)
        nodes = [(count, i, (i,)) for i, count in enumerate(model.counts[model.num_words :].tolist())]
        leaves, inner, made = nodes[::-1], [], 0
        while len(leaves) + len(inner) > 1:  # a second way to write Huffman's tree: two queues of subtrees
            pair = []
            for _ in range(2):
                pair.append(leaves.pop(0) if leaves and (not inner or leaves[0][0] < inner[0][0]) else inner.pop(0))
            right = 1 / (1 + np.exp(-(output[made] @ mean)))
            logs[list(pair[0][2])] += np.log(1 - right + 1e-5)
            logs[list(pair[1][2])] += np.log(right + 1e-5)
            inner.append((pair[0][0] + pair[1][0], None, pair[0][2] + pair[1][2]))
            made += 1
    return model.labels[int(logs.argmax())], np.exp(logs.max())


WORDS = [word for text in LANGUAGES.values() for word in text.split()]
SPECIAL = ["</s>", "x</s>", "__label__en", "__label__xx", "__label", "<", ">", "\0", "\u2028", "\xa0", "\x1c", "\r\n", "\x85", "\U0001f600" * 9, "ab" * 40, "é" * 16, "é" * 17]
SPECIAL += ["x" * n for n in (7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33)]
PIECES = st.one_of(st.sampled_from([*WORDS, *SPECIAL]), st.sampled_from(" \n\t\0"), st.text(max_size=5))
DOCUMENTS = st.lists(st.lists(PIECES, max_size=30).map("".join), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_equals_fasttext_on_any_unicode(models, texts):
    theirs, _, made = models
    agree(theirs, made, texts, 1e-5)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_the_packaged_model_equals_fasttext_on_any_unicode(packaged, texts):
    theirs, _, made = packaged
    agree(theirs, made, texts, 1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" ")), min_size=1, max_size=5))
def test_invalid_utf8_is_taken_byte_by_byte_as_fasttext_does(packaged, lines):
    theirs, _, made = packaged
    column = pa.Array.from_buffers(pa.string(), len(lines), pa.array(lines, pa.binary()).buffers())
    best, probabilities = predict(made, text_view(column))
    for line, label, probability in zip(lines, best, probabilities, strict=True):
        (value, name), *_ = theirs.f.predict(line + b"\n", 1, 0.0, "strict")
        assert made.labels[label] == name and probability == pytest.approx(value, abs=1e-5)


def test_equals_the_plain_twin(models):
    theirs, ours, made = models
    rng = random.Random(3)
    texts = [" ".join(rng.choices([*WORDS, "strange", "слово", "</s>" if i % 7 == 0 else "x"], k=1 + i)) for i in range(60)]
    labels, probabilities = found(made, texts)
    for text, label, probability in zip(texts, labels, probabilities, strict=True):
        expected = plain(theirs, ours, text)
        assert probability == pytest.approx(expected[1], abs=1e-6) and label == expected[0]


@pytest.mark.skipif(not UDHR.exists(), reason="shared texts are absent")
def test_388_languages_as_fasttext_sees_them_and_nearer_to_the_exact_value(packaged):
    theirs, ours, made = packaged
    texts = [path.read_text(encoding="utf-8") for path in sorted(UDHR.glob("*.txt"))]
    assert len(texts) > 300
    agree(theirs, made, texts, 3e-5)
    lines = [line for text in texts for line in text.split("\n") if line.strip()][::10]
    agree(theirs, made, lines, 1e-5)
    labels, probabilities = found(made, texts[::6])
    for text, label, probability in zip(texts[::6], labels, probabilities, strict=True):
        expected = plain(theirs, ours, text)
        assert label == expected[0] and probability == pytest.approx(expected[1], abs=1e-6)


@pytest.mark.skipif(not PACKED.exists(), reason="shared crawls are absent")
def test_extracted_pages_as_fasttext_sees_them(packaged):
    from stages.core.stage import Guard, Inputs, Resources, SourceShard
    from stages.extract import Extract, extract

    path = sorted(PACKED.glob("*.warc.gz"))[0]
    read = extract(Extract(), Inputs(), Resources())
    batch = next(found.documents for found in read(SourceShard(path.name, path.name, 0, "", str(path)), Guard()) if found.documents is not None)
    agree(packaged[0], packaged[2], batch.column("text").to_pylist(), 3e-5)


def test_what_was_seen_before_how_it_is_cut_and_the_size_of_the_cache_change_nothing(models, monkeypatch):
    _, ours, made = models
    rng = random.Random(4)
    long = [f"{'q' * n}{tail}" for n in (0, 8, 16, 24) for tail in ("a", "b", "cc", "жж", "zz", "ü", "yyyyyyyy", "yyyyyyyx")]  # alike but for their last bytes
    texts = [" ".join(rng.choices([*WORDS, *SPECIAL, *long, "\n"], k=rng.randint(0, 80))) for _ in range(400)]
    monkeypatch.setattr(kernel, "CACHE_BYTES", 1)
    small = classifier(ours)
    assert len(small.keys) == 16 < len(made.keys)
    labels, probabilities = found(made, texts)
    for other in (small, classifier(ours)):
        for type_ in (pa.string(), pa.large_string(), pa.string_view()):
            again = found(other, texts, type_)
            assert again[0] == labels and np.array_equal(again[1], probabilities)
    assert np.array_equal(probabilities, np.concatenate([found(small, texts[i : i + 7])[1] for i in range(0, 400, 7)]))
    best, sliced = predict(made, text_view(pa.array(texts).slice(50, 100)))
    assert np.array_equal(sliced, probabilities[50:150])
    assert found(made, [None, "", texts[0]])[0][:2] == found(made, ["", ""])[0] and len(found(made, [])[1]) == 0


def test_a_model_without_the_end_of_a_line_names_no_label(tmp_path):
    trained(tmp_path, minn=0, maxn=0, bucket=0)
    (tmp_path / "model.bin").write_bytes((tmp_path / "model.bin").read_bytes().replace(b"</s>\0", b"<xx>\0"))
    made = classifier(read_fasttext_model(tmp_path / "model.bin"))
    labels, probabilities = found(made, ["nobody", "", "</s> the", "the people"])
    assert labels[:3] == [None] * 3 and probabilities[:3].tolist() == [0, 0, 0] and labels[3] == "__label__en"


def test_other_models_are_an_error(tmp_path):
    for fields in ({"loss": "ova"}, {"wordNgrams": 2}):
        with pytest.raises(ValueError, match="give a classifier of two or more labels with loss softmax or hs"):
            classifier(trained(tmp_path, **fields)[1])
