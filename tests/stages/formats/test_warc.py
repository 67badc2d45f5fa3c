"""warc: formats, offsets, damage. Files are written byte by byte or with warcio's writer, and read through extract."""

import contextlib
import gzip
import io
import zlib

import fsspec
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from stages.formats import warc
from tests.stages.archives import CODINGS, COMPRESS, PROSE, Found, chunked, html, lz4, page, read, record, reply

# ---- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", COMPRESS)
def test_formats_give_the_same_documents_at_the_offsets_where_they_lie(write, coding):
    pieces = [COMPRESS[coding](record(b"a: b\r\n", "warcinfo"))] + [COMPRESS[coding](page(n)) for n in range(1, 600)]
    found = read(write(*pieces))
    assert found.texts == [
        extract_plain_text(html(f"{PROSE} Page {n}."), main_content=True).strip() for n in range(1, 600)
    ]
    assert found.counters == {"records": 599, "records_warcinfo": 1}
    offsets = [sum(map(len, pieces[:n])) for n in range(1, 600)]
    assert [d["origin"] for d in found.documents] == [f"s@{offset}" for offset in offsets]
    first = found.documents[0]
    assert (first["id"], first["url"], first["date"]) == (
        "00000001-0000-4000-8000-000000000000",
        "http://host/1",
        "2024-05-06T07:08:09Z",
    )
    assert (first["content_type"], first["charset"]) == ("text/html", "utf-8")
    assert first["html_bytes"] == len(html(f"{PROSE} Page 1."))


def test_one_gzip_member_around_a_whole_file_and_members_cut_anywhere(write, monkeypatch):
    whole = b"".join(page(n) for n in range(30))
    cut = b"".join(gzip.compress(whole[at : at + 1000]) for at in range(0, len(whole), 1000))
    expected = read(write(whole)).texts
    assert len(expected) == 30
    assert read(write(gzip.compress(whole))).texts == expected == read(write(cut)).texts
    monkeypatch.setattr(warc, "SPILL_BYTES", 5000)  # through temporary files
    assert read(write(gzip.compress(whole))).texts == expected == read(write(cut)).texts


@pytest.mark.parametrize("coding", ["plain", "gz"])
def test_arc(write, coding):
    info = b"1 0 Tool\nURL IP-address Archive-date Content-type Archive-length\n"
    blocks = [
        (b"filedesc://a.arc 0.0.0.0 20140216050221 text/plain", info),
        (b"dns:host 1.2.3.4 20140216050221 text/dns", b"host. 1 IN A 1.2.3.4\n"),
        (b"http://host/a b 1.2.3.4 20140216050221 text/html", reply(html().encode())),
        (b"http://host/c 1.2.3.4 20140216050222 text/html", html().encode()),
        (b"http://host/d 1.2.3.4 20140216050222 no-type", reply(b"gone", status="404 Not Found")),
        (b"http://host/c 1.2.3.4 20140216050222 text/html", html().encode()),
    ]
    found = read(write(*(COMPRESS[coding](line + b" %d\n" % len(block) + block + b"\n") for line, block in blocks)))
    assert [d["url"] for d in found.documents] == ["http://host/a b", "http://host/c"]
    assert found.documents[0]["date"] == "2014-02-16T05:02:21Z" and len(found.documents[0]["id"]) == 32
    assert found.reasons == ["http_status", "duplicate_id"]
    assert found.counters == {"records": 4, "records_warcinfo": 1, "records_other": 1}


def test_files_of_other_writers(tmp_path):
    path = tmp_path / "w.warc.gz"
    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("w.warc.gz", {"software": "test"}))
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0")
        for n in range(3):
            body = io.BytesIO(html(f"{PROSE} {n}").encode())
            writer.write_record(
                writer.create_warc_record(f"http://host/{n}", "response", payload=body, http_headers=headers)
            )
        writer.write_record(
            writer.create_warc_record(
                "http://host/r", "resource", payload=io.BytesIO(b"plain words"), warc_content_type="text/plain"
            )
        )
    found = read(path)
    assert len(found.documents) == 4 and found.texts[3] == "plain words" and found.counters["records_warcinfo"] == 1


def test_a_remote_file_is_read(tmp_path):
    with fsspec.open("memory://remote/a.warc.gz", "wb") as file:
        file.write(gzip.compress(page(1)))
    assert len(read("memory://remote/a.warc.gz").documents) == 1


