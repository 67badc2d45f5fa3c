"""The engine: reads, writes, counts, checks and commits are done here and nowhere else.

    run = run_plan(load_plan("demo"), Store("store"), Resources(workers=2))

A node is reused if its manifest is there. Otherwise its missing shards are computed (those of an equal key are adopted from other
datasets of the stage), and the manifest is written last. Nodes whose inputs are ready run side by side.
"""

import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from stages.core.card import dataset_card
from stages.core.dataset import Dataset
from stages.core.fingerprint import as_dict, code_hash, digest
from stages.core.job import ArtifactRecord, Job, write_mark
from stages.core.listing import LISTING, write_listing
from stages.core.manifest import Manifest, ShardRecord, Totals, encode_schema, provenance, total
from stages.core.memory import machine_bytes
from stages.core.plan import Plan, PlanError
from stages.core.pool import InlinePool, JobFailed, LocalPool, open_pool
from stages.core.resolve import Forecast, Resolved, forecast, resolve
from stages.core.stage import Resources
from stages.core.store import RunJournal, Store, commit_text

logger = logging.getLogger(__name__)

ALL_TEXT_BELOW_BYTES = 100 * 10**9
"""Input text below which the text of every dropped document is kept; above it a sample of one in a hundred."""

NOTHING_WHOLE = ArtifactRecord([], {}, 0.0, 0)


class RunFailed(Exception):
    """Some shards could not be made; everything that could be was, and a rerun starts from there."""


@dataclass(frozen=True)
class Outcome:
    """What became of a node in a run."""

    node: str
    state: str
    """reused | ran | adopted (every shard came from another dataset) | failed | skipped (an input failed)"""
    dataset: str
    manifest: Manifest | None = None
    seconds: float = 0.0
    error: str = ""
    shards_run: int = 0
    shards_adopted: int = 0


