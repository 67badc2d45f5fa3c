"""The evaluation stage on a tiny model: every question once, subsets nested, the same numbers twice."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import evaluation
from evaluation.scorer import score_requests
from evaluation.subset import nested_subset
from evaluation.tasks import load_suite, load_tasks
from stages.core.content_hash import content_hash
from stages.core.stage import Inputs, Resources
from stages.evaluate import ITEMS, evaluate
from tests.stages.test_train import LIMIT, World
from tests.stages.test_train import world as world

SUITE = load_suite(Path(evaluation.__file__).parent / "mini_v1")
RUN = "evaluate_distinct_0"


def run_evaluate(world: World, resources: Resources | None = None, **fields) -> tuple[dict[str, pa.Table], dict]:
    """Call the stage as the engine does; return its tables and its summary."""
    config = evaluate.config_type(**{"validation": ("held",), "limit": 1, **fields})
    texts = [world["held"]] * len(config.validation)
    inputs = Inputs(
        (world["train_distinct_0"], world["train_tokenizer"], *texts),
        ("artifact", "artifact", *["documents"] * len(texts)),
    )
    generator, tables = evaluate(config, inputs, resources or Resources(device="cpu")), {}
    while True:
        try:
            name, table = next(generator)
        except StopIteration as end:
            return tables, end.value
        assert name not in tables
        tables[name] = table


def test_one_row_per_question_and_validation_document(world):
    run = world[RUN]
    assert [shard.name for shard in run.shards] == [*SUITE.tasks, "validation-held"]
    assert set(SUITE.tasks) == set(load_tasks()) and len(SUITE.tasks) == 53
    for label, task in SUITE.tasks.items():
        table = run.table(label)
        assert table.schema.names == list(ITEMS) and set(table.column("task").to_pylist()) == {label}
        assert table.column("category").null_count in (0, table.num_rows), label
        rows = table.column("row").to_pylist()
        expected = nested_subset(task, SUITE.rows(label), LIMIT)
        assert Counter(rows) == Counter(expected), label
        assert table.column("correct").null_count == 0, label
        assert task.label == label
    held = run.table("validation-held")
    assert held.column("row").to_pylist() == list(range(3)) and set(held.column("task").to_pylist()) == {
        "validation/held"
    }


def test_summary_says_what_the_items_say(world):
    run = world[RUN]
    summary = run.summary
    assert summary["suite"] == f"{SUITE.name}-limit{LIMIT}" and summary["suite_hash"] == SUITE.data_hash
    assert summary["eval_version"] == "v2" and summary["missing"] == [] and set(summary["tasks"]) == set(SUITE.tasks)
    assert summary["core"] is None and summary["extended"] is None, "a part of the questions is another measurement"
    assert set(summary["limited"]) == {label for label in SUITE.tasks if len(SUITE.rows(label)) > LIMIT}
    in_core = [label for label, task in load_tasks().items() if task.in_core]
    assert summary["core_bpb_tasks"] == in_core, "every CORE task of the suite has bits per byte"
    assert summary["core_bpb"] == pytest.approx(np.mean([summary["tasks"][label]["gold_bpb"] for label in in_core]))
    assert list(summary["reconstructed"]) == list(SUITE.reconstructed)
    for label, row in summary["tasks"].items():
        items = run.table(label)
        right = items.column("correct").to_pylist()
        assert (row["num_items"], row["correct"]) == (len(right), sum(right)), label
        by_category = {c: [r for r, of in zip(right, items.column("category").to_pylist(), strict=True) if of == c]
                       for c in set(items.column("category").to_pylist())}  # fmt: skip
        assert row["accuracy"] == pytest.approx(np.mean([np.mean(found) for found in by_category.values()])), label
        bpb = [value for value in items.column("gold_bpb").to_pylist() if value is not None]
        assert row["gold_bpb"] == (pytest.approx(np.mean(bpb)) if bpb else None), label


def test_validation_bits_per_byte_are_those_of_its_documents(world):
    run, (shard,) = world[RUN], world["held"].shards
    texts = world["held"].table(shard.name)
    rows = run.table("validation-held").to_pylist()
    size = [len(text.encode()) for text in texts.column("text").to_pylist()]
    bits = [-row["log_probs"][0] / math.log(2) for row in rows]
    assert run.summary["val_bpb"]["held"] == pytest.approx(sum(bits) / sum(size))
    assert [row["gold_bpb"] for row in rows] == pytest.approx([b / s for b, s in zip(bits, size, strict=True)])
    # a trained model beats both a uniform one and an untrained one, whose loss is log2(320) bits a token
    assert 0 < run.summary["val_bpb"]["held"] < math.log2(320) / world["train_tokenizer"].summary["bytes_per_token"]


def test_the_same_twice_and_as_the_engine_wrote_it(world):
    tables, summary = run_evaluate(world, limit=LIMIT)
    again, _ = run_evaluate(world, limit=LIMIT)
    assert {name: content_hash(table) for name, table in tables.items()} == {
        name: content_hash(table) for name, table in again.items()
    }
    for shard in world[RUN].shards:  # read from Parquet, whose lists have another name for their values
        assert tables[shard.name].to_pylist() == world[RUN].table(shard.name).to_pylist(), shard.name
    assert summary == world[RUN].summary


def test_an_attempt_goes_on_from_what_a_killed_one_has_scored(world, tmp_path, monkeypatch):
    words, batches = [], []

    def small_batches(model, *given, **options):
        score_forest = model.score_forest

        def counted(*arrays):
            batches.append(1)
            if len(batches) == 4:
                raise KeyboardInterrupt
            return score_forest(*arrays)

        model.score_forest = counted
        return score_requests(model, *given, **options | {"max_batch_tokens": 1024})

    monkeypatch.setattr("evaluation.scorer.score_requests", small_batches)
    resources = Resources(device="cpu", scratch=str(tmp_path), progress=lambda fraction, what: words.append((fraction, what)))
    with pytest.raises(KeyboardInterrupt):
        run_evaluate(world, resources, limit=1)
    done = len(words)
    tables, _ = run_evaluate(world, resources, limit=1)
    expected, _ = run_evaluate(world, limit=1)  # without a scratch directory it starts anew
    assert {name: table.to_pylist() for name, table in tables.items()} == {name: table.to_pylist() for name, table in expected.items()}
    assert done >= 3 and "tokens" in words[-1][1] and any(what.endswith("left") for _, what in words)
    assert [fraction for fraction, _ in words[done:]] == sorted(fraction for fraction, _ in words[done:])


def test_a_limit_names_the_suite_and_only_leaves_out(world):
    tables, summary = run_evaluate(world, limit=1)
    assert summary["suite"] == f"{SUITE.name}-limit1"
    for label in SUITE.tasks:
        (row,) = tables[label].to_pylist()
        (same,) = [other for other in world[RUN].table(label).to_pylist() if other["row"] == row["row"]]
        assert (row["gold"], row["num_tokens"], row["truncated"]) == (
            same["gold"],
            same["num_tokens"],
            same["truncated"],
        ), label
        if row["log_probs"] is not None:  # of other batches, so equal but for rounding
            assert row["log_probs"] == pytest.approx(same["log_probs"], rel=1e-4), label


def test_texts_and_their_names_must_be_as_many(world):
    config = evaluate.config_type(validation=("a", "b"), limit=1)
    inputs = Inputs(
        (world["train_distinct_0"], world["train_tokenizer"], world["held"]), ("artifact", "artifact", "documents")
    )
    with pytest.raises(ValueError, match="2 validation texts are named for 1 inputs"):
        next(evaluate(config, inputs, Resources(device="cpu")))
