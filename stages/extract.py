"""Read crawl files and extract the main text of every page: WARC, ARC and WET, plain, gzip or lz4.

Text extraction is resiliparse (Bevendorff et al. 2018, "Elastic ChatNoir") with main_content=True, as DCLM does (Li et al. 2024,
section 3.2); text/plain pages and WET conversions keep their text as it is. Read: raw shards -> written: id, url, origin, text,
date, content_type, charset, html_bytes. Cost: about 1 ms per 20 KB page, nearly all of it HTML parsing.

    counter `records` = response, conversion, resource and ARC (all but dns, whois) records met, whole or broken, plus stretches of
                        bytes that belong to no readable record;  records = documents + drops
    `records_<type>`  = records of other types, which are only counted; `broken_<type>` = those of them that were damaged
"""

import codecs
import contextlib
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from stages.core.config import config
from stages.core.schema import DETAIL, DOCUMENT
from stages.core.stage import Extracted, Guard, Inputs, Resources, SourceShard, stage
from stages.formats.warc import COUNTED, HEADER_BYTES, HEADER_END, Record, open_raw, read_records

COLUMNS = {
    **DOCUMENT,
    "date": pa.string(),
    "content_type": pa.string(),
    "charset": pa.string(),
    "html_bytes": pa.int64(),
}
DROP_COLUMNS = {**{name: pa.string() for name in ("id", "url", "origin", "drop_reason")}, "detail": DETAIL}

REASONS = (
    "http_status content_type content_encoding too_large empty_payload not_utf8 no_text duplicate_id extraction_error "
    "corrupt_record truncated_record quarantined_crash quarantined_timeout"
).split()
"""Every drop_reason of this stage; the last two come from the guard."""

BATCH_ROWS, BATCH_CHARS = 256, 32 << 20
"""A batch is handed over at so many rows or characters of text."""
HTTP_FIELD = re.compile(rb"(?im)^(content-type|content-encoding|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)")
HTTP_STATUS = re.compile(rb"\s*HTTP/[\d.]+(?:[ \t]+(\d{3}))?(?!\d)[^\n]*(?:\n|$)")
HTTP_BARE_FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9\-]*[ \t]*:[^\n]*\n")
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
CHARSET_PARAMETER = re.compile(rb"charset[ \t]*=[ \t]*[\"']?([^\s\"';,]+)", re.IGNORECASE)
META_CHARSET = re.compile(
    rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]+)|<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9_:.\-]+)",
    re.IGNORECASE,
)
COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
HTML_TAG = re.compile(
    rb"\s*(?:<!--|<\?xml|<(?:!doctype\s+html|html|head|body|script|iframe|h1|div|font|table|a|style|title|b|br|p|meta)[\s>])",
    re.IGNORECASE,
)
BINARY_BYTES = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
FOREIGN_MAGIC = {
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\xd0\xcf\x11\xe0": "application/msword",
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"ID3\x03": "audio/mpeg",
    b"ID3\x04": "audio/mpeg",
    b"OggS\0": "application/ogg",
    b"wOFF": "font/woff",
    b"wOF2": "font/woff2",
    b"{\\rtf": "text/rtf",
}
UNKNOWN_TYPES = ("", "no-type", "unknown", "unknown/unknown", "application/unknown", "*/*")
SUPERSETS = {
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
    "ascii": "cp1252",
}
"""Browsers read these labels as the larger set (WHATWG Encoding, section 4.2)."""
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
LACKING = {"x-user-defined": "cp1252", "x-mac-cyrillic": "mac_cyrillic"}
"""Labels of the web that resiliparse does not map."""


@config
class Extract:
    http_status: tuple[int, int] = (200, 299)
    """Keep responses with a status from the first to the second; one without any status counts as 200, as in a browser."""
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    """Keep these media types; where the server names none, the payload is sniffed. text/plain is kept as it is."""
    max_html_bytes: int = 10_000_000
    """Drop payloads larger than this after decoding; no more than this is ever decoded."""
    min_text_chars: int = 1
    """Drop documents whose text is shorter."""
    utf8_only: bool = False
    """Drop pages that are not UTF-8, whatever charset they declare, as DCLM does; False decodes them as a browser would."""
    main_content: bool = True
    """Leave out navigation, headers, footers and the like (resiliparse's rules)."""

    def __post_init__(self) -> None:
        if self.http_status[0] > self.http_status[1]:
            raise ValueError(f"http_status is {self.http_status}; give the lowest and then the highest status to keep")
        if self.max_html_bytes < 1 or self.min_text_chars < 1:
            seen = f"max_html_bytes={self.max_html_bytes} and min_text_chars={self.min_text_chars}"
            raise ValueError(f"{seen}: both must be at least 1")


