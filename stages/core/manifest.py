"""Manifests: what a dataset says about itself. Written last; a directory without one does not exist for any reader."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

LAYOUT = 1
"""Version of the layout on disk; a reader refuses a newer one."""


class LayoutError(ValueError):
    """Another version of winnow wrote this."""


@dataclass(frozen=True)
class FileRecord:
    """A file of a dataset: where it is (relative to the dataset, or an absolute URL), its size and its sha256."""

    path: str
    size_bytes: int
    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class ShardRecord:
    """The commit mark of one shard, and what the manifest repeats about it."""

    name: str
    key: str
    """sha256 over the stage's identity and the keys of the input shards: an equal key means equal output."""
    rows_in: int
    rows_out: int
    rows_dropped: int
    drops: dict[str, int]
    counters: dict[str, int]
    text_bytes: int
    """UTF-8 bytes of `text` that were kept; 0 where there is no such column."""
    content_hash: str
    dropped_hash: str
    dropped_text: str
    """Which dropped documents kept their text: all, sample, none; "" where nothing is dropped."""
    files: list[FileRecord]
    seconds: float
    added_memory_bytes: int = 0
    """Most memory that its making took, on top of what the process held before."""
    steps: dict[str, int] = field(default_factory=dict)
    """Documents that each step dropped, in order: one entry, or those of a chain; empty where nothing can be dropped."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ShardRecord":
        return cls(**{**data, "files": [FileRecord(**f) for f in data["files"]]})


@dataclass(frozen=True)
class Manifest:
    """Everything that is known about a committed dataset."""

    stage: str
    version: int
    kind: str
    fingerprint: str
    payload: dict[str, Any]
    """What was hashed into the fingerprint: `plan --why` compares it field by field."""
    config: dict[str, Any]
    inputs: list[dict[str, str]]
    """role, stage, fingerprint of each input."""
    schema: str
    """Arrow IPC schema, base64; empty for a source or an artifact."""
    shards: list[ShardRecord]
    files: list[FileRecord]
    """Files of an artifact."""
    rows_in: int
    rows_out: int
    rows_dropped: int
    drops: dict[str, int]
    steps: dict[str, int]
    """Documents that each step dropped, in order; see ShardRecord."""
    counters: dict[str, int]
    text_bytes: int
    seconds: float
    added_memory_bytes: int
    """Most memory that one process took for a shard, or for the whole."""
    content_hash: str
    code_hash: str
    keep_dropped_text: str
    reproducible: str
    summary: dict[str, Any]
    warnings: list[str]
    provenance: dict[str, Any]
    layout: int = LAYOUT

    def to_json(self) -> str:
        """Encode as indented JSON, keys in order of definition."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Decode what `to_json` wrote; LayoutError if another winnow wrote it."""
        data = json.loads(text)
        if data.get("layout", 0) > LAYOUT:
            raise LayoutError(f"manifest of {data.get('stage')} has layout {data['layout']}, this winnow reads up to {LAYOUT}; update winnow")
        try:
            data["shards"] = [ShardRecord.from_dict(s) for s in data["shards"]]
            data["files"] = [FileRecord(**f) for f in data["files"]]
            return cls(**data)
        except TypeError as error:
            raise LayoutError(f"manifest of {data.get('stage')} {data.get('fingerprint')} has other fields ({error}); use another --store") from None

    @property
    def file_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size_bytes for shard in self.shards for file in shard.files) + sum(file.size_bytes for file in self.files)

    @property
    def arrow_schema(self) -> pa.Schema | None:
        """The schema of the Parquet files, or None."""
        return decode_schema(self.schema) if self.schema else None


@dataclass
class Totals:
    """Sums over shards."""

    rows_in: int = 0
    rows_out: int = 0
    rows_dropped: int = 0
    text_bytes: int = 0
    seconds: float = 0.0
    added_memory_bytes: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


def total(shards: list[ShardRecord]) -> Totals:
    """Add up the records of all shards; reasons and counters sorted by name."""
    sums = Totals()
    for shard in shards:
        sums.rows_in += shard.rows_in
        sums.rows_out += shard.rows_out
        sums.rows_dropped += shard.rows_dropped
        sums.text_bytes += shard.text_bytes
        sums.seconds += shard.seconds
        sums.added_memory_bytes = max(sums.added_memory_bytes, shard.added_memory_bytes)
        for name, count in shard.drops.items():
            sums.drops[name] = sums.drops.get(name, 0) + count
        for name, count in shard.steps.items():
            sums.steps[name] = sums.steps.get(name, 0) + count
        for name, count in shard.counters.items():
            sums.counters[name] = sums.counters.get(name, 0) + count
    sums.drops, sums.counters = dict(sorted(sums.drops.items())), dict(sorted(sums.counters.items()))
    return sums


def encode_schema(schema: pa.Schema | None) -> str:
    """Encode an Arrow schema as base64 text; "" for None."""
    import base64

    return base64.b64encode(schema.serialize().to_pybytes()).decode() if schema is not None else ""


def decode_schema(text: str) -> pa.Schema:
    """Decode what `encode_schema` wrote."""
    import base64

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


@cache
def provenance() -> dict[str, Any]:
    """Say where this process runs: commit of the checkout (with `+` if changed), command line, hardware, versions."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        try:
            return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit + ("+" if changed else ""),
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "host": platform.node(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@cache
def hardware() -> str:
    """Describe the machine in a line: processor, cores, memory."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"