@dataclass
class Run:
    """A run in progress: the plan, its identities, the store, the workers and the journal. Use it as a context manager."""

    plan: Plan
    store: Store
    resources: Resources
    strict: bool = False
    watch: Callable[[str, str, dict[str, Any]], None] = lambda node, event, fields: None
    """Called with (node, event, fields) for everything that the journal gets, and with "progress" besides."""
    resolved: dict[str, Resolved] = field(init=False)
    journal: RunJournal = field(init=False)
    pool: LocalPool | InlinePool = field(init=False)

    def __enter__(self) -> "Run":
        self.resolved = resolve(self.plan, self.store, self.resources)
        refuse_too_large(forecast(self.plan, self.store, self.resolved, self.resources))
        self.journal = RunJournal(self.store, self.plan.name, self.plan.variant)
        self.pool = open_pool(self.plan, self.store, self.resources)
        who = {"host": socket.gethostname(), "pid": os.getpid(), "argv": provenance()["argv"], "commit": provenance()["commit"]}
        self.journal.write("run_started", **who, nodes=[n.name for n in self.plan.nodes])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        self.pool.close()
        self.journal.write("run_failed" if error else "run_finished", error=str(error) if error else "")

    def note(self, node: str, event: str, **fields: Any) -> None:
        """Write an event to the journal and tell whoever watches."""
        self.journal.write(event, node=node, **fields)
        self.tell(node, event, fields)

    def tell(self, node: str, event: str, fields: dict[str, Any]) -> None:
        """Tell whoever watches; what goes wrong there does not touch the run."""
        try:
            self.watch(node, event, fields)
        except Exception:
            logger.exception("whoever watches the run failed at %s of %s", event, node)

    def run_node(self, name: str) -> Outcome:
        """Bring one node, whose inputs are done, to its end: reuse it or make it. Raises RunFailed naming the shards that failed."""
        found = self.resolved[name]
        started = time.perf_counter()
        manifest = found.where.manifest()
        if manifest is None:
            with found.where.locked() as token:
                manifest = found.where.manifest()  # another run may have finished it while we waited for the lock
                if manifest is None:
                    self.note(name, "node_started", dataset=found.where.name)
                    manifest, ran, adopted = self._make(found, token)
                    self._finish(name, found)
                    state = "ran" if ran or not adopted else "adopted"
                    outcome = Outcome(name, state, found.where.name, manifest, time.perf_counter() - started, "", ran, adopted)
                    self.note(name, "node_finished", dataset=found.where.name, state=state, seconds=outcome.seconds, **_counts(manifest, ran, adopted))
                    return outcome
        self._finish(name, found)
        self._warn_of_reuse(found, manifest)
        self.note(name, "node_reused", dataset=found.where.name, state="reused", **_counts(manifest, 0, 0))
        return Outcome(name, "reused", found.where.name, manifest, time.perf_counter() - started)

    def _warn_of_reuse(self, found: Resolved, manifest: Manifest) -> None:
        """Say what the dataset's making said, and if the code has changed since while the version has not."""
        name, stage = found.node.name, found.node.stage
        if manifest.fingerprint != found.fingerprint:
            raise RunFailed(f"{name}: {found.where.name} holds another dataset, whose fingerprint begins alike; remove one of them")
        for warning in manifest.warnings:
            self.note(name, "warning", warning=warning)
        if manifest.warnings and self.strict:
            raise RunFailed(f"{manifest.warnings[0]}; run without --strict to go on")
        if manifest.code_hash != code_hash(stage):
            self.note(name, "warning", warning=f"{name} is reused, though the code of {stage.name} changed: bump its version= if its output did")

    def _finish(self, name: str, found: Resolved) -> None:
        self.store.write_ref(self.plan.name, self.plan.variant, name, found.node.stage.name, found.fingerprint)

    def _make(self, found: Resolved, token: str) -> tuple[Manifest, int, int]:
        """Compute or adopt what is missing, then commit the manifest; return it with the numbers of shards run and adopted."""
        kind = found.node.stage.kind
        policy = self._text_policy(found)
        if kind == "source":
            shards = [write_listing(found)]
            return self._commit(found, shards, policy), 1, 0
        if kind == "artifact":
            return self._commit(found, [], policy, self._whole(found, token, policy)), 1, 0
        if kind == "reduce":
            records, summary = self._whole(found, token, policy)
            return self._commit(found, records, policy, ArtifactRecord([], summary, 0.0, 0)), len(records), 0
        todo = self._input_keys(found)
        records = {name: found.where.committed_shard(name) for name in todo}
        missing = [n for n, record in records.items() if record is None or record.key != todo[n] or record.dropped_text != policy]
        adopted = self._adopt(found, policy, {name: todo[name] for name in missing})
        records.update(adopted)
        missing = [name for name in missing if name not in adopted]
        if len(missing) < len(todo):
            self.note(found.node.name, "resumed", done=len(todo) - len(missing), shards=len(todo), adopted=len(adopted))
        records.update(self._run_shards(found, token, policy, {name: todo[name] for name in missing}, len(todo)))
        return self._commit(found, [records[name] for name in todo], policy), len(missing), len(adopted)

    def _job(self, found: Resolved, token: str, policy: str, shard: str | None, key: str) -> Job:
        prints = {name: self.resolved[name].fingerprint for name in [found.node.name, *[p.name for p in found.node.inputs]]}
        return Job(found.node.name, shard, token, key, prints, policy)

    def _whole(self, found: Resolved, token: str, policy: str) -> Any:
        name = found.node.name

        def progress(fraction: float, words: str) -> None:
            self.tell(name, "progress", {"fraction": fraction, "words": words})

        future = self.pool.submit(self._job(found, token, policy, None, found.fingerprint), progress)
        try:
            return future.result()
        except JobFailed as error:
            self._record_failure(found, None, error)
            raise RunFailed(f"{name} failed: {error}") from error

    def _run_shards(self, found: Resolved, token: str, policy: str, todo: dict[str, str], total_shards: int) -> dict[str, ShardRecord]:
        """Run the shards of a node; one that fails does not stop the others, but the node fails at the end."""
        name = found.node.name
        futures: dict[Future, str] = {self.pool.submit(self._job(found, token, policy, s, key)): s for s, key in todo.items()}
        records: dict[str, ShardRecord] = {}
        failed: dict[str, JobFailed] = {}
        pending = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                shard = futures[future]
                error = future.exception()
                if error is None:
                    records[shard] = future.result()
                    self.note(name, "shard_done", shard=shard, rows_out=records[shard].rows_out, rows_dropped=records[shard].rows_dropped)
                    fraction = (total_shards - len(todo) + len(records)) / total_shards
                    self.tell(name, "progress", {"fraction": fraction, "words": f"{len(records)}/{len(todo)} shards"})
                elif isinstance(error, JobFailed):
                    failed[shard] = error
                    self._record_failure(found, shard, error)
                else:
                    raise error
        if failed:
            first, error = next(iter(failed.items()))
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            log = found.where.logs / f"{first}.log"
            raise RunFailed(f"{name}: {len(failed)} of {len(todo)} shards failed; {first}: {error}{more}; log: {log}") from error
        return records

    def _record_failure(self, found: Resolved, shard: str | None, error: JobFailed) -> None:
        log = found.where.logs / f"{shard or found.node.name}.log"
        commit_text(f"{error}\n\n{error.log}", log)
        self.note(found.node.name, "shard_failed" if shard else "node_failed", shard=shard, error=str(error), log=str(log))

    def _input_keys(self, found: Resolved) -> dict[str, str]:
        """Map each shard that the node must have, in order, to its key: sha256 of the stage's identity and the input shards' keys."""
        node = found.node
        common = [found.stage_key]
        aligned: list[dict[str, str]] = []
        for parent, role in zip(node.inputs, node.roles, strict=True):
            made = self.resolved[parent.name]
            if role == "source":
                aligned.append({s.name: digest([s.name, s.size_bytes, s.identity]) for s in made.listing})
            elif role in ("documents", "sidecar"):
                aligned.append({s.name: s.key for s in Dataset(made.where).shards})
            else:
                common.append(made.fingerprint)
        names = list(aligned[0])
        for parent, keys in zip([p for p, r in zip(node.inputs, node.roles, strict=True) if r not in ("artifact", "table")], aligned, strict=True):
            lacking = [name for name in names if name not in keys]
            if lacking:
                raise RunFailed(f"{node.name}: input {parent.name} has no shard '{lacking[0]}'; it does not belong to {node.inputs[0].name}")
        return {name: digest([*common, *[keys[name] for keys in aligned]]) for name in names}

    def _adopt(self, found: Resolved, policy: str, wanted: dict[str, str]) -> dict[str, ShardRecord]:
        """Take shards of equal name and key from other datasets of the stage, finished or not, by hard link.

        Not those in which a page ran out of time: on another day it may not.
        """
        adopted: dict[str, ShardRecord] = {}
        for other in self.store.begun_dirs(found.node.stage.name):
            if other.path == found.where.path:
                continue
            for name in [name for name in wanted if name not in adopted]:
                record = other.committed_shard(name)
                fits = record and record.key == wanted[name] and record.dropped_text == policy and "quarantined_timeout" not in record.drops
                if fits and other.link_shard(record, found.where):
                    write_mark(found.where, record)
                    adopted[record.name] = record
                    self.note(found.node.name, "shard_adopted", shard=record.name, source=other.name)
        return adopted

    def _text_policy(self, found: Resolved) -> str:
        if self.resources.keep_dropped_text:
            return self.resources.keep_dropped_text
        size = 0
        for parent in found.node.inputs_of("documents"):
            size += self.resolved[parent.name].where.manifest().text_bytes
        for parent in found.node.inputs_of("source"):
            size += sum(shard.size_bytes for shard in self.resolved[parent.name].listing)
        return "all" if size < ALL_TEXT_BELOW_BYTES else "sample"

    def _commit(self, found: Resolved, shards: list[ShardRecord], policy: str, whole: ArtifactRecord = NOTHING_WHOLE) -> Manifest:
        """Remove what no record names, write the card and then the manifest: from here on the dataset exists."""
        named = {file.path for shard in shards for file in shard.files} | {file.path for file in whole.files}
        for place in (found.where.documents, found.where.dropped, found.where.files):
            for path in place.rglob("*") if place.is_dir() else ():
                if path.is_file() and str(path.relative_to(found.where.path)) not in named:
                    path.unlink()  # of an attempt with another listing: the card's pattern would load it
        node, sums = found.node, total(shards)
        schema = LISTING if node.stage.kind == "source" else node.schema
        manifest = Manifest(
            stage=node.stage.name,
            version=node.stage.version,
            kind=node.stage.kind,
            fingerprint=found.fingerprint,
            payload=found.payload,
            config=as_dict(node.config),
            inputs=[
                {"role": role, "stage": parent.stage.name, "fingerprint": self.resolved[parent.name].fingerprint}
                for parent, role in zip(node.inputs, node.roles, strict=True)
            ],
            schema=encode_schema(schema),
            shards=shards,
            files=whole.files,
            **dataclasses.asdict(sums)
            | {"seconds": round(sums.seconds + whole.seconds, 4), "added_memory_bytes": max(sums.added_memory_bytes, whole.added_memory_bytes)},
            content_hash=digest([[s.name, s.content_hash] for s in shards] + [[f.path, f.sha256] for f in whole.files]),
            code_hash=code_hash(node.stage),
            keep_dropped_text=policy,
            reproducible=node.stage.reproducible,
            summary=whole.summary,
            warnings=self._warnings(found, sums, whole.summary.get("warnings", [])),
            provenance={**provenance(), "run": self.journal.run},
        )
        if node.stage.kind != "artifact":
            commit_text(dataset_card(manifest), found.where.path / "README.md")
        commit_text(manifest.to_json(), found.where.path / "manifest.json")
        return manifest

    def _warnings(self, found: Resolved, sums: Totals, of_the_stage: list[str]) -> list[str]:
        """Say loudly what one would not expect, the stage's own warnings among it; under --strict the first one ends the node."""
        name = found.node.name
        warnings = [f"{name}: {warning}" for warning in of_the_stage]
        rows = sums.rows_in
        for step in found.node.stage.steps(found.node.config):
            dropped, band = sums.steps.get(step.name, 0), step.stage.drop_band
            where = f"{name}.{step.name}" if found.node.stage.parts else name
            if rows and dropped == rows:
                warnings.append(f"{where} dropped all of {rows:,} documents")
            elif band and rows and not band[0] <= dropped / rows <= band[1]:
                warnings.append(f"{where} dropped {dropped / rows:.1%} of {rows:,} documents; one expects {band[0]:.0%} to {band[1]:.0%}")
            rows -= dropped
        for warning in warnings:
            self.note(name, "warning", warning=warning)
        if warnings and self.strict:
            raise RunFailed(f"{warnings[0]}; run without --strict to go on")
        return warnings


