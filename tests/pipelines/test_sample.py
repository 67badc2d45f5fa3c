"""The embedded sample: its manifest, its broken records, and that its three uses share no text."""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from pipelines.sample import POOL, POSITIVES, SAMPLE, VALIDATION
from pipelines.sample.build import clean, ngrams, pieces, words
from pipelines.sample.packages import PACKAGES, SHA256
from pipelines.sample.planted import MEANING, Page

MANIFEST = json.loads((SAMPLE / "manifest.json").read_text(encoding="utf-8"))
NOTICE = Path(__file__).resolve().parents[2] / "NOTICE"
LAST = "pool/pool-003.warc.gz"


def members(data: bytes):
    """Inflate each gzip member of a file by zlib alone: (bytes, whether the member is whole)."""
    while data:
        inflate = zlib.decompressobj(31)
        yield inflate.decompress(data), inflate.eof
        data = inflate.unused_data


def header(block: bytes, name: str) -> str:
    return re.search(rf"(?m)^{name}: (.*?)\r?$", block.split(b"\r\n\r\n")[0].decode()).group(1)


@cache
def records(name: str) -> list[tuple[str, str, bytes]]:
    """(id, url, block) of every whole member whose WARC Content-Length is right."""
    found = []
    for block, whole in members((SAMPLE / name).read_bytes()):
        body = block.split(b"\r\n\r\n", 1)[1]
        if whole and len(body) == int(header(block, "Content-Length")) + 4:
            target = "" if header(block, "WARC-Type") == "warcinfo" else header(block, "WARC-Target-URI")
            found.append((header(block, "WARC-Record-ID"), target, block))
    return found


def warcs() -> list[str]:
    return sorted(name for name in MANIFEST["files"] if name.endswith(".warc.gz"))


