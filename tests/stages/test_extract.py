"""extract: replies, codings, charsets, media types, ids, the guard. Finding records: formats/test_warc.py."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.stage import Guard, Resources
from stages.extract import extract
from tests.stages.archives import CODINGS, PROSE, Found, chunked, html, page, read, record, reply


@pytest.fixture
def one(write):
    """Extract a single reply."""

    def one(block: bytes, **fields) -> Found:
        return read(write(record(block)), **fields)

    return one


# ---- replies ---------------------------------------------------------------------------------------------------------


def test_wet_text_is_kept_as_it_is(write):
    text = "First line <b>not a tag</b>\n\n  indented — ünïcode\nlast"
    found = read(
        write(gzip.compress(record(b"x: y\r\n", "warcinfo")), gzip.compress(record(text.encode(), "conversion", 1)))
    )
    assert found.texts == [text] and found.documents[0]["content_type"] == "text/plain"


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("coding", CODINGS)
def test_codings_that_were_applied_or_only_declared(one, coding, chunks):
    expected = one(reply(html().encode())).texts
    assert len(expected) == 1
    body = CODINGS[coding](html().encode())
    headers = {"Content_Encoding": coding, **({"Transfer_Encoding": "chunked"} if chunks else {})}
    assert one(reply(chunked(body, 30) if chunks else body, **headers)).texts == expected
    assert one(reply(html().encode(), **headers)).texts == expected
    words = b"words alone, no tag and no control byte " * 3
    assert one(reply(words, "text/plain", **headers)).texts == [words.decode().strip()]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate"])
def test_a_cut_body_gives_what_can_be_decoded(one, coding):
    words = " ".join(f"word{n * 7919 % 100003}" for n in range(60_000))
    body = CODINGS[coding](html(words).encode())
    found = one(reply(body[: len(body) * 3 // 4], Content_Encoding=coding))
    assert len(found.texts) == 1 and found.texts[0].split()[:1000] == words.split()[:1000]
    assert len(words) / 3 < len(found.texts[0]) < len(words)


def test_bytes_that_no_declared_coding_explains(one):
    noise = bytes(range(256)) * 4
    assert one(reply(noise, Content_Encoding="br")).reasons == ["content_encoding"]
    assert one(reply(noise, Content_Encoding="zstd")).reasons == ["content_encoding"]


def test_chunk_sizes_that_are_wrong(one):
    body = html().encode()
    found = one(reply(b"%x\r\n" % 50 + body[:50] + b"\r\nnot a size\r\n" + body[50:], Transfer_Encoding="chunked"))
    assert len(found.texts) == 1 and "lazy dog" in found.texts[0]
    found = one(reply(b"fffff\r\n" + body, Transfer_Encoding="chunked"))
    assert len(found.texts) == 1


def test_a_bomb_is_not_decoded_beyond_the_limit(one):
    for coding in ("gzip", "br", "deflate", "zstd"):
        found = one(
            reply(CODINGS[coding](b"<html>" + b" " * 3_000_000), Content_Encoding=coding), max_html_bytes=100_000
        )
        assert found.reasons == ["too_large"] and found.drops[0]["detail"]["limit"] == 100_000
        assert 100_000 < found.drops[0]["detail"]["value"] < 1_300_000


def test_size_limit_is_exact(one):
    body = html().encode()
    assert len(one(reply(body), max_html_bytes=len(body)).documents) == 1
    found = one(reply(body), max_html_bytes=len(body) - 1)
    assert found.reasons == ["too_large"] and found.drops[0]["detail"]["value"] == len(body)
    far = one(reply(body + b" " * 500_000), max_html_bytes=1000)
    assert far.drops[0]["detail"]["value"] == len(body) + 500_000


@pytest.mark.parametrize(
    ("status", "limit"), [("404 Not Found", 299), ("301 Moved", 299), ("199 Early", 200), ("100", 200), ("500 Ö", 299)]
)
def test_status_outside_the_range(one, status, limit):
    found = one(reply(html().encode(), status=status))
    assert found.reasons == ["http_status"]
    assert found.drops[0]["detail"]["value"] == int(status[:3]) and found.drops[0]["detail"]["limit"] == limit
    assert found.drops[0]["id"] == "00000000-0000-4000-8000-000000000000" and found.drops[0]["url"] == "http://host/0"
    assert len(one(reply(html().encode(), status=status), http_status=(100, 599)).documents) == 1


def test_status_lines_that_are_missing_or_bare(one):
    body = html().encode()
    assert len(one(reply(body, status="200")).documents) == 1
    assert len(one(reply(body, status="")).documents) == 1
    assert len(one(reply(body).partition(b"\r\n")[2]).documents) == 1  # fields alone
    assert len(one(body).documents) == 1  # payload alone
    assert len(one(reply(body).replace(b"\r\n", b"\n")).documents) == 1
    assert one(b"HTTP/1.1 200 OK").reasons == ["empty_payload"]
    assert one(b"HTTP/1.1 200 OK\r\n\r\n").reasons == ["empty_payload"]
    assert one(b"").reasons == ["empty_payload"]


@pytest.mark.parametrize(
    ("payload", "declared", "kept"),
    [
        (b"plain words", "text/plain", "text/plain"),
        (html().encode(), None, "text/html"),
        (html().encode(), "unknown/unknown", "text/html"),
        (b"plain words", None, "text/plain"),
        (html().encode(), "Application/XHTML+XML; charset=utf-8", "application/xhtml+xml"),
        (html().encode(), "application/json", None),
        (b"%PDF-1.4 whatever", "text/html", None),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "text/html", None),
        (b"\x00\x01\x02 binary", "text/plain", None),
        (b"\x00\x01\x02 binary", None, None),
        (PROSE.encode("utf-16"), "text/plain", "text/plain"),
    ],
)
def test_media_types_by_header_and_by_payload(one, payload, declared, kept):
    found = one(reply(payload, declared))
    assert [d["content_type"] for d in found.documents] == ([kept] if kept else [])
    assert found.reasons == ([] if kept else ["content_type"])
    assert one(reply(b"plain words", "text/plain"), content_types=("text/html",)).reasons == ["content_type"]


def test_no_text_and_too_little(one):
    assert one(reply(b"<html><script>x</script></html>")).reasons == ["no_text"]
    found = one(reply(b"<html><body><p>four</p></body></html>"), min_text_chars=5)
    assert found.reasons == ["no_text"] and found.drops[0]["detail"] == {
        "value": 4.0,
        "limit": 5.0,
        "note": None,
        "kept_id": None,
    }


def test_main_content_is_an_option(one):
    menu = "<nav><ul><li><a href=x>Menu item</a></li></ul></nav>"
    body = f"<html><body>{menu}<main><p>{PROSE}</p></main></body></html>".encode()
    assert "Menu item" not in one(reply(body)).texts[0]
    assert "Menu item" in one(reply(body), main_content=False).texts[0]


GERMAN, JAPANESE, GREEK = (
    "Grüße aus Köln, ein schöner Tag für alle. ",
    "これは日本語の文章です。今日は天気がいい。",
    "Ελληνικά κείμενα ",
)


@pytest.mark.parametrize(
    ("text", "encoding", "header", "meta", "charset"),
    [
        (GERMAN, "latin-1", None, "", "cp1252"),
        (GERMAN, "latin-1", "ISO-8859-1", "", "cp1252"),
        (GERMAN, "latin-1", None, "<meta charset=latin1>", "cp1252"),
        (GERMAN, "utf-8", None, "", "utf-8"),
        (GERMAN, "utf-8", "no-such-charset", "", "utf-8"),
        (GERMAN, "utf-8", "utf-8", "<meta charset=latin1>", "utf-8"),  # the header comes before <meta>
        (GERMAN, "utf-8-sig", "latin1", "", "utf-8"),  # and a byte order mark before the header
        (GERMAN, "utf-8", None, '<meta charset="utf-16le">', "utf-8"),
        (GERMAN, "utf-8", None, "<!-- <meta charset=latin1> -->", "utf-8"),
        (JAPANESE, "shift-jis", None, "", "cp932"),
        (JAPANESE, "euc-jp", None, "", "euc_jp"),
        (JAPANESE, "cp932", '"Shift_JIS"', "", "cp932"),
        (JAPANESE, "utf-16-le", "utf-16", "", "utf-16-le"),
        (JAPANESE, "utf-16-le", None, "", "utf-16-le"),
        (JAPANESE, "utf-16-be", None, "", "utf-16-be"),
        (JAPANESE, "utf-16", None, "", "utf-16-le"),
        (JAPANESE, "gb18030", "gb2312", "", "gb18030"),
        (
            GREEK,
            "iso8859-7",
            None,
            '<meta http-equiv=Content-Type content="text/html; charset=ISO-8859-7">',
            "iso8859-7",
        ),
        (GREEK, "iso8859-7", None, "", None),
    ],
)
def test_charsets(one, text, encoding, header, meta, charset):
    payload = html(text * 20, meta).encode(encoding)
    found = one(reply(payload, f"text/html; charset={header}" if header else "text/html"))
    assert found.texts == [(text * 20).strip()]
    assert charset is None or found.documents[0]["charset"].replace("-", "").replace("_", "") == charset.replace(
        "-", ""
    ).replace("_", "")


def test_only_utf8(one):
    """As DCLM reads pages: the declared charset does not matter, the bytes do."""
    page = html("Grüße " + PROSE)
    found = one(reply(page.encode(), "text/html; charset=latin1"), utf8_only=True)
    assert "Grüße" in found.texts[0] and found.documents[0]["charset"] == "utf-8"
    found = one(reply(page.encode("latin1"), "text/html; charset=latin1"), utf8_only=True)
    assert found.reasons == ["not_utf8"] and found.drops[0]["detail"]["value"] == page.index("ü")
    assert found.drops[0]["detail"]["note"].startswith("byte 0xfc at")


@settings(max_examples=150, deadline=None)
@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from(["utf-8", "utf-16", "gbk", "iso-2022-jp", "big5", "x-user-defined", "hex", "idna", "\xe9", ""]),
)
def test_any_bytes_in_any_charset_become_a_document_or_a_drop(tmp_path_factory, payload, charset):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(
        record(reply(b"a " + payload, f"text/plain; charset={charset}"))
        + record(reply(b"<p>" + payload, f"text/html; charset={charset}"), number=1)
    )
    assert read(path).counters["records"] >= 2


# ---- accounts --------------------------------------------------------------------------------------------------------


def test_ids(write):
    found = read(
        write(
            page(1),
            page(1, "another text"),
            page(2, identity=False),
            page(2, identity=False),
            page(3, uri="<http://bad/uri>", identity=False),
        )
    )
    assert found.reasons == ["duplicate_id"] * 2
    assert found.drops[0]["detail"]["kept_id"] == found.documents[0]["id"] == found.drops[0]["id"]
    assert len(found.documents[1]["id"]) == 32 and found.documents[2]["url"] == "http://bad/uri"
    moved = read(write(page(7), page(2, identity=False)))
    assert moved.documents[1]["id"] == found.documents[1]["id"]


def test_the_guard_hears_of_every_page_and_keeps_it_from_being_touched(write):
    pieces = [gzip.compress(page(n)) for n in range(4)]
    offsets = [sum(map(len, pieces[:n])) for n in range(4)]
    beats = []
    found = read(write(*pieces), Guard({offsets[2]: "quarantined_crash"}, beats.append))
    assert beats == offsets and found.reasons == ["quarantined_crash"] and len(found.documents) == 3
    assert (found.drops[0]["url"], found.drops[0]["origin"]) == ("http://host/2", f"s@{offsets[2]}")


def test_records_inside_one_member_have_offsets_of_their_own(write):
    beats = []
    member = gzip.compress(b"".join(page(n) for n in range(5)))
    found = read(write(member, *(gzip.compress(page(n)) for n in range(5, 9))), Guard(beat=beats.append))
    assert len(found.documents) == 9 and beats == sorted(set(beats)) and len(beats) == 9


def test_a_parser_that_fails_loses_one_page(write, monkeypatch):
    import resiliparse.extract.html2text as library

    def failing(text, **options):
        if "Page 1." in text:
            raise RuntimeError("no such luck")
        return text

    monkeypatch.setattr(library, "extract_plain_text", failing, raising=True)
    found = read(write(*(page(n) for n in range(3))))
    assert found.reasons == ["extraction_error"] and found.drops[0]["detail"]["note"] == "RuntimeError: no such luck"


# ---- from end to end -------------------------------------------------------------------------------------------------


def test_a_plan_from_files_to_filtered_documents(tmp_path, store):
    from stages.core.engine import run_plan
    from stages.core.plan import Plan
    from stages.list_warcs import list_warcs
    from stages.run_datatrove_block import run_datatrove_block

    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "a.warc.gz").write_bytes(b"".join(gzip.compress(page(n)) for n in range(6)))
    (crawl / "b.warc").write_bytes(page(7) + record(reply(b"no", status="404 No"), number=8) + b"garbage\r\n" + page(9))
    (crawl / "c.warc").write_bytes(b"")
    pages = extract.on(list_warcs.on(root=str(crawl), source="t"))
    rule = json.dumps({"regex_exp": r"Page [0-4]\."})
    kept = run_datatrove_block.on(pages, block="datatrove.pipeline.filters:RegexFilter", arguments=rule)
    run = run_plan(Plan("t", [kept]), store, Resources(workers=0))
    outcomes = {o.node: o.manifest for o in (run.values() if isinstance(run, dict) else run)}
    assert (outcomes["extract"].rows_in, outcomes["extract"].rows_out) == (10, 8)
    assert outcomes["extract"].drops == {"corrupt_record": 1, "http_status": 1}
    assert outcomes["run_datatrove_block"].rows_out == 3
