"""Carrying out one job, a shard of a node or a whole node: read, call the stage, check, write, commit. The same code in any executor."""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.dataset import Dataset, merged_batches
from stages.core.fingerprint import digest, file_digest
from stages.core.first_call import one_at_a_time
from stages.core.manifest import FileRecord, ShardRecord
from stages.core.memory import MemoryMeter
from stages.core.plan import Node, Plan
from stages.core.schema import DETAIL, DROPPED, VERDICT
from stages.core.stage import Artifact, Extracted, Guard, Inputs, Resources, SourceShard, Verdict
from stages.core.store import DatasetDir, Store, commit_file, commit_text, temporary_name
from stages.core.writer import ShardWriter

SAMPLE_ONE_IN = 100
"""Under keep_dropped_text = "sample", the text of one dropped document in a hundred is kept, chosen by its id."""


@dataclass(frozen=True)
class Job:
    """One unit of work. A worker finds everything else in the plan, which it loads itself."""

    node: str
    shard: str | None
    """None: the whole node (reduce, artifact)."""
    token: str
    key: str
    fingerprints: dict[str, str]
    """Of the node and of its inputs, by node name."""
    keep_dropped_text: str = "all"
    quarantined: dict[int, str] = field(default_factory=dict)
    """Byte offset of a page -> the reason not to touch it."""

    @property
    def label(self) -> str:
        """`node/shard` for people."""
        return f"{self.node}/{self.shard}" if self.shard else self.node


@dataclass(frozen=True)
class ArtifactRecord:
    """What came of an artifact: its files, its summary, and what they cost."""

    files: list[FileRecord]
    summary: dict[str, Any]
    seconds: float
    added_memory_bytes: int


