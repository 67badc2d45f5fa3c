"""An HTTP server on the loopback that serves bytes from memory, and misbehaves as a test has told it to, request by request."""

import hashlib
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Answer:
    """How to answer one request; the default is well."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    send_bytes: int | None = None
    """So much of the body is sent; None = all."""
    then: str = "close"
    """After a body that was cut: `close` the connection, or `stall` until the server is closed."""
    declared: int | None = None
    """Content-Length that is claimed; None = the true one."""
    ignore_range: bool = False
    content: bytes | None = None
    """Another object than the one at the path; None = that one."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    time: float
    method: str
    path: str
    range: str
    query: dict[str, list[str]]
    user_agent: str


class RoughServer(ThreadingHTTPServer):
    """`files` holds bytes by path, `script` the answers to the next requests for a path; `asked` is what came. Use it with `with`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.lock, self.over = threading.Lock(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""

    def __enter__(self) -> "RoughServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def ranges(self, path: str) -> list[str]:
        """The Range headers of the GET requests for a path, "" for none, in order."""
        return [asked.range for asked in self.asked if asked.method == "GET" and asked.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RoughServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(Answer())

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        with self.server.lock:
            script = self.server.script[path]
            answer = script.pop(0) if script else Answer()
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        parts, wanted = urlsplit(self.path), self.headers.get("Range", "")
        agent = self.headers.get("User-Agent", "")
        self.server.asked.append(Asked(time.monotonic(), self.command, parts.path, wanted, parse_qs(parts.query), agent))
        content = self.server.files.get(parts.path) if answer.content is None else answer.content
        status, headers = answer.status, dict(answer.headers)
        if content is None and status == 200:
            status = 404
        if status != 200:
            content = b"sorry"
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if wanted and status == 200 and not answer.ignore_range and self.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                status, content = 416, b""
            else:
                status = 206
                headers.setdefault("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                content = content[start:]
        self.send_response(status)
        for name, value in {"ETag": tag, "Content-Length": str(answer.declared or len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: answer.send_bytes])
        if answer.send_bytes is not None or answer.declared:
            if answer.then == "stall":
                self.server.over.wait(60)
            self.close_connection = True
