import json
import logging

import numpy as np
import pyarrow as pa
import pytest

from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.dedup_ngrams import DedupNgrams, dedup_ngrams
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from tests.bench.peers_bloom import bloom_dedup
from tests.stages.memory_dataset import Memory

LONG = "The river runs past the old mill and down to the sea, where boats wait"  # 16 tokens: 4 n-grams of 13
OTHER = "Every spring the people of the village come to mend the banks with great care"  # 15: 3
SHORT = "Read more here"

GOLDEN = {
    "a": [
        ("first", f"{LONG}\n{SHORT}\n{OTHER}"),
        ("edge", f"Of the five runs in what comes next only four were seen, and not more:\n{LONG} now\nOne two three four five six seven eight nine ten eleven twelve thirteen fourteen\n{SHORT}"),
        ("again", f"{OTHER}\n{LONG}"),  # every n-gram was seen: dropped whole
        ("blank", " \n\u00a0\n"),
        ("short", f"{SHORT}\n{SHORT}"),  # too short for an n-gram: stays, however often it comes
    ],
    "empty": [],
    "b": [
        ("none", None),
        ("mixed", f"{LONG}\nSo there is something new here after all, and it goes on for quite a while: one, two, three, four\n\n{OTHER}\n"),
        ("twice", "A paragraph that is new but stands here two times in a row, once more\nA paragraph that is new but stands here two times in a row, once more\nand then"
         " comes a much longer paragraph, so long that its own n-grams outweigh those of the one that is repeated here, which keeps the document"),
    ],
}


def memory(shards):
    return Memory({
        name: pa.table({"id": pa.array([d for d, _ in rows], pa.string()), "text": pa.array([t for _, t in rows], pa.string())})
        for name, rows in shards.items()
    })


def judge(shards, batch_rows=1024, threads=1, **fields):
    """Run the stage on shards of (id, text) without a store; return its rows and its summary."""
    stage = dedup_ngrams(DedupNgrams(**fields), Inputs((memory(shards),), ("documents",)), Resources(batch_rows=batch_rows, threads=threads))
    rows = []
    while True:
        try:
            shard, table = next(stage)
        except StopIteration as end:
            assert [s for s, _ in rows] == list(shards)
            return [row for _, part in rows for row in part], end.value
        rows.append((shard, table.to_pylist()))


def cut(text, removed):
    data = (text or "").encode()
    for span in reversed(removed):
        data = data[: span["start"]] + data[span["end"] :]
    return data.decode()


@pytest.mark.parametrize("batch_rows, threads", [(1024, 1), (1, 1), (2, 3)])
def test_golden(batch_rows, threads):
    rows, summary = judge(GOLDEN, batch_rows, threads, num_n_grams=10_000)
    texts = dict(document for shard in GOLDEN.values() for document in shard)
    assert [row["id"] for row in rows] == list(texts)
    verdicts = {row["id"]: (row["drop_reason"], row["value"], [cut(texts[row["id"]], [span]) for span in row["removed"]]) for row in rows}
    assert {name: reason for name, (reason, *_) in verdicts.items() if reason} == {"again": "duplicate_n_grams", "blank": "no_text", "none": "no_text"}
    assert [row["keep"] for row in rows] == [reason is None for reason, *_ in verdicts.values()]
    assert {row["limit"] for row in rows} == {0.8} and {row["kept_id"] for row in rows} == {row["cluster"] for row in rows} == {None}
    left = {row["id"]: cut(texts[row["id"]], row["removed"]) for row in rows if row["keep"]}
    assert left == {
        "first": texts["first"],
        "edge": texts["edge"],  # four of five n-grams of its second line are not *more* than 0.8
        "short": texts["short"],
        "mixed": texts["mixed"].removeprefix(LONG).replace("\n" + OTHER, ""),
        "twice": texts["twice"].split("\n")[0] + "\n" + texts["twice"].split("\n")[2],
    }
    assert verdicts["again"][1] == 1.0 and verdicts["short"][1] is None and verdicts["first"][1] == 0.0
    counts = {name: summary[name] for name in ("documents", "documents_dropped", "paragraphs_removed", "n_grams", "n_grams_seen")}
    assert counts == {"documents": 8, "documents_dropped": 3, "paragraphs_removed": 5, "n_grams": 72, "n_grams_seen": 22}
    assert summary["paragraphs"] == sum((text or "").count("\n") + 1 for text in texts.values()) and "warnings" not in summary


