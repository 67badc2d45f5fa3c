"""The store: datasets in directories, refs to them, journals of runs; locks and crash-safe commits on a local file system.

    <store>/<stage>/<fingerprint[:12]>/{documents,dropped,files}/   _shards/   _logs/   README.md   manifest.json
    <store>/_refs/<pipeline>/<variant>/<node>.json      <store>/_runs/<run>.jsonl
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.fingerprint import SHORT
from stages.core.manifest import Manifest, ShardRecord

TEMPORARY = ".tmp-"
"""Start of the name of every file that is not yet committed: no reader looks at it, and the next lock holder sweeps it."""


class StoreError(ValueError):
    """The store can not be used as asked: unknown scheme, foreign lock, lost token."""


def temporary_name(final: Path) -> Path:
    """Return a name beside `final` that no other process of any host will choose."""
    return final.with_name(f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}-{final.name}")


def commit_file(written: Path, final: Path) -> None:
    """Make `written` durable and give it its final name in one step; it is read-only from then on."""
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    os.chmod(written, 0o444)
    os.replace(written, final)
    directory = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def commit_text(text: str, final: Path) -> None:
    """Write `text` aside and commit it under its final name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    written = temporary_name(final)
    written.write_text(text, encoding="utf-8")
    commit_file(written, final)


