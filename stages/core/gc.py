"""Garbage collection: delete the datasets that no ref reaches.

Refs are the roots. A dataset that one points at keeps its inputs, these theirs, and so on: what is kept can always be explained and
made again from what it came from. Directories without a manifest stay, because a rerun goes on from their shards, unless asked for.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.fingerprint import SHORT
from stages.core.store import DatasetDir, Store, StoreError

TRASH = "_trash"
"""Below the store's root: a dataset is renamed to here in one step and then deleted, so that a kill never leaves half of one."""


@dataclass(frozen=True)
class Collected:
    """A dataset that went, or in a dry run would go."""

    dataset: str
    rows: int | None
    """None if it was never finished."""
    freed_bytes: int
    """Bytes that come free: a file that a dataset of a later run adopted lives on there and counts nothing."""


def collect(store: Store, dry_run: bool = False, unfinished: bool = False) -> list[Collected]:
    """Delete every dataset that no ref reaches, and with `unfinished` what killed runs left; return what went, in order of name.

    StoreError, and nothing is deleted, while a run holds a lock; a dry run only looks and never refuses.
    """
    if not dry_run:
        for where in _directories(store):
            with _free(where):
                pass
    kept = reachable(store)
    doomed = [where for where in _directories(store) if where.name not in kept and (unfinished or (where.path / "manifest.json").exists())]
    links: dict[tuple[int, int], int] = {}
    result = [_describe(where, links) for where in doomed]
    if dry_run:
        return result
    trash = store.root / TRASH
    trash.mkdir(parents=True, exist_ok=True)
    for where in doomed:
        with _free(where):
            os.replace(where.path, trash / f"{where.path.parent.name}-{where.path.name}-{secrets.token_hex(4)}")
    shutil.rmtree(trash)  # with what an earlier call that was killed left there
    return result


def reachable(store: Store) -> set[str]:
    """Return the names of the datasets that refs point at and of all that these came from."""
    found: dict[str, DatasetDir] = {}
    todo = [where for _, _, _, where in store.refs()]
    while todo:
        where = todo.pop()
        if where.name not in found:
            found[where.name] = where
            manifest = where.manifest()
            todo += [store.dataset_dir(i["stage"], i["fingerprint"][:SHORT]) for i in (manifest.inputs if manifest else [])]
    return set(found)


def _directories(store: Store) -> list[DatasetDir]:
    """Every dataset directory, finished or not."""
    return [DatasetDir(path) for path in sorted(store.root.glob("[!_.]*/[!_.]*")) if path.is_dir()]


@contextlib.contextmanager
def _free(where: DatasetDir) -> Iterator[None]:
    """Hold the lock of a directory, if it ever had one; StoreError if a run holds it."""
    try:
        file = open(where.path / "_lock", "rb")
    except FileNotFoundError:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{where.name} is being written by a run ({where.token()}); run gc when it has ended") from None
        yield


def _describe(where: DatasetDir, links: dict[tuple[int, int], int]) -> Collected:
    """Sum up one directory; `links` counts over all of them how many names of each file go."""
    freed = 0
    for path in (path for path in Path(where.path).rglob("*") if path.is_file()):
        stat = path.stat()
        inode = (stat.st_dev, stat.st_ino)
        links[inode] = links.get(inode, 0) + 1
        if links[inode] == stat.st_nlink:
            freed += stat.st_size
    manifest = where.manifest()
    return Collected(where.name, manifest.rows_out if manifest else None, freed)