def test_empty_files_and_other_archives(write):
    assert read(write(b"")).counters == {}
    assert read(write(b"\r\n\0\0")).counters == {}
    assert read(write(b"hello, this is no archive")).reasons == ["corrupt_record"]
    with pytest.raises(ValueError, match="zstd"):
        read(write(b"\x28\xb5\x2f\xfd0000"))
    with pytest.raises(OSError):
        read("/no/such/file")


def test_only_records_that_may_hold_a_page_are_accounted_for(write):
    kinds = ["request", "metadata", "revisit", "warcinfo", "continuation", "invented"]
    found = read(
        write(
            *(record(b"x", kind, n) for n, kind in enumerate(kinds)),
            page(9),
            record(b"dns", "response", 10, content_type="text/dns"),
        )
    )
    expected = {f"records_{kind}": 1 for kind in kinds[:5]} | {"records_other": 1, "records": 2}
    assert found.counters == expected and found.reasons == ["content_type"]


# ---- damage ----------------------------------------------------------------------------------------------------------


def numbers(found: Found) -> list[int]:
    return [int(d["url"].rpartition("/")[2]) for d in found.documents]


@pytest.mark.parametrize("coding", ["gz", "lz4"])
def test_a_damaged_member_loses_its_record_alone(write, coding):
    pieces = [bytearray(COMPRESS[coding](page(n))) for n in range(5)]
    # lz4 frames as FastWARC writes them have no check sums: only the size of a block can be seen to be wrong.
    at = 8 if coding == "lz4" else len(pieces[2]) // 2
    pieces[2][at] ^= 0xFF
    pieces[2][at + 1] ^= 0xFF
    found = read(write(*pieces))
    assert numbers(found) == [0, 1, 3, 4] and found.reasons == ["corrupt_record"]
    assert found.drops[0]["origin"] == f"s@{len(pieces[0]) + len(pieces[1])}"
    if coding == "gz":
        assert found.drops[0]["url"] == "http://host/2" and "gzip" in found.drops[0]["detail"]["note"]


def test_a_wrong_check_sum_is_damage(write):
    pieces = [bytearray(gzip.compress(page(n))) for n in range(3)]
    pieces[1][-6] ^= 1
    found = read(write(*pieces))
    assert numbers(found) == [0, 2] and found.reasons == ["corrupt_record"] and found.drops[0]["url"] == "http://host/1"


