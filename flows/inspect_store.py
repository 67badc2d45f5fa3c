"""Answers about a store and about what winnow knows, as rows for a table: what the CLI's reading verbs print."""

import json
import pkgutil
import socket
import time
from pathlib import Path
from typing import Any

from flows.errors import UserError
from stages.core.fingerprint import SHORT, changed_fields
from stages.core.manifest import Manifest
from stages.core.store import DatasetDir, Store, read_journals

Rows = list[dict[str, Any]]


def pipelines() -> Rows:
    """One row a recipe in pipelines/."""
    import importlib

    import pipelines as package

    rows = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"pipelines.{info.name}")
        if hasattr(module, "plan"):
            rows.append({"pipeline": info.name, "about": (module.__doc__ or "").strip().partition("\n")[0]})
    return rows


def stages() -> Rows:
    """One row a stage in stages/."""
    import importlib

    import stages as package
    from stages.core.config import field_names
    from stages.core.stage import Stage

    rows = []
    for info in pkgutil.iter_modules(package.__path__):
        if info.ispkg:
            continue
        for value in vars(importlib.import_module(f"stages.{info.name}")).values():
            if isinstance(value, Stage):
                rows.append(
                    {
                        "stage": value.name,
                        "kind": value.kind,
                        "version": value.version,
                        "about": value.summary,
                        "config": ", ".join(field_names(value.config_type)),
                    }
                )
    return rows


def tasks() -> Rows:
    """One row an evaluation task."""
    from evaluation.tasks import load_tasks

    return [
        {
            "task": t.label,
            "category": t.category,
            "type": t.task_type,
            "num_fewshot": t.num_fewshot,
            "random_baseline": t.baseline_v2 / 100,
            "core": t.in_core,
        }
        for t in load_tasks().values()
    ]


def datasets(store: Store) -> Rows:
    """One row a committed dataset."""
    refs: dict[str, list[str]] = {}
    for pipeline, variant, node, where in store.refs():
        refs.setdefault(where.name, []).append(f"{pipeline}.{node}" if variant == "default" else f"{pipeline}_{variant}.{node}")
    rows = []
    for where in store.dataset_dirs():
        m = where.manifest()
        rows.append({"dataset": where.name, "rows": m.rows_out, "dropped": m.rows_dropped, "megabytes": m.file_bytes / 1e6,
                     "made": m.provenance["started"], "used_by": ", ".join(sorted(refs.get(where.name, [])))})  # fmt: skip
    return rows


def status(store: Store) -> Rows:
    """One row a run, latest first: state, time, and for a failed one the first shard that failed and why."""
    runs: dict[str, dict[str, Any]] = {}
    for event in read_journals(store):
        row = runs.setdefault(
            event["run"],
            {"run": event["run"], "pipeline": event["pipeline"], "state": _open_state(event), "_start": event["time"], "shards": 0},
        )
        row["seconds"] = round(event["time"] - row["_start"], 1)
        kind = event["event"]
        if kind == "shard_done":
            row["shards"] += 1
        elif kind in ("run_finished", "run_failed"):
            row["state"] = kind.removeprefix("run_")
            if kind == "run_failed":  # by --strict, a lock, Ctrl-C: no shard failed
                row.setdefault("problem", event.get("error") or "stopped")
        elif kind in ("shard_failed", "node_failed"):
            where = f"{event['node']}/{event['shard']}" if event.get("shard") else event["node"]
            row["problem"] = f"{row['problem']}; " if row.get("problem") else ""
            row["problem"] += f"{where}: {event['error']} (log: {event['log']})"
    rows = [
        {"run": r["run"], "pipeline": r["pipeline"], "state": r["state"], "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(r["_start"])),
         "seconds": r.get("seconds", 0.0), "shards": r["shards"], "problem": r.get("problem", "")}
        for r in runs.values()
    ]  # fmt: skip
    return sorted(rows, key=lambda r: r["run"], reverse=True)


def _open_state(started: dict[str, Any]) -> str:
    """What has become of a run whose journal has no end."""
    if started.get("host") != socket.gethostname():
        return f"running or killed on {started.get('host')}"
    return "running" if Path(f"/proc/{started['pid']}").exists() else "killed"