@stage(version=1, kind="extract", takes=("source",), adds=COLUMNS, uses=("Resiliparse", "FastWARC", "brotli"))
def extract(
    config: Extract, inputs: Inputs, resources: Resources
) -> Callable[[SourceShard, Guard], Iterator[Extracted]]:
    """Extract the text of every page of raw shards; what can not become a document is a drop with a reason of REASONS.

    The id is the WARC record id without `urn:uuid:`, or, where a record has none, 32 hex digits of sha256 over url, date and
    payload digest. The second record of one id in a shard is dropped. Damage never ends a shard; an unreadable path raises OSError.
    """
    from resiliparse.extract.html2text import extract_plain_text

    def to_text(html: str) -> str:
        return extract_plain_text(html, main_content=config.main_content)

    def run(shard: SourceShard, guard: Guard) -> Iterator[Extracted]:
        out = _Output(shard.name)
        # A copy that comes in is life, but no page's time: hence -1.
        with open_raw(shard.url, shard.size_bytes, alive=lambda: guard.enter(-1)) as raw:
            for record in read_records(raw):
                out.take(record, config, guard, to_text)
                if len(out.documents) + len(out.drops) >= BATCH_ROWS or out.chars >= BATCH_CHARS:
                    yield out.flush()
            yield out.flush()

    return run


@dataclass(slots=True)
class _Output:
    """Documents and drops of one shard on their way into batches."""

    shard: str
    documents: list[tuple] = field(default_factory=list)
    drops: list[tuple] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    last_offset: int = -1
    chars: int = 0

    def take(self, record: Record, config: Extract, guard: Guard, to_text: Callable[[str], str]) -> None:
        """Turn a record into a document or a drop, or only count it."""
        if record.type not in COUNTED:
            self._count(f"records_{record.type}")
            if record.broken:
                self._count(f"broken_{record.type}")
            return
        self._count("records")
        # Offsets name pages to the guard, so each must be another one: records in one gzip member may collide with later members.
        record.offset = self.last_offset = max(record.offset, self.last_offset + 1)
        if record.broken:
            self._drop(record, record.broken[0], note=record.broken[1])
            return
        reason = guard.enter(record.offset)
        if reason:
            self._drop(record, reason, note="this page ended its worker twice")
            return
        try:
            page = _read_page(record, config)
            if not record.id:
                record.id = _content_id(record)
            if record.id in self.ids:
                raise _Drop("duplicate_id", kept_id=record.id, note="an earlier record of the shard has this id")
            text = page.text if page.content_type == "text/plain" else _extracted(page.text, to_text)
            text = text.strip()
            if len(text) < config.min_text_chars:
                raise _Drop("no_text", value=len(text), limit=config.min_text_chars)
        except _Drop as drop:
            self._drop(record, drop.reason, **drop.detail)
            return
        self.ids.add(record.id)
        self.chars += len(text)
        origin = f"{self.shard}@{record.offset}"
        self.documents.append(
            (record.id, record.url, origin, text, record.date, page.content_type, page.charset, page.html_bytes)
        )

    def flush(self) -> Extracted:
        """Hand over what has gathered."""
        documents = _batch(self.documents, COLUMNS) if self.documents else None
        dropped = _batch(self.drops, DROP_COLUMNS) if self.drops else None
        made = Extracted(documents, dropped, self.counters)
        self.documents, self.drops, self.counters, self.chars = [], [], {}, 0
        return made

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def _drop(self, record: Record, reason: str, **detail: float | str | None) -> None:
        origin = f"{self.shard}@{record.offset}"
        identity = record.id or hashlib.sha256(origin.encode()).hexdigest()[:32]
        self.drops.append((identity, record.url, origin, reason, detail))


