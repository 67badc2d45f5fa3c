"""The evaluation stage on a tiny model: every question once, subsets nested, the same numbers twice."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import evaluation
from evaluation.aggregate import aggregate
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
    assert not any("kept" in what for _, what in words[:done]) and " kept from before)" in words[-1][1]
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


def write_own(folder: Path, count: int = 6) -> Path:
    """A table of two tasks of one's own and their rows."""
    rows = [{"query": f"{n} and {n} is", "choices": [str(2 * n), str(2 * n + 1), "none"], "gold": 0} for n in range(count)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "words.jsonl").write_text("".join(json.dumps({"context": f"after {n}", "continuation": str(n + 1)}) + "\n" for n in range(count)))
    table = folder / "mine.csv"
    table.write_text(
        "label,task_type,num_fewshot,baseline_v2,file\nsums,multiple_choice,2,33.3,sums.jsonl\nwords,language_modeling,0,0,words.jsonl\n"
    )
    return table


def test_tasks_of_ones_own_are_a_suite_of_their_own(world, tmp_path):
    tables, summary = run_evaluate(world, eval_data=str(write_own(tmp_path)), limit=None)
    assert list(tables) == ["sums", "words", "validation-held"] and tables["sums"].num_rows == 6
    assert tables["sums"].column("cluster").null_count == 0 and set(summary["tasks"]) == {"sums", "words"}
    assert summary["suite"].startswith("own-mine-") and summary["suite"].endswith(summary["suite_hash"][:8])
    assert summary["core"] is summary["extended"] is summary["core_bpb"] is None and summary["missing"] == []
    assert summary["tasks"]["words"]["gold_bpb"] > 0
    limited, part = run_evaluate(world, eval_data=str(tmp_path / "mine.csv"), limit=4)
    assert part["suite"] == f"{summary['suite']}-limit4" and part["limited"]["sums"] == "limited to 4 of 6 rows"
    whole = {row["row"]: row for row in tables["sums"].to_pylist()}
    for row in limited["sums"].to_pylist():
        assert row["num_tokens"] == whole[row["row"]]["num_tokens"] and row["log_probs"] == pytest.approx(whole[row["row"]]["log_probs"], rel=1e-4)


def test_chosen_tasks_are_answered_as_in_the_whole_suite_and_ranked_apart(world):
    tables, summary = run_evaluate(world, tasks=("piqa", "copa"), limit=LIMIT)
    assert list(tables) == ["copa", "piqa", "validation-held"]
    for label in ("copa", "piqa"):
        for row, same in zip(tables[label].to_pylist(), world[RUN].table(label).to_pylist(), strict=True):
            assert (row["row"], row["num_tokens"], row["gold"]) == (same["row"], same["num_tokens"], same["gold"])
            assert row["log_probs"] == pytest.approx(same["log_probs"], rel=1e-4)
    assert summary["suite"] == f"{SUITE.name}-copa+piqa-limit{LIMIT}" and summary["suite_hash"] == SUITE.data_hash
    assert summary["core"] is None and len(summary["missing"]) == 51 and set(summary["missing_why"].values()) == {"not chosen (--tasks)"}
    assert summary["core_bpb_tasks"] == ["copa", "piqa"]


def test_core_alone_gives_core_and_no_extended(world):
    _, summary = run_evaluate(world, tasks=("core",), limit=None)
    accuracies = {label: row["accuracy"] for label, row in summary["tasks"].items()}
    assert summary["suite"] == f"{SUITE.name}-core" and summary["extended"] is None and len(accuracies) == 22
    assert summary["core"] == aggregate(accuracies).core is not None


def test_other_questions_are_another_identity(tmp_path):
    def identity(**fields) -> dict:
        return evaluate.identity(evaluate.config_type(**fields))

    mine = write_own(tmp_path)
    first = identity(eval_data=str(mine))
    assert first["suite"] != identity()["suite"]
    (tmp_path / "moved").mkdir()
    for path in (mine, tmp_path / "sums.jsonl", tmp_path / "words.jsonl"):
        (tmp_path / "moved" / path.name).write_bytes(path.read_bytes())
    assert identity(eval_data=str(tmp_path / "moved" / "mine.csv")) == first, "a path is no identity"
    assert identity(eval_data=str(write_own(tmp_path, 7))) != first, "the rows are"
    assert identity(tasks=("copa",)) != identity()
    with pytest.raises(ValueError, match="no task 'copaa'; did you mean 'copa'"):
        identity(tasks=("copaa",))


def test_texts_and_their_names_must_be_as_many(world):
    config = evaluate.config_type(validation=("a", "b"), limit=1)
    inputs = Inputs(
        (world["train_distinct_0"], world["train_tokenizer"], world["held"]), ("artifact", "artifact", "documents")
    )
    with pytest.raises(ValueError, match="2 validation texts are named for 1 inputs"):
        next(evaluate(config, inputs, Resources(device="cpu")))
