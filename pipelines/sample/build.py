"""Build the embedded sample: real documentation pages of Debian packages, packed as WARC, and two validation texts.

    python -m pipelines.sample.build --out pipelines/sample --notice NOTICE [--cache DIR]

The .deb files come from apt (Debian 12, main) and are checked against the sums in `packages.py`; a version that the
mirror has replaced is to be put in --cache by hand, from https://snapshot.debian.org. Same packages, same bytes: ids are
UUIDv5, dates follow from the path, gzip members carry mtime 0. Pages that share a 13-gram of words with a validation text
are left out of the pool and of the positives, pages that share one with a positive are left out of the pool.
Takes about three minutes and 250 MB of disk.
"""

import argparse
import hashlib
import json
import logging
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.sample.packages import DOC, PACKAGES, SEED, SHA256, Package, Take
from pipelines.sample.planted import MEANING, Page, Record, plant, response, warcinfo

logger = logging.getLogger(__name__)

NGRAM_WORDS = 13
POOL_FILES = 4
EXACT_DUPLICATES = 30
SPARE_PAGES = 34
NEAR_DUPLICATE_JACCARD = 0.7
"""Two pages of one family are near duplicates from this Jaccard similarity of their word 5-grams on."""


def words(text: str) -> list[str]:
    """Lower-cased runs of ASCII letters and digits."""
    return re.findall("[a-z0-9]+", text.lower())


def ngrams(text: str, n: int = NGRAM_WORDS) -> set[str]:
    """All n-grams of words of a text, each as one string."""
    w = words(text)
    return {" ".join(w[i : i + n]) for i in range(len(w) - n + 1)}


def clean(pages: Iterable[Page], forbidden: set[str]) -> Iterator[Page]:
    """Yield the pages that share no 13-gram of words with `forbidden`."""
    for page in pages:
        if forbidden.isdisjoint(ngrams(page.text)):
            yield page
        else:
            logger.info("left out, shares a 13-gram: %s", page.url)


def pieces(text: str, limit: int = 4_000) -> list[str]:
    """Cut a text between lines into pieces of about `limit` characters: many rows make a narrower interval of a mean."""
    parts, size = [[]], 0
    for line in text.split("\n"):
        if size > limit and line.strip():
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line) + 1
    if len(parts) > 1 and size < limit // 4:  # a footer is no text of its own
        parts[-2] += parts.pop()
    return ["\n".join(part).strip("\n") for part in parts]


def extract(payload: bytes) -> str:
    """Main content of an HTML page as plain text, its encoding detected."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return extract_plain_text(bytes_to_str(payload, detect_encoding(payload)), main_content=True)


def fetch(package: Package, cache: Path) -> Path:
    """Download (once), check and unpack one package; return the folder of its files."""
    deb = cache / f"{package.name}_{package.version.replace(':', '%3a')}_all.deb"
    if not deb.exists():
        wanted = f"{package.name}={package.version}"
        done = subprocess.run(["apt-get", "download", wanted], cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode or not deb.exists():
            raise ValueError(
                f"build: apt could not download {wanted}: {done.stderr.strip()[-300:]}; run `apt-get update`, or put"
                f" {deb.name} from https://snapshot.debian.org/binary/{package.name}/ into {cache}"
            )
    found = hashlib.sha256(deb.read_bytes()).hexdigest()
    if found != SHA256[package.name]:
        raise ValueError(f"build: {deb} has sha256 {found}, expected {SHA256[package.name]}; delete it and run again")
    files = cache / "unpacked" / deb.stem
    if not files.exists():
        aside = files.with_suffix(".aside")
        subprocess.run(["dpkg-deb", "-x", str(deb), str(aside)], check=True)
        aside.rename(files)
    return files


def prose_share(text: str) -> float:
    """Share of a text's bytes that stands in lines of 150 characters or more."""
    return sum(len(line.encode()) for line in text.split("\n") if len(line) >= 150) / max(1, len(text.encode()))


