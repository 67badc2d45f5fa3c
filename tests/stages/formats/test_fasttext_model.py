"""The reader of fastText models against fastText: words, labels, counts and every row of both matrices, for all the ways a file is written."""

import random
import struct

import fasttext
import numpy as np
import pytest

from stages.filter_language import FilterLanguage, model_path
from stages.formats.fasttext_model import MAGIC, Quantised, read_fasttext_model

WORDS = [f"wörd{i}" for i in range(300)] + ["</s>x", "naïve", "ж", "\U0001f600"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    labels = [f"__label__{name}" for name in ("hq", "cc", "жж") for _ in range(1 + len(name))]
    path.write_text("".join(f"{rng.choice(labels)} {' '.join(rng.choices(WORDS, k=9))}\n" for _ in range(400)))
    return path


def trained(lines, tmp_path, **settings):
    quantise = settings.pop("quantise", None)
    model = fasttext.train_supervised(str(lines), **{"dim": 10, "bucket": 400, "epoch": 2, "thread": 1, "verbose": 0, **settings})
    if quantise is not None:
        model.quantize(**quantise)
    model.save_model(str(tmp_path / "model.bin"))
    return fasttext.load_model(str(tmp_path / "model.bin")), tmp_path / "model.bin"


WAYS = {
    "bigrams": {"wordNgrams": 2},
    "characters and tree": {"minn": 2, "maxn": 4, "loss": "hs"},
    "one against all, nothing hashed": {"loss": "ova", "bucket": 0},
    "quantised": {"minn": 2, "maxn": 3, "quantise": {"dsub": 2}},
    "quantised, uneven parts": {"minn": 2, "maxn": 3, "quantise": {"dsub": 4}},
    "quantised with norms": {"wordNgrams": 2, "quantise": {"qnorm": True, "dsub": 3}},
}


@pytest.mark.parametrize("way", WAYS)
def test_equals_fasttext(way, lines, tmp_path):
    theirs, path = trained(lines, tmp_path, **WAYS[way])
    ours = read_fasttext_model(path)
    words, counts = theirs.get_words(include_freq=True)
    labels, label_counts = theirs.get_labels(include_freq=True)
    assert [word.decode() for word in ours.words] == words and ours.labels == labels
    assert ours.counts.tolist() == [*counts, *label_counts]
    arguments = theirs.f.getArgs()
    assert ours.settings["dim"] == arguments.dim == 10 and ours.settings["bucket"] == arguments.bucket
    assert (ours.settings["minn"], ours.settings["maxn"], ours.settings["word_n_grams"]) == (arguments.minn, arguments.maxn, arguments.wordNgrams)
    assert ours.settings["loss"] == arguments.loss.name and ours.settings["model"] == "supervised"
    rows = ours.input_rows()
    assert rows.dtype == np.float32 and rows.shape == (len(words) + arguments.bucket, 10)
    assert np.array_equal(rows, np.array([theirs.get_input_vector(i) for i in range(len(rows))]))
    if ours.quantised:
        assert isinstance(ours.input, Quantised) and theirs.is_quantized()
    else:
        assert np.array_equal(rows, theirs.get_input_matrix()) and np.array_equal(ours.output_rows(), theirs.get_output_matrix())
        assert not rows.flags.owndata and not rows.flags.writeable, "a view of the file, not a copy"


def test_a_pruned_model_keeps_few_n_grams(lines, tmp_path):
    theirs, path = trained(lines, tmp_path, minn=2, maxn=4, quantise={"cutoff": 300, "qout": False})
    ours = read_fasttext_model(path)
    assert [word.decode() for word in ours.words] == theirs.get_words()
    rows = ours.input_rows()
    assert rows.shape == (300, 10) and len(ours.pruned) == 300 - ours.num_words
    assert sorted(ours.pruned[:, 1].tolist()) == list(range(len(ours.pruned))) and (ours.pruned[:, 0] < 400).all()
    assert np.array_equal(rows, np.array([theirs.get_input_vector(i) for i in range(300)]))


def test_the_packaged_language_model():
    theirs, ours = fasttext.load_model(str(model_path(FilterLanguage()))), read_fasttext_model(model_path(FilterLanguage()))
    assert ours.quantised and ours.settings["loss"] == "hs" and (ours.settings["minn"], ours.settings["maxn"]) == (2, 4)
    assert [word.decode() for word in ours.words] == theirs.get_words() and ours.labels == theirs.get_labels()
    rows = ours.input_rows()
    assert rows.shape == (50_000, 16) and len(ours.pruned) == 42_765
    assert all(np.array_equal(rows[i], theirs.get_input_vector(i)) for i in range(0, 50_000, 37))


def test_version_11_classifiers_have_no_character_n_grams(lines, tmp_path):
    _, path = trained(lines, tmp_path, minn=2, maxn=4)
    old = bytearray(path.read_bytes())
    old[4:8] = struct.pack("<i", 11)
    path.write_bytes(old)
    assert read_fasttext_model(path).settings["maxn"] == 0 == fasttext.load_model(str(path)).f.getArgs().maxn


def test_what_can_not_be_read_is_an_error_with_a_remedy(lines, tmp_path):
    theirs, path = trained(lines, tmp_path, minn=2, maxn=3, quantise={"qnorm": True, "cutoff": 300})
    whole = path.read_bytes()

    def read(bytes_):
        (tmp_path / "other.bin").write_bytes(bytes_)
        return read_fasttext_model(tmp_path / "other.bin")

    for bytes_, message in (
        (b"", "is empty; a fastText model is expected"),
        (b"abc", "it begins with b'abc'"),
        (b"10 300\nthe 0.1 0.2\n", rf"not {MAGIC}; give a .bin or .ftz \(a .vec is text"),
        (struct.pack("<ii", MAGIC, 13) + whole[8:], "version 13, and 11 and 12 can be read"),
        (whole[:32] + struct.pack("<i", 9) + whole[36:], "has loss 9, which is none of fastText's"),
        (whole[:68] + struct.pack("<i", 7) + whole[72:], "do not add up"),
    ):
        with pytest.raises(ValueError, match=message):
            read(bytes_)
    dense = trained(lines, tmp_path, wordNgrams=2)[1].read_bytes()
    for bytes_ in (whole, dense):
        for size in (20, 80, 300, len(bytes_) // 2, len(bytes_) - 1):
            with pytest.raises(ValueError, match="was cut short: fetch it again"):
                read(bytes_[:size])
    assert read(whole).num_words == len(theirs.get_words())
    with pytest.raises(FileNotFoundError):
        read_fasttext_model(tmp_path / "none.bin")


def test_labels_among_words_are_an_error(lines, tmp_path):
    _, path = trained(lines, tmp_path)
    bytes_ = bytearray(path.read_bytes())
    kind = bytes_.index(b"\0", 92) + 9  # of the first entry
    bytes_[kind] = 1
    path.write_bytes(bytes_)
    with pytest.raises(ValueError, match="has labels among its words"):
        read_fasttext_model(path)


def test_parts_that_contradict_each_other_are_an_error(lines, tmp_path):
    _, path = trained(lines, tmp_path, minn=2, maxn=4, quantise={"cutoff": 300})
    bytes_ = path.read_bytes()
    first_kept = bytes_.index(struct.pack("<ii", *read_fasttext_model(path).pruned[0].tolist()))
    for place, value, message in (
        (8, 11, r"its input matrix is \(300, 10\), not \(300, 11\)"),
        (40, 3, "buckets or rows that there are not"),
        (40, 0, "buckets or rows that there are not"),
        (first_kept, 400, "buckets or rows that there are not"),
        (first_kept + 4, -1, "buckets or rows that there are not"),
    ):
        path.write_bytes(bytes_[:place] + struct.pack("<i", value) + bytes_[place + 4 :])
        with pytest.raises(ValueError, match=message):
            read_fasttext_model(path)
    dense = trained(lines, tmp_path, bucket=0)[1]
    bytes_ = dense.read_bytes()
    dense.write_bytes(bytes_[:28] + struct.pack("<i", 2) + bytes_[32:])
    with pytest.raises(ValueError, match="n-grams but no bucket for them"):
        read_fasttext_model(dense)