@pytest.mark.parametrize("coding", COMPRESS)
def test_a_cut_file_ends_in_a_truncated_record(write, coding):
    pieces = [COMPRESS[coding](page(n)) for n in range(3)]
    found = read(write(*pieces[:2], pieces[2][: len(pieces[2]) * 2 // 3]))
    assert numbers(found) == [0, 1] and found.reasons == ["truncated_record"]
    assert found.drops[0]["origin"] == f"s@{len(pieces[0]) + len(pieces[1])}"


@pytest.mark.parametrize("coding", COMPRESS)
def test_garbage_between_records_is_reported_where_it_lies(write, coding):
    pieces = [COMPRESS[coding](page(n)) for n in range(3)]
    garbage = b"\x1f\x8b\x08 some bytes WARC/1 that nobody wrote" * 5
    found = read(write(pieces[0], garbage, pieces[1], b"\0" * 64, pieces[2]))
    assert numbers(found) == [0, 1, 2] and set(found.reasons) == {"corrupt_record"}
    assert found.drops[0]["origin"] == f"s@{len(pieces[0])}"


@pytest.mark.parametrize("coding", ["plain", "gz"])
def test_a_file_that_begins_with_garbage(write, coding):
    found = read(write(b"\xff\xfe garbage \n", *(COMPRESS[coding](page(n)) for n in range(3))))
    assert numbers(found) == [0, 1, 2] and found.reasons == ["corrupt_record"] and found.drops[0]["origin"] == "s@0"


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("coding", COMPRESS)
def test_lengths_that_are_wrong(write, coding, together):
    block = reply(html().encode())
    for wrong, kept, reasons in (
        (len(block) - 40, [0, 1, 2], ["corrupt_record"]),  # a rest that begins no record
        (len(block) + 40, [0, 2], ["corrupt_record"]),  # would swallow the next record's header
        (10**12, [0, 2], ["corrupt_record"]),
        ("x", [0, 2], ["corrupt_record"]),
    ):
        pieces = [page(0), record(block, number=1, length=wrong), page(2)]
        found = read(write(COMPRESS[coding](b"".join(pieces)) if together else b"".join(map(COMPRESS[coding], pieces))))
        assert numbers(found) == kept, (wrong, found.drops)
        # In a member of its own, a record that promises more than the member has is cut short rather than swallowing.
        assert found.reasons == reasons or (
            not together and coding != "plain" and found.reasons == ["truncated_record"]
        )


def test_a_header_without_end_and_a_record_without_type(write):
    endless = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://host/5\r\n" + b"X: y\r\n" * 5
    typeless = record(b"abc", number=6).replace(b"WARC-Type: response\r\n", b"")
    found = read(write(page(0), endless, page(1), typeless, page(2)))
    assert set(found.reasons) == {"corrupt_record"} and {0, 2} <= set(numbers(found))


def test_damage_in_records_that_are_only_counted(write):
    found = read(write(page(0), record(b"abc", "request", 1, length=999)))
    assert found.counters == {"records": 1, "records_request": 1, "broken_request": 1}
    pieces = [gzip.compress(page(0)), gzip.compress(record(b"abc" * 99, "request", 1))[:-12]]
    found = read(write(*pieces))
    assert found.reasons == ["truncated_record"] and found.counters["records_request"] == 1


def test_damage_to_a_file_in_one_member_keeps_what_comes_before_it(write):
    data = bytearray(gzip.compress(b"".join(page(n, f"{PROSE} {zlib.crc32(b'%d' % n) ** 9}") for n in range(200))))
    data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    found = read(write(data))
    assert numbers(found)[:60] == list(range(60)) and len(found.documents) < 200
    assert found.reasons[-1] == "corrupt_record"


ARC = b"".join(
    b"http://host/%d 1.2.3.4 20140216050221 text/html %d\n" % (n, len(block)) + block + b"\n"
    for n, block in ((n, reply(html(f"{PROSE} {n}").encode())) for n in range(4))
)
INTACT = {
    "plain": b"".join(page(n) for n in range(4)),
    "gz": b"".join(gzip.compress(page(n)) for n in range(4)),
    "one member": gzip.compress(b"".join(page(n) for n in range(4))),
    "lz4": b"".join(lz4(page(n)) for n in range(4)),
    "arc": ARC,
    "arc gz": gzip.compress(ARC),
    "codings": b"".join(
        record(
            reply(chunked(encode(html().encode()), 40), Content_Encoding=coding, Transfer_Encoding="chunked"), number=n
        )
        for n, (coding, encode) in enumerate(CODINGS.items())
    ),
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_raises_or_loses_count(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    raw = bytearray(INTACT[data.draw(st.sampled_from(sorted(INTACT)))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        kind = data.draw(st.sampled_from(["flip", "overwrite", "delete", "insert", "cut"]))
        if kind == "flip" and raw:
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "overwrite":
            raw[at : at + 20] = data.draw(st.binary(max_size=20))
        elif kind == "delete":
            del raw[at : at + data.draw(st.integers(1, 400))]
        elif kind == "insert":
            raw[at:at] = data.draw(st.binary(max_size=60))
        elif kind == "cut":
            del raw[at:]
    path.write_bytes(raw)
    found = read(path)
    # a flipped bit may make a type of its own, "sesponse", which is counted under that name
    counted = sum(count for name, count in found.counters.items() if name.startswith("records"))
    assert counted > 0 or not bytes(raw).strip(b"\0\r\n\t ")


# ---- real files ------------------------------------------------------------------------------------------------------


def _fastwarc_count(path) -> int | None:
    kinds = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    with contextlib.suppress(OSError):
        return sum(1 for _ in ArchiveIterator(str(path), record_types=kinds, parse_http=False))
    return None


def _warcio_count(path) -> int | None:
    with contextlib.suppress(Exception), open(path, "rb") as file:
        return sum(
            entry.rec_type in ("response", "resource", "conversion")
            and (entry.format != "arc" or entry.rec_headers.get_header("uri").startswith("http"))
            for entry in WarcioIterator(file, no_record_parse=True)
        )
    return None


def test_real_crawl_files_are_accounted_for_as_by_other_readers(shared):
    paths = sorted(p for p in (shared / "warc" / "real").rglob("*") if p.is_file())
    assert len(paths) > 50
    agreeing = 0
    for path in paths:
        found = read(path)
        peers = {_fastwarc_count(path), _warcio_count(path)} - {None}
        damaged = {"corrupt_record", "truncated_record"} & set(found.reasons)
        assert found.counters["records"] in peers or damaged, (path, found.counters, peers)
        assert found.counters["records"] >= max(peers, default=0), (path, found.counters, peers)
        agreeing += found.counters["records"] in peers
    assert agreeing >= 60
