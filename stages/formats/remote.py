"""Read one object over HTTP(S), or from S3, as a stream that outlives stalls, cuts and refusals, and asks politely.

A transfer that breaks goes on where it broke (Range, RFC 9110 section 14), as long as the object is the same one (ETag and length); the
end is believed only at the length that was announced. S3 is HTTPS too: each request carries a signature in its URL, made by botocore.

What one machine may ask of a host, all processes together, is limited: Common Crawl can serve a few thousand requests a second to all
the world, and calls one retry a second polite (status.commoncrawl.org). Each request takes the next free turn from a file that they share.
Cost: a turn takes 0.15 ms besides its wait; a core reads about 1 GB/s, so the network is the bound.
"""

import contextlib
import fcntl
import io
import logging
import os
import re
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)
_reached: set[str] = set()
"""Hosts that have answered this process."""

SCHEMES = ("http://", "https://", "s3://")
RETRIED = (408, 425, 429)
"""Statuses worth another attempt, besides all from 500 on."""
PROGRESS_BYTES = 1 << 20
"""A failure after fewer bytes than this is one more in a row: a server that gives a byte at a time is not waited for for ever."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
TURN = struct.Struct("<d")
FORGET_SECONDS = 3600.0
"""A next turn farther away than this was written before the clock was set back, and does not count."""

REMEDIES = {
    401: "give it credentials, or read it from elsewhere",
    403: "Common Crawl refuses an address like this for a while after too many requests: run again later with a lower "
    "WINNOW_REMOTE_REQUESTS_PER_SECOND; a bucket refuses like this those who may not read it",
    404: "there is no such object: check its name, or list the crawl again",
    410: "it has gone: list the crawl again",
    412: "it changed while it was read: run again, so that it is listed as it is now",
    416: "it is shorter than it was: run again, so that it is listed as it is now",
}
UNSIZED = ("the server does not tell its length, so a cut transfer would look like its end", "read it from elsewhere")
"""Problem and remedy."""


class RemoteError(OSError):
    """A remote object can not be read; the message names it, the status, the bytes that came and the remedy."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server and how often to ask it, which changes no result.

    WINNOW_REMOTE_<FIELD> in the environment sets a field: WINNOW_REMOTE_REQUESTS_PER_SECOND=2.
    """

    connect_seconds: float = 15.0
    """Longest time to wait for a connection."""
    stall_seconds: float = 30.0
    """A connection that brings no byte for so long is given up, and a new one goes on from there."""
    attempts: int = 10
    """So many failures in a row, without PROGRESS_BYTES between them, end the reading."""
    unreachable_attempts: int = 4
    """The same where this process has had no answer from the host at all: without a network, one wants to hear of it soon."""
    first_wait_seconds: float = 1.0
    """Wait after the first failure; each one more in a row doubles it. Up to a half is added, so that workers do not come back together."""
    longest_wait_seconds: float = 120.0
    """Longest wait between attempts; a server that asks (Retry-After) for a longer one ends the reading."""
    requests_per_second: float = 10.0
    """Requests that all processes of this user on this machine make to one host. A whole crawl, 90,000 archives, is listed in 2.5 hours."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"WINNOW_REMOTE_{field.name.upper()} is {getattr(self, field.name)}; it must be above 0")

    @classmethod
    def from_environment(cls, **changed: float) -> "Patience":
        """Read the fields that the environment sets; `changed` goes before both. ValueError for what is no number."""
        found = {}
        for field in fields(cls):
            name = f"WINNOW_REMOTE_{field.name.upper()}"
            if name in os.environ:
                try:
                    found[field.name] = field.type(os.environ[name])
                except ValueError:
                    wanted = "a whole number" if field.type is int else "a number"
                    raise ValueError(f"{name} is '{os.environ[name]}'; give {wanted}") from None
        return cls(**{**found, **changed})


def is_remote(url: str) -> bool:
    """Say whether `open_remote` reads this URL."""
    return url.startswith(SCHEMES)


def open_remote(
    url: str, expected_bytes: int | None = None, patience: Patience | None = None, alive: Callable[[], None] = lambda: None
) -> io.BufferedReader:
    """Open an object as a buffered stream without seek; nothing is asked before the first read.

    expected_bytes  its length as listed: another one is an error, at the first answer or at the end
    alive           called before each attempt and whenever bytes come, for whoever watches that work goes on
    Reading raises RemoteError where the object can not be had, has another length, or changes.
    """
    return io.BufferedReader(_RemoteFile(url, expected_bytes, patience or Patience.from_environment(), alive), 1 << 20)


