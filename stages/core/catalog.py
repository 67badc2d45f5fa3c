"""The disposable catalog: SQL over everything in a store, rebuilt from manifests and journals in moments, never the source of truth.

    <pipeline>.<node>, <pipeline>.<node>_dropped          views on the files that the manifests list
    meta.datasets, meta.stage_stats, meta.steps, meta.shards, meta.drop_counts, meta.runs, meta.results
    funnel(pipeline), why_dropped(pipeline), tokens_by_source(pipeline)                                table macros
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.manifest import Manifest
from stages.core.store import Store, read_journals, temporary_name

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

_S, _I, _F, _B = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TABLES: dict[str, list[tuple[str, pa.DataType]]] = {
    "datasets": [("dataset", _S), ("stage", _S), ("version", _I), ("kind", _S), ("fingerprint", _S), ("documents", _I), ("shards", _I),
                 ("text_bytes", _I), ("file_bytes", _I), ("content_hash", _S), ("path", _S), ("commit", _S), ("hardware", _S), ("made", _S)],
    "stage_stats": [("pipeline", _S), ("variant", _S), ("node", _S), ("position", _I), ("stage", _S), ("kind", _S), ("dataset", _S),
                    ("documents_in", _I), ("documents_out", _I), ("dropped", _I), ("text_bytes", _I), ("seconds", _F), ("inputs", pa.list_(_S))],
    "steps": [("pipeline", _S), ("variant", _S), ("node", _S), ("position", _I), ("stage", _S), ("kind", _S), ("documents_in", _I),
              ("documents_out", _I), ("dropped", _I)],
    "shards": [("dataset", _S), ("stage", _S), ("shard", _S), ("records", _I), ("documents", _I), ("dropped", _I), ("seconds", _F),
               ("text_bytes", _I), ("content_hash", _S), ("counters", pa.map_(_S, _I))],
    "drop_counts": [("dataset", _S), ("stage", _S), ("shard", _S), ("drop_reason", _S), ("documents", _I)],
    "runs": [("run", _S), ("pipeline", _S), ("variant", _S), ("time", _F), ("event", _S), ("node", _S), ("shard", _S), ("state", _S),
             ("dataset", _S), ("seconds", _F), ("error", _S), ("log", _S)],
    "results": [("board", _S), ("strategy", _S), ("scale", _S), ("seed", _I), ("suite", _S), ("eval_version", _S), ("metric", _S), ("value", _F)],
}  # fmt: skip

MACROS = """
create or replace macro variant_of(pipeline, variant) as if(variant = 'default', pipeline, pipeline || '_' || variant);
create or replace macro funnel(name) as table
    select node, stage, documents_in, documents_out, dropped, round(documents_out / nullif(documents_in, 0), 4) as keep_fraction
    from meta.steps where variant_of(pipeline, variant) = name order by position;
create or replace macro why_dropped(name) as table
    select s.node, d.drop_reason, sum(d.documents)::bigint as documents
    from meta.stage_stats s join meta.drop_counts d using (dataset) where variant_of(s.pipeline, s.variant) = name
    group by all order by documents desc, node, drop_reason;
create or replace macro tokens_by_source(name) as table
    select s.node, h.shard as source, h.documents, round(h.text_bytes / 4.0)::bigint as tokens_estimate
    from meta.stage_stats s join meta.shards h using (dataset) where variant_of(s.pipeline, s.variant) = name and s.kind in ('extract', 'map')
    order by s.position, h.shard;
