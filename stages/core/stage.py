"""A stage: a function with metadata, and the values that pass between it and the engine.

Kinds and what their functions, called once per worker as `f(config, inputs, resources)`, give back:

    source    list[SourceShard]                                  the listing that everything else descends from
    extract   Callable[[SourceShard, Guard], Iterator[Extracted]]  raw shard -> documents and drops
    map       Callable[[pa.RecordBatch], Verdict]                shard -> shard: judge, drop, add or replace columns
    score     Callable[[pa.RecordBatch], Verdict]                shard -> sidecar of `id` and score columns; never drops
    reduce    Iterator[tuple[str, pa.Table]]                     all shards -> (shard name, table), in order; what the generator
                                                                 returns, if anything, is the manifest's summary; its "warnings" are told aloud
    artifact  Artifact                                           files written below resources.scratch
"""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.config import ConfigError, is_config

if TYPE_CHECKING:
    from stages.core.dataset import Dataset
    from stages.core.plan import Node

KINDS = ("source", "extract", "map", "score", "reduce", "artifact")
ROLES = ("source", "documents", "sidecar", "table", "artifact")


@dataclass(frozen=True)
class Verdict:
    """What a stage says about the rows of one batch, all arrays as long as the batch."""

    keep: pa.BooleanArray | None = None
    """True for the rows that stay; None keeps all."""
    reason: pa.Array | None = None
    """Drop reason of each row (string or dictionary); read only where `keep` is false."""
    detail: pa.StructArray | None = None
    """schema.DETAIL per row: the duplicate's kept id, the value and its limit."""
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    """Columns to add, or to put in the place of those of the same name."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Counts to add up over the dataset, such as lines removed."""


@dataclass(frozen=True)
class Extracted:
    """Documents and drops that came out of one stretch of a raw shard; either may be None."""

    documents: pa.RecordBatch | None = None
    dropped: pa.RecordBatch | None = None
    """Columns id, url, origin, drop_reason, detail and, if it is worth keeping, text."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """`records` counts what must end as a document or a drop; other counters are free."""


@dataclass(frozen=True)
class SourceShard:
    """One raw input file: its name in the store, where it lies, and what identifies its bytes."""

    name: str
    """Unique, and fit for a file name: source name and path below the root, '/' written as '-'."""
    path: str
    """Path below the source's root: the only place-dependent part is the root itself."""
    size_bytes: int
    identity: str
    """sha256 of the bytes, or ETag."""
    url: str = ""
    """Root and path joined, for this run only."""


