"""The card makes every dataset loadable by `datasets`, its empty shards included."""

import datasets

from stages.core.engine import run_plan
from stages.core.plan import load_plan
from stages.core.stage import Resources


def test_every_dataset_loads(store, toy, corpus, shard_writer):
    shard_writer(corpus, "s9", [{"id": "only", "text": ""}])  # a shard from which nothing comes
    outcomes = run_plan(load_plan(toy()), store, Resources(workers=0))
    for outcome in outcomes.values():
        if outcome.manifest.kind != "artifact":
            loaded = datasets.load_dataset(str(store.root / outcome.dataset), split="train", cache_dir=str(store.root / "_cache"))
            assert loaded.num_rows == outcome.manifest.rows_out
            configs = datasets.get_dataset_config_names(str(store.root / outcome.dataset))
            assert configs == (["default", "dropped"] if outcome.manifest.rows_dropped else ["default"])
    card = (store.root / outcomes["toy_filter"].dataset / "README.md").read_text()
    assert "| too_short | 24 |" in card and "min_length" in card