def remote_size(url: str, patience: Patience | None = None) -> int:
    """Length of an object in bytes, by a HEAD request; RemoteError where it can not be told."""
    talk = _Conversation(url, patience or Patience.from_environment(), lambda: None)
    size = _whole_size(talk.ask("HEAD", {}))
    if size is None:
        raise talk.error(UNSIZED[0], remedy=UNSIZED[1])
    return size


class _RemoteFile(io.RawIOBase):
    """The bytes of one object in order, over as many requests as it takes."""

    def __init__(self, url: str, expected_bytes: int | None, patience: Patience, alive: Callable[[], None]) -> None:
        self._talk = _Conversation(url, patience, alive)
        self._talk.size = expected_bytes
        self._tag: str | None = None
        self._answer: Any = None
        self._skip = 0
        """Bytes to pass over, of an answer that begins at the beginning again."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import urllib3

        talk = self._talk
        while talk.size is None or talk.at < talk.size:
            if self._answer is None:
                self._begin()
                continue
            try:
                piece = self._answer.raw.read1(min(len(buffer), self._skip or talk.size - talk.at), decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._break(_cause(error))
                continue
            if not piece:
                self._break("the connection ended early")
                continue
            talk.alive()
            if self._skip:
                self._skip -= len(piece)
                continue
            buffer[: len(piece)] = piece
            talk.at += len(piece)
            return len(piece)
        return 0

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
        super().close()

    def _break(self, problem: str) -> None:
        self._answer.close()
        self._answer = None
        self._talk.fail(problem)

    def _begin(self) -> None:
        """Ask for the bytes from here on, and check that they are those of the same object."""
        talk, headers = self._talk, {}
        if talk.at:
            headers["Range"] = f"bytes={talk.at}-"
            if self._tag and self._tag.startswith('"'):  # a weak tag promises nothing about bytes
                headers["If-Range"] = self._tag
        answer = self._answer = talk.ask("GET", headers)
        size, tag = _whole_size(answer), answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if size is None:
            raise talk.error(UNSIZED[0], remedy=UNSIZED[1])
        if talk.size is not None and size != talk.size:
            before = f"had {talk.size}" if self._tag else f"is listed with {talk.size}"
            raise talk.error(f"it has {size} bytes and {before}", remedy=REMEDIES[412])
        if self._tag and tag and tag != self._tag:
            raise talk.error(f"it is another object now (ETag {tag}, was {self._tag})", remedy=REMEDIES[412])
        talk.size, self._tag = size, self._tag or tag
        self._skip = talk.at if answer.status_code == 200 else 0
        if answer.status_code == 206:
            start = int(CONTENT_RANGE.fullmatch(answer.headers["Content-Range"])[1])
            if start != talk.at:
                self._break(f"the answer begins at byte {start}")


class _Conversation:
    """The requests for one object: each in its turn, repeated while that may help, and an account of how far they have come."""

    def __init__(self, url: str, patience: Patience, alive: Callable[[], None]) -> None:
        self.url, self.patience, self.alive = url, patience, alive
        self.host = urlsplit(url).netloc
        self.at = 0
        """Bytes delivered."""
        self.size: int | None = None
        self._failures, self._failed_at = 0, 0
        self._region: str | None = None

    def ask(self, method: str, headers: dict[str, str]) -> Any:
        """Return the first answer of status 200 or 206, its body still to be read. RemoteError where no further attempt would help."""
        import requests

        s3 = self.url.startswith("s3://")
        while True:
            self.alive()
            take_turn(self.host, self.patience)
            address = _signed(self.url, method, self._region) if s3 else self.url
            try:
                answer = _session().request(
                    method,
                    address,
                    headers=headers,
                    stream=method == "GET",
                    timeout=(self.patience.connect_seconds, self.patience.stall_seconds),
                    allow_redirects=not s3,
                )
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                self.fail(_cause(error))
                continue
            except requests.RequestException as error:
                raise self.error(_cause(error)) from None
            _reached.add(self.host)
            status = answer.status_code
            if status == 200 or (status == 206 and CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))):
                return answer
            answer.close()
            region = answer.headers.get("x-amz-bucket-region")
            if s3 and region and self._region is None and status in (301, 307, 400):
                self._region = region  # the bucket is in another region than the one that was signed for
            elif status in RETRIED or status >= 500:
                self.fail(f"status {status} {answer.reason}", _retry_after(answer.headers.get("Retry-After")), status)
            else:
                raise self.error(f"status {status} {answer.reason}", status)

    def fail(self, problem: str, asked_wait: float | None = None, status: int | None = None) -> None:
        """Wait after a failed attempt; RemoteError after too many in a row, or where the server asks for too long a wait."""
        if self.at - self._failed_at >= PROGRESS_BYTES:
            self._failures = 0
        self._failures, self._failed_at = self._failures + 1, self.at
        patience, reached = self.patience, self.host in _reached
        if asked_wait is not None:  # the server's word to this machine: every process keeps it
            hold_turns(self.host, min(asked_wait, patience.longest_wait_seconds))
        if self._failures >= (patience.attempts if reached else min(patience.attempts, patience.unreachable_attempts)):
            unreachable = f"{self.host} can not be reached: check the name, the network, and HTTPS_PROXY if there is one"
            remedy = "run again later" if reached else unreachable
            raise self.error(f"{problem}; given up after {self._failures} failures in a row", status, remedy)
        if asked_wait is not None and asked_wait > patience.longest_wait_seconds:
            raise self.error(f"{problem}, and the server asks to wait {asked_wait:.0f} s", status, "run again then")
        wait = min(patience.first_wait_seconds * 2 ** (self._failures - 1), patience.longest_wait_seconds)
        wait *= 1 + zlib.crc32(f"{self.url} {self._failures}".encode()) / 2**33  # another for each object, the same in each run
        logger.info("%s: %s after %d bytes; trying again in %.1f s", self.url, problem, self.at, max(wait, asked_wait or 0))
        time.sleep(wait)

    def error(self, problem: str, status: int | None = None, remedy: str | None = None) -> RemoteError:
        """The error that says what, how far and what to do."""
        so_far = f"{self.at} of {self.size} bytes read" if self.size is not None else f"{self.at} bytes read"
        return RemoteError(f"{self.url}: {problem} ({so_far}); {remedy or REMEDIES.get(status, 'check the address')}", status)


def take_turn(host: str, patience: Patience) -> None:
    """Wait for the next free request to `host`, 1 / requests_per_second after the one before it, of whichever process."""
    with _next_turn(host) as turn:
        start = max(turn.free_at, time.time())
        turn.free_at = start + 1 / patience.requests_per_second
    if (wait := start - time.time()) > 0:
        time.sleep(wait)


def hold_turns(host: str, seconds: float) -> None:
    """Let no process of this machine ask `host` anything for so long."""
    with _next_turn(host) as turn:
        turn.free_at = max(turn.free_at, time.time() + seconds)


@dataclass
class _Turn:
    free_at: float
    """Time of day, as all processes have it."""


@contextlib.contextmanager
def _next_turn(host: str) -> Any:
    """Read the time of the next free request under a lock, and write back what it was set to."""
    folder = Path(tempfile.gettempdir()) / f"winnow-turns-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / re.sub(r"[^A-Za-z0-9.-]", "_", host), "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed
        file.seek(0)
        written = file.read(TURN.size)
        turn = _Turn(TURN.unpack(written)[0] if len(written) == TURN.size else 0.0)
        if turn.free_at > time.time() + FORGET_SECONDS:
            turn.free_at = 0.0
        yield turn
        file.truncate(0)
        file.write(TURN.pack(turn.free_at))


@lru_cache(maxsize=1)
def _session() -> Any:
    """The process's connections, kept open between requests; proxies and certificates as HTTPS_PROXY and REQUESTS_CA_BUNDLE say."""
    import requests

    session = requests.Session()
    session.headers.update({"User-Agent": "winnow (curation of training text)", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=16))
    return session