def corpus(seed=0, documents=400):
    """Shards of documents whose paragraphs come from one pool, so that they repeat, within a document too."""
    rng = np.random.default_rng(seed)
    pool = [" ".join(f"w{i}" for i in rng.integers(0, 5000, rng.integers(5, 60))) for _ in range(documents // 2)]
    shards = {}
    for s in range(4):
        shards[f"s{s}"] = [(f"{s}-{d}", "\n".join(pool[i] for i in rng.integers(0, len(pool), rng.integers(0, 5)))) for d in range(documents // 4)]
    return shards


def test_the_peer_of_the_benchmark_agrees():
    shards = corpus()
    texts = [text for rows in shards.values() for _, text in rows]
    rows, _ = judge(shards, false_positive_rate=1e-6)
    assert bloom_dedup(texts, 1 << 22) == [cut(text, row["removed"]) if row["keep"] else None for text, row in zip(texts, rows, strict=True)]


def test_batches_and_threads_change_nothing():
    shards = corpus()
    expected = judge(shards, false_positive_rate=0.5)  # so full that false positives count: they must be the same ones
    assert any(row["removed"] for row in expected[0]) and not all(row["keep"] for row in expected[0])
    for batch_rows, threads in ((1, 1), (7, 2), (64, 5)):
        assert judge(shards, batch_rows, threads, false_positive_rate=0.5) == expected


def test_a_document_never_matches_itself():
    """The bug of BFF's naive-both: there the pass over documents inserts what the pass over paragraphs then takes for seen."""
    rng = np.random.default_rng(1)
    shards = {"s": [(f"{i}", "\n".join(" ".join(map(str, rng.integers(0, 10**6, 30))) for _ in range(4))) for i in range(1200)]}
    rows, summary = judge(shards, false_positive_rate=0.001)
    assert all(row["keep"] and not row["removed"] for row in rows)
    assert summary["warnings"] == ["no repeated paragraph found among 1,200 documents; of a crawl one expects some"]


def test_n_grams_are_counted():
    rows, summary = judge(corpus())
    assert summary["sized_for_n_grams"] == summary["n_grams"] > 5000 and summary["num_hashes"] == 6
    assert 9.9 < summary["bits"] / summary["n_grams"] < 10.1
    assert summary["false_positive_rate"] < 0.01 and 0 < summary["bits_set"] < 0.5  # what is removed is not inserted


def test_much_text_is_sampled(monkeypatch):
    from stages import dedup_ngrams as module

    shards = corpus(documents=4000)
    exact = judge(shards)[1]["sized_for_n_grams"]
    monkeypatch.setattr(module, "COUNTED_BYTES", 1000)
    sampled = {judge(shards, batch_rows)[1]["sized_for_n_grams"] for batch_rows in (5, 1024)}
    assert len(sampled) == 1 and exact <= sampled.pop() < 1.6 * exact


def test_a_filter_that_was_sized_too_small_says_so():
    _, summary = judge(corpus(), num_n_grams=100)
    assert summary["false_positive_rate"] > 0.01 and "was sized for 100 n-grams and met" in summary["warnings"][0]


def test_everything_dropped_is_told():
    _, summary = judge({"s": [("a", " "), ("b", None)]})
    assert summary["warnings"] == ["all of 2 documents are to be dropped"]


def test_memory_is_told_first_and_refused(caplog):
    caplog.set_level(logging.INFO)
    config, inputs = DedupNgrams(num_n_grams=10**9), Inputs((memory(GOLDEN),), ("documents",))
    with pytest.raises(ValueError, match=r"need a filter of 1\.2 GB, and there are 1\.0 GB; deduplicate parts"):
        next(dedup_ngrams(config, inputs, Resources(memory_bytes=10**9)))
    assert "(1239.8 MB of memory), 6 hash functions" in caplog.text
    assert dedup_ngrams.memory_bytes(config) == 1239757504 and dedup_ngrams.memory_bytes(DedupNgrams()) == 0


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"min_n_gram": 14}, "min_n_gram is 14 and max_n_gram 13"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"false_positive_rate": 0}, "false_positive_rate is 0"),
        ({"num_n_grams": 0}, "num_n_grams is 0"),
        ({"n_gram": 5}, "n_gram"),
    ],
)
def test_bad_configs(fields, words):
    with pytest.raises((ValueError, ConfigError), match=words):
        DedupNgrams(**fields)


def test_in_a_plan(tmp_path, store):
    root = tmp_path / "in"
    root.mkdir()
    for name, rows in GOLDEN.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"id": i, "text": t or ""}) + "\n" for i, t in rows))
    node = dedup_ngrams.on(read_texts.on(list_warcs.on(root=str(root), source="t", pattern=r"\.jsonl$")))
    plan = Plan("test", [node])
    run_plan(plan, store, Resources(workers=0, batch_rows=2))
    dataset = open_node(store, plan, node.name)
    assert dataset.summary["documents"] == dataset.manifest.rows_out
    assert dataset.schema.names[-1] == "removed" and dataset.summary["paragraphs_removed"] == 5