class JobRunner:
    """Runs jobs of one plan in this process; a stage function is called once and its result kept for the next shards."""

    def __init__(self, plan: Plan, store: Store, resources: Resources) -> None:
        self.plan, self.store, self.resources = plan, store, resources
        self._prepared: dict[str, tuple[str, Any, Inputs]] = {}
        self._met: set[str] = set()
        """Nodes whose kernels this process has compiled or loaded."""
        self._listings: dict[str, tuple[str, dict[str, SourceShard]]] = {}

    def run(self, job: Job, beat: Callable[[int], None] | None = None, progress: Callable[[float, str], None] | None = None) -> Any:
        """Do the job and commit it; return its ShardRecord, for a reduce (records, summary), for an artifact an ArtifactRecord."""
        self._meter = MemoryMeter()
        node = self.plan[job.node]
        where = self.store.dataset_dir(node.stage.name, job.fingerprints[node.name])
        with _scratch(where, keep=node.stage.resumes) as scratch:
            whole = job.shard is None  # a shard's function outlives its job, so it gets no directory that does not
            threads = max(1, self.resources.workers) if node.stage.kind == "reduce" else self.resources.threads
            resources = dataclasses.replace(self.resources, scratch=str(scratch) if whole else "", progress=progress, threads=threads)
            run = {"artifact": self._artifact, "reduce": self._reduce}.get(node.stage.kind, self._shard)
            return run(node, job, where, resources, beat or (lambda _offset: None))

    def inputs_of(self, node: Node, fingerprints: dict[str, str]) -> Inputs:
        """Open the committed inputs of a node."""
        datasets = []
        for parent in node.inputs:
            root = getattr(parent.config, "place", getattr(parent.config, "root", "")) if parent.stage.kind == "source" else ""
            datasets.append(Dataset(self.store.dataset_dir(parent.stage.name, fingerprints[parent.name]), source_root=root))
        return Inputs(tuple(datasets), node.roles)

    def _shard(self, node: Node, job: Job, where: DatasetDir, resources: Resources, beat: Callable[[int], None]) -> ShardRecord:
        started = time.perf_counter()
        fingerprint = job.fingerprints[node.name]
        if self._prepared.get(node.name, ("",))[0] != fingerprint:
            inputs = self.inputs_of(node, job.fingerprints)
            self._prepared[node.name] = (fingerprint, node.stage(node.config, inputs, resources), inputs)
        _, work, inputs = self._prepared[node.name]
        out = _ShardOutput(node, job, where, self._meter)
        try:
            if node.stage.kind == "extract":
                raw = self._raw_shard(node, fingerprint, inputs, job.shard)
                before = _size_and_time(raw)
                for extracted in work(raw, Guard(job.quarantined, beat)):
                    beat(-1)  # writing is not the page's time
                    out.add_extracted(extracted)
                if _size_and_time(raw) != before or (before and before[0] != raw.size_bytes):
                    raise ValueError(f"{raw.url} changed during the run; start again, so that it is listed as it is now")
            else:
                batches = merged_batches(inputs.documents, inputs.of("sidecar"), job.shard, self._columns(node), resources.batch_rows)
                steps = work if node.stage.parts else [(node.stage.name, work)]
                for number, batch in enumerate(batches):
                    beat(-number - 1)
                    with contextlib.nullcontext() if node.name in self._met else one_at_a_time(node.stage.name):
                        out.add_judged(batch, steps)
                    self._met.add(node.name)
            beat(-1)
            return out.commit(job, time.perf_counter() - started)
        except BaseException:
            out.abandon()
            raise

    def _raw_shard(self, node: Node, fingerprint: str, inputs: Inputs, name: str) -> SourceShard:
        if self._listings.get(node.name, ("",))[0] != fingerprint:
            self._listings[node.name] = (fingerprint, {shard.name: shard for shard in inputs.one("source").source_shards()})
        return self._listings[node.name][1][name]

    def _columns(self, node: Node) -> list[str] | None:
        """A score reads only what it needs; a map carries every column on."""
        return sorted(node.stage.needed(node.config)) if node.stage.kind == "score" else None

    def _reduce(
        self, node: Node, job: Job, where: DatasetDir, resources: Resources, beat: Callable[[int], None]
    ) -> tuple[list[ShardRecord], dict[str, Any]]:
        records: list[ShardRecord] = []
        summary: dict[str, Any] = {}
        inputs = self.inputs_of(node, job.fingerprints)

        def tables() -> Iterator[tuple[str, pa.Table]]:
            summary.update((yield from node.stage(node.config, inputs, resources)) or {})

        started = time.perf_counter()
        for shard, table in tables():
            beat(-len(records) - 1)
            if shard in {record.name for record in records}:
                raise ValueError(f"{node.name}: the reduce gave shard '{shard}' twice; give each shard once")
            if VERDICT.keys() <= set(node.schema.names):
                _check_verdicts(node, shard, table, inputs.documents)
            out = _ShardOutput(node, job, where, self._meter, shard)
            try:
                out.add_table(table)
                records.append(out.commit(job, time.perf_counter() - started))
            except BaseException:
                out.abandon()
                raise
            started = time.perf_counter()
        made = _as_json(summary, node.name)
        shutil.rmtree(resources.scratch, ignore_errors=True)
        return records, made

    def _artifact(
        self, node: Node, job: Job, where: DatasetDir, resources: Resources, _beat: Callable[[int], None]
    ) -> ArtifactRecord:
        started = time.perf_counter()
        made = node.stage(node.config, self.inputs_of(node, job.fingerprints), resources)
        if not isinstance(made, Artifact):
            raise TypeError(f"{node.name}: an artifact stage must return Artifact(files=...), got {type(made).__name__}")
        summary = _as_json(dict(made.summary), node.name)
        records = []
        for name in made.files:
            written, final = Path(resources.scratch) / name, where.files / name
            records.append(FileRecord(f"files/{name}", written.stat().st_size, file_digest(written)))
            final.parent.mkdir(parents=True, exist_ok=True)
            where.check_token(job.token)
            commit_file(written, final)
        shutil.rmtree(resources.scratch, ignore_errors=True)
        return ArtifactRecord(records, summary, time.perf_counter() - started, self._meter.added_bytes())


