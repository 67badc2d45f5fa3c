"""Sequences against a twin that holds everything in memory; the shuffle is global, and the same for every setting."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import stages.tokenize_shuffle as module
from stages.core.config import ConfigError
from stages.core.content_hash import content_hash
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.kernels.seeded_order import derived_seed
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.tokenize_shuffle import TokenizeShuffle, tokenize_shuffle
from stages.train_tokenizer import train_tokenizer
from tests.stages.memory_dataset import Memory

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """Byte tokens without merges: a token per byte, so that the twin is `bytes`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({END: 0} | {c: i + 1 for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def source(texts, cut):
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.string())})
    return Memory({"a": table.slice(0, cut), "b": table.slice(cut)})


def run(tokenizer_file, scratch, texts, cut=0, batch_rows=1024, **fields):
    artifact = SimpleNamespace(name="train_tokenizer/0", file=lambda name: {"tokenizer.json": tokenizer_file}[name])
    inputs = Inputs((source(texts, cut), artifact), ("documents", "artifact"))
    shards = dict(
        tokenize_shuffle(TokenizeShuffle(**fields), inputs, Resources(scratch=str(scratch), batch_rows=batch_rows))
    )
    assert not list(Path(scratch).iterdir())
    return shards


def permutation(count, seed):
    """The twin's order: the documented hash of the sequence's number."""

    def key(number):
        x = (number * 0x9E3779B97F4A7C15 + derived_seed("tokenize_shuffle", seed)) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    return sorted(range(count), key=key)


