"""The texts that are measured on: real pages, extracted once by winnow's own `extract` and kept in a cache.

The pages are the packed documentation of ../shared/data/warc/packed (7,500 pages, synthetic headers: no crawl); where that is absent,
those of the embedded sample. The cache ($XDG_CACHE_HOME or ~/.cache, winnow-bench/) is keyed by the bytes of the WARC file, the version of
the stage and that of resiliparse, so it never answers for other texts.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT / ".." / "shared" / "data"
PACKED = SHARED / "warc" / "packed"
SAMPLE = ROOT / "pipelines" / "sample" / "pool"
BATCH_ROWS = 1024
"""Documents a batch, as the engine cuts them."""


@dataclass(frozen=True)
class Corpus:
    """Documents (id, url, origin, text and what else `extract` writes) in the order of their files."""

    source: str
    table: pa.Table
    warcs: tuple[Path, ...]

    @cached_property
    def texts(self) -> list[str]:
        """Every text as a Python string."""
        return self.table.column("text").to_pylist()

    @cached_property
    def num_bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return sum(len(text.encode()) for text in self.texts)

    @property
    def megabytes(self) -> float:
        """The same in 10**6 bytes."""
        return self.num_bytes / 1e6

    @cached_property
    def batches(self) -> list[pa.RecordBatch]:
        """Batches as the engine would hand them to a stage."""
        return self.table.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)

    def part(self, num_bytes: int) -> "Corpus":
        """Return documents spread evenly over the corpus, about `num_bytes` of text in all; the same ones every time."""
        step = max(1, round(self.num_bytes / num_bytes))
        return self.rows(range(step // 2, len(self.texts), step))

    def excerpts(self, count: int, chars: int) -> "Corpus":
        """Return the first `chars` characters of `count` documents: half of them spread evenly, half those richest in non-ASCII."""
        foreign = sorted(range(len(self.texts)), key=lambda row: -sum(c > "\x7f" for c in self.texts[row][:chars]))
        rows = sorted({*range(0, len(self.texts), max(1, 2 * len(self.texts) // count)), *foreign[: count // 2]})
        found = self.rows(rows)
        cut = pa.array([text[:chars] for text in found.texts], self.table.schema.field("text").type)
        return Corpus(self.source, found.table.set_column(self.table.schema.get_field_index("text"), "text", cut), self.warcs)

    def rows(self, rows: Sequence[int]) -> "Corpus":
        """Return the documents in these rows."""
        return Corpus(self.source, self.table.take(pa.array(rows, pa.int64())), self.warcs)


def load_corpus(quick: bool) -> Corpus:
    """Return the texts of every page; quick takes the first file only. UserError if there is no WARC file at all."""
    packed = sorted(PACKED.glob("*.warc.gz"))
    warcs = packed or sorted(SAMPLE.glob("*.warc.gz"))
    if not warcs:
        raise UserError(f"bench curation: neither {PACKED} nor {SAMPLE} holds a *.warc.gz to measure on")
    warcs = warcs[: 1 if quick else None]
    name = "../shared/data/warc/packed" if packed else "pipelines/sample/pool"
    return Corpus(name, pa.concat_tables([_documents(path) for path in warcs]).combine_chunks(), tuple(warcs))


def cache_dir() -> Path:
    """Return the directory of what is too dear to make for every run, made if it was not there."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow-bench"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _documents(warc: Path) -> pa.Table:
    from stages.core.stage import Guard, Inputs, Resources, SourceShard
    from stages.extract import Extract, extract

    with warc.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f"extract {extract.version}, resiliparse {importlib.metadata.version('Resiliparse')}".encode())
    cached = cache_dir() / f"{warc.name}-{digest.hexdigest()[:16]}.parquet"
    if not cached.exists():
        shard = SourceShard(warc.name, warc.name, warc.stat().st_size, "", str(warc))
        made = extract(Extract(), Inputs(), Resources())(shard, Guard())
        documents = pa.Table.from_batches([part.documents for part in made if part.documents is not None])
        aside = cached.with_suffix(f".{os.getpid()}")
        pq.write_table(documents, aside, compression="zstd")
        aside.replace(cached)
    return pq.read_table(cached)