def planted(name: str) -> list[bytes]:
    """The HTTP blocks of the records planted under a name."""
    wanted = {(row["id"], row["url"]) for row in MANIFEST["planted"][name]["records"]}
    blocks = [b for file in warcs() for i, u, b in records(file) if (i, u) in wanted]
    assert len(blocks) == len(wanted), name
    return [block.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n\r\n") for block in blocks]


def body(block: bytes) -> bytes:
    return block.split(b"\r\n\r\n", 1)[1]


@cache
def texts(name: str) -> list[tuple[str, str]]:
    """(url, text) of all pages that FastWARC reads from a file, record by record, payloads decoded."""
    found = []
    no_chunks = {row["url"] for row in MANIFEST["planted"]["invalid_chunked_encoding"]["records"]}
    types = WarcRecordType.response | WarcRecordType.resource
    for _, url, block in records(name):
        if url in no_chunks:  # what a lenient reader would take for the page
            payloads = [body(body(block))]
        else:
            read = ArchiveIterator(io.BytesIO(block), parse_http=True, auto_decode="all", record_types=types)
            payloads = [record.reader.read() for record in read]
        for payload in payloads:
            found.append((url, extract_plain_text(bytes_to_str(payload, detect_encoding(payload)), main_content=True)))
    return found


def validation_texts(style: str) -> list[str]:
    return [
        json.loads(line)["text"] for line in (VALIDATION / f"{style}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_manifest_matches_the_files():
    on_disk = {f"{folder.name}/{path.name}" for folder in (POOL, POSITIVES, VALIDATION) for path in folder.iterdir()}
    assert on_disk == set(MANIFEST["files"])
    for name, row in MANIFEST["files"].items():
        data = (SAMPLE / name).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest()), name
        count = sum(1 for _ in members(data)) if name in warcs() else data.count(b"\n")
        assert row["records"] == count, name


def test_sample_is_small():
    assert (
        sum(row["bytes"] for row in MANIFEST["files"].values()) + (SAMPLE / "manifest.json").stat().st_size <= 8_000_000
    )


def test_every_package_has_one_use_and_is_in_notice():
    assert len({package.name for package in PACKAGES}) == len(PACKAGES) == len(MANIFEST["packages"])
    assert set(SHA256) == set(MANIFEST["packages"])
    urls = {folder: {u.split("/")[3] for n in warcs() if n.startswith(folder) for _, u, _ in records(n) if "docs.example" in u}
            for folder in ("pool", "positives")}  # fmt: skip
    assert not urls["pool"] & urls["positives"]
    ids = [
        json.loads(line)["id"]
        for s in ("prose", "reference")
        for line in (VALIDATION / f"{s}.jsonl").open(encoding="utf-8")
    ]
    assert not {i.split("/")[0] for i in ids} & (urls["pool"] | urls["positives"])
    assert len(set(ids)) == len(ids)
    notice = NOTICE.read_text(encoding="utf-8")
    for name, row in MANIFEST["packages"].items():
        assert (
            f"| {row['use']} | {name} | {row['version']} | {row['licence']} | {row['documents']} | {row['holders']} |"
            in notice
        )


def test_pool_positives_and_validation_share_no_13_gram():
    # all pages that a reader can get, also the planted ones, counted anew from the WARC bytes
    seen = {}
    for style in ("prose", "reference"):
        for text in validation_texts(style):
            seen.update(dict.fromkeys(ngrams(text), f"validation {style}"))
    assert len(seen) > 30_000
    for file in sorted(warcs(), reverse=True):  # positives before pool
        use = file.split("/")[0]
        fresh = set()
        for url, text in texts(file):
            grams = ngrams(text)
            shared = [gram for gram in grams if gram in seen]
            assert not shared, f"{url} shares {shared[0]!r} with {seen[shared[0]]}"
            fresh |= grams if use == "positives" else set()
        seen.update(dict.fromkeys(fresh, use))


def test_totals_are_what_is_there():
    pool = MANIFEST["totals"]["pool"]
    assert 1_200 <= pool["languages"]["en"]["documents"] <= 2_000
    assert 5e6 <= pool["languages"]["en"]["text_bytes"] <= 8e6
    assert pool["languages"]["en"]["documents"] > 0.7 * pool["documents"] and len(pool["languages"]) >= 20
    assert 0.2 < pool["kinds"]["prose"]["text_bytes"] / pool["text_bytes"] < 0.5
    found = [text for _, text in texts("positives/positives-000.warc.gz")]
    assert sum(len(text.encode()) for text in found) == MANIFEST["totals"]["positives"]["text_bytes"]
    assert len(found) == MANIFEST["totals"]["positives"]["documents"] >= 200
    for style in ("prose", "reference"):
        assert 60_000 <= sum(len(text.encode()) for text in validation_texts(style)) <= 150_000
        assert all(words(text) for text in validation_texts(style))


def test_fastwarc_reads_every_intact_record_of_whole_files():
    for name in warcs():
        read = []
        with (SAMPLE / name).open("rb") as stream:
            iterator = iter(ArchiveIterator(stream, record_types=WarcRecordType.any_type))
            while True:
                try:
                    read.append(next(iterator).record_id)
                except StopIteration:
                    break
                except OSError as error:  # FastWARC ends at the first record whose length is wrong
                    assert name == LAST and "WARC header" in str(error)
                    break
        intact = [i.removeprefix("<urn:uuid:").removesuffix(">") for i, _, _ in records(name)]
        read = [i.removeprefix("<urn:uuid:").removesuffix(">") for i in read]
        if name == LAST:
            # what lies before the planted damage: nearly all; the rest, too, is whole when read member by member
            assert len(read) > 0.95 * len(intact) and read[:-1] == intact[: len(read) - 1]
        else:
            assert read == intact


def test_duplicates_are_planted():
    by_url = {url: block for file in warcs() for _, url, block in records(file) if b"WARC-Type: response" in block}
    copies = MANIFEST["planted"]["exact_duplicate"]["records"]
    assert len(copies) == 30
    for row in copies:
        assert body(body(by_url[row["url"]])) == body(body(by_url[row["of"]])), row["url"]
    pairs = MANIFEST["near_duplicate_pages"]["records"]
    assert len(pairs) == MANIFEST["near_duplicate_pages"]["pairs"] >= 50
    text = {url: found for file in warcs() if file.startswith("pool") for url, found in texts(file)}
    for row in pairs[:10]:
        a, b = ngrams(text[row["a"]], 5), ngrams(text[row["b"]], 5)
        assert len(a & b) / len(a | b) == pytest.approx(row["jaccard"], abs=1e-4) and row["jaccard"] >= 0.7


def test_readable_oddities_give_the_page():
    decoders = {"gzip_payload": gzip.decompress, "deflate_payload": zlib.decompress}
    brotli = pytest.importorskip("brotli")
    for name, decode in {**decoders, "brotli_payload": brotli.decompress}.items():
        for block in planted(name):
            assert b"</html>" in decode(body(block)).lower()
    for name, encoding, letter in (
        ("latin1_without_charset", "latin-1", "ü"),
        ("shift_jis_without_charset", "shift_jis", "の"),
        ("cp1251_without_charset", "cp1251", "и"),
        ("wrong_charset_header", "latin-1", "ü"),
    ):
        (block,) = planted(name)
        with pytest.raises(UnicodeDecodeError):
            body(block).decode()
        assert body(block).decode(encoding).count(letter) > 10
        assert b"charset" not in body(block)[:2000].lower()
    assert all(re.match(rb"[0-9a-f]+\r\n", body(block)) for block in planted("chunked_payload"))
    assert b"<html" in planted("resource_record")[0].lower() and words(planted("conversion_record")[0].decode())


def test_broken_records_are_planted():
    assert {name: row["meaning"] for name, row in MANIFEST["planted"].items()} == MEANING
    assert all(row["count"] == len(row["records"]) >= 1 for row in MANIFEST["planted"].values())
    assert body(planted("invalid_chunked_encoding")[0]).lstrip().startswith(b"<")
    assert b"chunked" in planted("invalid_chunked_encoding")[0].split(b"\r\n\r\n")[0]
    assert planted("missing_status_line")[0].startswith(b"Content-Type:")
    assert all(block.startswith(b"HTTP/1.1 404") for block in planted("http_404"))
    assert planted("http_301")[0].startswith(b"HTTP/1.1 301") and body(planted("empty_body")[0]) == b""
    assert extract_plain_text(body(planted("empty_document")[0]).decode(), main_content=True).strip() == ""
    assert body(planted("binary_as_html")[0]).startswith(b"\x89PNG") and len(body(planted("binary_as_html")[0])) == 4096
    assert b"\0" in body(planted("nul_bytes")[0])
    for name, kind in (
        ("plain_text_page", b"text/plain"),
        ("json_page", b"application/json"),
        ("css_page", b"text/css"),
    ):
        assert b"Content-Type: " + kind in planted(name)[0]
    counts = Counter(header(block, "WARC-Type") for file in warcs() for _, _, block in records(file))
    assert (counts["request"], counts["revisit"], counts["metadata"]) == (2, 2, 1)
    assert (counts["resource"], counts["conversion"], counts["warcinfo"]) == (1, 1, len(warcs()))


def test_ids_are_unique_but_for_the_planted():
    ids = Counter(i for file in warcs() for i, _, _ in records(file))
    repeated = {i for i, count in ids.items() if count > 1}
    assert (
        repeated == {row["id"] for row in MANIFEST["planted"]["duplicate_record_id"]["records"]} and len(repeated) == 2
    )
    for file in warcs():  # in the same file, behind the ordinary record
        for row in MANIFEST["planted"]["duplicate_record_id"]["records"]:
            urls = [url for i, url, _ in records(file) if i == row["id"]]
            assert len(urls) != 1 and (not urls or urls[1] == row["url"])


def test_damaged_ends_of_the_last_file():
    blocks = list(members((SAMPLE / LAST).read_bytes()))
    assert [whole for _, whole in blocks] == [True] * (len(blocks) - 1) + [False]
    wrong = {}
    for block, _ in blocks[:-1]:
        change = int(header(block, "Content-Length")) + 4 - len(block.split(b"\r\n\r\n", 1)[1])
        if change:
            wrong[header(block, "WARC-Record-ID")] = change
    table = MANIFEST["planted"]
    assert wrong == {
        table["content_length_too_small"]["records"][0]["id"]: -500,
        table["content_length_too_large"]["records"][0]["id"]: 500,
    }
    for name in warcs():
        if name != LAST:
            assert all(whole for _, whole in members((SAMPLE / name).read_bytes()))


def test_members_are_deterministic():
    for name in warcs():
        data = (SAMPLE / name).read_bytes()
        assert data[4:8] == b"\0\0\0\0", "mtime 0"
        assert b"not a crawl" in next(members(data))[0]


def test_clean_leaves_out_pages_that_share_a_13_gram():
    sentence = "one two three four five six seven eight nine ten eleven twelve thirteen"

    def page(text: str) -> Page:
        return Page("p", "1", "a.html", "en", "prose", b"", text)

    forbidden = ngrams(sentence)
    kept = [page("Short."), page(sentence.replace("seven", "7")), page("")]
    shared = page("And so: ONE two, three-four five six seven eight nine ten\neleven twelve thirteen!")
    assert list(clean([*kept, shared], forbidden)) == kept


def test_pieces_lose_no_line():
    text = "\n\n".join(f"Paragraph {i} " + "word " * 200 for i in range(30))
    parts = pieces(text)
    assert "\n".join(parts).replace("\n", "") == text.replace("\n", "")
    assert all(4_000 < len(part) < 7_000 for part in parts[:-1]) and len(parts[-1]) >= 1_000
