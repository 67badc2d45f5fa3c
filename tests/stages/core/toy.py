"""Toy stages over JSON-lines files, one per kind, and plans made of them: what the engine's tests run."""

import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.fingerprint import file_digest
from stages.core.plan import Plan
from stages.core.schema import DOCUMENT, VERDICT, detail_array
from stages.core.stage import Artifact, Extracted, Guard, Inputs, Resources, SourceShard, Verdict, stage


@config
class ToySource:
    root: str = location()
    """Directory of *.jsonl files."""
    limit_shards: int | None = None


@stage(version=1, kind="source", takes=())
def toy_source(config: ToySource, inputs: Inputs, resources: Resources) -> list[SourceShard]:
    """List the *.jsonl files below root."""
    paths = sorted(Path(config.root).glob("*.jsonl"))[: config.limit_shards]
    return [SourceShard(p.name, p.name, p.stat().st_size, file_digest(p), str(p)) for p in paths]


@config
class ToyExtract:
    batch: int = 7


@stage(version=1, kind="extract", takes=("source",), adds={**DOCUMENT, "length": pa.int64()})
def toy_extract(config: ToyExtract, inputs: Inputs, resources: Resources):
    """Turn lines into documents; lines may misbehave once (a marker file remembers) or always."""

    def extract(shard: SourceShard, guard: Guard) -> Iterator[Extracted]:
        rows, drops, records, offset = [], [], 0, 0
        for line in Path(shard.url).read_text().splitlines():
            reason = guard.enter(offset)
            row = json.loads(line)
            origin = f"{shard.name}@{offset}"
            offset += len(line) + 1
            records += 1
            if reason is None:
                misbehave(row)
            if reason or not row["text"]:
                drops.append({"id": row["id"], "url": None, "origin": origin, "drop_reason": reason or "no_text", "detail": None})
            else:
                rows.append({"id": row["id"], "url": f"http://x/{row['id']}", "origin": origin, "text": row["text"], "length": len(row["text"])})
            if len(rows) >= config.batch:
                yield Extracted(documents=pa.RecordBatch.from_pylist(rows), counters={"records": records})
                rows, records = [], 0
        detail = detail_array(len(drops))
        dropped = pa.RecordBatch.from_pylist(
            [{k: v for k, v in d.items() if k != "detail"} for d in drops],
            schema=pa.schema([("id", pa.string()), ("url", pa.string()), ("origin", pa.string()), ("drop_reason", pa.string())]),
        ).append_column("detail", detail)
        yield Extracted(pa.RecordBatch.from_pylist(rows) if rows else None, dropped, {"records": records})

    return extract


def misbehave(row: dict) -> None:
    """Do what the row's "fault" says, once if it names a marker file, else every time."""
    fault = row.get("fault")
    if not fault:
        return
    marker = row.get("marker")
    if marker:
        if Path(marker).exists():
            return
        Path(marker).touch()
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "hang":
        time.sleep(3600)
    if fault == "memory":
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        hoard = []
        while True:
            hoard.append(bytearray(2**26))
    if fault == "raise":
        raise RuntimeError("the page made me do it")


@config
class ToyFilter:
    min_length: int = 5
    """Keep documents of at least this many characters."""


@stage(version=1, kind="map", needs={"text"}, adds={"shout": pa.string()}, drop_band=(0.0, 0.9))
def toy_filter(config: ToyFilter, inputs: Inputs, resources: Resources):
    """Drop short documents and add their text in capitals."""

    def judge(batch: pa.RecordBatch) -> Verdict:
        length = pc.utf8_length(batch.column("text"))
        keep = pc.greater_equal(length, config.min_length)
        reason = pa.array(["too_short"] * batch.num_rows, pa.string()).dictionary_encode()
        detail = detail_array(batch.num_rows, value=length.cast(pa.float64()), limit=[float(config.min_length)] * batch.num_rows)
        return Verdict(keep, reason, detail, {"shout": pc.utf8_upper(batch.column("text"))}, {"seen": batch.num_rows})

    return judge


@config
class ToyCut:
    length: int = 2


@stage(version=1, kind="map", needs={"text"}, adds={"text": pa.string()})
def toy_cut(config: ToyCut, inputs: Inputs, resources: Resources):
    """Keep the beginning of each text."""
    return lambda batch: Verdict(columns={"text": pc.utf8_slice_codeunits(batch.column("text"), 0, config.length)})


@config
class ToyScore:
    scale: float = 1.0


@stage(version=1, kind="score", needs={"text"}, adds={"score_toy": pa.float64()})
def toy_score(config: ToyScore, inputs: Inputs, resources: Resources):
    """Score a document by its length."""
    return lambda batch: Verdict(columns={"score_toy": pc.multiply(pc.utf8_length(batch.column("text")).cast(pa.float64()), config.scale)})


@config
class ToyDedup:
    pass


@stage(version=1, kind="reduce", needs={"text"}, adds={"id": pa.string(), **VERDICT})
def toy_dedup(config: ToyDedup, inputs: Inputs, resources: Resources):
    """Keep the first of equal texts."""
    first: dict[str, str] = {}
    for shard in inputs.documents.shards:
        rows = []
        for row in inputs.documents.table(shard.name, ["id", "text"]).to_pylist():
            kept = first.setdefault(row["text"], row["id"])
            keep = kept == row["id"]
            rows.append({"id": row["id"], "keep": keep, "drop_reason": None if keep else "duplicate", "kept_id": kept})
        yield shard.name, pa.Table.from_pylist(rows, schema=pa.schema([("id", pa.string()), *VERDICT.items()]))


@config
class ToyApply:
    min_score: float = 0.0


@stage(version=1, kind="map", takes=("documents", "sidecar*"), needs={"keep", "score_toy"})
def toy_apply(config: ToyApply, inputs: Inputs, resources: Resources):
    """Keep what the verdicts keep and the scores allow."""

    def judge(batch: pa.RecordBatch) -> Verdict:
        keep = pc.and_(batch.column("keep"), pc.greater_equal(batch.column("score_toy"), config.min_score))
        reason = pc.if_else(batch.column("keep"), pa.scalar("low_score"), pa.scalar("duplicate"))
        return Verdict(keep, reason, detail_array(batch.num_rows, kept_id=batch.column("kept_id")))

    return judge


@config
class ToyCount:
    pass


@stage(version=1, kind="artifact", needs={"text"})
def toy_count(config: ToyCount, inputs: Inputs, resources: Resources) -> Artifact:
    """Count the documents into a file."""
    count = sum(shard.rows_out for shard in inputs.documents.shards)
    Path(resources.scratch, "count.txt").write_text(str(count))
    return Artifact(("count.txt",), {"count": count})


def plan(root: str = "", min_length: int = 5) -> Plan:
    """The whole toy pipeline."""
    source = toy_source.on(root=root)
    pages = toy_extract.on(source)
    scores = toy_score.on(pages)
    long = toy_filter.on(pages, min_length=min_length)
    unique = toy_apply.on(long, toy_dedup.on(long), scores)
    return Plan("toy", [unique, toy_count.on(unique)])