@dataclass(frozen=True)
class Artifact:
    """Files that an artifact stage has written below its scratch directory, and a summary for the manifest."""

    files: tuple[str, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """The datasets that a stage reads, by the roles that the stage declared."""

    datasets: tuple["Dataset", ...] = ()
    roles: tuple[str, ...] = ()

    def of(self, role: str) -> tuple["Dataset", ...]:
        """Return all inputs of a role in order."""
        return tuple(d for d, r in zip(self.datasets, self.roles, strict=True) if r == role)

    def one(self, role: str) -> "Dataset":
        """Return the first input of a role; ValueError if there is none."""
        found = self.of(role)
        if not found:
            raise ValueError(f"the stage has no input of role '{role}' (has: {', '.join(self.roles) or 'none'})")
        return found[0]

    @property
    def documents(self) -> "Dataset":
        """The dataset of documents that the stage works on."""
        return self.one("documents")

    @property
    def artifact(self) -> "Dataset":
        """The first artifact."""
        return self.one("artifact")


@dataclass(frozen=True)
class Resources:
    """Where and with what a stage runs: none of it enters a fingerprint or changes a result.

    (But for a page that is given up after page_timeout_seconds, which is then recorded as such.)
    """

    workers: int = 1
    threads: int = 1
    batch_rows: int = 1024
    device: str = "cpu"
    scratch: str = ""
    """A private local directory; what an artifact stage returns is written here. A reduce may spill there; the others get none.
    That of a stage that resumes outlives a kill: the next attempt finds what the last one left."""
    page_timeout_seconds: float = 60.0
    """Longest time one page may take to extract before its worker is killed."""
    stall_timeout_seconds: float = 900.0
    """Longest time a shard may go without finishing a batch before its worker is killed."""
    memory_bytes: int | None = None
    """Data-segment limit of each worker (RLIMIT_DATA); None leaves it to the system."""
    keep_dropped_text: typing.Literal["all", "sample", "none"] | None = None
    """None = all below 100 GB of input text, sample (1 in 100) above."""
    progress: Callable[[float, str], None] | None = None
    """Called by long artifact stages with a fraction done and a few words."""

    def __post_init__(self) -> None:
        if self.workers < 0 or self.batch_rows < 1:
            raise ConfigError(f"workers is {self.workers} and batch_rows {self.batch_rows}; give 0 or more workers and at least 1 row")

    def report(self, fraction: float, words: str) -> None:
        """Tell whoever watches how far a long job is; fraction in [0, 1]."""
        if self.progress:
            self.progress(fraction, words)


class Guard:
    """Watches an extraction: knows which page is being worked on, and which ones are quarantined."""

    def __init__(self, quarantined: Mapping[int, str] | None = None, beat: Callable[[int], None] | None = None) -> None:
        self.quarantined = dict(quarantined or {})
        self._beat = beat

    def enter(self, offset: int) -> str | None:
        """Note that the page at byte `offset` comes next; return a drop reason if it must not be touched."""
        if self._beat:
            self._beat(offset)
        return self.quarantined.get(offset)


Columns = Mapping[str, pa.DataType] | Callable[[Any], Mapping[str, pa.DataType]]
Names = set[str] | frozenset[str] | Callable[[Any], set[str]]


@dataclass(frozen=True)
class Stage:
    """A stage function with its metadata; call it as the function that it is, or place it in a plan with `on`."""

    function: Callable[..., Any]
    name: str
    version: int
    kind: str
    config_type: type
    takes: tuple[str, ...]
    needs: Names
    adds: Columns
    carries: bool
    uses: tuple[str, ...]
    identity: Callable[[Any], Mapping[str, Any]] | None
    drop_band: tuple[float, float] | None
    memory_bytes: Callable[[Any], int] | None
    reproducible: str
    resumes: bool = False
    parts: Mapping[str, "Stage"] = field(default_factory=dict)
    """The steps of a chain in order, by name; empty for every other stage."""

    def __call__(self, config: Any, inputs: Inputs, resources: Resources) -> Any:
        return self.function(config, inputs, resources)

    def on(self, *inputs: "Node", name: str | None = None, **fields: Any) -> "Node":
        """Place this stage after `inputs` in a plan; `fields` are those of its config. Nothing runs."""
        from stages.core.plan import Node

        return Node(stage=self, config=self.config_type(**fields), inputs=tuple(inputs), name=name or self.name)

    def step(self, **fields: Any) -> "Step":
        """Make this stage a step of a chain; `fields` are those of its config."""
        return Step(self.name, self, self.config_type(**fields))

    def steps(self, config: Any) -> "list[Step]":
        """What the stage consists of: its steps, or the stage itself as the only one."""
        return [Step(n, part, getattr(config, n)) for n, part in self.parts.items()] or [Step(self.name, self, config)]

    def needed(self, config: Any) -> set[str]:
        """Columns that the stage reads, for this config."""
        return set(self.needs(config) if callable(self.needs) else self.needs)

    def added(self, config: Any) -> dict[str, pa.DataType]:
        """Columns that the stage writes beside (or instead of) those it reads, for this config."""
        return dict(self.adds(config) if callable(self.adds) else self.adds)

    @property
    def reference(self) -> str:
        """`module:name` of the stage."""
        return f"{self.function.__module__}:{self.name}"

    @property
    def summary(self) -> str:
        """The first line of the stage's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


@dataclass(frozen=True)
class Step:
    """A stage with its config, named as drop_stage names it."""

    name: str
    stage: Stage
    config: Any


def stage(
    *,
    version: int,
    kind: str,
    takes: tuple[str, ...] = ("documents",),
    needs: Names = frozenset(),
    adds: Columns | None = None,
    carries: bool = False,
    uses: tuple[str, ...] = (),
    identity: Callable[[Any], Mapping[str, Any]] | None = None,
    drop_band: tuple[float, float] | None = None,
    memory_bytes: Callable[[Any], int] | None = None,
    reproducible: str = "everywhere",
    resumes: bool = False,
) -> Callable[[Callable[..., Any]], Stage]:
    """Attach metadata to a stage function `f(config, inputs, resources)`.

    version      bumped by hand when the meaning of the output changes
    takes        roles of the inputs in order; a trailing '*' on the last one takes any number: ("documents", "sidecar*")
    needs, adds  columns read, and columns written with their types; either may be a function of the config
    carries      a reduce that writes whole documents: its output has the input's columns too
    uses         distributions whose version shapes the output
    identity     function of the config that fingerprints what its locations hold, such as a model file
    drop_band    (low, high) share of documents that one expects this stage to drop; outside it warns, or stops under --strict
    memory_bytes function of the config: what one process will hold, where that can be told before any run
    reproducible "everywhere", or what must be equal for equal output ("torch, device class, num_threads")
    resumes      resources.scratch outlives a kill, and the next attempt finds there what the last one left (always so for an artifact)
    """
    if kind not in KINDS:
        raise ValueError(f"@stage: kind '{kind}' is not one of {', '.join(KINDS)}")
    for role in takes:
        if role.rstrip("*") not in ROLES:
            raise ValueError(f"@stage: role '{role}' in takes is not one of {', '.join(ROLES)}")

    def attach(function: Callable[..., Any]) -> Stage:
        hints = typing.get_type_hints(function)
        config_type = hints.get("config")
        if not is_config(config_type):
            raise ValueError(f"@stage: {function.__name__} needs a first argument `config` annotated with a @config class")
        made = Stage(
            function=function,
            name=function.__name__,
            version=version,
            kind=kind,
            config_type=config_type,
            takes=takes,
            needs=needs,
            adds=adds or {},
            carries=carries,
            uses=uses,
            identity=identity,
            drop_band=drop_band,
            memory_bytes=memory_bytes,
            reproducible=reproducible,
            resumes=resumes or kind == "artifact",
        )
        object.__setattr__(made, "__doc__", function.__doc__)
        return made

    return attach


Judge = Callable[[pa.RecordBatch], Verdict]
Extractor = Callable[[SourceShard, Guard], Iterator[Extracted]]
