"""The demo's plan and what it curates: identities and contents as pinned in tests/golden, planted defects found.

After a wanted change: `.venv/bin/python -m tests.pipelines.test_demo` writes both golden files anew (half a minute).
"""

import builtins
import json
import socket
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest

from pipelines import benchmark, demo
from pipelines.sample import SAMPLE
from stages.core.dataset import Dataset
from stages.core.engine import run_plan
from stages.core.fingerprint import changed_fields, library_versions
from stages.core.plan import Node, Plan, load_plan
from stages.core.resolve import open_node, resolve
from stages.core.stage import Resources
from stages.core.store import Store

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COMMAND = ".venv/bin/python -m tests.pipelines.test_demo"
PLANS = {"demo": demo.plan, "benchmark": benchmark.plan}
MANIFEST = json.loads((SAMPLE / "manifest.json").read_text(encoding="utf-8"))


def identities(plan: Plan, store: Store) -> dict[str, dict]:
    """What each node's fingerprint is made of; the builds of one library version (2.13.0+cpu) count as one here."""

    def versions(names: tuple[str, ...]) -> dict[str, str]:
        return {name: version.partition("+")[0] for name, version in library_versions(names).items()}

    with patch("stages.core.resolve.library_versions", versions):
        return {
            name: {"fingerprint": r.fingerprint, "payload": r.payload}
            for name, r in resolve(plan, store, Resources()).items()
        }


def contents(plan: Plan, store: Store) -> dict[str, dict]:
    """Content of every Parquet dataset that is the same everywhere, and so is all before it."""
    everywhere: dict[str, bool] = {}
    found = {}
    for node in plan.nodes:
        everywhere[node.name] = node.stage.reproducible == "everywhere" and all(
            everywhere[parent.name] for parent in node.inputs
        )
        if everywhere[node.name]:
            manifest = open_node(store, plan, node.name).manifest
            row = {
                "stage": manifest.stage,
                "version": manifest.version,
                "rows": manifest.rows_out,
                "content_hash": manifest.content_hash,
            }
            found[node.name] = row
    return found


def identity_changes(old: dict[str, dict], new: dict[str, dict]) -> list[str]:
    """Name each node whose own fields changed, and count those that only follow their inputs."""
    lines, follow = [], 0
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"{name} is {'new' if name in new else 'gone'}")
            continue
        fields = [c for c in changed_fields(old[name]["payload"], new[name]["payload"]) if not c.startswith("inputs")]
        lines += [f"{name}: {field}" for field in fields]
        follow += not fields and old[name]["fingerprint"] != new[name]["fingerprint"]
    return lines + ([f"{follow} more nodes have other inputs by that"] if follow else [])


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


@pytest.mark.parametrize("name", PLANS)
def test_fingerprints_are_pinned(name, store):
    golden = json.loads((GOLDEN / "fingerprints.json").read_text())[name]
    changes = identity_changes(golden, json.loads(json.dumps(identities(PLANS[name](), store))))
    told = "\n  ".join(changes)
    assert not changes, (
        f"identities of {name} changed:\n  {told}\nIf outputs change, bump the stage's version; if this is wanted, regenerate: {COMMAND}"
    )


def test_changes_are_named():
    old = {
        "a": {"fingerprint": "1", "payload": {"version": 1, "inputs": []}},
        "b": {"fingerprint": "2", "payload": {"inputs": ["1"]}},
    }
    new = {
        "a": {"fingerprint": "3", "payload": {"version": 2, "inputs": []}},
        "b": {"fingerprint": "4", "payload": {"inputs": ["3"]}},
    }
    assert identity_changes(old, new) == ["a: version: 1 -> 2", "1 more nodes have other inputs by that"]
    assert identity_changes(old, old) == [] and identity_changes({}, {"c": {}}) == ["c is new"]


def test_contents_are_pinned(curated):
    golden, found = json.loads((GOLDEN / "content.json").read_text()), contents(curated.plan, curated.store)
    assert {"extract", "filter_heuristic", "distinct", "clean"} <= found.keys() and "score_fasttext" not in found
    changes = changed_fields(golden, found)
    told = "\n  ".join(changes)
    assert not changes, (
        f"contents changed:\n  {told}\nThe first in the order of the plan made the others differ: bump its stage's version, "
        f"then regenerate: {COMMAND}"
    )


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


def regenerate() -> None:
    """Write both golden files anew."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        pinned = {name: identities(make(), store) for name, make in PLANS.items()}
        (GOLDEN / "fingerprints.json").write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")
        store = run_demo(Path(folder) / "store")
        (GOLDEN / "content.json").write_text(json.dumps(contents(demo.plan(), store), indent=1) + "\n")


if __name__ == "__main__":
    regenerate()