class _ShardOutput:
    """The files of one shard on their way: rows are routed to kept and dropped, counted and checked, then committed."""

    def __init__(self, node: Node, job: Job, where: DatasetDir, meter: MemoryMeter, shard: str | None = None) -> None:
        self.meter = meter
        self.node, self.where, self.shard = node, where, shard or job.shard
        self.text_policy = job.keep_dropped_text
        self.final = {"documents": where.documents / f"{self.shard}.parquet"}
        if node.stage.kind in ("map", "extract"):
            self.final["dropped"] = where.dropped / f"{self.shard}.parquet"
        schemas = {"documents": node.schema, "dropped": DROPPED}
        self.writers = {kind: ShardWriter(temporary_name(path), schemas[kind]) for kind, path in self.final.items()}
        self.rows_in = 0
        self.drops: dict[str, int] = {}
        self.steps = dict.fromkeys((step.name for step in node.stage.steps(node.config)), 0) if "dropped" in self.final else {}
        self.counters: dict[str, int] = {}
        self.ids: list[pa.Array] = []

    def add_judged(self, batch: pa.RecordBatch, steps: list[tuple[str, Callable[[pa.RecordBatch], Verdict]]]) -> None:
        """Let each step judge what those before it kept; route the rows as the verdicts say."""
        self.rows_in += batch.num_rows
        came_in = batch.column("text") if "text" in batch.schema.names else None
        for name, judge in steps:
            if batch.num_rows:
                batch, came_in = self._apply(name, batch, judge(batch), came_in)
        if batch.num_rows:
            self._keep(batch.select([name for name in self.node.schema.names if name in batch.schema.names]))

    def _apply(self, step: str, batch: pa.RecordBatch, verdict: Verdict, came_in: pa.Array | None) -> tuple[pa.RecordBatch, pa.Array | None]:
        """Write what the step drops; return what it keeps, with its columns, and the texts of these as they came in."""
        where, count = self._named(step), batch.num_rows
        self._count(verdict.counters)
        for name, column in verdict.columns.items():
            if len(column) != count:
                raise ValueError(f"{where}: column '{name}' has {len(column)} values for a batch of {count} documents")
        made = batch
        if verdict.columns:
            made = pa.RecordBatch.from_pydict({**{name: batch.column(name) for name in batch.schema.names}, **verdict.columns})
        if verdict.keep is None:
            return made, came_in
        if self.node.stage.kind == "score":
            raise ValueError(f"{where}: a score never drops; let a select decide on its columns")
        if len(verdict.keep) != count or verdict.keep.null_count:
            raise ValueError(f"{where}: `keep` must hold {count} values and no null, it has {len(verdict.keep)} and {verdict.keep.null_count} nulls")
        gone = pc.invert(verdict.keep)
        if not pc.any(gone).as_py():
            return made, came_in
        if verdict.reason is None:
            raise ValueError(f"{where}: the stage drops documents and gives no reason; every drop names one")
        reason = verdict.reason.filter(gone).cast(pa.string())
        detail = verdict.detail.filter(gone) if verdict.detail is not None else pa.nulls(len(reason), DETAIL)
        columns = {name: batch.column(name).filter(gone) for name in ("id", "url", "origin") if name in batch.schema.names}
        if came_in is not None:
            columns["text"], came_in = came_in.filter(gone), came_in.filter(verdict.keep)
        self._drop(step, columns, reason, detail)
        return made.filter(verdict.keep), came_in

    def _named(self, step: str) -> str:
        return f"{self.node.name}.{step}" if self.node.stage.parts else self.node.name

    def add_extracted(self, extracted: Extracted) -> None:
        """Take documents and drops as the extractor made them."""
        self._count(extracted.counters)
        if extracted.documents is not None:
            self._keep(extracted.documents)
        if extracted.dropped is not None and extracted.dropped.num_rows:
            rows = extracted.dropped
            columns = {name: rows.column(name) for name in ("id", "url", "origin", "text") if name in rows.schema.names}
            self._drop(self.node.stage.name, columns, rows.column("drop_reason").cast(pa.string()), rows.column("detail"))
        self.rows_in = self.counters.get("records", 0)

    def add_table(self, table: pa.Table) -> None:
        """Take the table of a reduce."""
        self.rows_in += table.num_rows
        self.writers["documents"].write(table)

    def _keep(self, batch: pa.RecordBatch) -> None:
        self.writers["documents"].write(batch)
        if "dropped" in self.writers:
            self.ids.append(batch.column("id"))

    def _drop(self, step: str, columns: dict[str, pa.Array], reason: pa.Array, detail: pa.Array) -> None:
        count = len(reason)
        self.steps[step] += count
        if reason.null_count:
            raise ValueError(f"{self._named(step)}: a dropped document has no drop_reason; every drop names one")
        text = columns.get("text", pa.nulls(count, pa.string()))
        if self.text_policy != "all":
            chosen = [self.text_policy == "sample" and int(digest(i)[:8], 16) % SAMPLE_ONE_IN == 0 for i in columns["id"].to_pylist()]
            text = pc.if_else(pa.array(chosen, pa.bool_()), text, pa.nulls(count, pa.string()))
        stage = pa.array([step] * count, pa.string())
        rows = {"drop_stage": stage, "drop_reason": reason, "detail": detail, "text": text}
        for name in ("id", "url", "origin"):
            rows[name] = columns.get(name, pa.nulls(count, pa.string()))
        self.writers["dropped"].write(pa.RecordBatch.from_pydict(rows))
        for entry in pc.value_counts(reason).to_pylist():
            self.drops[entry["values"]] = self.drops.get(entry["values"], 0) + entry["counts"]

    def _count(self, counters: Any) -> None:
        for name, value in counters.items():
            self.counters[name] = self.counters.get(name, 0) + int(value)

    def _check(self, rows_out: int, rows_dropped: int) -> None:
        if "dropped" not in self.writers:
            return
        if self.rows_in != rows_out + rows_dropped:
            raise ValueError(f"{self.node.name}/{self.shard}: {self.rows_in} rows in, but {rows_out} kept + {rows_dropped} dropped; the stage lost count")
        ids = pa.chunked_array(self.ids, pa.string()) if self.ids else pa.chunked_array([], pa.string())
        if pc.count_distinct(ids, mode="all").as_py() != rows_out:
            raise ValueError(f"{self.node.name}/{self.shard}: ids are not unique among its {rows_out} documents")

    def commit(self, job: Job, seconds: float) -> ShardRecord:
        """Close the files, check the invariants, give the files their names, then write the shard's mark."""
        closed = {kind: writer.close() for kind, writer in self.writers.items()}
        documents, dropped = self.writers["documents"], self.writers.get("dropped")
        self._check(documents.rows, dropped.rows if dropped else 0)
        content_hash = closed["documents"][1]
        record = ShardRecord(
            name=self.shard,
            key=job.key if job.shard else digest([self.node.stage.name, self.shard, content_hash]),
            rows_in=self.rows_in,
            rows_out=documents.rows,
            rows_dropped=dropped.rows if dropped else 0,
            drops=dict(sorted(self.drops.items())),
            counters=dict(sorted(self.counters.items())),
            text_bytes=documents.text_bytes,
            content_hash=content_hash,
            dropped_hash=closed["dropped"][1] if dropped else "",
            dropped_text=job.keep_dropped_text,
            files=[dataclasses.replace(file, path=f"{kind}/{self.shard}.parquet") for kind, (file, _) in closed.items()],
            seconds=round(seconds, 4),
            added_memory_bytes=self.meter.added_bytes(),
            steps=self.steps,
        )
        self.where.check_token(job.token)
        for kind, writer in self.writers.items():
            commit_file(writer.path, self.final[kind])
        self.where.check_token(job.token)
        write_mark(self.where, record)
        return record

    def abandon(self) -> None:
        """Close and delete what was written so far."""
        for writer in self.writers.values():
            with contextlib.suppress(OSError, pa.ArrowException):
                writer.abandon()
            writer.path.unlink(missing_ok=True)


