"""Fetch one file over HTTP(S) to disk: time-outs, retries, resume, a cap on its size, its hash checked, renamed into place when whole.

The bytes gather in `.<name>.part` beside the file. A transfer that breaks goes on where it broke (Range with If-Range, RFC 9110
section 13.1.5). A part left by a killed process is gone on with only where the file's git blob hash is known, since nothing else
would tell a mixture of two versions. `.part` is locked: a second process that wants the same file is told so.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from .files import EvalDataError, git_blob

logger = logging.getLogger(__name__)

RETRIED = (408, 425, 429)
"""Statuses worth another attempt, besides all from 500 on."""
DEFAULT_MAX_BYTES = 256 << 20
"""The largest file of the suite has 18.6 MB; more than this is a mistake or a trap."""
LONGEST_WAIT_SECONDS = 60.0
"""A server may ask for a wait (Retry-After), but not for a longer one."""
_CHUNK = 1 << 18


class Unreachable(EvalDataError):
    """No connection to the host came about: no network, no such host, or it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server, and how often to ask it."""

    timeout_seconds: float = 30.0
    """For a connection, and for each next byte."""
    attempts: int = 4
    """Failures in a row without a new byte that end the transfer."""
    unreachable_attempts: int = 2
    """The same where no connection has come about: without a network, one wants to hear of it soon."""
    first_wait_seconds: float = 1.0
    """After the first failure; doubles with each one more."""
    total_seconds: float = 1800.0
    """A server that drips bytes is not waited for longer than this."""


def download(
    url: str, to: Path, *, blob: str = "", num_bytes: int | None = None, max_bytes: int = DEFAULT_MAX_BYTES,
    patience: Patience | None = None,
) -> None:  # fmt: skip
    """Make `to` the file at `url`; an existing file is replaced at once or not at all.

    blob       the git blob hash that it must have; "" = unknown
    num_bytes  its length, where known: more is refused as soon as it comes
    Raises Unreachable without a connection, EvalDataError for a refusal (404), other bytes, too many bytes or a server that fails.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise EvalDataError(f"{url}: only http:// and https:// are fetched; give another base URL")
    cap = max_bytes if num_bytes is None else num_bytes
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.part")
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EvalDataError(f"{to}: another process is fetching it; wait for it, then run again") from None
        try:
            _fill(url, file, part, blob, cap, patience or Patience())
            os.fsync(file.fileno())
            os.replace(part, to)
        finally:
            if part.exists() and (not blob or not part.stat().st_size):
                part.unlink()  # nobody could go on from it


def _fill(url: str, file: IO[bytes], part: Path, blob: str, cap: int, patience: Patience) -> None:
    """Bring the whole file into `part`, which is open as `file`, and check it."""
    if not blob:
        _empty(file)
    resumed = file.tell() > 0
    if not resumed or git_blob(part) != blob:
        _Transfer(url, file, cap, patience, hashed=bool(blob)).run()
    found = git_blob(part) if blob else ""
    if found != blob and resumed:
        logger.warning("%s: what an earlier run left does not fit; fetching the whole again", url)
        _empty(file)
        _Transfer(url, file, cap, patience, hashed=bool(blob)).run()
        found = git_blob(part)
    if found != blob:
        size = file.tell()
        _empty(file)
        raise EvalDataError(f"{url}: {size:,} bytes with git blob {found[:8]} came, {blob[:8]} was expected; it changed or came damaged")


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
    file.flush()


class _Transfer:
    """One file's way from a server, over as many connections as it takes."""

    def __init__(self, url: str, file: IO[bytes], cap: int, patience: Patience, hashed: bool):
        self.url, self.file, self.cap, self.patience, self.hashed = url, file, cap, patience, hashed
        self.etag = ""
        self.connected = False

    def run(self) -> None:
        failures, deadline = 0, time.monotonic() + self.patience.total_seconds
        while True:
            before, asked_wait = self.file.tell(), 0.0
            try:
                self._attempt(deadline)
                return
            except urllib.error.HTTPError as error:
                self.connected = True
                error.close()
                if error.code == 416 and before:  # the part is longer than the file: it belongs to another version
                    _empty(self.file)
                elif error.code < 500 and error.code not in RETRIED:
                    raise EvalDataError(f"{self.url}: the server says {error.code} {error.reason}; it may have moved") from None
                problem, asked = f"{error.code} {error.reason}", error.headers.get("Retry-After", "")
                asked_wait = min(float(asked), LONGEST_WAIT_SECONDS) if asked.isdigit() else 0.0
            except (OSError, http.client.HTTPException) as error:
                problem = str(getattr(error, "reason", "") or error) or type(error).__name__
            self.file.flush()
            failures = 1 if self.file.tell() > before else failures + 1
            limit = self.patience.attempts if self.connected else self.patience.unreachable_attempts
            if failures >= limit or time.monotonic() > deadline:
                raise (EvalDataError if self.connected else Unreachable)(
                    f"{self.url}: {problem}, after {failures} attempts in a row that brought nothing"
                    + ("; run again later, it goes on from there" if self.connected else "; there may be no network")
                )
            logger.info("%s: %s; trying again", self.url, problem)
            time.sleep(max(asked_wait, self.patience.first_wait_seconds * 2 ** (failures - 1)))

    def _attempt(self, deadline: float) -> None:
        if not self.etag and not self.hashed:
            _empty(self.file)  # nothing would tell that the rest belongs to the same version
        start = self.file.tell()
        headers = {"User-Agent": "winnow-eval-data/1", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.etag:
                headers["If-Range"] = self.etag
        request = urllib.request.Request(self.url, headers=headers)
        with contextlib.closing(urllib.request.urlopen(request, timeout=self.patience.timeout_seconds)) as answer:
            self.connected = True
            if start and not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                _empty(self.file)  # it sends the whole: another version, or no ranges
                start = 0
            etag = answer.headers.get("ETag", "")
            self.etag = "" if etag.startswith("W/") else etag
            length = answer.headers.get("Content-Length")
            expected = start + int(length) if length and length.isdigit() else None
            if expected is not None and expected > self.cap:
                raise EvalDataError(f"{self.url}: {expected:,} bytes announced, at most {self.cap:,} are taken; it is not the file meant")
            while chunk := answer.read1(_CHUNK):
                if self.file.tell() + len(chunk) > self.cap:
                    _empty(self.file)
                    raise EvalDataError(f"{self.url}: more than {self.cap:,} bytes came; it is not the file meant")
                self.file.write(chunk)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not whole after {self.patience.total_seconds:.0f} s")
            self.file.flush()
            if expected is not None and self.file.tell() < expected:
                raise ConnectionError(f"cut at {self.file.tell():,} of {expected:,} bytes")
