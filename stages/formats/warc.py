"""Find the records in raw crawl files, damaged ones too: WARC (and WET), ARC, plain, gzip or lz4.

This is done here rather than by a WARC library, because a library's reader ends at the first damaged byte and can not say what it
lost. A file is read in blocks (a gzip member or lz4 frame, plus followers that begin no record), each with the byte offset where
it began; after damage, reading goes on at the next block or record, and what could not be read is yielded as a broken record.
Cost: about 30 us a record beside inflating it, 2 % of what the extraction of a page takes.
"""

import bisect
import contextlib
import io
import mmap
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.formats.remote import is_remote, open_remote

COUNTED = ("response", "resource", "conversion", "arc", "unreadable")
"""Types of records that hold a page or may have held one; `unreadable` is a stretch of bytes, or a header, that does not say."""
OTHERS = ("request", "metadata", "warcinfo", "revisit", "continuation")
SPILL_BYTES = 64 << 20
"""A block that inflates to more than this (a video, a file compressed as one member) goes to a temporary file."""
HEADER_BYTES = 1 << 16
"""Longest WARC or HTTP header block that is believed."""

WARC_START = re.compile(rb"WARC/\d\.\d+[ \t]*\r*\n")
ARC_START = re.compile(
    rb"(?P<url>[A-Za-z][A-Za-z0-9+.\-]*:[^\r\n]*?) (?P<ip>[0-9A-Fa-f.:\-]+) (?P<date>\d{8,18}) "
    rb"(?P<type>[^\r\n]*?) ?(?P<length>[^ \r\n]+)\r*\n"
)
ARC_LINE = re.compile(rb"(?<=\n)" + ARC_START.pattern)
HEADER_END = re.compile(rb"\n\r*\n")
WARC_FIELD = re.compile(
    rb"(?im)^(warc-type|warc-record-id|warc-target-uri|warc-date|content-length|content-type)[ \t]*:[ \t]*([^\r\n]*)"
)
PADDING = re.compile(rb"[\s\0]*")
ZSTD_MAGIC = (b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18")
GZIP_MAGIC, LZ4_MAGIC = b"\x1f\x8b\x08", b"\x04\x22\x4d\x18"


@dataclass(slots=True)
class Record:
    """A record as it lies in its block: `data[begin:end]` is what follows its header."""

    offset: int
    type: str
    data: Any = b""
    begin: int = 0
    end: int = 0
    url: str = ""
    id: str = ""
    date: str = ""
    content_type: bytes = b""
    broken: tuple[str, str] | None = None
    """Drop reason and note, if the record can not be read whole."""


@dataclass(slots=True)
class _Block:
    """A stretch of decoded bytes in which records lie: a whole plain file, or a compressed member with followers that begin no record."""

    data: Any
    starts: list[tuple[int, int]]
    """Position in `data` and byte offset in the file of each member, in order."""
    error: tuple[str, str] | None = None
    """Drop reason and note, if decoding ended early."""

    def offset(self, position: int) -> int:
        """Byte offset in the file; within a member, the offset of the member plus the distance in decoded bytes."""
        at, offset = self.starts[bisect.bisect_right(self.starts, (position, 1 << 62)) - 1]
        return offset + position - at


def read_records(raw: Any) -> Iterator[Record]:
    """Yield every record of a raw file in order, and for every stretch that is no record one of type `unreadable`."""
    for block in _blocks(raw):
        last = None
        for record in _records_of(block):
            if last:
                yield last
            last = record
        if block.error:
            # Where the last record is whole, the member's very end or its check sum failed: that record is not to be trusted.
            if last and last.type in COUNTED:
                last.broken = block.error
            else:
                if last:
                    yield last
                last = Record(block.starts[-1][1], "unreadable", broken=block.error)
        if last:
            yield last


def _records_of(block: _Block) -> Iterator[Record]:
    data, size = block.data, len(block.data)
    at = PADDING.match(data).end()
    while at < size:
        record = _warc_header(block, at) or _arc_header(block, at)
        if not record:
            following = _next_start(data, at + 1, size)
            broken = block.error if following == size else None
            broken = broken or ("corrupt_record", f"{following - at} bytes that begin no record")
            yield Record(block.offset(at), "unreadable", broken=broken)
            at = following
            continue
        if record.broken:
            at = PADDING.match(data, _next_start(data, record.begin, size)).end()
            yield record
            continue
        begin, end = record.begin, record.end
        at = PADDING.match(data, min(end, size)).end()
        if end > size or (at < size and not WARC_START.match(data, at) and not ARC_START.match(data, at)):
            # The length does not lead to a record. Too long, if a record begins inside; then that one is not lost with this.
            inside = _next_start(data, begin, min(end, size))
            if inside < min(end, size):
                note = f"length is {end - begin}, but the next record begins after {inside - begin} bytes"
                record.broken = ("corrupt_record", note)
                at = inside
            elif end > size:
                record.broken = block.error or ("truncated_record", f"{size - begin} of {end - begin} bytes are there")
        yield record


def _next_start(data: Any, at: int, end: int) -> int:
    """Position of the next record start in data[at:end], or `end`."""
    found = WARC_START.search(data, at, end)
    position = found.start() if found else end
    arc = ARC_LINE.search(data, at, position) if data[:5] != b"WARC/" else None
    return arc.start() if arc else position


def _warc_header(block: _Block, at: int) -> Record | None:
    """Read the WARC header at `at`; a record with `broken` set if it is there but useless, None if there is none."""
    data = block.data
    start = WARC_START.match(data, at)
    if not start:
        return None
    ends = HEADER_END.search(data, start.end() - 1, start.end() + HEADER_BYTES)
    header = data[start.end() : ends.end() if ends else start.end() + HEADER_BYTES]
    if not ends and (other := WARC_START.search(header)):
        header = header[: other.start()]
    fields: dict[bytes, str] = {}
    for name, value in WARC_FIELD.findall(header):
        fields.setdefault(name.lower(), value.strip().decode("utf-8", "replace"))
    kind = fields.get(b"warc-type", "").lower()
    legible = ends and kind.replace("-", "").replace("_", "").isalnum()
    known = kind if kind in COUNTED + OTHERS else "other" if legible else "unreadable"
    record = Record(block.offset(at), known, data, begin=ends.end() if ends else start.end())
    record.url = fields.get(b"warc-target-uri", "").strip("<>")
    record.id = fields.get(b"warc-record-id", "").strip("<> ").removeprefix("urn:uuid:")
    record.date = fields.get(b"warc-date", "")
    record.content_type = fields.get(b"content-type", "").lower().encode()
    length = fields.get(b"content-length", "")
    if not ends:
        cut = start.end() + len(header) == len(data)
        record.broken = ("truncated_record", "ends in the header") if cut else ("corrupt_record", "header without end")
        record.broken = block.error or record.broken
    elif known == "unreadable" or not (length.isascii() and length.isdigit()):
        record.broken = ("corrupt_record", f"header with WARC-Type '{kind[:40]}' and Content-Length '{length[:40]}'")
    else:
        record.end = record.begin + int(length[:18])
    return record


def _arc_header(block: _Block, at: int) -> Record | None:
    """Read the ARC header line at `at` (version 1 or 2), if there is one."""
    line = ARC_START.match(block.data, at)
    if not line:
        return None
    url, digits, length = line["url"].decode("utf-8", "replace"), line["date"].decode(), line["length"]
    scheme = url.partition(":")[0].lower()
    kind = {"filedesc": "warcinfo", "dns": "other", "whois": "other"}.get(scheme, "arc")
    media_type = line["type"].partition(b" ")[0].lower()
    record = Record(block.offset(at), kind, block.data, begin=line.end(), url=url, content_type=media_type)
    if len(digits) >= 14:
        record.date = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}Z"
    if length.isdigit():
        record.end = record.begin + int(length[:18])
    else:
        record.broken = ("corrupt_record", f"ARC header with length '{length[:40].decode('latin-1')}'")
    return record


