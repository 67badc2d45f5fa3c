"""GPQA's questions, decrypted in memory: its authors ask that the plain text is never published, so that it stays out of crawls.

DCLM ships an archive with a password (eval/gpqa/dataset.zip) and turns it into task files (eval/eval_openlm_ckpt.py); the same rows
are made here and never written. The password is no secret: GPQA's authors publish it, as a hurdle for scrapers (arXiv 2311.12022);
WINNOW_GPQA_PASSWORD stands in for it should they change it.
Cost: about half a second for the 448 questions (zip's old cipher in Python), once a process.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from .files import EvalDataError

PASSWORD = "deserted-untie-orchid"
PASSWORD_VARIABLE = "WINNOW_GPQA_PASSWORD"
SHA256 = {
    "gpqa_main": "ffa12ea52abc517a6a88ee7df17a8f7dfb29eb2e3fa66468e39ef5510b6ba727",
    "gpqa_diamond": "c5d05a0e9b51647d9a90b6fc9377cb9f724e004b98888e9a0f0172b41f9a51d4",
}
"""Of the JSONL files that DCLM's conversion writes from the archive of DCLM's repository."""
MAX_BYTES = 64 << 20
"""A member that unpacks to more is no part of GPQA (its largest has 4 MB)."""
_ANSWERS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def gpqa_rows(archive: Path, label: str) -> list[dict]:
    """Rows {query, choices, gold} of `gpqa_main` or `gpqa_diamond`, in the archive's order.

    The four answers are shuffled by one `random.Random(42)` that runs through the rows, as DCLM does. Raises EvalDataError where the
    archive can not be opened: no zip, another password, other columns.
    """
    return [json.loads(line) for line in _converted(archive, label).splitlines()]


def gpqa_sha256(archive: Path, label: str) -> str:
    """sha256 of the JSONL file that DCLM would write for a task; nothing is written."""
    return hashlib.sha256(_converted(archive, label).encode("ascii")).hexdigest()


def _converted(archive: Path, label: str) -> str:
    stat = archive.stat()
    return _convert(str(archive), label, os.environ.get(PASSWORD_VARIABLE) or PASSWORD, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _convert(archive: str, label: str, password: str, _size: int, _mtime: int) -> str:
    """The task's JSONL, ASCII as json.dumps writes it; kept in memory for as long as the archive stays the same."""
    text = _decrypt(archive, f"dataset/{label}.csv", password)
    shuffle = random.Random(42)
    lines = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
        if any(row.get(name) is None for name in ("Question", *_ANSWERS)):
            raise EvalDataError(f"{archive}: row {number} of {label} lacks a column of {', '.join(('Question', *_ANSWERS))}; fetch it again")
        order = list(range(4))
        shuffle.shuffle(order)
        choices = [row[_ANSWERS[place]] for place in order]
        lines.append(json.dumps({"query": row["Question"], "choices": choices, "gold": order.index(0)}) + "\n")
    if not lines:
        raise EvalDataError(f"{archive}: {label} holds no rows; fetch it again")
    return "".join(lines)


def _decrypt(archive: str, member: str, password: str) -> str:
    try:
        with zipfile.ZipFile(archive) as opened:
            if opened.getinfo(member).file_size > MAX_BYTES:
                raise EvalDataError(f"{archive}: {member} unpacks to more than {MAX_BYTES >> 20} MiB; this is not GPQA's archive")
            return opened.read(member, pwd=password.encode()).decode("utf-8")
    except KeyError:
        raise EvalDataError(f"{archive}: there is no {member} in it; take eval/gpqa/dataset.zip of mlfoundations/dclm") from None
    except (RuntimeError, NotImplementedError) as error:
        raise EvalDataError(f"{archive}: {error}; give the right password in {PASSWORD_VARIABLE}") from None
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        # one wrong password in 256 passes zip's own check and yields garbage
        raise EvalDataError(f"{archive}: not GPQA's archive, or another password ({error}); fetch it again or set {PASSWORD_VARIABLE}") from None