@dataclass(frozen=True)
class DatasetDir:
    """The directory of one dataset, committed or on its way."""

    path: Path

    @property
    def name(self) -> str:
        """`stage/fingerprint12`."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def documents(self) -> Path:
        """Parquet files of kept rows."""
        return self.path / "documents"

    @property
    def dropped(self) -> Path:
        """Parquet files of dropped rows."""
        return self.path / "dropped"

    @property
    def files(self) -> Path:
        """Files of an artifact."""
        return self.path / "files"

    @property
    def logs(self) -> Path:
        """Logs of failed shards."""
        return self.path / "_logs"

    def shard_mark(self, shard: str) -> Path:
        """The commit mark of a shard."""
        return self.path / "_shards" / f"{shard}.json"

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None if the dataset is not committed."""
        try:
            return Manifest.from_json((self.path / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def committed_shard(self, shard: str) -> ShardRecord | None:
        """Return the record of a committed shard whose files are there, or None."""
        try:
            record = ShardRecord.from_dict(json.loads(self.shard_mark(shard).read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError):  # not made, or by a winnow with other fields: make it again
            return None
        return record if all((self.path / f.path).exists() for f in record.files) else None

    def link_shard(self, record: ShardRecord, target: "DatasetDir") -> bool:
        """Give the files of a shard a second name in `target` (a copy where they can not be linked); False if one has gone."""
        for file in record.files:
            old, new = self.path / file.path, target.path / file.path
            if not old.exists():
                return False
            new.parent.mkdir(parents=True, exist_ok=True)
            aside = temporary_name(new)
            try:
                os.link(old, aside)
            except OSError:  # another file system
                shutil.copyfile(old, aside)
            os.replace(aside, new)
            with contextlib.suppress(FileNotFoundError):
                aside.unlink()  # replace() of two links to one file leaves both names
        return True

    @contextlib.contextmanager
    def locked(self, wait_seconds: float = 3600.0) -> Iterator[str]:
        """Hold the dataset's lock and yield a token that a worker must still find there when it commits.

        Sweeps what a dead writer left. StoreError if another process keeps the lock for longer than `wait_seconds`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "_lock", "a+") as file:
            deadline = time.monotonic() + wait_seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(f"{self.name} is being written by another run ({self.token()}); wait for it or stop it") from None
                    time.sleep(0.05)
            token = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(8)}"
            commit_text(token, self.path / "_token")
            self._sweep()
            yield token

    def token(self) -> str:
        """Return the token of the present writer, or of the last one."""
        try:
            return (self.path / "_token").read_text()
        except FileNotFoundError:
            return ""

    def check_token(self, token: str) -> None:
        """Raise StoreError if `token` is no longer that of the present writer: this process is a leftover and must not commit."""
        if self.token() != token:
            raise StoreError(f"{self.name}: another run has taken over; this worker commits nothing")

    def _sweep(self) -> None:
        for place in (self.path, self.documents, self.dropped, self.files, self.path / "_shards"):
            if place.is_dir():
                for leftover in place.glob(f"{TEMPORARY}*"):
                    if leftover.is_dir():
                        shutil.rmtree(leftover, ignore_errors=True)
                    else:
                        leftover.unlink(missing_ok=True)


class Store:
    """A local directory that holds datasets, refs and journals."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        text = os.fspath(root)
        if "://" in text and not text.startswith("file://"):
            raise StoreError(f"store {text}: only local directories can be written in this version; give a path such as ./store")
        self.root = Path(text.removeprefix("file://")).absolute()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"store {self.root} is a file; give a directory")

    def dataset_dir(self, stage: str, fingerprint: str) -> DatasetDir:
        """Return the directory of a dataset, which need not exist."""
        return DatasetDir(self.root / stage / fingerprint[:SHORT])

    def dataset_dirs(self, stage: str | None = None) -> Iterator[DatasetDir]:
        """Yield the directories of all committed datasets, of one stage or of all, in order of name."""
        for stage_dir in sorted(self.root.glob(stage or "[!_.]*")):
            for manifest in sorted(stage_dir.glob("*/manifest.json")):
                yield DatasetDir(manifest.parent)

    def begun_dirs(self, stage: str) -> Iterator[DatasetDir]:
        """Yield the directories of all datasets of a stage that have a committed shard, finished or not, in order of name."""
        for shards in sorted((self.root / stage).glob("*/_shards")):
            yield DatasetDir(shards.parent)

    def write_ref(self, pipeline: str, variant: str, node: str, stage: str, fingerprint: str) -> None:
        """Point `<pipeline>/<variant>/<node>` at a dataset."""
        text = json.dumps({"stage": stage, "fingerprint": fingerprint})
        path = self._ref_path(pipeline, variant, node)
        if not path.exists() or path.read_text() != text:
            commit_text(text, path)

    def read_ref(self, pipeline: str, variant: str, node: str) -> tuple[str, str] | None:
        """Return (stage, fingerprint) that the ref points at, or None."""
        try:
            data = json.loads(self._ref_path(pipeline, variant, node).read_text())
        except FileNotFoundError:
            return None
        return data["stage"], data["fingerprint"]

    def refs(self) -> Iterator[tuple[str, str, str, DatasetDir]]:
        """Yield (pipeline, variant, node, dataset directory) of every ref whose dataset is committed."""
        for path in sorted((self.root / "_refs").glob("*/*/*.json")):
            if path.name.startswith(TEMPORARY):  # of a run that is writing it now, or was killed while it did
                continue
            data = json.loads(path.read_text())
            where = self.dataset_dir(data["stage"], data["fingerprint"])
            if (where.path / "manifest.json").exists():
                yield path.parent.parent.name, path.parent.name, path.stem, where

    def _ref_path(self, pipeline: str, variant: str, node: str) -> Path:
        return self.root / "_refs" / pipeline / variant / f"{node}.json"


class RunJournal:
    """The journal of one run, a line of JSON per event; appended in single writes, so that a kill cuts at most the last line."""

    def __init__(self, store: Store, pipeline: str, variant: str) -> None:
        self.run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(3)
        self.path = store.root / "_runs" / f"{self.run}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._base = {"run": self.run, "pipeline": pipeline, "variant": variant}

    def write(self, event: str, **fields: Any) -> None:
        """Append an event with the time and `fields`."""
        line = json.dumps({"time": time.time(), "event": event, **self._base, **fields}) + "\n"
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def read_journals(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the events of all runs in order of time; a line cut by a kill is left out."""
    for path in sorted((store.root / "_runs").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)
