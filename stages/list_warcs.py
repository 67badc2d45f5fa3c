"""List the raw crawl files below a directory: the source that everything else descends from.

Written: a listing (name, path, size, sha256), which is what the fingerprint covers; the place of the files is not part of it.
Cost: one read of every listed file for its sha256.
"""

import hashlib
import re
from typing import Any

from stages.core.config import config, location
from stages.core.stage import Inputs, Resources, SourceShard, stage

SAFE_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""The source's name begins every shard name, which is a file name in the store."""


@config
class ListWarcs:
    root: str = location()
    """Directory (searched with all below it) or single file; a path or an fsspec URL."""
    source: str
    """Name of the crawl: it begins the name of every shard, so that two crawls never clash."""
    pattern: str = r"\.w?arc(\.(gz|lz4))?$|\.wet(\.(gz|lz4))?$"
    """Regular expression, searched in the path below the root without regard to case; names that begin with '.' or '_' are never listed."""
    limit_shards: int | None = None
    """List only the first so many, in order of name."""
    sample: float = 1.0
    """Share of the files to list, chosen by the hash of their names; a larger share contains every smaller one."""

    def __post_init__(self) -> None:
        if not SAFE_SOURCE.fullmatch(self.source):
            raise ValueError(
                f"source is '{self.source}'; it begins file names, so use letters, digits, '.', '_' and '-'"
            )
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample is {self.sample}; it must be above 0 and at most 1")
        if self.limit_shards is not None and self.limit_shards < 1:
            raise ValueError(f"limit_shards is {self.limit_shards}; it must be at least 1, or None for all")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern '{self.pattern}' is no regular expression: {error}") from None


@stage(version=1, kind="source", takes=())
def list_warcs(config: ListWarcs, inputs: Inputs, resources: Resources) -> list[SourceShard]:
    """List crawl files, sorted by shard name; the bytes of each are its identity.

    `limit_shards` and `sample` shorten the listing and nothing later. Raises ValueError if nothing is found, or if two paths make one name.
    """
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(config.root)
    paths = _paths(filesystem, root, config)
    if not paths:
        raise ValueError(
            f"list_warcs: no file below '{config.root}' matches '{config.pattern}' "
            f"({'the path is there' if filesystem.exists(root) else 'there is no such path'}); check root and pattern"
        )
    named: dict[str, str] = {}
    for path in paths:
        relative = path or root.rpartition("/")[2]
        name = f"{config.source}-{relative.replace('/', '-')}"
        if name in named:
            raise ValueError(
                f"list_warcs: '{named[name]}' and '{relative}' would both be the shard '{name}'; rename one of them"
            )
        named[name] = relative
    chosen = sorted(named)
    if config.sample < 1:
        chosen = [name for name in chosen if _position(name) < config.sample]
        if not chosen:
            raise ValueError(
                f"list_warcs: sample={config.sample} chose none of {len(named)} files; raise it, or use limit_shards"
            )
    single = paths == [""]
    shards = []
    for number, name in enumerate(chosen[: config.limit_shards]):
        resources.report(number / len(chosen), name)
        url = root if single else f"{root.rstrip('/')}/{named[name]}"
        size, digest = _digest(filesystem, url)
        shards.append(
            SourceShard(
                name,
                "" if single else named[name],
                size,
                digest,
                filesystem.unstrip_protocol(url) if _remote(filesystem) else url,
            )
        )
    return shards


def _paths(filesystem: Any, root: str, config: ListWarcs) -> list[str]:
    """Paths below the root; [""] if the root itself is a file, whatever its name: it was asked for by name."""
    if filesystem.isfile(root):
        return [""]
    start = len(root.rstrip("/")) + 1
    wanted = re.compile(config.pattern, re.IGNORECASE)
    relative = [path[start:] for path in filesystem.find(root)] if filesystem.exists(root) else []
    return [
        path
        for path in relative
        if wanted.search(path) and not any(part[0] in "._" for part in path.split("/") if part)
    ]


def _position(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _remote(filesystem: Any) -> bool:
    protocol = filesystem.protocol
    return "file" not in ((protocol,) if isinstance(protocol, str) else protocol)


def _digest(filesystem: Any, path: str) -> tuple[int, str]:
    """Size in bytes and sha256, read as a stream."""
    digest, size = hashlib.sha256(), 0
    with filesystem.open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
