"""The demo's plan and what it curates: planted defects found, controls that differ in one thing alone."""

import builtins
import json
import socket
from pathlib import Path

import pytest

from pipelines import demo
from pipelines.sample import SAMPLE
from stages.core.dataset import Dataset
from stages.core.engine import run_plan
from stages.core.plan import Node, load_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store

MANIFEST = json.loads((SAMPLE / "manifest.json").read_text(encoding="utf-8"))


def run_demo(root: Path) -> Store:
    """Curate the embedded sample."""
    store = Store(root)
    run_plan(load_plan("demo"), store, Resources(workers=2))
    return store


@pytest.fixture(scope="session")
def curated(tmp_path_factory):
    """Open a node of the demo, run once a session."""
    plan, store = demo.plan(), run_demo(tmp_path_factory.mktemp("demo") / "store")

    def node(name: str) -> Dataset:
        return open_node(store, plan, name)

    node.plan, node.store = plan, store
    return node


def rows(dataset: Dataset, *columns: str) -> list[dict]:
    return [row for shard in dataset.shards for row in dataset.table(shard.name, list(columns)).to_pylist()]


def urls(dataset: Dataset) -> set[str]:
    return {row["url"] for row in rows(dataset, "url")}


def drops(dataset: Dataset) -> list[dict]:
    import pyarrow.parquet as pq

    files = [dataset.path / f.path for s in dataset.shards for f in s.files if f.path.startswith("dropped/")]
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


def test_building_a_plan_does_no_io(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"a plan opened {args[:1]}")

    for place, name in ((builtins, "open"), (Path, "open"), (Path, "stat"), (socket, "socket")):
        monkeypatch.setattr(place, name, refuse)
    plan = demo.plan()
    monkeypatch.undo()
    assert plan.name == "demo" and {"fasttext_top", "random_part", "clean", "prose", "reference"} <= {
        node.name for node in plan.nodes
    }


def test_strategies_share_one_extraction():
    def ancestors(node: Node) -> dict[int, Node]:
        return {id(node): node} | {key: found for parent in node.inputs for key, found in ancestors(parent).items()}

    strategies = demo.comparison().strategies
    assert [s.name for s in strategies] == ["raw", "clean", "fasttext", "random"]
    extracts = [{key for key, node in ancestors(s.documents).items() if node.name == "extract"} for s in strategies]
    assert len(set.union(*extracts)) == 1 and all(len(found) == 1 for found in extracts)
    # the control differs from what it controls in its last choice alone
    best, random = strategies[2].documents, strategies[3].documents
    assert best.inputs[0] is random.inputs[0] is strategies[1].documents


def test_every_record_is_a_document_or_a_drop(curated):
    for name in ("extract", "extract_positives", "prose", "reference"):
        manifest = curated(name).manifest
        assert manifest.counters["records"] == manifest.rows_out + manifest.rows_dropped > 0, name
    for name in ("filter_language", "filter_heuristic", "distinct", "clean", "fasttext_top", "random_part"):
        manifest = curated(name).manifest
        assert (
            manifest.rows_in == manifest.rows_out + manifest.rows_dropped
            and sum(manifest.drops.values()) == manifest.rows_dropped
        ), name


def test_planted_records_are_dropped_with_their_reasons(curated):
    dropped = {}
    for row in drops(curated("extract")):
        dropped.setdefault(row["url"], set()).add(row["drop_reason"])
    for planted, reason in (
        ("http_404", "http_status"),
        ("http_301", "http_status"),
        ("duplicate_record_id", "duplicate_id"),
        ("empty_body", "empty_payload"),
        ("empty_document", "no_text"),
        ("css_page", "content_type"),
        ("json_page", "content_type"),
    ):
        for record in MANIFEST["planted"][planted]["records"]:
            assert reason in dropped.get(record["url"], ()), (planted, record["url"], dropped.get(record["url"]))
    kept = urls(curated("extract"))
    for planted in (
        "gzip_payload",
        "brotli_payload",
        "deflate_payload",
        "chunked_payload",
        "resource_record",
        "cp1251_without_charset",
    ):
        assert {record["url"] for record in MANIFEST["planted"][planted]["records"]} <= kept, planted


def test_planted_exact_duplicates_are_found(curated):
    before, after = urls(curated("filter_heuristic")), urls(curated("distinct"))
    why = {row["url"]: row["drop_reason"] for row in drops(curated("distinct"))}
    pairs = [(r["url"], r["of"]) for r in MANIFEST["planted"]["exact_duplicate"]["records"]]
    pairs = [pair for pair in pairs if before.issuperset(pair)]
    assert len(pairs) >= 10, "most copies are fit to be compared"
    for copy, original in pairs:
        assert not after.issuperset((copy, original))
        assert "exact_duplicate" in (why.get(copy), why.get(original))
    texts = [row["text"] for row in rows(curated("distinct"), "text")]
    assert len(set(texts)) == len(texts)


def test_most_near_duplicates_are_found(curated):
    before, after = urls(curated("distinct")), urls(curated("clean"))
    pairs = [
        r
        for r in MANIFEST["near_duplicate_pages"]["records"]
        if before.issuperset((r["a"], r["b"])) and r["jaccard"] >= 0.9
    ]
    assert len(pairs) >= 5
    found = [pair for pair in pairs if not after.issuperset((pair["a"], pair["b"]))]
    assert len(found) >= 0.8 * len(pairs), f"{len(found)} of {len(pairs)}"


def test_the_control_has_the_text_of_what_it_controls(curated):
    best, random, clean = curated("fasttext_top"), curated("random_part"), curated("clean")
    chosen = {row["id"] for row in rows(random, "id")}
    gap = best.manifest.text_bytes - random.manifest.text_bytes
    assert 0 <= gap < min(len(row["text"].encode()) for row in rows(clean, "id", "text") if row["id"] not in chosen)
    assert random.manifest.rows_out > 0 and best.manifest.rows_out == pytest.approx(
        demo.KEEP_FRACTION * clean.manifest.rows_out, abs=1
    )


def test_pool_positives_and_validation_share_no_package(curated):
    def packages(dataset: Dataset) -> set[str]:
        return {url.split("/")[3] for url in urls(dataset)} - {"planted"}

    pool, positives = packages(curated("extract")), packages(curated("extract_positives"))
    validation = {row["id"].split("/")[0] for name in ("prose", "reference") for row in rows(curated(name), "id")}
    assert pool and positives and validation
    assert not pool & positives and not pool & validation and not positives & validation
    use = {name: package["use"].split()[0] for name, package in MANIFEST["packages"].items()}
    for found, role in ((pool, "pool"), (positives, "positives"), (validation, "validation")):
        assert {use[name] for name in found & use.keys()} == {role}
        assert len(found & use.keys()) >= 0.9 * len(found), found - use.keys()
