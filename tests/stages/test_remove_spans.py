import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.dedup_ngrams import REMOVED, dedup_ngrams
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.remove_spans import RemoveSpans, remove_spans


def corpus(documents=300):
    """Shards of (id, text) whose paragraphs come from one pool; every word is one token, so that str.split() can be the reference."""
    rng = np.random.default_rng(4)
    pool = [" ".join(rng.choice(["wörd", "x", "日", "Kōrero", "y1", "zz"], rng.integers(1, 40))) for _ in range(documents // 3)]
    shards = {name: [] for name in ("a", "b")}
    for d in range(documents):
        lines = [str(pool[i]) for i in rng.integers(0, len(pool), rng.integers(0, 6))] + [""] * int(rng.integers(0, 2))
        shards["a" if d < documents // 2 else "b"].append((f"d{d}", "\n".join(lines)))
    return shards


def plain_dedup(texts, n=13, threshold=0.8):
    """Old-both over a set of n-grams: (what stays of each text or None, the share of its n-grams that had been seen)."""
    seen, results = set(), []
    for text in texts:
        edges = [0, *(i for i, c in enumerate(text) if c == "\n"), len(text)]
        total = contained = 0
        kept = []
        for start, end in zip(edges, edges[1:], strict=False):
            words = text[start:end].split()
            n_grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            hits = sum(gram in seen for gram in n_grams)
            total, contained = total + len(n_grams), contained + hits
            if not n_grams or hits / len(n_grams) <= threshold:
                kept.append(text[start:end])
                seen.update(n_grams)
        share = contained / total if total else None
        results.append((None if total and share > threshold else "".join(kept), share))
    return results


@pytest.mark.parametrize("batch_rows", [7, 1024])
def test_what_stays_is_what_bff_writes(tmp_path, store, batch_rows):
    root = tmp_path / "in"
    root.mkdir()
    shards = corpus()
    for name, rows in shards.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in rows))
    pages = read_texts.on(list_warcs.on(root=str(root), source="t", pattern=r"\.jsonl$"))  # leaves out the blank ones
    judged = dedup_ngrams.on(pages, false_positive_rate=1e-6)
    clean = remove_spans.on(pages, judged)
    plan = Plan("test", [clean])
    run_plan(plan, store, Resources(workers=0, batch_rows=batch_rows))
    read = open_node(store, plan, pages.name)
    source = {row["id"]: row["text"] for shard in read.shards for row in read.table(shard.name).to_pylist()}
    expected = dict(zip(source, plain_dedup(source.values()), strict=True))
    dataset, stays, drops, counters = open_node(store, plan, clean.name), {}, {}, {}
    for shard in dataset.shards:
        stays |= {row["id"]: row["text"] for row in dataset.table(shard.name).to_pylist()}
        for row in pq.read_table(dataset.parquet_file(shard.name, "dropped"), partitioning=None).to_pylist():
            drops[row["id"]] = (row["drop_reason"], row["detail"]["value"], row["detail"]["limit"], row["text"])
        for name, count in shard.counters.items():
            counters[name] = counters.get(name, 0) + count
    assert stays == {i: text for i, (text, _) in expected.items() if text is not None}
    assert drops == {i: ("duplicate_n_grams", share, 0.8, source[i]) for i, (text, share) in expected.items() if text is None}
    assert len(drops) > 20 and len(stays) > 50
    assert counters["bytes_removed"] == sum(len(source[i].encode()) - len(text.encode()) for i, text in stays.items()) > 500
    assert 0 < counters["spans_removed"] < dataset.inputs("sidecar")[0].summary["paragraphs_removed"]  # dropped documents lose none


def batch_of(texts, removed, **columns):
    count = len(texts)
    made = {
        "id": pa.array([f"d{i}" for i in range(count)]),
        "text": pa.array(texts, columns.pop("kind", pa.string())),
        "keep": pa.array([True] * count),
        "drop_reason": pa.nulls(count, pa.string()),
        "value": pa.nulls(count, pa.float64()),
        "limit": pa.array([0.8] * count),
        "removed": pa.array([[{"start": s, "end": e} for s, e in spans] for spans in removed], REMOVED),
    }
    return pa.record_batch({**made, **columns})


@pytest.fixture
def judge():
    return remove_spans(RemoveSpans(), Inputs(), Resources())


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_bytes_are_cut(judge, kind):
    batch = batch_of(["zero", "a\nb\nç\nd", "", "\nx", "whole"], [[(0, 1)], [(1, 3), (3, 6)], [], [(0, 2)], []], kind=kind)
    for start in range(3):
        verdict = judge(batch.slice(start))
        assert verdict.columns["text"].to_pylist() == ["ero", "a\nd", "", "", "whole"][start:]
        assert verdict.keep.to_pylist() == [True] * (5 - start)
    assert verdict.counters == {"spans_removed": 1, "bytes_removed": 2}


def test_without_anything_to_remove_the_text_is_left_alone(judge):
    verdict = judge(batch_of(["a", None], [[], []], keep=pa.array([True, False]), drop_reason=pa.array([None, "no_text"])))
    assert not verdict.columns and verdict.reason.to_pylist() == [None, "no_text"]
    assert judge(batch_of([], [])).keep.to_pylist() == []


def test_a_null_text_stays_null_whatever_else_is_in_the_batch(judge):
    batch = batch_of(["abc", None, ""], [[(0, 1)], [], []])
    assert judge(batch).columns["text"].to_pylist() == ["bc", None, ""]
    assert not judge(batch.slice(1)).columns


@pytest.mark.parametrize("spans", [[(0, 9)], [(2, 3), (1, 2)], [(0, 2), (1, 3)], [(2, 1)], [(-1, 1)]])
def test_verdicts_on_another_text_are_refused(judge, spans):
    with pytest.raises(ValueError, match="document d1 are not in its 8 bytes, or not in order; the verdicts were made on another text"):
        judge(batch_of(["first", "and then", "last"], [[(0, 2)], spans, [(0, 1)]]))


def test_a_null_verdict_is_refused(judge):
    with pytest.raises(ValueError, match="document d1 is null"):
        judge(batch_of(["a", "b"], [[], []], keep=pa.array([True, None])))


def test_verdicts_may_be_older_than_the_last_drops(tmp_path, store):
    """Documents dropped between judging and removing change nothing for the others."""
    rows = [{"id": "one", "url": "http://a.org/", "text": f"{'word ' * 20}\nshort"}, {"id": "ad", "url": "http://doubleclick.net/", "text": "x"}]
    rows.append({"id": "two", "url": "http://a.org/2", "text": f"{'word ' * 20}\n{' '.join(f'w{i}' for i in range(30))}"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pages = read_texts.on(list_warcs.on(root=str(tmp_path), source="t", pattern=r"rows\.jsonl$"))
    clean = remove_spans.on(filter_url.on(pages), dedup_ngrams.on(pages))
    plan = Plan("test", [clean])
    run_plan(plan, store, Resources(workers=0))
    dataset = open_node(store, plan, clean.name)
    left = [row["text"] for shard in dataset.shards for row in dataset.table(shard.name).to_pylist()]
    assert left == [rows[0]["text"], "\n" + rows[2]["text"].split("\n")[1]]
