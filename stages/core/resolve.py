"""Resolving a plan against a store: list the sources, compute every fingerprint, say what is reused and why the rest will run."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from stages.core.dataset import Dataset
from stages.core.fingerprint import SHORT, canonical, changed_fields, code_hash, digest, library_versions
from stages.core.manifest import Manifest
from stages.core.plan import Node, Plan, PlanError
from stages.core.stage import Inputs, Resources, SourceShard
from stages.core.store import DatasetDir, Store

PROCESS_BYTES = 200 * 2**20
"""What a worker holds before it reads a row: the interpreter, Arrow and the plan's modules."""


@dataclass(frozen=True)
class Resolved:
    """A node with its identity in a store."""

    node: Node
    payload: dict[str, Any]
    fingerprint: str
    where: DatasetDir
    listing: tuple[SourceShard, ...] = ()
    """Raw shards of a source."""

    @property
    def short(self) -> str:
        """The fingerprint as in paths."""
        return self.fingerprint[:SHORT]

    @property
    def stage_key(self) -> str:
        """Hash of the payload without the inputs: equal for shards that one stage would treat alike."""
        return digest({key: value for key, value in self.payload.items() if key not in ("inputs", "listing")})


def resolve(plan: Plan, store: Store, resources: Resources) -> dict[str, Resolved]:
    """Compute the identity of every node, in order. Lists sources and hashes the files that configs point at; runs no stage.

    PlanError, which names the node, where a source or a file that a config points at can not be read.
    """
    resolved: dict[str, Resolved] = {}
    for node in plan.nodes:
        try:
            resolved[node.name] = _resolve_node(node, resolved, store, resources)
        except (ValueError, OSError) as error:
            told = str(error).startswith((f"{node.name}:", f"{node.name}."))
            raise PlanError(str(error) if told else f"{node.name}: {error}") from error
    return resolved


def _resolve_node(node: Node, resolved: dict[str, Resolved], store: Store, resources: Resources) -> Resolved:
    stage = node.stage
    payload: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "config": canonical(node.config, f"{node.name}.config"),
        "inputs": [resolved[parent.name].fingerprint for parent in node.inputs],
        "uses": library_versions(stage.uses),
    }
    if stage.identity:
        payload["identity"] = canonical(dict(stage.identity(node.config)), f"{node.name}.identity")
    if not all(step.stage.function.__module__.startswith("stages.") for step in stage.steps(node.config)):
        # Names of stages outside the house are not unique, and their authors forget versions: the code itself tells them apart.
        payload["code"] = code_hash(stage)
    listing: tuple[SourceShard, ...] = ()
    if stage.kind == "source":
        listing = tuple(stage(node.config, Inputs(), resources))
        payload["listing"] = [[s.name, s.path, s.size_bytes, s.identity] for s in listing]  # their order is that of the documents
    fingerprint = digest(payload)
    return Resolved(node, payload, fingerprint, store.dataset_dir(stage.name, fingerprint), listing)


@dataclass(frozen=True)
class Forecast:
    """What a run would do with one node."""

    name: str
    stage: str
    fingerprint: str
    reused: bool
    why: list[str]
    """Fields that changed since the dataset that the ref points at; "new" if there is none."""
    rows: int | None
    """Documents: those it has, or those it will read if its inputs are known."""
    seconds: float | None
    """Worker seconds it took, or an estimate from the largest run of the stage: seconds per row x rows."""
    file_bytes: int | None
    """Size on disk, or an estimate in the same way."""
    memory_bytes: int | None
    """Memory that the node will hold on this machine, all its workers together: what the stage declares or that run measured."""


def forecast(plan: Plan, store: Store, resolved: dict[str, Resolved], resources: Resources) -> list[Forecast]:
    """Say for each node whether it is reused or will run, why, and what it will take by the rates measured so far."""
    result: list[Forecast] = []
    rows_of: dict[str, int | None] = {}
    measured = cache(lambda *stage: _measured(store, *stage))  # every arm of a benchmark asks for the same few stages
    for node in plan.nodes:
        found = resolved[node.name]
        manifest = found.where.manifest()
        if manifest:
            rows_of[node.name] = manifest.rows_out
            why = []
            if manifest.code_hash != code_hash(node.stage):
                why = [f"the code of {node.stage.name} changed and its version did not: bump version= if its output changes"]
            made = (manifest.rows_out, manifest.seconds, manifest.file_bytes, None)
            result.append(Forecast(node.name, node.stage.name, found.short, True, why, *made))
            continue
        rows = next((rows_of[p.name] for p in node.inputs if p.stage.kind != "artifact"), None)
        rows_of[node.name] = None if node.stage.kind == "reduce" and not node.stage.carries else rows  # who knows how many a reduce will write
        cost = _cost(node, rows, measured(node.stage.name, frozenset(node.stage.parts)), resources)
        result.append(Forecast(node.name, node.stage.name, found.short, False, _why(plan, store, found), rows, *cost))
    return result


def _cost(node: Node, rows: int | None, run: Manifest | None, resources: Resources) -> tuple[float | None, int | None, int | None]:
    """Estimate seconds, bytes on disk and bytes of memory of a node with `rows` documents from a run of its stage."""
    added = node.stage.memory_bytes(node.config) if node.stage.memory_bytes else 0
    by_shard = node.stage.kind in ("extract", "map", "score")
    workers = max(1, resources.workers) if by_shard else 1
    if run is None:
        return None, None, (PROCESS_BYTES + added) * workers if added else None
    growth = rows / run.rows_in if rows is not None and run.rows_in else None
    # A shard's memory does not follow the size of the dataset; that of a whole does, unless the stage declares what it will hold.
    measured = run.added_memory_bytes * (1.0 if by_shard else max(1.0, growth or 1.0))
    memory = int(PROCESS_BYTES + (added if added and not by_shard else max(added, measured))) * workers
    if growth is None:
        return None, None, memory
    return run.seconds * growth, int(run.file_bytes * growth), memory


def _why(plan: Plan, store: Store, found: Resolved) -> list[str]:
    ref = store.read_ref(plan.name, plan.variant, found.node.name)
    before = store.dataset_dir(*ref).manifest() if ref else None
    if before is None:
        return ["new"]
    if before.fingerprint == found.fingerprint:
        return ["not finished"]
    changes = changed_fields(before.payload, found.payload)
    names = [parent.name for parent in found.node.inputs]
    old_inputs, new_inputs = before.payload.get("inputs", []), found.payload["inputs"]
    inputs = [name for name, old, new in zip(names, old_inputs, new_inputs, strict=False) if old != new]
    others = [change for change in changes if not change.startswith("inputs")]
    return others + ([f"input {', '.join(inputs)} changed"] if inputs else [])


def _measured(store: Store, stage: str, steps: frozenset[str]) -> Manifest | None:
    """The run to estimate by: the one with the most rows, since a small one measures little but start-up; of a chain, one with these steps."""
    manifests = [manifest for where in store.dataset_dirs(stage) if (manifest := where.manifest())]
    alike = [manifest for manifest in manifests if not steps or manifest.config.keys() == steps]
    return max(alike, key=lambda manifest: (manifest.rows_in, manifest.provenance["started"]), default=None)


def open_node(store: Store, plan: Plan, name: str) -> Dataset:
    """Open the dataset that the last run made for a node of a plan."""
    ref = store.read_ref(plan.name, plan.variant, name)
    if ref is None:
        raise FileNotFoundError(f"{plan.name}.{name} has not run in {store.root}; run `winnow run {plan.name}` first")
    return Dataset(store.dataset_dir(*ref))
