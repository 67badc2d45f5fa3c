import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.dedup_substrings import DedupSubstrings, dedup_substrings
from stages.kernels import partitions, substrings
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.remove_spans import remove_spans
from tests.stages.memory_dataset import Memory

SPEECHES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "text" / "state_union"

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy"  # 16 tokens

GOLDEN = {
    "a": [
        ("first", f"The tool. {LICENCE} of it, whatever it is."),
        ("short", "Permission is hereby granted, free"),  # fewer than 8 tokens: nothing that could be found
        ("wrapped", "Another one, with its own words before:\n\n  " + LICENCE.replace(" ", "\n  ") + "\n\nand after it"),
    ],
    "empty": [],
    "b": [
        ("lower", f"Yes, in small letters: {LICENCE.lower()}! {LICENCE} of it"),
        ("none", None),
        ("twice", "In one document: la la la la la la la la la la la la la la la. So it was, they say."),
        ("part", f"Only the end: {LICENCE.removeprefix('Permission is hereby')}"),
    ],
}

KEPT_FIRST = {
    "wrapped": ("Another one, with its own words before:\n\n  \n\nand after it", 43),  # white space does not tell stretches apart
    "lower": ("Yes, in small letters: permission ! ", 30),  # a letter does; the stretch then begins with the next token
    "twice": ("In one document: la . So it was, they say.", 33),  # the windows of fifteen `la` overlap: all but the first are copies
    "part": (None, 11),
}
EVERY_COPY = {
    "first": ("The tool. , whatever it is.", 22),
    **KEPT_FIRST,
    "twice": ("In one document: . So it was, they say.", 31),
}


def memory(shards):
    return Memory({
        name: pa.table({"id": pa.array([d for d, _ in rows], pa.string()), "text": pa.array([t for _, t in rows], pa.string())})
        for name, rows in shards.items()
    })


def judge(shards, resources=None, **fields):
    """Run the stage on shards of (id, text) without a store; return its rows and its summary."""
    stage = dedup_substrings(DedupSubstrings(**fields), Inputs((memory(shards),), ("documents",)), resources or Resources())
    rows, names = [], []
    while True:
        try:
            shard, table = next(stage)
        except StopIteration as end:
            assert names == list(shards)
            return rows, end.value
        names.append(shard)
        rows += table.to_pylist()


def cut(text, removed):
    data = (text or "").encode()
    for span in reversed(removed):
        data = data[: span["start"]] + data[span["end"] :]
    return data.decode()


def left(shards, rows):
    texts = [text for documents in shards.values() for _, text in documents]
    return {row["id"]: cut(text, row["removed"]) for row, text in zip(rows, texts, strict=True) if row["keep"]}


def brute_force(documents, length, keep_first):
    """What is left of each list of words: those in no window that is equal to another one (or to an earlier one)."""
    places = {}
    for d, words in enumerate(documents):
        for i in range(len(words) - length + 1):
            places.setdefault(tuple(words[i : i + length]), []).append((d, i))
    gone = {(d, i + k) for found in places.values() if len(found) > 1 for d, i in found[keep_first:] for k in range(length)}
    return [[word for i, word in enumerate(words) if (d, i) not in gone] for d, words in enumerate(documents)]


