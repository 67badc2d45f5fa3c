import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.apply_verdicts import ApplyVerdicts, apply_verdicts
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.sign_minhash import sign_minhash

PROSE = (
    "The river runs past the old mill and down to the sea. Every spring the people of the village come to mend the banks, "
    "and they have done so with care for as long as anyone can tell. In a dry year the water hardly covers the stones, and children walk across to the orchard on the other side."
)


def documents_of(root, shards):
    """A node of documents from shard name -> rows of id, url, text."""
    root.mkdir()
    for name, rows in shards.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts.on(list_warcs.on(root=str(root), source="t", pattern=r"\.jsonl$"))


def run(store, node, batch_rows=1024):
    """Run a node and all before it in this process; return its dataset."""
    plan = Plan("test", [node])
    run_plan(plan, store, Resources(workers=0, batch_rows=batch_rows))
    return open_node(store, plan, node.name)


def rows_of(dataset):
    return [row for shard in dataset.shards for row in dataset.table(shard.name).to_pylist()]


def test_keeps_and_drops_with_the_evidence():
    columns = {
        "id": ["a", "b"],
        "keep": [True, False],
        "drop_reason": [None, "near_duplicate"],
        "kept_id": [None, "a"],
        "value": [None, 3.0],
        "limit": [None, 1.0],
    }
    batch = pa.record_batch(columns)
    verdict = apply_verdicts(ApplyVerdicts(), Inputs(), Resources())(batch)
    assert verdict.keep.to_pylist() == [True, False] and verdict.reason.to_pylist() == [None, "near_duplicate"]
    assert verdict.detail.to_pylist()[1] == {"kept_id": "a", "value": 3.0, "limit": 1.0, "note": None}
    unjudged = batch.set_column(1, "keep", pa.array([True, None]))
    with pytest.raises(ValueError, match="document b is null"):
        apply_verdicts(ApplyVerdicts(), Inputs(), Resources())(unjudged)


@pytest.mark.parametrize("batch_rows", [1, 1024])
def test_a_whole_chain(tmp_path, batch_rows):
    """URL, language, rules, exact and near-duplicates over one small crawl: nothing is lost, each drop has its reason."""
    german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren und sollen einander brüderlich begegnen. "
    rows = {
        "good": ("http://a.org/1", PROSE),
        "ad": ("http://doubleclick.net/1", PROSE),
        "german": ("http://a.org/2", german),
        "short": ("http://a.org/3", "This is a short English sentence about the sea."),
        "twin": ("http://a.org/4", PROSE),
        "near": ("http://a.org/5", PROSE + " Really."),
    }
    listed = [{"id": name, "url": url, "text": text} for name, (url, text) in rows.items()]
    pages = documents_of(tmp_path / "in", {"a": listed[:3], "b": listed[3:]})
    english = filter_language.on(filter_url.on(pages))
    clean = filter_heuristic.on(english)
    unique = apply_verdicts.on(clean, dedup_exact.on(clean), name="unique")
    signed = sign_minhash.on(unique, n_grams=2, hashes_per_bucket=2)
    last = apply_verdicts.on(unique, dedup_minhash.on(unique, signed), name="last")
    store = Store(tmp_path / "store")
    final = run(store, last, batch_rows)
    assert [row["id"] for row in rows_of(final)] == ["good"]
    plan, drops = Plan("test", [last]), {}
    for node in plan.nodes:
        if node.stage.kind == "map":
            dataset = open_node(store, plan, node.name)
            for shard in dataset.shards:
                for row in pq.read_table(dataset.parquet_file(shard.name, "dropped"), partitioning=None).to_pylist():
                    drops[row["id"]] = (row["drop_reason"], row["detail"]["kept_id"])
    assert drops == {
        "ad": ("banned_domain", None),
        "german": ("language", None),
        "short": ("word_count", None),
        "twin": ("exact_duplicate", "good"),
        "near": ("near_duplicate", "good"),
    }