def find_dataset(store: Store, name: str) -> DatasetDir:
    """Find a dataset by `pipeline.node`, `pipeline/variant/node`, or `stage/fingerprint` (a beginning of it is enough)."""
    import difflib

    names: dict[str, DatasetDir] = {}
    for pipeline, variant, node, where in store.refs():
        names[f"{pipeline}.{node}" if variant == "default" else f"{pipeline}_{variant}.{node}"] = where
    if name in names:
        return names[name]
    if "/" in name:
        stage, _, start = name.partition("/")
        found = [where for where in store.dataset_dirs(stage) if where.path.name.startswith(start[:SHORT])]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"'{name}' fits {len(found)} datasets: {', '.join(w.name for w in found)}")
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else "`winnow list datasets` shows them"
    raise UserError(f"no dataset '{name}' in {store.root}; {hint}")


def documents(store: Store, name: str, dropped: bool, reason: str | None, number: int) -> Rows:
    """Some documents of a dataset, or of those that were dropped there (for `reason`, if one is given)."""
    import duckdb

    if number < 1:
        raise UserError(f"-n {number}: ask for 1 document or more")
    dropped = dropped or bool(reason)
    where = find_dataset(store, name)
    manifest = where.manifest()
    kind = "dropped" if dropped else "documents"
    files = [str(where.path / f.path) for s in manifest.shards for f in s.files if f.path.startswith(kind)]
    if not files:
        raise UserError(f"{where.name} is of kind {manifest.kind} and has no {kind}")
    if reason and reason not in manifest.drops:
        raise UserError(f"{where.name} dropped nothing for '{reason}' (reasons: {', '.join(manifest.drops) or 'none'})")
    condition = "where drop_reason = $reason" if reason else ""
    order = "order by hash(id)" if dropped else ""  # a mix of reasons and shards, the same at every call
    relation = duckdb.connect().execute(
        f"select * from read_parquet($files) {condition} {order} limit $number",
        {"files": files, "number": number, **({"reason": reason} if reason else {})},
    )
    names = [column[0] for column in relation.description]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def print_documents(rows: Rows, name: str, dropped: bool) -> None:
    """Print documents as people read them: what and why, then the beginning of the text."""
    from rich.panel import Panel
    from rich.text import Text

    from flows.terminal import console

    if not rows:
        console.print(f"{name}: nothing {'dropped' if dropped else 'kept'}", markup=False)
    for row in rows:
        text = str(row.pop("text", "") or "")
        lines = []
        for key, value in row.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in value.items() if v is not None)
            if value not in (None, ""):
                lines.append(Text.assemble((key, "dim"), f" {value}"))
        if text:
            lines += [Text(), Text(text[:600] + (" ..." if len(text) > 600 else ""))]
        title = Text(str(row.get("drop_reason") or row.get("id", "")))
        console.print(Panel(Text("\n").join(lines), title=title, title_align="left"))


def diff(store: Store, a: str, b: str) -> Rows:
    """Fields in which two datasets differ: identity first, then counts."""
    old, new = find_dataset(store, a).manifest(), find_dataset(store, b).manifest()
    rows = []
    for change in changed_fields(old.payload, new.payload):
        name, _, values = change.partition(": ")
        before, _, after = values.partition(" -> ")
        rows.append({"field": name, "a": before, "b": after})
    for name, x, y in _numbers(old, new):
        if x != y:
            rows.append({"field": name, "a": str(x), "b": str(y)})
    return rows


def _numbers(old: Manifest, new: Manifest) -> list[tuple[str, Any, Any]]:
    fields = ["rows_in", "rows_out", "rows_dropped", "text_bytes", "content_hash"]
    pairs = [(f, getattr(old, f), getattr(new, f)) for f in fields]
    return pairs + [(f"drops.{r}", old.drops.get(r, 0), new.drops.get(r, 0)) for r in sorted(old.drops.keys() | new.drops.keys())]


def training_cost(scale: str) -> dict[str, Any]:
    """Parameters, tokens, steps and FLOPs of a scale."""
    from models.scales import SCALES

    if scale not in SCALES:
        raise UserError(f"there is no scale '{scale}'; the scales are {', '.join(SCALES)}")
    return SCALES[scale].plan()


