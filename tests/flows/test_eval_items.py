"""Looking into evaluations of a store: show, diff and curve on datasets as the engine writes them."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluation
from evaluation.tasks import load_suite
from flows import eval_items
from flows.errors import UserError
from stages.core.manifest import FileRecord, Manifest, ShardRecord
from stages.core.store import Store
from tests.evaluation.test_compare import evaluate, summary

SUITE = load_suite(Path(evaluation.__file__).parent / "mini_v1")
LABELS = ("copa", "agi_eval_lsat_lr")


def blank(record: type, /, **values):
    """An instance of a record with every field that is not given empty."""
    empty = {"str": "", "int": 0, "float": 0.0}
    for field in dataclasses.fields(record):
        default = {} if str(field.type).startswith("dict") else [] if str(field.type).startswith("list") else empty.get(str(field.type))
        values.setdefault(field.name, default)
    return record(**values)


def commit(store: Store, stage: str, fingerprint: str, tables: dict[str, pa.Table] | None = None, inputs=(), **facts) -> str:
    where = store.dataset_dir(stage, fingerprint)
    shards = []
    for name, table in (tables or {}).items():
        path = where.documents / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        file = FileRecord(path=f"documents/{name}.parquet", size_bytes=0, sha256="")
        shards.append(blank(ShardRecord, name=name, files=[file]))
    where.path.mkdir(parents=True, exist_ok=True)
    manifest = blank(Manifest, stage=stage, fingerprint=fingerprint, kind="reduce", shards=shards, inputs=list(inputs), summary=facts, layout=1)
    (where.path / "manifest.json").write_text(manifest.to_json())
    return where.name


@pytest.fixture
def runs(store) -> list[str]:
    """Two checkpoints of a run, each evaluated on two tasks of mini-v1."""
    names = []
    for number, (tokens, core) in enumerate(((200, 0.3), (100, 0.1))):
        checkpoint = str(number) * 12
        commit(store, "train", checkpoint, train_tokens=tokens, steps=tokens // 10)
        tables = {label: evaluate(501 * number, [label]) for label in LABELS}
        facts = summary(suite=SUITE.name, suite_hash=SUITE.data_hash, core=core)
        trained = {"role": "checkpoint", "stage": "train", "fingerprint": checkpoint}
        names.append(commit(store, "evaluate", f"ab{number}" * 4, tables, [trained], **facts))
    return names


def test_show(store, runs):
    rows = eval_items.show(store, runs[0], "agi_eval_lsat_lr", wrong=True, number=2)
    assert len(rows) == 2 and not any(row["correct"] for row in rows)
    assert rows[0]["choices"][0]["text"] == SUITE.rows("agi_eval_lsat_lr")[rows[0]["row"]]["choices"][0]
    assert len(eval_items.show(store, runs[0][:-3], "copa", number=3)) == 3
    with pytest.raises(UserError, match="no items of task 'piqa'"):
        eval_items.show(store, runs[0], "piqa")
    with pytest.raises(UserError, match="-n 0: ask for 1 item or more"):
        eval_items.show(store, runs[0], "copa", number=0)
    with pytest.raises(UserError, match="is no evaluation"):
        eval_items.show(store, "train/000000000000", "copa")


def test_show_asks_for_the_data_that_were_answered(store, runs, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"query": "q", "choices": ["a", "b"], "gold": 0}\n')
    table = tmp_path / "own.csv"
    table.write_text("label,task_type,num_fewshot,file\nmine,multiple_choice,0,rows.jsonl\n")
    with pytest.raises(UserError, match="answered suite mini-v1, other data than .*own.csv"):
        eval_items.show(store, runs[0], "copa", tasks=table)
    with pytest.raises(UserError, match="is not a directory"):
        eval_items.show(store, runs[0], "copa", eval_data=str(tmp_path / "nowhere"))


def test_diff(store, runs):
    found = eval_items.diff(store, *runs)
    assert [task["task"] for task in found.tasks] == sorted(LABELS) and found.flipped
    other = commit(store, "evaluate", "c" * 12, {"copa": evaluate(0, ["copa"])}, **summary(suite_hash="other"))
    with pytest.raises(UserError, match="answered different data"):
        eval_items.diff(store, runs[0], other)


def test_contamination(store, runs):
    row = max(range(len(SUITE.rows("agi_eval_lsat_lr"))), key=lambda row: len(SUITE.rows("agi_eval_lsat_lr")[row]["query"]))
    texts = pa.table({"id": ["a", "b"], "text": ["nothing", f"seen: {SUITE.rows('agi_eval_lsat_lr')[row]['query']}"]})
    documents = commit(store, "clean", "d" * 12, {"s0": texts})
    flagged, rows = eval_items.contamination(store, runs[0], documents)
    found = [(item["task"], item["row"]) for item in flagged.to_pylist() if item["contaminated"]]
    assert found == [("agi_eval_lsat_lr", row)] and flagged.num_rows == sum(len(SUITE.rows(label)) for label in LABELS)
    assert {line["task"]: line["contaminated"] for line in rows} == {"copa": 0, "agi_eval_lsat_lr": 1}
    with pytest.raises(UserError, match="no documents with id and text"):
        eval_items.contamination(store, runs[0], runs[1])


def test_curve(store, runs):
    rows = eval_items.curve(store, runs)
    assert [(row["tokens"], row["step"], row["value"]) for row in rows if row["metric"] == "core"] == [(100, 10, 0.1), (200, 20, 0.3)]
    with pytest.raises(UserError, match="are both at 200 tokens"):
        eval_items.curve(store, [runs[0], runs[0]])
    with pytest.raises(UserError, match="no evaluation of a trained checkpoint"):
        eval_items.curve(store, ["train/000000000000"])
