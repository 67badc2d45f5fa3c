"""List raw crawl files, of a directory or of a crawl of Common Crawl: the source that everything else descends from.

    winnow run crawl --set warcs.root=my/warcs
    winnow run dclm_baseline --set extract.crawl=CC-MAIN-2024-10 --limit-shards 4

Written: a listing (name, path, size, identity), which is what the fingerprint covers; the place of the files is not part of it. What
identifies a file of a directory is the sha256 of its bytes; one of Common Crawl, whose archives never change, its path and length.
Cost: one read of every listed file for its sha256; of a crawl one small request per listed file, at most 10 a second (formats/remote.py), and
only the first time on a machine: the lengths are remembered.
"""

import difflib
import gzip
import hashlib
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import urlsplit

from stages.core.config import config, location
from stages.core.stage import Inputs, Resources, SourceShard, stage
from stages.formats.remembered import Remembered
from stages.formats.remote import Patience, RemoteError, is_remote, open_remote, remote_size

COMMON_CRAWL = ("data.commoncrawl.org", "commoncrawl")
"""Its web server and its bucket."""
CRAWL_NAMES = "https://index.commoncrawl.org/collinfo.json"
"""Names of all its crawls."""
REQUESTS_AT_ONCE = 8
"""A request takes about 0.2 s, most of it waiting: enough of them to use the 10 a second that politeness allows."""
SAFE_CRAWL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
"""CC-MAIN-2024-10, or CC-NEWS/2024/02."""
SAFE_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""The source's name begins every shard name, which is a file name in the store."""


@config
class ListWarcs:
    root: str | None = location(None)
    """Directory (searched with all below it) or single file; a path or an fsspec URL."""
    crawl: str | None = None
    """Name of a crawl of Common Crawl, such as CC-MAIN-2024-10, to be read from `server` in place of `root`."""
    kind: Literal["warc", "wet"] = "warc"
    """Which archives of `crawl`: pages as they came, or the text that Common Crawl took from them."""
    server: str = location("https://data.commoncrawl.org/")
    """Where `crawl` is read: https://, http:// or s3:// (s3://commoncrawl/ needs an AWS account, and is fast only inside us-east-1)."""
    source: str | None = None
    """It begins the name of every shard, so that two crawls never clash; None = the name of `crawl`, or "local" for a directory."""
    pattern: str = r"\.w?arc(\.(gz|lz4))?$|\.wet(\.(gz|lz4))?$"
    """Regular expression, searched in the path below the root without regard to case; names that begin with '.' or '_' are never listed."""
    limit_shards: int | None = None
    """List only the first so many, in order of name."""
    sample: float = 1.0
    """Share of the files to list, chosen by the hash of their names; a larger share contains every smaller one."""

    def __post_init__(self) -> None:
        if self.root is None and self.crawl is None:
            raise ValueError("neither root nor crawl is given; give a directory as root, or a crawl such as CC-MAIN-2024-10")
        if self.crawl is not None and not SAFE_CRAWL.fullmatch(self.crawl):
            raise ValueError(f"crawl is '{self.crawl}'; give a name such as CC-MAIN-2024-10 ({CRAWL_NAMES} has them all)")
        if self.crawl is not None and not is_remote(self.server):
            raise ValueError(f"server is '{self.server}'; it must begin with https://, http:// or s3://; list a directory with root=")
        if self.crawl is None and self.kind != "warc":
            raise ValueError(f"kind is '{self.kind}', which only a crawl has; choose files of a directory with pattern=")
        if self.source is not None and not SAFE_SOURCE.fullmatch(self.source):
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

    @property
    def place(self) -> str:
        """Where the listed paths begin."""
        return self.server if self.crawl else self.root or ""

    @property
    def prefix(self) -> str:
        """What the names of the shards begin with."""
        return self.source or (self.crawl.replace("/", "-") if self.crawl else "local")


@stage(version=1, kind="source", takes=())
def list_warcs(config: ListWarcs, inputs: Inputs, resources: Resources) -> list[SourceShard]:
    """List crawl files, sorted by shard name; what identifies the bytes of each is part of the listing.

    `limit_shards` and `sample` shorten the listing and nothing later. Raises ValueError if nothing is found, if two paths make one name,
    if there is no such crawl, and if its server can not be reached.
    """
    return _list_crawl(config, resources) if config.crawl else _list_directory(config, resources)