def _signed(url: str, method: str, region: str | None) -> str:
    """The HTTPS address of an S3 object, signed for one request within the hour."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    client = _s3_client(region)
    from botocore.exceptions import BotoCoreError

    operation = "head_object" if method == "HEAD" else "get_object"
    try:
        return client.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)
    except BotoCoreError as error:
        raise RemoteError(
            f"{url}: the request can not be signed: {error} Set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "Common Crawl is at https://data.commoncrawl.org/ too, without an account"
        ) from None


@lru_cache
def _s3_client(region: str | None) -> Any:
    """A signer; botocore finds the credentials, and the endpoint where it is not Amazon's (AWS_ENDPOINT_URL_S3)."""
    import botocore.config
    import botocore.session

    session = botocore.session.get_session()
    region = region or session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", region_name=region, config=botocore.config.Config(signature_version="s3v4"))


def _whole_size(answer: Any) -> int | None:
    """Length of the whole object that an answer is (a part of)."""
    if answer.status_code == 206:
        return int(CONTENT_RANGE.fullmatch(answer.headers["Content-Range"])[2])
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as such or as a date; None if it says nothing."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _cause(error: Exception) -> str:
    """The innermost reason for a failed request, without the address: a signed one is a secret."""
    inner: Any = error
    while following := getattr(inner, "reason", None) or next((a for a in getattr(inner, "args", ()) if isinstance(a, Exception)), None):
        if not isinstance(following, Exception):
            break
        inner = following
    words = re.sub(r"\?\S+", "", str(inner))
    return words if words.startswith(type(inner).__name__) else f"{type(inner).__name__}: {words}"