def candidates(package: Package, take: Take, files: Path, taken: set[str]) -> Iterator[Page]:
    """Yield the pages that a rule admits, in the order of their rank; `taken` holds payload digests already used."""
    root = files / take.folder.lstrip("/") if take.folder.startswith("/") else files / DOC / take.folder
    if not root.is_dir():
        raise ValueError(f"build: {package.name} {package.version} has no folder {take.folder}; correct packages.py")
    family = take.family or package.name

    def rank(relative: str) -> str:
        return hashlib.sha256(f"{SEED}\0{family}\0{relative}".encode()).hexdigest()

    paths = {str(p.relative_to(root)): p for p in root.rglob("*") if p.is_file() and not p.is_symlink()}
    for relative in sorted((r for r in paths if re.search(take.pattern, r)), key=rank):
        if re.search(take.exclude, relative) or paths[relative].stat().st_size > take.max_html_bytes:
            continue
        payload = paths[relative].read_bytes()
        digest = hashlib.sha256(payload).hexdigest()
        if digest in taken:
            continue
        text = extract(payload)
        low, high = take.text_bytes
        if not low <= len(text.encode()) <= high or prose_share(text) < take.min_prose:
            continue
        path = str(paths[relative].relative_to(files)).removeprefix(DOC)
        yield Page(package.name, package.version, path, take.language, take.kind, payload, text)


def select(use: str, files: dict[str, Path], forbidden: set[str]) -> list[Page]:
    """Pages of every package with this use: rule by rule the first `limit` that are admitted and clean."""
    pages: list[Page] = []
    taken: set[str] = set()
    for package in PACKAGES:
        if package.use != use:
            continue
        # these two first: their rules want pages that a general rule of the same package would take as well
        for take in sorted(package.takes, key=lambda t: t.kind not in ("navigation", "planted")):
            if take.limit == 0:
                continue
            found = 0
            for page in clean(candidates(package, take, files[package.name], taken), forbidden):
                taken.add(hashlib.sha256(page.payload).hexdigest())
                pages.append(page)
                found += 1
                if found == take.limit:
                    break
    return pages


def near_duplicates(pages: list[Page]) -> list[tuple[Page, Page, float]]:
    """Pairs of pages with the same path in two packages of a family and a Jaccard similarity above the limit."""
    family = {p.name: (t.family, t.folder) for p in PACKAGES for t in p.takes if t.family}
    groups: dict[tuple[str, str], list[Page]] = defaultdict(list)
    for page in pages:
        if page.package in family and page.language == "en":
            name, folder = family[page.package]
            groups[name, page.path.removeprefix(folder)].append(page)
    pairs = []
    for group in groups.values():
        if len(group) == 2:
            a, b = (ngrams(page.text, 5) for page in group)
            jaccard = len(a & b) / max(1, len(a | b))
            if jaccard >= NEAR_DUPLICATE_JACCARD:
                pairs.append((*group, round(jaccard, 4)))
    return pairs


def write_warc(path: Path, records: list[Record], truncated: bytes = b"") -> None:
    """Write a warcinfo record and the records in their order, each as one gzip member."""
    ordered = sorted(records, key=lambda record: record.order)
    path.write_bytes(b"".join([warcinfo(path.name), *(record.member() for record in ordered), truncated]))


def summary(pages: list[Page]) -> dict:
    """Documents, HTML bytes and extracted bytes of some pages, also by language and by kind."""

    def count(group: list[Page]) -> dict[str, int]:
        return {
            "documents": len(group),
            "html_bytes": sum(len(page.payload) for page in group),
            "text_bytes": sum(len(page.text.encode()) for page in group),
        }

    by = {}
    for key in ("language", "kind"):
        values = sorted({getattr(page, key) for page in pages})
        by[key] = {value: count([page for page in pages if getattr(page, key) == value]) for value in values}
    return {**count(pages), "languages": by["language"], "kinds": by["kind"]}