def twin(tokenizer_file, texts, seq_len, seed):
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.encode_special_tokens = True
    stream = [token for text in texts for token in [*tokenizer.encode(text or "").ids, 0]]
    count = len(stream) // (seq_len + 1)
    return [stream[i * (seq_len + 1) : (i + 1) * (seq_len + 1)] for i in permutation(count, seed)]


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=30) | st.just(END) | st.none(), max_size=20),
    st.integers(0, 20),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(0, 2),
    st.sampled_from([1, 40, 1 << 20]),
)
def test_equals_the_twin_whatever_the_settings(
    tokenizer_file, tmp_path_factory, texts, cut, seq_len, per_shard, batch_rows, seed, bucket
):
    before, module.BUCKET_BYTES = module.BUCKET_BYTES, bucket
    try:
        scratch = tmp_path_factory.mktemp("scratch")
        shards = run(
            tokenizer_file, scratch, texts, cut, batch_rows, seq_len=seq_len, sequences_per_shard=per_shard, seed=seed
        )
    finally:
        module.BUCKET_BYTES = before
    expected = twin(tokenizer_file, texts, seq_len, seed)
    assert [row for table in shards.values() for row in table["tokens"].to_pylist()] == expected
    sizes = [table.num_rows for table in shards.values()]
    assert list(shards) == [f"{i:05d}" for i in range(max(1, -(-len(expected) // per_shard)))]
    assert all(size == per_shard for size in sizes[:-1])
    assert all(table.schema == pa.schema([("tokens", pa.list_(pa.uint16(), seq_len + 1))]) for table in shards.values())


def test_buckets_and_batches_leave_no_trace_in_the_content(tokenizer_file, tmp_path, monkeypatch):
    texts = ["some text of a document " * (i % 17) for i in range(300)]
    whole = run(tokenizer_file, tmp_path, texts, seq_len=16, sequences_per_shard=100)
    monkeypatch.setattr(module, "BUCKET_BYTES", 500)
    split = run(tokenizer_file, tmp_path, texts, 111, 13, seq_len=16, sequences_per_shard=100)
    assert {n: content_hash(t) for n, t in whole.items()} == {n: content_hash(t) for n, t in split.items()}


def test_the_shuffle_is_global(tokenizer_file, tmp_path):
    numbers = 4000
    shards = run(tokenizer_file, tmp_path, [f"{i:07d}" for i in range(numbers)], seq_len=7, sequences_per_shard=1000)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    places = np.array(
        [int(tokenizer.decode(row[:-1])) for table in shards.values() for row in table["tokens"].to_pylist()]
    )
    assert sorted(places) == list(range(numbers))
    quarters = np.array([np.bincount(places[i : i + 1000] // 1000, minlength=4) for i in range(0, numbers, 1000)])
    assert np.abs(quarters - 250).max() < 60  # hypergeometric: standard deviation 12
    assert abs(np.corrcoef(places, np.arange(numbers))[0, 1]) < 0.06


def test_the_characters_of_the_special_token_are_text_in_a_document(tokenizer_file, tmp_path):
    shards = run(tokenizer_file, tmp_path, [END], seq_len=13)
    tokens = shards["00000"]["tokens"].to_pylist()[0]
    assert tokens.count(0) == 1 and tokens[-1] == 0
    assert Tokenizer.from_file(tokenizer_file).decode(tokens[:-1]) == END


def test_what_is_dropped_at_the_end_is_said(tokenizer_file, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "stages.tokenize_shuffle"):
        shards = run(tokenizer_file, tmp_path, ["abcdefghij"], seq_len=3)
        assert shards["00000"].num_rows == 2
        assert run(tokenizer_file, tmp_path, ["abc"], seq_len=9)["00000"].num_rows == 0
    said = [record.getMessage() for record in caplog.records]
    assert (
        said[0] == "tokenize_shuffle: 2 sequences; 3 tokens at the end dropped"
        and "fewer than seq_len + 1 = 10 tokens" in said[2]
    )


def test_wrong_settings_say_what_to_write(tokenizer_file, tmp_path):
    with pytest.raises(ValueError, match="train_tokenizer/0 has no token <s>"):
        run(tokenizer_file, tmp_path, ["abc"], end_of_text="<s>")
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(70_000)} | {END: 70_000}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path / "large").mkdir()
    tokenizer.save(str(tmp_path / "large" / "t.json"))
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ValueError, match="token ids reach 70,000, too large for uint16"):
        run(str(tmp_path / "large" / "t.json"), tmp_path / "scratch", ["w1"])
    wide = run(str(tmp_path / "large" / "t.json"), tmp_path / "scratch", ["w69999 w5"], token_type="uint32", seq_len=2)
    assert wide["00000"]["tokens"].to_pylist() == [[69_999, 5, 70_000]]
    with pytest.raises(ConfigError, match="seq_len is 0"):
        TokenizeShuffle(seq_len=0)


PROGRAM = """
import sys, tempfile
sys.path[:0] = [{tests!r}]
from test_tokenize_shuffle import run
from stages.core.content_hash import content_hash
texts = ["text of document %d" % i for i in range(500)]
shards = run({tokenizer!r}, tempfile.mkdtemp(), texts, seq_len=8, sequences_per_shard=300)
print([content_hash(table) for table in shards.values()])
"""


def test_same_content_with_any_number_of_threads(tokenizer_file, tmp_path):
    program = PROGRAM.format(tests=str(Path(__file__).parent), tokenizer=tokenizer_file)
    root = Path(__file__).resolve().parents[2]
    printed = set()
    for settings_ in (
        {"TOKENIZERS_PARALLELISM": "false"},
        {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "3"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env=os.environ | settings_,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(done.stdout)
    assert len(printed) == 1


def test_in_a_plan(tmp_path):
    rows = [{"id": str(i), "text": f"document {i} says " + "word " * (i % 9)} for i in range(200)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = read_texts.on(list_warcs.on(root=str(tmp_path), source="t", pattern="jsonl$"))
    tokens = tokenize_shuffle.on(texts, train_tokenizer.on(texts, vocab_size=300), seq_len=32, sequences_per_shard=20)
    plan = Plan("test_tokens", [tokens])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    made = open_node(store, plan, "tokenize_shuffle")
    assert made.schema == pa.schema([("tokens", pa.list_(pa.uint16(), 33))])
    assert len(made.shards) > 2 and [shard.rows_out for shard in made.shards[:-1]] == [20] * (len(made.shards) - 1)