@contextlib.contextmanager
def open_raw(url: str, expected_bytes: int | None = None, alive: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """Map a raw file into memory; one that is not local is first copied to a temporary file (in TMPDIR: 1 GB for Common Crawl's).

    expected_bytes  length as listed; over HTTP(S) and from S3, another one is an error
    alive           called while a copy comes in
    """
    import fsspec

    with contextlib.ExitStack() as stack:
        if is_remote(url):
            file = _copied(open_remote(url, expected_bytes, alive=alive), stack)
        else:
            filesystem, path = fsspec.core.url_to_fs(url)
            local = isinstance(filesystem, fsspec.implementations.local.LocalFileSystem)
            file = stack.enter_context(open(path, "rb")) if local else _copied(filesystem.open(path, "rb"), stack)
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.seek(0, io.SEEK_END) else b""


def _copied(source: Any, stack: contextlib.ExitStack) -> Any:
    """Copy a stream to a temporary file that lives as long as the stack, and close the stream."""
    file = stack.enter_context(tempfile.TemporaryFile())
    with source:
        while piece := source.read(1 << 20):
            file.write(piece)
    file.flush()
    return file


def _blocks(raw: Any) -> Iterator[_Block]:
    """Split a raw file into blocks. The format follows from the bytes, never from the name."""
    if raw[:4] in ZSTD_MAGIC:
        raise ValueError(
            "the file is compressed with zstd, which is not read; recompress it with gzip, a member a record"
        )
    start = PADDING.match(raw).end()
    if WARC_START.match(raw, start) or ARC_START.match(raw, start):
        inflate = None
    elif raw[:4] == LZ4_MAGIC:
        magic, inflate = LZ4_MAGIC, _inflate_lz4
    elif raw[:3] == GZIP_MAGIC or _next_member(raw, 0, GZIP_MAGIC) < len(raw):
        magic, inflate = GZIP_MAGIC, _inflate_gzip
    elif _next_member(raw, 0, LZ4_MAGIC) < len(raw):
        magic, inflate = LZ4_MAGIC, _inflate_lz4
    else:
        inflate = None
    if not inflate:
        yield _Block(raw, [(0, 0)])
        return
    at, spool = 0, _Spool()
    while at < len(raw):
        member, error = at, None
        if raw[at : at + len(magic)] == magic:
            data, at, error = inflate(raw, at)
            if error and error[0] == "corrupt_record":
                at = _next_member(raw, member + 1, magic)
                error = ("corrupt_record", f"{error[1]}; {at - member} bytes from here to the next readable member")
        else:
            data, at = b"", _next_member(raw, at, magic)
            if PADDING.match(raw, member, at).end() == at:
                continue
            error = ("corrupt_record", f"{at - member} bytes that are not compressed data")
        if spool.starts and (error or _starts_record(data)):
            yield _Block(spool.data(), spool.starts)
            spool = _Spool()
        spool.add(data, member)
        if error:
            yield _Block(spool.data(), spool.starts, error)
            spool = _Spool()
    if spool.starts:
        yield _Block(spool.data(), spool.starts)


@dataclass(slots=True)
class _Spool:
    """Bytes that gather in memory, or in a temporary file once they are many."""

    starts: list[tuple[int, int]] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    size: int = 0
    file: Any = None

    def add(self, data: Any, member: int | None = None) -> None:
        """Append `data`, decoded from the member at that offset (None: from the same one)."""
        if member is not None:
            self.starts.append((self.size, member))
        self.size += len(data)
        if self.parts and self.size > SPILL_BYTES:  # a first part stays as it is: it may be a map of a file already
            self.file = tempfile.TemporaryFile()  # closed when the map of it goes
            self.file.writelines(self.parts)
            self.parts = []
        if self.file:
            self.file.write(data)
        else:
            self.parts.append(data)

    def data(self) -> Any:
        """All bytes, as bytes or as a map of the file."""
        if self.file:
            self.file.flush()
            return mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


def _starts_record(data: Any) -> bool:
    at = PADDING.match(data).end()
    return bool(WARC_START.match(data, at) or ARC_START.match(data, at))


def _next_member(raw: Any, at: int, magic: bytes) -> int:
    """Offset of the next compressed member that begins a record, or the end of the file."""
    while (at := raw.find(magic, at)) >= 0:
        if _starts_record(_peek(raw, at, magic)):
            return at
        at += 1
    return len(raw)


def _peek(raw: Any, at: int, magic: bytes) -> bytes:
    """The first bytes of a member as far as they can be decoded."""
    if magic == LZ4_MAGIC:
        return _read_lz4(raw[at : min(_lz4_end(raw, at)[0], at + (1 << 16))], 1 << 10)[0]
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(raw[at : at + (1 << 16)], 1 << 12)
    return b""


def _inflate_gzip(raw: Any, start: int, step: int = 1 << 16) -> tuple[Any, int, tuple[str, str] | None]:
    """Inflate the member at `start`: what came out, where the next one begins, and what went wrong."""
    decoder, spool, at = zlib.decompressobj(wbits=31), _Spool(), start
    try:
        while not decoder.eof:
            piece = decoder.unconsumed_tail
            if not piece:
                piece = raw[at : at + step]
                at += len(piece)
            decoded = decoder.decompress(piece, 1 << 24)
            if decoded:
                spool.add(decoded)
            elif not piece:
                return spool.data(), at, ("truncated_record", "the file ends inside a gzip member")
    except zlib.error as error:
        if step > 64:  # again in small steps: what a failing call had decoded is lost
            return _inflate_gzip(raw, start, 64)
        return spool.data(), at, ("corrupt_record", f"gzip: {error}")
    return spool.data(), at - len(decoder.unused_data), None


def _inflate_lz4(raw: Any, start: int) -> tuple[Any, int, tuple[str, str] | None]:
    """Decode the frame at `start` as _inflate_gzip does."""
    end, whole = _lz4_end(raw, start)
    data, error = _read_lz4(raw[start:end], None)
    if whole:
        return data, end, ("corrupt_record", f"lz4: {error}") if error else None
    # Cut off, or a damaged size led past the end: if a readable frame follows, it is damage.
    if _next_member(raw, start + 1, LZ4_MAGIC) == len(raw):
        return data, len(raw), ("truncated_record", "the file ends inside an lz4 frame")
    return data, len(raw), ("corrupt_record", "lz4: a block size leads past the end")


def _lz4_end(raw: Any, start: int) -> tuple[int, bool]:
    """Where the frame at `start` ends, by its block sizes, and whether all of it is there (LZ4 frame format 1.6.1)."""
    flags = raw[start + 4] if start + 4 < len(raw) else 0
    at, ended = start + 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0), False
    while not ended and at + 4 <= len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        ended = size == 0
        at += 4 + (4 * bool(flags & 4) if ended else (size & 0x7FFFFFFF) + 4 * bool(flags & 16))
    return at, ended and at <= len(raw)


def _read_lz4(frame: bytes, limit: int | None, step: int = 1 << 20) -> tuple[Any, str]:
    """Decode a frame, up to `limit` bytes or to its damage; the bytes and the error's text."""
    from fastwarc.stream_io import Lz4Reader

    reader, spool = Lz4Reader(io.BytesIO(frame)), _Spool()
    try:
        while (limit is None or spool.size < limit) and (decoded := reader.read(min(limit or step, step))):
            spool.add(decoded)
    except OSError as error:
        if step > 64:  # again in small steps: what a failing call had decoded is lost
            return _read_lz4(frame, limit, 64)
        return spool.data(), str(error)
    return spool.data(), ""