def refuse_too_large(forecasts: list[Forecast]) -> None:
    """Raise PlanError if a node is known to need more memory than the machine has: before the work, not after hours of it."""
    for item in forecasts:
        if not item.reused and item.memory_bytes and item.memory_bytes > machine_bytes():
            raise PlanError(
                f"{item.name} needs about {item.memory_bytes / 1e9:.1f} GB of memory and this machine has {machine_bytes() / 1e9:.1f} GB; "
                "use fewer --workers, fewer shards (--limit-shards), a config of it that asks for less, or a larger machine"
            )


def run_plan(
    plan: Plan,
    store: Store,
    resources: Resources | None = None,
    *,
    strict: bool = False,
    watch: Callable[[str, str, dict[str, Any]], None] | None = None,
) -> dict[str, Outcome]:
    """Run every node of `plan` that is not done yet; return the outcome of each by name.

    Independent nodes run side by side. Raises RunFailed after everything that could be made was made.
    """
    resources = resources or Resources(workers=os.cpu_count() or 1)
    run = Run(plan, store, resources, strict)
    if watch:
        run.watch = watch
    with run:
        outcomes = _schedule(run)
        failed = [o for o in outcomes.values() if o.state == "failed"]
        if failed:
            raise RunFailed("; ".join(o.error for o in failed))
    return outcomes


