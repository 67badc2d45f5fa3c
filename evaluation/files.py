"""What is known of the files that hold the 53 tasks: git's hash of each, rows, data set and licence.

The table is `task_files.csv` beside this file. Blob hashes and sizes: the tree of mosaicml/llm-foundry at 8c8dd48 (scripts/eval) and,
for GPQA's archive, mlfoundations/dclm at 361714b (eval/gpqa). A size is blank where only the hash is known. Rows: DCLM's
`eval_meta_data.csv`, counted where the file is at hand. Licences are those that the data sets' publishers state: look again before
you publish a copy.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GPQA_ARCHIVE = "gpqa/dataset.zip"
"""GPQA as DCLM ships it: encrypted."""


class EvalDataError(ValueError):
    """Evaluation data can not be had, or is not what it should be; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """One file of the suite."""

    file: str
    """Path in llm-foundry's layout."""
    git_blob: str
    """What `git hash-object` says of it; "" where no such file is published (GPQA's rows)."""
    num_bytes: int | None
    num_rows: int | None
    dataset: str
    licence: str


@cache
def known_files() -> dict[str, KnownFile]:
    """The files by their path, in the order of the suite, GPQA's archive last."""
    with Path(__file__).with_name("task_files.csv").open(newline="", encoding="utf-8") as table:
        return {
            row["file"]: KnownFile(
                file=row["file"],
                git_blob=row["git_blob"],
                num_bytes=int(row["num_bytes"]) if row["num_bytes"] else None,
                num_rows=int(row["num_rows"]) if row["num_rows"] else None,
                dataset=row["dataset"],
                licence=row["licence"],
            )
            for row in csv.DictReader(table)
        }


def file_hashes(path: Path) -> tuple[str, str]:
    """sha256 of a file's bytes, and its git blob hash: sha1 over "blob <length>", a zero byte and the bytes."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        # git names contents by sha1, broken for signatures and good enough to tell a damaged copy
        blob = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest()


def git_blob(path: Path) -> str:
    """The git blob hash of a file, as `git hash-object` gives it."""
    return file_hashes(path)[1]
