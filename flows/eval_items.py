"""The verbs that look into evaluations of a store: single answers, flips between two, checkpoints as one curve, questions seen in training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.errors import UserError
from flows.eval_data import DCLM, MINI, explained, suite_dir
from flows.inspect_store import find_dataset
from stages.core.store import DatasetDir, Store


def items_of(where: DatasetDir) -> pa.Table:
    """All items of an evaluation, in the order of its tasks."""
    import pyarrow.parquet as pq

    files = _document_files(where)
    if where.manifest().stage != "evaluate" or not files:
        raise UserError(f"{where.name} is no evaluation; `winnow list datasets` shows those of stage evaluate")
    return pa.concat_tables([pq.read_table(file) for file in files])


def _document_files(where: DatasetDir) -> list[Path]:
    return [where.path / file.path for shard in where.manifest().shards for file in shard.files if file.path.startswith("documents")]


def _answered_suite(store: Store, where: DatasetDir, eval_data: str, tasks: Path | None) -> Any:
    """The suite whose questions an evaluation answered, from where it found them unless told; UserError where that is another one."""
    from evaluation.subset import find_suite

    manifest = where.manifest()
    summary, found_at = manifest.summary, manifest.config.get("eval_data", "")
    usual = found_at if found_at and Path(found_at).exists() else MINI if summary["suite"].startswith(MINI) else DCLM
    place = tasks or suite_dir(store.root, eval_data or usual)
    with explained():
        suite = find_suite(place)
    if suite.data_hash != summary["suite_hash"]:
        raise UserError(
            f"{where.name} answered suite {summary['suite']}, other data than {place}; give its own with --eval-data or --tasks"
        )
    return suite


def show(
    store: Store, run: str, task: str, *, wrong: bool = False, number: int = 5, eval_data: str = "", tasks: Path | None = None,
    reveal: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Items of one task to read: question, choices with log-probabilities, gold and prediction. See evaluation.compare.show_items."""
    from evaluation.compare import show_items

    if number < 1:
        raise UserError(f"-n {number}: ask for 1 item or more")
    where = find_dataset(store, run)
    items = items_of(where)
    suite = _answered_suite(store, where, eval_data, tasks)
    with explained():
        return show_items(items, suite, task, wrong=wrong, n=number, reveal=reveal)


def contamination(store: Store, run: str, documents: str, eval_data: str = "", tasks: Path | None = None) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Which questions of an evaluation occur in a dataset's documents: the items with their flag, and per task the accuracy by flag."""
    from evaluation.contamination import accuracy_by_flag, flag_items
    from evaluation.contamination import contamination as flags_of

    where = find_dataset(store, run)
    items = items_of(where)
    suite = _answered_suite(store, where, eval_data, tasks)
    items = items.filter(pa.array([task in suite.tasks for task in items.column("task").to_pylist()]))  # no validation texts
    flagged = flag_items(items, flags_of(suite, _texts(find_dataset(store, documents)), labels=set(items.column("task").to_pylist())))
    return flagged, accuracy_by_flag(flagged)


def _texts(where: DatasetDir) -> Iterator[tuple[str, str]]:
    import pyarrow.parquet as pq

    for path in _document_files(where):
        file = pq.ParquetFile(path)
        if not {"id", "text"} <= set(file.schema_arrow.names):
            raise UserError(f"{where.name} has no documents with id and text (has: {', '.join(file.schema_arrow.names)})")
        for batch in file.iter_batches(batch_size=1000, columns=["id", "text"]):
            ids, texts = (batch.column(name).to_pylist() for name in ("id", "text"))
            yield from ((str(name), text) for name, text in zip(ids, texts, strict=True) if text is not None)


def diff(store: Store, a: str, b: str) -> Any:
    """Where two evaluations of the same questions differ: evaluation.compare.Differences."""
    from evaluation.compare import diff_items
    one, other = find_dataset(store, a), find_dataset(store, b)
    x, y = (where.manifest().summary.get("suite_hash", "") for where in (one, other))
    if x != y:
        raise UserError(f"{a} and {b} answered different data (suite_hash {x[:12]} and {y[:12]}); evaluate both on one suite")
    with explained():
        return diff_items(items_of(one), items_of(other))


def curve(store: Store, runs: list[str]) -> list[dict[str, Any]]:
    """The numbers of several checkpoints of a run by training tokens: evaluation.compare.curve."""
    from evaluation.compare import Checkpoint
    from evaluation.compare import curve as rows_of
    points = []
    for run in runs:
        manifest = find_dataset(store, run).manifest()
        trained = [store.dataset_dir(i["stage"], i["fingerprint"]).manifest() for i in manifest.inputs if i["stage"] == "train"]
        if manifest.stage != "evaluate" or len(trained) != 1:
            raise UserError(f"{run} is no evaluation of a trained checkpoint; `winnow list datasets` shows those of stage evaluate")
        facts = trained[0].summary
        points.append(Checkpoint(name=run, tokens=facts["train_tokens"], step=facts.get("steps"), summary=manifest.summary))
    with explained():
        return rows_of(points)
