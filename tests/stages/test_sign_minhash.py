import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.core.stage import Inputs, Resources
from stages.sign_minhash import SignMinhash, sign_minhash

NEARDUP = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "neardup"
TEXT = "The river runs past the old mill and down to the sea."


def sign(texts, **fields):
    verdict = sign_minhash(SignMinhash(**fields), Inputs(), Resources())(
        pa.record_batch({"text": pa.array(texts, pa.string())})
    )
    assert verdict.keep is None
    return {name: column.to_pylist() for name, column in verdict.columns.items()}


def test_case_and_punctuation_do_not_matter_but_order_does():
    one, same, other = sign([TEXT, TEXT.upper().replace(" ", " - "), " ".join(reversed(TEXT.split()))])["bands"]
    assert one == same and len(one) == 14 and not set(one) & set(other)


def test_no_words_no_bands_and_short_texts_are_one_shingle():
    empty, dots, null, short, same, longer = sign(["", "...", None, "one two", "One, two!", "one two three"])["bands"]
    assert empty == dots == null == []
    assert short == same and len(short) == 14 and not set(short) & set(longer)


def test_fields_shape_the_columns():
    columns = sign([TEXT, ""], num_buckets=4, hashes_per_bucket=3, keep_signature=True)
    assert [len(x) for x in columns["bands"]] == [4, 0] and [len(x) for x in columns["signature"]] == [12, 0]
    assert set(sign_minhash.added(SignMinhash())) == {"bands"}
    assert set(sign_minhash.added(SignMinhash(keep_signature=True))) == {"bands", "signature"}
    assert sign([TEXT], seed=2)["bands"] != sign([TEXT])["bands"]
    with pytest.raises(ValueError, match="num_buckets is 0"):
        SignMinhash(num_buckets=0)


def test_batches_change_nothing():
    texts = [TEXT[i:] for i in range(40)] + ["", None]
    assert sign(texts)["bands"] == [bands for text in texts for bands in sign([text])["bands"]]
    assert sign([])["bands"] == []


def test_probability_of_candidates_is_that_of_the_docstring():
    rng = np.random.default_rng(4)
    met, trials, words = 0, 400, 300
    for _ in range(trials):
        pool = rng.integers(0, 10**9, 2 * words)
        both = 240  # Jaccard 240 / 360 = 2/3 of single words
        one, other = pool[:words], np.concatenate((pool[:both], pool[words : 2 * words - both]))
        a, b = sign(
            [" ".join(map(str, one)), " ".join(map(str, other))], n_grams=1, num_buckets=14, hashes_per_bucket=8
        )["bands"]
        met += any(x == y for x, y in zip(a, b, strict=True))
    want = 1 - (1 - (2 / 3) ** 8) ** 14
    assert abs(met / trials - want) < 4 * np.sqrt(want * (1 - want) / trials)


@pytest.mark.skipif(not NEARDUP.is_dir(), reason="../shared/data/neardup is absent")
def test_estimates_true_jaccard_of_real_articles():
    lines = (NEARDUP / "articles_100.train").read_text().splitlines()
    texts = [line.split(" ", 1)[1] for line in lines]
    signatures = np.array(sign(texts, n_grams=2, keep_signature=True)["signature"], np.uint64)
    shingles = []
    for text in texts:
        words = re.findall(r"[^\W_]+", text.lower())
        shingles.append({tuple(words[i : i + 2]) for i in range(len(words) - 1)})
    scaled = []
    for i, j in combinations(range(100), 2):
        true = len(shingles[i] & shingles[j]) / len(shingles[i] | shingles[j])
        if true > 0.02:
            scaled.append(((signatures[i] == signatures[j]).mean() - true) / np.sqrt(true * (1 - true) / 112))
    assert len(scaled) > 100 and abs(np.mean(scaled)) < 0.5 and 0.7 < np.std(scaled) < 1.3