def _as_json(summary: dict[str, Any], node: str) -> dict[str, Any]:
    """Return the summary as the manifest will hold it; ValueError for what is no JSON, before hours of work are given up."""
    try:
        return json.loads(json.dumps(summary, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{node}: its summary is no JSON ({error}); give plain numbers, strings, lists and dicts") from None


def _check_verdicts(node: Node, shard: str, table: pa.Table, documents: Dataset) -> None:
    """A verdict for every document, in the documents' order."""
    if not table.column("id").combine_chunks().equals(documents.table(shard, ["id"]).column("id").combine_chunks()):
        raise ValueError(f"{node.name}/{shard}: the verdicts are not one for each document of {documents.name}, in its order")


def _size_and_time(raw: SourceShard) -> tuple[int, int] | None:
    """Size and modification time of a local raw shard; None for one that is elsewhere."""
    try:
        found = os.stat(raw.url)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def write_mark(where: DatasetDir, record: ShardRecord) -> None:
    """Commit a shard: from here on it is done."""
    commit_text(json.dumps(dataclasses.asdict(record), ensure_ascii=False), where.shard_mark(record.name))


@contextlib.contextmanager
def _scratch(where: DatasetDir, keep: bool) -> Iterator[Path]:
    """Yield a private directory. With `keep` it outlives a killed job, so that a training goes on from its checkpoint; the commit removes it."""
    path = where.path / "_work" if keep else temporary_name(where.path / "scratch")
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)