def build(out: Path, cache: Path) -> dict:
    """Write pool, positives, validation and manifest.json below `out`; return the manifest."""
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "unpacked").mkdir(exist_ok=True)
    for folder in ("pool", "positives", "validation"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    files = {package.name: fetch(package, cache) for package in PACKAGES}

    validation = {style: select(f"validation {style}", files, set()) for style in ("prose", "reference")}
    forbidden = set().union(*(ngrams(page.text) for pages in validation.values() for page in pages))
    for style, pages in validation.items():
        rows = [
            {"id": f"{page.package}/{page.path}#{number}", "text": text}
            for page in sorted(pages, key=lambda page: page.path)
            for number, text in enumerate(pieces(page.text))
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / "validation" / f"{style}.jsonl").write_text(lines, encoding="utf-8")

    positives = select("positives", files, forbidden)
    write_warc(out / "positives" / "positives-000.warc.gz", [response(page) for page in positives])
    forbidden |= set().union(*(ngrams(page.text) for page in positives))

    taken = select("pool", files, forbidden)
    pool = [page for page in taken if page.kind != "planted"]
    planted, truncated = _planted(pool, [page for page in taken if page.kind == "planted"])
    records = [*map(response, pool), *planted]
    shards: list[list[Record]] = [[] for _ in range(POOL_FILES)]
    for record in records:
        first = "f" if record.order == "~" else record.order[0]
        shards[int(first, 16) * POOL_FILES // 16].append(record)
    names = [f"pool-{number:03d}.warc.gz" for number in range(POOL_FILES)]
    for name, shard in zip(names, shards, strict=True):
        member = truncated.member() if name == names[-1] else b""
        write_warc(out / "pool" / name, shard, member[: len(member) // 2])
    shards[-1].append(truncated)

    by_use = {"pool": taken, "positives": positives} | {f"validation {s}": p for s, p in validation.items()}
    manifest = {
        "seed": SEED,
        "files": _files(out, {"pool": zip(names, shards, strict=True), "positives": positives}),
        "packages": _packages(by_use),
        "totals": {use: summary(pages) for use, pages in by_use.items()},
        "planted": _planted_table(names, shards),
        "near_duplicate_pages": _near_duplicate_table(pool),
        "left_out": f"pages of which two of pool, positives and validation would share a {NGRAM_WORDS}-gram of words",
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return manifest


def _planted(pool: list[Page], pages: list[Page]) -> tuple[list[Record], Record]:
    """The planted records, and the one whose gzip member is to be cut."""
    english = sorted((page for page in pages if page.language == "en"), key=lambda page: page.rank())
    by_language = {code: [p for p in pages if p.language == code] for code in ("de", "ja", "ru")}
    translated = [*by_language["de"][:2], by_language["ja"][0], by_language["ru"][0]]
    if len(english) < SPARE_PAGES or [len(by_language[code]) for code in ("de", "ja", "ru")] < [2, 1, 1]:
        raise ValueError(
            f"build: {len(pages)} pages to plant are too few; raise the limits of kind 'planted' in packages.py"
        )
    copies = sorted((p for p in pool if 1_000 < len(p.payload) < 12_000), key=lambda p: p.rank("copy"))
    last, *rest = english
    truncated = replace(response(last, defect="truncated_gzip_member"), order="~~")
    return list(plant(rest, translated, copies[:EXACT_DUPLICATES])), truncated


def _planted_table(names: list[str], shards: list[list[Record]]) -> dict:
    table = {name: {"count": 0, "meaning": meaning, "records": []} for name, meaning in MEANING.items()}
    for name, shard in zip(names, shards, strict=True):
        for record in sorted(shard, key=lambda record: record.order):
            if record.defect:
                entry = {"file": f"pool/{name}", "id": record.id, "url": record.url}
                if record.defect == "exact_duplicate":
                    entry["of"] = record.page.url
                table[record.defect]["records"].append(entry)
                table[record.defect]["count"] += 1
    return table


def _near_duplicate_table(pool: list[Page]) -> dict:
    pairs = near_duplicates(pool)
    per = Counter(f"{a.package} / {b.package}" for a, b, _ in pairs)
    listed = [{"a": a.url, "b": b.url, "jaccard": jaccard} for a, b, jaccard in pairs]
    limit = f"Jaccard of word 5-grams >= {NEAR_DUPLICATE_JACCARD}"
    return {"limit": limit, "pairs": len(pairs), "per_family": dict(per), "records": listed}


def _packages(by_use: dict[str, list[Page]]) -> dict:
    rows = {}
    for package in PACKAGES:
        pages = [page for page in by_use[package.use] if page.package == package.name]
        rows[package.name] = {
            "use": package.use,
            "version": package.version,
            "licence": package.licence,
            "holders": package.holders,
            "deb_sha256": SHA256[package.name],
            **summary(pages),
        }
    return rows


def _files(out: Path, content: dict) -> dict:
    """sha256, bytes, records and pages per package of every file written."""
    pages = {f"pool/{name}": [r.page for r in shard] for name, shard in content["pool"]}
    pages["positives/positives-000.warc.gz"] = content["positives"]
    rows = {}
    for path in sorted(p for folder in ("pool", "positives", "validation") for p in (out / folder).iterdir()):
        name, data = str(path.relative_to(out)), path.read_bytes()
        rows[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        if name in pages:
            per = Counter(f"{page.package} {page.version}" for page in pages[name])
            # the warcinfo record stands in no list of pages
            rows[name] |= {"records": len(pages[name]) + 1, "pages_per_package": dict(sorted(per.items()))}
        else:
            rows[name]["records"] = data.count(b"\n")
    return rows


NOTICE_HEAD = """winnow
Copyright the winnow authors

This product is licensed under the Apache License, Version 2.0 (see LICENSE). The evaluation set evaluation/mini_v1 is
original to winnow.

The files below pipelines/sample/ (pool, positives, validation) hold documentation pages of packages of Debian 12
"bookworm", section main. They are packed documentation, not a crawl: the pages are real, the URLs (docs.example.org,
mirror.example.net), dates and HTTP headers around them are synthetic, and some records are broken on purpose
(pipelines/sample/manifest.json lists them). Apart from the planted re-encodings and excerpts listed there the pages are
unmodified; the validation texts are the plain text extracted from the pages.

The pages are NOT under winnow's licence. Each remains under the licence of its own work, as named below and in full in
the file /usr/share/doc/<package>/copyright of the Debian package and in Debian's source package of the same version,
which also is the preferred form for modification: https://snapshot.debian.org/binary/<package>/. The sources of every
package can be had with `apt-get source <package>`. pipelines/sample/build.py rebuilds the sample from the packages.

| use | package | version | licence | pages | copyright holders |
|---|---|---|---|---|---|
"""


def notice(manifest: dict) -> str:
    """The text of NOTICE: whose pages the sample holds and under which licences."""
    rows = [
        f"| {row['use']} | {name} | {row['version']} | {row['licence']} | {row['documents']} | {row['holders']} |"
        for name, row in manifest["packages"].items()
    ]
    return NOTICE_HEAD + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write pool/, positives/, ... into")
    parser.add_argument("--notice", type=Path, help="also write NOTICE to this file")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "winnow-sample-debs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = build(arguments.out, arguments.cache)
    if arguments.notice:
        arguments.notice.write_text(notice(manifest), encoding="utf-8")
    size = sum(row["bytes"] for row in manifest["files"].values())
    logger.info("wrote %d files, %.2f MB, below %s", len(manifest["files"]), size / 1e6, arguments.out)


if __name__ == "__main__":
    main()