"""


def connect(store: Store, path: str | Path = ":memory:") -> "duckdb.DuckDBPyConnection":
    """Build the catalog of a store in a new database and return the connection; file names in it are absolute."""
    import duckdb

    db = duckdb.connect(str(path))
    db.execute("create schema meta")
    for name, table in _tables(store).items():
        db.register("_arrow", table)
        db.execute(f"create table meta.{name} as select * from _arrow")
        db.unregister("_arrow")
    for pipeline, variant, node, where in store.refs():
        schema = pipeline if variant == "default" else f"{pipeline}_{variant}"
        manifest = where.manifest()
        for kind, suffix in (("documents", ""), ("dropped", "_dropped")):
            files = [where.path / f.path for s in manifest.shards for f in s.files if f.path.startswith(kind)]
            if files:
                listed = ", ".join("'" + str(f).replace("'", "''") + "'" for f in files)
                view = f"{_quoted(schema)}.{_quoted(node + suffix)}"
                db.execute(f"create schema if not exists {_quoted(schema)}")
                db.execute(f"create view {view} as select * from read_parquet([{listed}])")
                about = f"{where.name}: {manifest.rows_out} kept, {manifest.rows_dropped} dropped".replace("'", "''")
                db.execute(f"comment on view {view} is '{about}'")
    db.execute(MACROS)
    return db


def write_catalog(store: Store) -> Path:
    """Write `<store>/catalog.duckdb`, built aside and renamed into place, for tools that want a file."""
    final = store.root / "catalog.duckdb"
    aside = temporary_name(final)
    connect(store, aside).close()
    os.replace(aside, final)
    with contextlib.suppress(FileNotFoundError):
        Path(f"{aside}.wal").unlink()
    return final


def refresh_catalog(store: Store) -> None:
    """Write the catalog file; a failure is logged and no more, because the catalog is disposable and the run is not."""
    try:
        write_catalog(store)
    except Exception as error:
        logger.warning("catalog.duckdb was not written: %s", error)


def _tables(store: Store) -> dict[str, pa.Table]:
    manifests = {where.name: (where, where.manifest()) for where in store.dataset_dirs()}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for name, (where, m) in manifests.items():
        rows["datasets"].append({
            "dataset": name, "stage": m.stage, "version": m.version, "kind": m.kind, "fingerprint": m.fingerprint, "documents": m.rows_out,
            "shards": len(m.shards), "text_bytes": m.text_bytes, "file_bytes": m.file_bytes, "content_hash": m.content_hash,
            "path": str(where.path), "commit": m.provenance["commit"], "hardware": m.provenance["hardware"], "made": m.provenance["started"],
        })  # fmt: skip
        for s in m.shards:
            rows["shards"].append({
                "dataset": name, "stage": m.stage, "shard": s.name, "records": s.rows_in, "documents": s.rows_out, "dropped": s.rows_dropped,
                "seconds": s.seconds, "text_bytes": s.text_bytes, "content_hash": s.content_hash, "counters": list(s.counters.items()),
            })  # fmt: skip
            for reason, count in s.drops.items():
                rows["drop_counts"].append({"dataset": name, "stage": m.stage, "shard": s.name, "drop_reason": reason, "documents": count})
    rows["stage_stats"] = list(_stage_stats(store, manifests))
    rows["steps"] = list(_steps(rows["stage_stats"], manifests))
    rows["runs"] = list(read_journals(store))
    rows["results"] = list(_results(store))
    return {name: _table(rows[name], columns) for name, columns in TABLES.items()}


def _table(rows: list[dict[str, Any]], columns: list[tuple[str, pa.DataType]]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name, _ in columns} for row in rows], schema=pa.schema(columns))


def _stage_stats(store: Store, manifests: dict[str, tuple[Any, Manifest]]) -> Iterator[dict[str, Any]]:
    """One row a node: every node after its inputs, and what merely trains a model after what the pipeline ends with."""
    depth: dict[str, int] = {}

    def inputs_of(name: str) -> list[str]:
        return [f"{i['stage']}/{i['fingerprint'][:12]}" for i in manifests[name][1].inputs] if name in manifests else []

    def depth_of(name: str) -> int:
        if name not in depth:
            depth[name] = 0
            depth[name] = 1 + max(map(depth_of, inputs_of(name)), default=-1)
        return depth[name]

    found = [ref for ref in store.refs() if ref[3].name in manifests]  # another run may have committed one just now
    made = {name for *_, where in found for name in inputs_of(where.name)}
    main, waiting = set(), [where.name for *_, where in found if where.name not in made]
    while waiting:
        name = waiting.pop()
        if name not in main:
            main.add(name)
            waiting += [parent for parent in inputs_of(name) if parent in manifests and manifests[parent][1].kind != "artifact"]
    found.sort(key=lambda ref: (ref[0], ref[1], ref[3].name not in main, depth_of(ref[3].name), ref[2]))
    for position, (pipeline, variant, node, where) in enumerate(found):
        m = manifests[where.name][1]
        yield {
            "pipeline": pipeline, "variant": variant, "node": node, "position": position, "stage": m.stage, "kind": m.kind, "dataset": where.name,
            "documents_in": m.rows_in, "documents_out": m.rows_out, "dropped": m.rows_dropped, "text_bytes": m.text_bytes, "seconds": m.seconds,
            "inputs": [f"{i['stage']}/{i['fingerprint'][:12]}" for i in m.inputs],
        }  # fmt: skip


def _steps(stage_stats: list[dict[str, Any]], manifests: dict[str, tuple[Any, Manifest]]) -> Iterator[dict[str, Any]]:
    """One row for every step that may drop documents: a node of its own, or a step of a chain."""
    position = 0
    for stats in stage_stats:
        manifest = manifests[stats["dataset"]][1]
        left = manifest.rows_in
        for step, dropped in manifest.steps.items():
            common = {name: stats[name] for name in ("pipeline", "variant", "node", "kind")}
            yield {**common, "position": position, "stage": step, "documents_in": left, "documents_out": left - dropped, "dropped": dropped}
            left, position = left - dropped, position + 1


def _results(store: Store) -> Iterator[dict[str, Any]]:
    """Read what leaderboards left in their summaries: rows of strategy, scale, seed, metric, value."""
    for where in store.dataset_dirs("leaderboard"):
        for row in where.manifest().summary.get("results", []):
            yield {"board": where.name, **row}


def _quoted(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"'{name}' can not name a SQL view; use letters, digits and '_'")
    return f'"{name}"'
