"""The records of the sample that are odd or broken on purpose, each under a name, so that a reader of crawls can be checked.

A planted record carries a real page wherever its defect allows one. `MEANING` is the list of what is planted.
"""

import base64
import gzip
import hashlib
import json
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO

EPOCH = datetime(2024, 5, 1)
SOFTWARE = "winnow pipelines.sample.build"

MEANING = {
    "exact_duplicate": "the payload of another record, byte for byte, under another URL",
    "gzip_payload": "readable: Content-Encoding gzip",
    "brotli_payload": "readable: Content-Encoding br",
    "deflate_payload": "readable: Content-Encoding deflate",
    "chunked_payload": "readable: Transfer-Encoding chunked, well formed",
    "latin1_without_charset": "readable: ISO-8859-1 (German), charset declared nowhere",
    "shift_jis_without_charset": "readable: Shift_JIS (Japanese), charset declared nowhere",
    "cp1251_without_charset": "readable: windows-1251 (Russian), charset declared nowhere",
    "wrong_charset_header": "readable: ISO-8859-1 (German) under an HTTP header that says utf-8",
    "resource_record": "readable: a resource record with an HTML page and no HTTP headers",
    "conversion_record": "readable: a conversion record with plain text",
    "request_record": "a request record; carries no document",
    "metadata_record": "a metadata record; carries no document",
    "revisit_record": "a revisit record; carries no document",
    "http_404": "an HTML error page with status 404",
    "http_301": "a redirect with an empty body",
    "empty_body": "status 200 and a body of no bytes",
    "empty_document": "status 200 and an HTML page without any text",
    "plain_text_page": "text/plain",
    "json_page": "application/json",
    "css_page": "text/css",
    "binary_as_html": "4,096 binary bytes served as text/html",
    "nul_bytes": "an HTML page with NUL bytes in its text",
    "invalid_chunked_encoding": "Transfer-Encoding chunked on a body that has no chunks",
    "missing_status_line": "the HTTP block begins with its first header",
    "duplicate_record_id": "another page under the WARC-Record-ID of an earlier record",
    "content_length_too_small": "the WARC header declares 500 bytes fewer than the block has; a few whole records follow",
    "content_length_too_large": "the WARC header declares 500 bytes more than the block has; last whole record of its file",
    "truncated_gzip_member": "the last gzip member of its file, cut in half",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a package and the text that `resiliparse` extracts from it."""

    package: str
    version: str
    path: str
    language: str
    kind: str
    payload: bytes
    text: str

    @property
    def url(self) -> str:
        return f"https://docs.example.org/{self.package}/{self.path}"

    def rank(self, variant: str = "") -> str:
        return hashlib.sha256(f"{self.package}\0{self.path}\0{variant}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Record:
    """One WARC record as bytes, before compression."""

    id: str
    url: str
    block: bytes
    order: str
    defect: str = ""
    page: Page | None = None

    def member(self) -> bytes:
        """The record as one gzip member; zlib writes mtime 0."""
        deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
        return deflate.compress(self.block) + deflate.flush()


def record_id(page: Page, variant: str = "") -> str:
    """UUIDv5 of package, path and version: the same in every build."""
    name = "/".join(("winnow-sample", page.package, page.path, page.version, variant))
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"


def record_date(page: Page) -> str:
    """A fixed, synthetic date within one day."""
    return (EPOCH + timedelta(seconds=int(page.rank("date")[:8], 16) % 86400)).strftime("%Y-%m-%dT%H:%M:%SZ")


def response(
    page: Page,
    payload: bytes | None = None,
    *,
    variant: str = "",
    url: str = "",
    status: str = "200 OK",
    headers: list[tuple[str, str]] | None = None,
    record_type: str = "response",
    content_type: str = "",
    defect: str = "",
) -> Record:
    """Wrap a page (or another payload) as one WARC/1.1 record, written by warcio with fixed id and date."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    payload = page.payload if payload is None else payload
    url, rid = url or page.url, record_id(page, variant)
    http = None
    if record_type in ("response", "revisit"):
        headers = [("Content-Type", content_type or _content_type(page))] if headers is None else headers
        http = StatusAndHeaders(status, [*headers, ("Content-Length", str(len(payload)))], protocol="HTTP/1.1")
    buffer = BytesIO()
    writer = WARCWriter(buffer, gzip=False, warc_version="WARC/1.1")
    fixed = {"WARC-Record-ID": rid, "WARC-Date": record_date(page)}
    if record_type == "revisit":
        digest = "sha1:" + base64.b32encode(hashlib.sha1(page.payload).digest()).decode()
        record = writer.create_revisit_record(
            url, digest, page.url, record_date(page), http_headers=http, warc_headers_dict=fixed
        )
    else:
        kwargs = {"warc_content_type": content_type} if http is None else {}
        record = writer.create_warc_record(
            url,
            record_type,
            payload=BytesIO(payload),
            length=len(payload),
            http_headers=http,
            warc_headers_dict=fixed,
            **kwargs,
        )
    writer.write_record(record)
    return Record(rid, url, buffer.getvalue(), page.rank(variant), defect, page)


def _content_type(page: Page) -> str:
    """Two pages of three name their charset in the HTTP header, where it is UTF-8; the others leave it to the reader."""
    if int(page.rank("charset")[:4], 16) % 3 == 0:
        return "text/html"
    try:
        page.payload.decode()
    except UnicodeDecodeError:
        return "text/html"
    return "text/html; charset=utf-8"


def warcinfo(name: str) -> bytes:
    """The first record of a file: says that this is packed documentation, not a crawl."""
    seed = Page("warcinfo", "1", name, "en", "", b"", "")
    fields = (
        f"software: {SOFTWARE}\r\nformat: WARC File Format 1.1\r\n"
        "description: documentation pages of Debian packages, packed as WARC with synthetic URLs, dates and HTTP headers;"
        " not a crawl\r\n"
    )
    record = response(seed, fields.encode(), url=name, record_type="warcinfo", content_type="application/warc-fields")
    return replace(record, block=record.block.replace(b"WARC-Target-URI:", b"WARC-Filename:", 1)).member()


def _chunked(payload: bytes) -> bytes:
    parts = [payload[i : i + 4096] for i in range(0, len(payload), 4096)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _recoded(page: Page, encoding: str) -> bytes:
    """The page in another encoding, with its own declaration of a charset taken out."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    text = bytes_to_str(page.payload, detect_encoding(page.payload))
    text = re.sub(r"<\?xml[^>]*\?>|<meta[^>]*charset[^>]*>", "", text, flags=re.IGNORECASE)
    return text.encode(encoding, errors="xmlcharrefreplace")


def _with_length(record: Record, change: int) -> Record:
    """The same record under a WARC Content-Length that is wrong by `change` bytes."""
    head, rest = record.block.split(b"\r\n\r\n", 1)
    head = re.sub(rb"Content-Length: (\d+)", lambda m: b"Content-Length: %d" % (int(m[1]) + change), head)
    return replace(record, block=head + b"\r\n\r\n" + rest)


def _without_status_line(record: Record) -> Record:
    head, rest = record.block.split(b"\r\n\r\n", 1)
    cut = rest.split(b"\r\n", 1)[1]
    return _with_length(replace(record, block=head + b"\r\n\r\n" + cut), len(cut) - len(rest))


def _html(body: str) -> bytes:
    return f"<!DOCTYPE html><html><head><title>Page</title></head><body>{body}</body></html>".encode()


def plant(pages: list[Page], translated: list[Page], copies: list[Page]) -> Iterator[Record]:
    """Yield the planted records, but the truncated one, in a fixed order.

    pages: at least 30 English pages that stand nowhere else; translated: two German, one Japanese, one Russian;
    copies: pages of the pool that get an exact duplicate.
    """
    import brotli

    html, spare = [("Content-Type", "text/html")], iter(pages)

    def encoded(defect: str, count: int, encode: Callable[[bytes], bytes], name: str, header="Content-Encoding"):
        for _ in range(count):
            page = next(spare)
            yield response(page, encode(page.payload), headers=[*html, (header, name)], defect=defect)

    for page in copies:
        url = page.url.replace("docs.example.org", "mirror.example.net")
        yield response(page, variant="mirror", url=url, defect="exact_duplicate")
    yield from encoded("gzip_payload", 6, lambda b: gzip.compress(b, 9, mtime=0), "gzip")
    yield from encoded("brotli_payload", 6, brotli.compress, "br")
    yield from encoded("deflate_payload", 2, zlib.compress, "deflate")
    yield from encoded("chunked_payload", 3, _chunked, "chunked", "Transfer-Encoding")
    yield from encoded("invalid_chunked_encoding", 1, lambda b: b, "chunked", "Transfer-Encoding")

    german, german_too, japanese, russian = translated
    for page, encoding, defect in (
        (german, "latin-1", "latin1_without_charset"),
        (japanese, "shift_jis", "shift_jis_without_charset"),
        (russian, "cp1251", "cp1251_without_charset"),
    ):
        yield response(page, _recoded(page, encoding), headers=html, defect=defect)
    says_utf8 = [("Content-Type", "text/html; charset=utf-8")]
    yield response(german_too, _recoded(german_too, "latin-1"), headers=says_utf8, defect="wrong_charset_header")

    yield response(next(spare), record_type="resource", content_type="text/html", defect="resource_record")
    page = next(spare)
    yield response(
        page, page.text.encode(), record_type="conversion", content_type="text/plain", defect="conversion_record"
    )
    for page in copies[:2]:
        request = b"GET / HTTP/1.1\r\nHost: docs.example.org\r\n\r\n"
        kind = "application/http; msgtype=request"
        yield response(
            page, request, variant="request", record_type="request", content_type=kind, defect="request_record"
        )
        yield response(page, b"", variant="revisit", record_type="revisit", defect="revisit_record")
    note = b"fetchTimeMs: 12\r\n"
    yield response(
        copies[0], note, variant="metadata", record_type="metadata", content_type="application/warc-fields",
        defect="metadata_record",
    )  # fmt: skip

    source = copies[0]
    missing = _html("<h1>Not Found</h1><p>The requested page was not found on this server.</p>")
    for number in (1, 2):
        url = f"https://docs.example.org/missing/{number}.html"
        yield response(source, missing, variant=f"404-{number}", url=url, status="404 Not Found", defect="http_404")
    noise = b"\x89PNG\r\n\x1a\n" + b"".join(hashlib.sha256(b"noise%d" % i).digest() for i in range(128))[8:]
    page, nul = next(spare), next(spare)
    facts = json.dumps({"title": page.path, "words": page.text.split()[:200]}).encode()
    nuls = nul.payload.replace(b"<p>", b"<p>\0\0")
    redirect = [*html, ("Location", source.url)]
    utf8_text = [("Content-Type", "text/plain; charset=utf-8")]
    for defect, of, payload, status, headers in (
        ("http_301", source, b"", "301 Moved Permanently", redirect),
        ("empty_body", source, b"", "200 OK", html),
        ("empty_document", source, _html(""), "200 OK", html),
        ("plain_text_page", page, page.text.encode(), "200 OK", utf8_text),
        ("json_page", page, facts, "200 OK", [("Content-Type", "application/json")]),
        ("css_page", source, b"body { margin: 0 }\nh1 { color: #335 }\n", "200 OK", [("Content-Type", "text/css")]),
        ("binary_as_html", source, noise, "200 OK", html),
        ("nul_bytes", nul, nuls, "200 OK", html),
    ):
        url = f"https://docs.example.org/planted/{defect}"
        yield response(of, payload, variant=defect, url=url, status=status, headers=headers, defect=defect)

    yield _without_status_line(response(next(spare), headers=html, defect="missing_status_line"))
    for original in copies[2:4]:
        page, old = next(spare), record_id(original)
        twin = response(page, defect="duplicate_record_id")
        # sorts behind the original, so that the first record under this id is the ordinary one
        block, order = twin.block.replace(twin.id.encode(), old.encode()), original.rank() + "z"
        yield replace(twin, id=old, block=block, order=order)
    # late in its file: many readers end here
    small = _with_length(response(next(spare), headers=html, defect="content_length_too_small"), -500)
    yield replace(small, order="ff")
    large = _with_length(response(next(spare), headers=html, defect="content_length_too_large"), 500)
    yield replace(large, order="~")
