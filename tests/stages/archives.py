"""Crawl files written byte by byte, and `read`, which extracts one and checks its account, for several test files."""

import gzip
import io
import zlib
from collections import Counter
from dataclasses import dataclass, field

import brotli
import pyarrow as pa
from fastwarc.stream_io import Lz4Writer, ZstdWriter

from stages.core.schema import DETAIL
from stages.core.stage import Guard, Inputs, Resources, SourceShard
from stages.extract import COLUMNS, REASONS, Extract, extract

PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. " * 4


@dataclass
class Found:
    """All that came out of one shard."""

    documents: list[dict] = field(default_factory=list)
    drops: list[dict] = field(default_factory=list)
    counters: Counter = field(default_factory=Counter)

    @property
    def reasons(self) -> list[str]:
        return [drop["drop_reason"] for drop in self.drops]

    @property
    def texts(self) -> list[str]:
        return [document["text"] for document in self.documents]


def read(path, guard=None, **fields) -> Found:
    """Extract a file and check what holds for every one: the account, schemas, reasons, ids and offsets."""
    found = Found()
    for made in extract(Extract(**fields), Inputs(), Resources())(
        SourceShard("s", "s", 0, "", str(path)), guard or Guard()
    ):
        found.counters.update(made.counters)
        if made.documents is not None:
            assert made.documents.schema == pa.schema(list(COLUMNS.items()))
            found.documents += made.documents.to_pylist()
        if made.dropped is not None:
            assert made.dropped.schema.field("detail").type == DETAIL
            found.drops += made.dropped.to_pylist()
    rows = found.documents + found.drops
    assert found.counters["records"] == len(rows)
    assert set(found.reasons) <= set(REASONS)
    assert len({d["id"] for d in found.documents}) == len(found.documents) and all(r["id"] for r in rows)
    assert len({r["origin"] for r in rows}) == len(rows)
    return found


def html(body: str = PROSE, head: str = "") -> str:
    return f"<!doctype html><html><head>{head}<title>t</title></head><body><main><p>{body}</p></main></body></html>"


def reply(
    payload: bytes, content_type: str | None = "text/html; charset=utf-8", status: str = "200 OK", **headers: str
) -> bytes:
    lines = [f"HTTP/1.1 {status}"] + ([f"Content-Type: {content_type}"] if content_type else [])
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + payload


def record(block: bytes, kind="response", number=0, length=None, uri=None, identity=True, content_type=None) -> bytes:
    content_type = content_type or {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(
        kind, ""
    )
    lines = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {uri or f'http://host/{number}'}",
        "WARC-Date: 2024-05-06T07:08:09Z",
    ]
    lines += [f"WARC-Record-ID: <urn:uuid:{number:08d}-0000-4000-8000-000000000000>"] if identity else []
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"Content-Length: {len(block) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def page(number: int, body: str | None = None, **options) -> bytes:
    return record(reply(html(body or f"{PROSE} Page {number}.").encode()), number=number, **options)


def lz4(data: bytes) -> bytes:
    raw = io.BytesIO()
    writer = Lz4Writer(raw)
    writer.write(data)
    writer.close()
    return raw.getvalue()


COMPRESS = {"plain": lambda data: data, "gz": gzip.compress, "lz4": lz4}


def chunked(data: bytes, size: int = 100) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


def zstd(data: bytes) -> bytes:
    raw = io.BytesIO()
    writer = ZstdWriter(raw)
    writer.write(data)
    writer.close()
    return raw.getvalue()


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstd,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}