def _batch(rows: list[tuple], columns: dict[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), columns.values(), strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


class _Drop(Exception):
    """The page becomes no document; `detail` has fields of schema.DETAIL."""

    def __init__(self, reason: str, **detail: float | str | None) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(slots=True)
class _Page:
    text: str
    content_type: str
    charset: str
    html_bytes: int


def _read_page(record: Record, config: Extract) -> _Page:
    """Decode the payload of a record to characters; raises _Drop where it is no page that is wanted."""
    # What lies beyond the limit need not be copied: the page will be dropped for its size.
    block = record.data[record.begin : min(record.end, record.begin + config.max_html_bytes + HEADER_BYTES + 1)]
    header, payload, status = b"", block, None
    is_http = b"msgtype=response" in record.content_type.replace(b" ", b"")
    if is_http or record.type in ("response", "arc"):
        header, payload, status = _split_http(block, bare=record.type == "response")
        is_http = is_http or bool(header)
    fields: dict[bytes, bytes] = {}
    for name, value in HTTP_FIELD.findall(header):
        fields.setdefault(name.lower(), value.strip())
    low, high = config.http_status
    if status is not None and not low <= status <= high:
        raise _Drop("http_status", value=status, limit=high if status > high else low)
    # An HTTP message without a header says nothing about its payload; the WARC header names the type of other payloads.
    declared = fields.get(b"content-type", b"") if is_http else record.content_type
    mime = declared.partition(b";")[0].strip().lower().decode("latin-1")
    if mime not in UNKNOWN_TYPES and mime not in config.content_types:
        raise _Drop("content_type", note=mime[:100])
    payload = _decode_transfer(payload, fields, config.max_html_bytes)
    size = len(payload) + (record.end - record.begin - len(block))
    if size > config.max_html_bytes:
        raise _Drop("too_large", value=size, limit=config.max_html_bytes)
    if not payload or payload.isspace():
        raise _Drop("empty_payload", value=len(payload), limit=1)
    mime = _sniff(payload, mime, config)
    if config.utf8_only:
        text, charset = _decode_utf8(payload), "utf-8"
    else:
        text, charset = _decode_text(payload, CHARSET_PARAMETER.search(declared), mime)
    if mime == "text/plain":
        text = text.replace("\r\n", "\n")
    return _Page(text, mime, charset, len(payload))


def _split_http(block: bytes, bare: bool) -> tuple[bytes, bytes, int | None]:
    """Split a reply into header block, payload and status.

    Without a status line it is fields and a payload if `bare` says that those may stand alone, else a payload (HTTP/0.9).
    """
    line = HTTP_STATUS.match(block)
    if not line and not (bare and HTTP_BARE_FIELD.match(block)):
        return b"", block, None
    start = line.end() - 1 if line else 0  # from the line end on, so that a header without fields ends too
    ends = HEADER_END.search(block, start, start + HEADER_BYTES)
    status = int(line[1]) if line and line[1] else None
    return (block[: ends.end()], block[ends.end() :], status) if ends else (block[:HEADER_BYTES], b"", status)


def _decode_transfer(payload: bytes, fields: dict[bytes, bytes], limit: int) -> bytes:
    """Undo chunking and compression; of a damaged body take what can be decoded, and pass over what was declared but not applied."""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        payload = _dechunk(payload)
    codings = [word.strip().lower() for word in fields.get(b"content-encoding", b"").split(b",")]
    for coding in reversed(codings):
        applied = BINARY_BYTES.search(payload[:512]) and not HTML_TAG.match(payload)
        if applied and coding in (b"br", b"zstd", b"deflate"):
            payload = _decompress(coding, payload, limit)
            if not payload:
                raise _Drop("content_encoding", note=f"the bytes are not the {coding.decode()} that was declared")
    if payload.startswith(b"\x1f\x8b\x08"):  # gzip's magic is clearer than any header
        payload = _decompress(b"gzip", payload, limit) or payload
    return payload


def _decompress(coding: bytes, payload: bytes, limit: int) -> bytes:
    """Decode as much of `payload` as can be, at most one byte over the limit; b"" if nothing can."""
    if coding == b"br":
        import brotli

        decoder, parts, feed = brotli.Decompressor(), [], payload
        with contextlib.suppress(brotli.error):
            while sum(map(len, parts)) <= limit and not decoder.is_finished():
                parts.append(decoder.process(feed, output_buffer_limit=1 << 20))
                feed = b""
                if not parts[-1] and decoder.can_accept_more_data():
                    break
        return b"".join(parts)[: limit + 1]
    if coding == b"zstd":
        from fastwarc.stream_io import ZstdReader

        with contextlib.suppress(OSError):
            return ZstdReader(io.BytesIO(payload)).read(limit + 1)
        return b""
    for wbits in (31,) if coding == b"gzip" else (15, -15):  # deflate is zlib's format, or raw where the server errs
        for step in (len(payload) or 1, 512):  # in one piece, then in small ones to save what comes before damage
            decoder, decoded = zlib.decompressobj(wbits=wbits), bytearray()
            try:
                for at in range(0, len(payload), step):
                    decoded += decoder.decompress(payload[at : at + step], limit + 1 - len(decoded))
                    if decoder.eof or len(decoded) > limit:
                        break
                return bytes(decoded)
            except zlib.error:
                if decoded:
                    return bytes(decoded)
    return b""


def _dechunk(payload: bytes) -> bytes:
    """Join the chunks of a body; after a damaged size the rest is taken as it is, so a body that was never chunked is unchanged."""
    parts, at = [], 0
    while at < len(payload):
        size = CHUNK_SIZE.match(payload, at)
        if not size:
            parts.append(payload[at:])
            break
        length, at = int(size[1], 16), size.end()
        if not length:
            break
        parts.append(payload[at : at + length])
        at += length
        at += 2 if payload[at : at + 2] == b"\r\n" else payload[at : at + 1] == b"\n"
    return b"".join(parts)


def _sniff(payload: bytes, mime: str, config: Extract) -> str:
    """Settle the media type: believe the server, but not about a body that is plainly something else (WHATWG MIME Sniffing)."""
    head = payload[:1024]
    for magic, kind in FOREIGN_MAGIC.items():
        if head.startswith(magic):
            raise _Drop("content_type", note=f"{kind} (sniffed, declared {mime[:60] or 'nothing'})")
    if mime in UNKNOWN_TYPES:
        found = "text/html" if HTML_TAG.match(head.removeprefix(codecs.BOM_UTF8)) else "text/plain"
    else:
        found = mime
    unicode_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if found == "text/plain" and BINARY_BYTES.search(head) and not unicode_16:
        raise _Drop("content_type", note=f"binary (sniffed, declared {mime[:60] or 'nothing'})")
    if found not in config.content_types:
        raise _Drop("content_type", note=f"{found} (sniffed)")
    return found


def _decode_utf8(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise _Drop("not_utf8", value=error.start, note=f"byte {payload[error.start]:#04x} at {error.start}") from None


def _decode_text(payload: bytes, header: re.Match[bytes] | None, mime: str) -> tuple[str, str]:
    """Decode as a browser would: byte order mark, HTTP header, <meta> in the first 1,024 bytes, then UTF-8 if valid, then detection.

    Returns the text and the name of the Python codec; bytes that the codec lacks become U+FFFD. Never fails.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if payload.startswith(mark):
            return payload[len(mark) :].decode(name, "replace"), name
    charset = _codec(header[1]) if header else None
    if charset is None and mime != "text/plain":
        head = payload[:1024]
        if head.startswith((b"<\0", b"\0<")):
            charset = "utf-16-le" if head[0] else "utf-16-be"
        else:
            meta = META_CHARSET.search(COMMENT.sub(b"", head) if b"<!--" in head else head)
            charset = _codec(meta[1] or meta[2]) if meta else None
            if charset and charset.startswith("utf-16"):  # it could be read as ASCII, so it is wrong (HTML, 13.2.3.2)
                charset = "utf-8"
    if charset is None:
        with contextlib.suppress(UnicodeDecodeError):
            return payload.decode(), "utf-8"
        from resiliparse.parse.encoding import detect_encoding

        charset = _codec(detect_encoding(payload).encode()) or "cp1252"
    return payload.decode(charset, "replace"), charset


@lru_cache(maxsize=1024)
def _codec(label: bytes) -> str | None:
    """Python codec for a charset label of the web; None if there is none."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    name = label.strip().decode("latin-1").lower()
    name = map_encoding_to_html5(name, False) or LACKING.get(name)
    return SUPERSETS.get(name, name)


def _extracted(html: str, to_text: Callable[[str], str]) -> str:
    try:
        return to_text(html)
    except Exception as error:  # whatever a page does to the parser is that page's affair, and is recorded with it
        raise _Drop("extraction_error", note=f"{type(error).__name__}: {error}"[:200]) from None


def _content_id(record: Record) -> str:
    """Id of a record that brings none: the first 32 hex digits of sha256(url, date, sha1 of the block), NUL between them."""
    digest = hashlib.sha1(memoryview(record.data)[record.begin : record.end]).hexdigest()
    return hashlib.sha256("\0".join((record.url, record.date, digest)).encode()).hexdigest()[:32]
