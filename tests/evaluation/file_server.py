"""A real HTTP server on loopback for files in memory, with faults to order: it drops, refuses, lies or ignores ranges."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator


class FileServer(http.server.ThreadingHTTPServer):
    """`files`: path -> bytes. `faults`: path -> list of faults, one used up by each request: an int is a status, "cut" sends half."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True
        self.announce = True
        self.etags = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_args) -> None:
        pass

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        faults = server.faults.get(self.path) or []
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int) or self.path not in server.files:
            status = fault or 404
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = server.files[self.path], 0
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        if asked and server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.etags:
            self.send_header("ETag", etag)
        body = data[start:]
        if server.announce:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "cut":
            body = body[: max(1, len(body) // 2)]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = True


@contextlib.contextmanager
def serving() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
