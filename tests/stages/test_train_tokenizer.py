"""The tokenizer: the same bytes in any process, no text lost, merges against a plain byte-pair encoding."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.kernels.seeded_order import derived_seed, hash_ids
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.train_tokenizer import TrainTokenizer, train_tokenizer
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


def train(scratch, datasets=None, **fields):
    scratch.mkdir(exist_ok=True)
    datasets = datasets or (
        documents("a", 200, WORDS),
        documents("b", 50, ["über", "naïve", "北京", "\U0001f600", "x = 1;"]),
    )
    inputs = Inputs(tuple(datasets), ("documents",) * len(datasets))
    made = train_tokenizer(TrainTokenizer(**{"vocab_size": 300} | fields), inputs, Resources(scratch=str(scratch)))
    assert made.files == ("tokenizer.json",) and [path.name for path in scratch.iterdir()] == ["tokenizer.json"]
    return made.summary, (scratch / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("tokenizer")
    train(scratch)
    return Tokenizer.from_file(str(scratch / "tokenizer.json"))


def test_vocabulary(tokenizer):
    assert tokenizer.token_to_id("<|endoftext|>") == 0
    assert tokenizer.get_vocab_size() == 300
    assert sorted(tokenizer.get_vocab().values()) == list(range(300))


def test_a_text_with_too_few_pairs_gives_a_smaller_vocabulary_and_says_so(tmp_path):
    summary, _ = train(tmp_path, vocab_size=5000)
    assert 300 < summary["vocab_size"] == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() < 5000


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_lost(tokenizer, text):
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_merges_equal_plain_byte_pair_encoding(tmp_path):
    texts = ["low low low low low", "lower lower", "newest newest newest newest newest newest", "widest widest widest"]
    table = pa.table({"id": list("abcd"), "text": texts})
    train(tmp_path, [Memory({"x": table})], vocab_size=262)
    merges = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"]
    words = Counter(tuple(word if i == 0 else "\u0120" + word) for text in texts for i, word in enumerate(text.split()))
    for left, right in merges:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        assert pairs[left, right] == max(pairs.values())
        words = Counter({_merge(word, left, right): count for word, count in words.items()})
    assert len(merges) == 262 - 257


def _merge(word, left, right):
    merged = []
    for part in word:
        if merged and (merged[-1], part) == (left, right):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


PROGRAM = """
import hashlib, sys
sys.path[:0] = [{tests!r}]
from test_train_tokenizer import train
from pathlib import Path
print(hashlib.sha256(train(Path({scratch!r}))[1]).hexdigest())
"""


def test_same_bytes_in_any_process_and_with_any_number_of_threads(tmp_path):
    expected = hashlib.sha256(train(tmp_path / "here")[1]).hexdigest()
    root = Path(__file__).resolve().parents[2]
    for number, settings_ in enumerate(
        ({"TOKENIZERS_PARALLELISM": "false"}, {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "4"})
    ):
        program = PROGRAM.format(tests=str(Path(__file__).parent), scratch=str(tmp_path / str(number)))
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env=os.environ | settings_,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


def test_same_bytes_for_any_shards(tmp_path):
    layouts = [(documents("a", 80, WORDS, cut=cut),) for cut in (10, 70)]
    models = [train(tmp_path / str(i), layout, max_text_bytes=3000) for i, layout in enumerate(layouts)]
    assert models[0] == models[1]


def test_the_sample_is_random_documents_up_to_the_cap(tmp_path):
    dataset = documents("a", 120, WORDS)
    summary, _ = train(tmp_path, (dataset,), max_text_bytes=4000)
    table = pa.concat_tables([dataset.table("a"), dataset.table("b")])
    places = hash_ids(table["id"], derived_seed("train_tokenizer", 0, 0)).tolist()
    left, count = 4000, 0
    for _, text in sorted(zip(places, table["text"].to_pylist(), strict=True)):
        if len(text.encode()) <= left:
            left, count = left - len(text.encode()), count + 1
    assert (summary["num_documents"], summary["num_text_bytes"]) == (count, 4000 - left)


def test_bytes_per_token_are_those_of_the_training_text(tmp_path):
    datasets = (documents("a", 100, WORDS), documents("b", 30, ["über", "<|endoftext|>"]))
    summary, _ = train(tmp_path, datasets)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    texts = [text for d in datasets for shard in d.shards for text in d.table(shard.name)["text"].to_pylist()]
    size, tokens = sum(len(text.encode()) for text in texts), sum(len(tokenizer.encode(text).ids) for text in texts)
    assert summary["bytes_per_token"] == round(size / tokens, 4) and summary["measured_text_bytes"] == size
    assert summary["num_documents"] == 130 and summary["vocab_size"] == tokenizer.get_vocab_size()


def test_an_empty_sample_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no text of at most max_text_bytes=3 in a/0"):
        train(tmp_path, (documents("a", 5, WORDS),), max_text_bytes=3)
    with pytest.raises(ConfigError, match="need at least 257"):
        TrainTokenizer(vocab_size=256)


def test_in_a_plan(tmp_path):
    rows = documents("a", 60, WORDS).table("b").to_pylist()
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = read_texts.on(list_warcs.on(root=str(tmp_path), source="t", pattern="jsonl$"))
    plan = Plan("test_tokenizer", [train_tokenizer.on(texts, vocab_size=300)])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    made = open_node(store, plan, "train_tokenizer")
    assert made.summary["num_documents"] == 40 and Path(made.file("tokenizer.json")).stat().st_size > 1000