def board_dir(store: Store, pipeline: str) -> Path:
    """Where the site of a pipeline's last benchmark lies; UserError if there is none."""
    ref = store.read_ref(pipeline, "default", "leaderboard")
    if ref is None:
        raise UserError(f"{pipeline} has no leaderboard in {store.root}; run `winnow benchmark {pipeline}` first")
    return store.dataset_dir(*ref).files


def print_board(store: Store, pipeline: str) -> Path:
    """Print funnel and leaderboard of a pipeline's last benchmark, and where the page is; return its path."""
    from evaluation.board import table
    from flows.funnel import print_funnel
    from flows.terminal import cell, console, print_table

    files = board_dir(store, pipeline)
    print_funnel(store, pipeline)
    board = json.loads((files / "board.json").read_text())
    rows = [_board_row(row) for row in table(board)]
    same = {name: rows[0][name] for name in ("suite", "scale", "tokens", "seeds") if len({row[name] for row in rows}) == 1}
    columns = [name for name in rows[0] if name not in same]
    print_table(rows, "leaderboard: " + ", ".join(f"{name} {cell(value)}" for name, value in same.items()), columns=columns)
    console.print(" ".join(group["headline"] for group in board["groups"]), highlight=False, markup=False)
    page = files / "index.html"
    console.print(f"\npage: {page}", soft_wrap=True, highlight=False, markup=False)
    return page


def _board_row(row: dict[str, Any]) -> dict[str, Any]:
    """One strategy in a line of the terminal: rank or tie, the ranking metric with its interval, every validation text, CORE."""

    def percent(name: str) -> str:
        if row[name] is None:
            return ""
        return f"{100 * row[name]:.1f}" + (" (at chance)" if row[f"{name}_at_chance"] else "")

    mean = "" if row["mean"] is None else f"{row['mean']:.3f}"
    interval = f"{mean} [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else mean
    texts = {f"{name}_bpb": round(value, 3) for name, value in (row["val_bpb"] or {}).items()}
    return {
        "rank": row["mark"], "strategy": row["strategy"], "status": row["status"], row["metric"]: interval, **texts, "core": percent("core"),
        "extended": percent("extended"), "epochs": "" if row["epochs"] is None else f"{row['epochs']:.2f}", "suite": row["suite"], "scale": row["scale"],
        "tokens": row["train_tokens"], "seeds": row["seeds"],
    }  # fmt: skip


def print_scores(store: Store, dataset: str, as_json: bool) -> None:
    """Print the scores of one evaluated model, and which tasks were not there to be asked."""
    from evaluation.subset import NOT_CHOSEN
    from flows.terminal import console, print_json, print_table

    summary = find_dataset(store, dataset).manifest().summary
    if as_json:
        print_json(summary)
        return
    rows = [{"task": label, **scores} for label, scores in summary["tasks"].items()]
    print_table(rows, f"{dataset}: suite {summary['suite']}")
    numbers = {"core": summary["core"], "extended": summary["extended"], "core_bpb": summary["core_bpb"], **{f"val_bpb/{k}": v for k, v in summary["val_bpb"].items()}}
    if known := [{"metric": name, "value": value} for name, value in numbers.items() if value is not None]:
        print_table(known, "together")
    absent = {label: why for label, why in summary.get("missing_why", {}).items() if why != NOT_CHOSEN}
    if absent:
        console.print(f"not asked, `winnow eval-data pull` fetches them: {', '.join(absent)}", markup=False, highlight=False, soft_wrap=True)


def serve_board(store: Store, pipeline: str, port: int) -> None:
    """Serve the store over HTTP on loopback, so that the page's links to dataset cards work, until interrupted."""
    import functools
    import http.server

    from flows.terminal import console

    page = board_dir(store, pipeline) / "index.html"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(store.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        console.print(
            f"http://127.0.0.1:{server.server_port}/{page.relative_to(store.root)}  (stop with Ctrl-C)", soft_wrap=True, highlight=False
        )
        server.serve_forever()