def corpus(seed=0, documents=120):
    """Shards of documents made of sentences from one pool, so that they share stretches; every word is one token."""
    rng = np.random.default_rng(seed)
    pool = [" ".join(f"w{i}" for i in rng.integers(0, 3000, rng.integers(2, 80))) for _ in range(documents)]
    made = [" ".join(pool[i] for i in rng.integers(0, len(pool), rng.integers(0, 9))) for _ in range(documents)]
    return {f"s{s}": [(f"{s}-{d}", made[s * documents // 4 + d]) for d in range(documents // 4)] for s in range(4)}


@pytest.mark.parametrize("batch_rows, threads", [(1024, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("keep_first, expected", [(True, KEPT_FIRST), (False, EVERY_COPY)])
def test_golden(batch_rows, threads, keep_first, expected):
    rows, summary = judge(GOLDEN, Resources(batch_rows=batch_rows, threads=threads), min_tokens=8, keep_first=keep_first)
    texts = {name: text or "" for shard in GOLDEN.values() for name, text in shard}
    assert [row["id"] for row in rows] == list(texts)
    assert left(GOLDEN, rows) == {name: text for name, text in (texts | {n: t for n, (t, _) in expected.items()}).items() if text is not None}
    assert {row["id"]: row["value"] for row in rows} == dict.fromkeys(texts) | {name: chars for name, (_, chars) in expected.items()}
    assert {row["id"] for row in rows if row["drop_reason"] == "duplicate_substrings"} == {n for n, (t, _) in expected.items() if t is None}
    assert all(row["keep"] == (row["drop_reason"] is None) for row in rows)
    assert {row["limit"] for row in rows} == {20.0} and {row["kept_id"] for row in rows} == {row["cluster"] for row in rows} == {None}
    assert (summary["documents"], summary["documents_cut"], summary["documents_dropped"]) == (7, len(expected) - 1, 1)
    assert summary["stretches_removed"] == len(expected) and "warnings" not in summary  # two of `lower`, none of `part`


@pytest.mark.parametrize("keep_first", [True, False])
@pytest.mark.parametrize("min_tokens", [1, 5, 50])
def test_against_brute_force(keep_first, min_tokens):
    shards = corpus()
    rows, summary = judge(shards, min_tokens=min_tokens, keep_first=keep_first, min_remaining_chars=0)
    texts = [text for documents in shards.values() for _, text in documents]
    expected = brute_force([text.split() for text in texts], min_tokens, keep_first)
    assert [text.split() for text in left(shards, rows).values()] == expected
    assert summary["bytes_removed"] == sum(s["end"] - s["start"] for row in rows for s in row["removed"]) > 0
    if keep_first:  # a copy of every word that is cut still stands
        assert {word for text in texts for word in text.split()} == {word for words in expected for word in words}
    for row, words, text in zip(judge(shards, min_tokens=min_tokens, keep_first=keep_first)[0], expected, texts, strict=True):
        touched, chars = words != text.split(), sum(map(len, words))
        assert row["value"] == (chars if touched else None) and row["keep"] == (not touched or chars >= 20)
        assert row["keep"] or not row["removed"]


def test_batches_threads_and_files_change_nothing(monkeypatch, tmp_path):
    shards = corpus(1)
    expected = judge(shards, min_tokens=6)
    for batch_rows, threads, rows_in_memory in ((1, 1, 1 << 20), (7, 2, 500), (64, 5, 40)):
        monkeypatch.setattr(partitions, "ROWS_IN_MEMORY", rows_in_memory)
        assert judge(shards, Resources(batch_rows=batch_rows, threads=threads, scratch=str(tmp_path)), min_tokens=6) == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("min_tokens, keep_first", [(50, True), (50, False), (12, True)])
def test_real_speeches(min_tokens, keep_first):
    """Speeches share phrases, and here a passage that is wrapped otherwise."""
    if not SPEECHES.exists():
        pytest.skip(f"{SPEECHES} is not there")
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(SPEECHES.glob("*.txt"))[:12]]
    texts[7] = f"{texts[7][:5000]} {texts[3][2000:6000].replace(' ', chr(10))} {texts[7][5000:]}"
    shards = {"s": [(f"{i}", text) for i, text in enumerate(texts)]}
    text = text_view(pa.array(texts))
    tokens = segment_uax29(text)
    words = [text.data[s:e].tobytes().decode() for s, e in zip(tokens.starts, tokens.ends, strict=True)]
    expected = brute_force([words[s:e] for s, e in zip(tokens.bounds, tokens.bounds[1:], strict=False)], min_tokens, keep_first)
    rows, _ = judge(shards, min_tokens=min_tokens, keep_first=keep_first)
    assert ["".join(text.split()) for text in left(shards, rows).values()] == ["".join(words) for words in expected]
    assert max(s["end"] - s["start"] for s in rows[7]["removed"]) > 3900 and bool(rows[3]["removed"]) != (keep_first and min_tokens == 50)


def test_nothing_in_common_is_told():
    shards = {"s": [(f"{i}", " ".join(f"w{i}x{k}" for k in range(9))) for i in range(1000)]}
    rows, summary = judge(shards, min_tokens=8)
    assert all(row["keep"] and not row["removed"] for row in rows)
    assert summary["warnings"] == ["no repeated stretch of 8 tokens among 1,000 documents; of a crawl one expects some"]
    assert judge({"s": []})[1]["documents"] == 0


def test_everything_dropped_is_told():
    _, summary = judge({"s": [("a", "one two three"), ("b", "one two three")]}, min_tokens=2, keep_first=False)
    assert summary["warnings"] == ["all of 2 documents are to be dropped"]


def test_more_windows_than_can_be_numbered(monkeypatch):
    monkeypatch.setattr(substrings, "MOST_WINDOWS", 20)
    with pytest.raises(ValueError, match="more than 20 windows of 8 tokens; deduplicate parts"):
        judge(GOLDEN, min_tokens=8)


@pytest.mark.parametrize(
    "fields, words",
    [({"min_tokens": 0}, "min_tokens is 0"), ({"min_remaining_chars": -1}, "min_remaining_chars is -1"), ({"min_token": 5}, "min_token")],
)
def test_bad_configs(fields, words):
    with pytest.raises((ValueError, ConfigError), match=words):
        DedupSubstrings(**fields)


@pytest.mark.parametrize("batch_rows", [7, 1024])
def test_in_a_plan(tmp_path, store, batch_rows):
    root, shards = tmp_path / "in", corpus(2)
    root.mkdir()
    for name, rows in shards.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in rows))
    pages = read_texts.on(list_warcs.on(root=str(root), source="t", pattern=r"\.jsonl$"))  # leaves out the blank ones
    clean = remove_spans.on(pages, dedup_substrings.on(pages, min_tokens=20, keep_first=False))
    plan = Plan("test", [clean])
    run_plan(plan, store, Resources(workers=0, batch_rows=batch_rows))
    read, dataset = open_node(store, plan, pages.name), open_node(store, plan, clean.name)
    source = {row["id"]: row["text"] for shard in read.shards for row in read.table(shard.name).to_pylist()}
    expected = dict(zip(source, brute_force([text.split() for text in source.values()], 20, False), strict=True))
    stays = {row["id"]: row["text"] for shard in dataset.shards for row in dataset.table(shard.name).to_pylist()}
    drops = {}
    for shard in dataset.shards:
        for row in pq.read_table(dataset.parquet_file(shard.name, "dropped"), partitioning=None).to_pylist():
            drops[row["id"]] = (row["drop_reason"], row["detail"]["value"], row["detail"]["limit"])
    chars = {i: sum(map(len, words)) for i, words in expected.items()}
    gone = {i for i, words in expected.items() if words != source[i].split() and chars[i] < 20}
    assert {i: text.split() for i, text in stays.items()} == {i: words for i, words in expected.items() if i not in gone}
    assert drops == {i: ("duplicate_substrings", chars[i], 20.0) for i in gone} and gone
    assert all(stays[i] == source[i] for i in stays if expected[i] == source[i].split())
    judged = dataset.inputs("sidecar")[0].summary
    assert judged["bytes_removed"] == sum(shard.counters.get("bytes_removed", 0) for shard in dataset.shards) > 0