def _list_directory(config: ListWarcs, resources: Resources) -> list[SourceShard]:
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(config.root)
    paths = _paths(filesystem, root, config)
    if not paths:
        raise ValueError(
            f"list_warcs: no file below '{config.root}' matches '{config.pattern}' "
            f"({'the path is there' if filesystem.exists(root) else 'there is no such path'}); check root and pattern"
        )
    single = paths == [""]
    relative = [root.rpartition("/")[2]] if single else paths
    chosen = _choose(config, {path: f"{config.prefix}-{path.replace('/', '-')}" for path in relative})
    shards = []
    for number, (name, path) in enumerate(chosen.items()):
        resources.report(number / len(chosen), name)
        place = root if single else f"{root.rstrip('/')}/{path}"
        size, digest = _digest(filesystem, place)
        url = filesystem.unstrip_protocol(place) if _remote(filesystem) else place
        shards.append(SourceShard(name, "" if single else path, size, digest, url))
    return shards


def _list_crawl(config: ListWarcs, resources: Resources) -> list[SourceShard]:
    paths = [path for path in _crawl_paths(config) if re.search(config.pattern, path, re.IGNORECASE)]
    if not paths:
        raise ValueError(f"list_warcs: no {config.kind} archive of {config.crawl} matches '{config.pattern}'; check pattern")
    chosen = _choose(config, {path: f"{config.prefix}-{_short(path, config)}" for path in paths})
    known = Remembered(f"lengths of {config.crawl} {config.kind} at {config.server}")
    asked = [path for path in chosen.values() if path not in known.value]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads, known:
        try:
            sizes = threads.map(remote_size, [_url(config, path) for path in asked])
            for number, (path, size) in enumerate(zip(asked, sizes, strict=True), start=1):
                known.value[path] = size
                resources.report(number / len(asked), path)
        except RemoteError as error:
            raise ValueError(f"list_warcs: {error}") from error
    return [SourceShard(name, path, known.value[path], path, _url(config, path)) for name, path in chosen.items()]


def _crawl_paths(config: ListWarcs) -> list[str]:
    """All paths of the crawl, from its own list of them."""
    url = _url(config, f"crawl-data/{config.crawl}/{config.kind}.paths.gz")
    try:
        with open_remote(url) as file:
            packed = file.read()
    except RemoteError as error:
        # A bucket tells those who may not list it 403 for what is not there.
        hint = _near_crawl(config) if error.status in (403, 404) else ""
        raise ValueError(f"list_warcs: {error}{hint}") from error
    try:
        return gzip.decompress(packed).decode().split()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"list_warcs: {url} is no list of paths, packed with gzip ({error}); check server") from error


def _near_crawl(config: ListWarcs) -> str:
    """Words about the name of a crawl that was not found; those of the nearest one if the list of crawls can be had."""
    names_url = CRAWL_NAMES if urlsplit(config.server).netloc in COMMON_CRAWL else _url(config, "collinfo.json")
    try:
        with open_remote(names_url, patience=Patience.from_environment(attempts=1)) as file:
            names = [str(entry["id"]) for entry in json.loads(file.read())]
    except (OSError, ValueError, TypeError, KeyError):
        return f". The names of all crawls are at {names_url}"
    if config.crawl in names:
        return f". The crawl '{config.crawl}' exists, but its list of {config.kind} archives is not there"
    near = difflib.get_close_matches(config.crawl, names, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return f". There is no crawl '{config.crawl}'; {guess}({len(names)} names are at {names_url})"


def _url(config: ListWarcs, path: str) -> str:
    return f"{config.server.rstrip('/')}/{path}"


def _short(path: str, config: ListWarcs) -> str:
    """What is its own of a path such as crawl-data/CC-MAIN-2024-10/segments/1707947473347.0/warc/CC-MAIN-2024...-00000.warc.gz."""
    *folders, file = path.removeprefix(f"crawl-data/{config.crawl}/").split("/")
    return "-".join([*[folder for folder in folders if folder not in ("segments", config.kind)], file.removeprefix("CC-MAIN-")])


def _choose(config: ListWarcs, names: dict[str, str]) -> dict[str, str]:
    """Path -> shard name of all files, turned into shard name -> path of those to list, in order of name."""
    named: dict[str, str] = {}
    for path, name in names.items():
        if name in named:
            raise ValueError(f"list_warcs: '{named[name]}' and '{path}' would both be the shard '{name}'; rename one of them")
        named[name] = path
    chosen = sorted(named)
    if config.sample < 1:
        chosen = [name for name in chosen if _position(name) < config.sample]
        if not chosen:
            raise ValueError(f"list_warcs: sample={config.sample} chose none of {len(named)} files; raise it, or use limit_shards")
    return {name: named[name] for name in chosen[: config.limit_shards]}


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