def _schedule(run: Run) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    futures: dict[Future, str] = {}
    waiting = {node.name: node for node in run.plan.nodes}
    width = max(1, run.resources.workers)  # enough to keep every worker busy with whole-node jobs
    with ThreadPoolExecutor(width, thread_name_prefix="winnow-node") as threads, _closing_on_interrupt(run):
        while waiting or futures:
            for name, node in list(waiting.items()):
                states = [outcomes[p.name].state if p.name in outcomes else "pending" for p in node.inputs]
                if "failed" in states or "skipped" in states:
                    outcomes[name] = Outcome(name, "skipped", run.resolved[name].where.name, error="an input failed")
                    run.note(name, "node_skipped")
                    del waiting[name]
                elif "pending" not in states:
                    futures[threads.submit(run.run_node, name)] = name
                    del waiting[name]
            if not futures:
                continue
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                name = futures.pop(future)
                try:
                    outcomes[name] = future.result()
                except RunFailed as error:
                    outcomes[name] = Outcome(name, "failed", run.resolved[name].where.name, error=str(error))
                except Exception as error:  # a full disk, a bug: the other nodes finish first
                    words = f"{name}: {type(error).__name__}: {error}"
                    logger.exception("%s", words)
                    run.note(name, "node_failed", shard=None, error=words, log="")
                    outcomes[name] = Outcome(name, "failed", run.resolved[name].where.name, error=words)
    return outcomes


@contextlib.contextmanager
def _closing_on_interrupt(run: Run) -> Iterator[None]:
    """Close the pool when the block is left by an exception: the node threads wait for it, and the executor for them."""
    try:
        yield
    except BaseException:
        run.pool.close()
        raise


def _counts(manifest: Manifest, ran: int, adopted: int) -> dict[str, int]:
    return {"rows_in": manifest.rows_in, "rows_out": manifest.rows_out, "rows_dropped": manifest.rows_dropped, "shards_run": ran, "shards_adopted": adopted}
