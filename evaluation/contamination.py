"""Which questions of a suite occur in given documents: shared runs of 13 words, the usual sign that a test was seen in training.

Words are runs of letters and digits, lower-cased; the runs are taken inside each text field of a row (question, choices, answers ...).
A run that more than a twentieth of a task's rows and more than ten of them have is its instructions, not a question, and is left out.
A row none of whose fields has 13 words can not be judged: its flag is null, never false. A match is two equal hashes of 64 bits.

Source: 13-grams as in GPT-3's contamination study (arXiv 2005.14165, appendix C).
Cost: the 9 million runs of 50 tasks are hashed once (9 s, 0.8 GB at its height), then a core reads about 12 MB of text a second.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .tasks import Suite

NUM_WORDS = 13
COMMON_SHARE, COMMON_ROWS = 0.05, 10
FLAG_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        ("contaminated", pa.bool_()),
        pa.field("num_runs", pa.int32(), nullable=False),
        pa.field("found_runs", pa.int32(), nullable=False),
        ("document", pa.string()),
    ]
)
"""contaminated: null where the row has no run to look for. num_runs: distinct runs of the row that count, found_runs: those of them that
some document has. document: id of the first document that has one."""

_WORD = re.compile(r"[^\W_]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def contamination(
    suite: Suite, documents: Iterable[tuple[str, str]], *, labels: Collection[str] | None = None, num_words: int = NUM_WORDS
) -> pa.Table:
    """Look for every row of a suite's tasks (or of those in `labels`) in documents, given as (id, text); a table as `FLAG_SCHEMA`.

    Rows come in the order of the suite and of its files. Documents are read once, in order, one at a time. No text of a row is returned.
    """
    if num_words < 2:
        raise ValueError(f"contamination: num_words is {num_words}; give 2 or more (13 is usual)")
    index = _Index(num_words)
    tasks = [label for label in suite.tasks if labels is None or label in labels]
    places: dict[str, range] = {}
    shared: dict[Any, range] = {}  # two tasks may ask the same file, mmlu for one
    for label in tasks:
        entry = suite.entries[label]
        key = (entry.path, label if entry.encrypted else "")
        if key not in shared:
            shared[key] = index.add(suite.rows(label))
        places[label] = shared[key]
    index.seal()
    for name, text in documents:
        index.look(name, text)
    return index.table(places)


def flag_items(items: pa.Table, flags: pa.Table) -> pa.Table:
    """Items with one column more, `contaminated`, from a table of flags; null where the flags do not know the question."""
    known = dict(
        zip(
            zip(flags.column("task").to_pylist(), flags.column("row").to_pylist(), strict=True),
            flags.column("contaminated").to_pylist(),
            strict=True,
        )
    )
    keys = zip(items.column("task").to_pylist(), items.column("row").to_pylist(), strict=True)
    return items.append_column("contaminated", pa.array([known.get(key) for key in keys], pa.bool_()))


def accuracy_by_flag(items: pa.Table) -> list[dict]:
    """Per task: items, contaminated, and the share right among clean, contaminated and unjudged items (None without any); from flagged items."""
    rows = []
    for task in dict.fromkeys(items.column("task").to_pylist()):
        of_task = items.filter(pc.equal(items.column("task"), task))
        row: dict[str, Any] = {"task": task, "items": of_task.num_rows}
        flag = of_task.column("contaminated")
        for name, mask in (
            ("clean", pc.fill_null(pc.invert(flag), False)),
            ("contaminated", pc.fill_null(flag, False)),
            ("unjudged", pc.is_null(flag)),
        ):
            part = of_task.filter(mask)
            row[name] = part.num_rows
            row[f"accuracy_{name}"] = pc.mean(part.column("correct").cast(pa.float64())).as_py() if part.num_rows else None
        rows.append(row)
    return rows


class _Words:
    """Text to the 64-bit hashes of its words; those of words seen before are looked up."""

    def __init__(self) -> None:
        self.hash_of: dict[str, int] = {}

    def hashes(self, text: str) -> np.ndarray:
        known, found = self.hash_of, []
        for word in _WORD.findall(text.lower()):
            value = known.get(word)
            if value is None:
                value = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
                if len(known) < 2_000_000:  # crawled text has ever new words: the common ones are in by then
                    known[word] = value
            found.append(value)
        return np.array(found, dtype=np.uint64)


class _Index:
    """The runs of all rows, sorted by hash, and what has been found of them."""

    def __init__(self, num_words: int):
        self.num_words = num_words
        self.words = _Words()
        self.num_rows = 0
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: list[Mapping[str, Any]]) -> range:
        """Take the rows of a file; their numbers among all rows."""
        first, runs, owners, checks = self.num_rows, [], [], []
        for number, row in enumerate(rows):
            for text in _texts(row):
                word_hashes = self.words.hashes(text)
                hashes = _run_hashes(word_hashes, self.num_words)
                if len(hashes):
                    runs.append(hashes)
                    checks.append(_run_checks(word_hashes, self.num_words))
                    owners.append(np.full(len(hashes), first + number, dtype=np.int32))
        self.num_rows += len(rows)
        if runs:
            hashes, owner, check = np.concatenate(runs), np.concatenate(owners), np.concatenate(checks)
            order = np.lexsort((owner, check, hashes))
            hashes, owner, check = hashes[order], owner[order], check[order]
            new_run = np.ones(len(hashes), dtype=bool)
            new_run[1:] = (hashes[1:] != hashes[:-1]) | (check[1:] != check[:-1])
            first_of_owner = new_run.copy()
            first_of_owner[1:] |= owner[1:] != owner[:-1]
            hashes, owner, check, new_run = hashes[first_of_owner], owner[first_of_owner], check[first_of_owner], new_run[first_of_owner]
            starts = np.flatnonzero(new_run)
            num_owners = np.diff(np.append(starts, len(hashes)))
            common = (num_owners > COMMON_ROWS) & (num_owners > COMMON_SHARE * len(rows))
            kept = ~np.repeat(common, num_owners)
            self.parts.append((hashes[kept], check[kept], owner[kept]))
        return range(first, self.num_rows)

    def seal(self) -> None:
        """No more rows: sort what there is."""
        empty = (np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int32))
        hashes, check, owner = (np.concatenate(columns) for columns in zip(empty, *self.parts, strict=True))
        self.parts.clear()
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.check, self.owner = hashes[order], check[order], owner[order]
        self.num_runs = np.bincount(self.owner, minlength=self.num_rows)
        self.found = np.zeros(len(self.hashes), dtype=bool)
        self.document: dict[int, str] = {}
        # a bit per possible value of 24 bits of the hash answers "no" for nearly every run of a document without a search
        self.maybe = np.zeros(1 << 24, dtype=bool)
        self.maybe[self.hashes >> np.uint64(40)] = True

    def look(self, name: str, text: str) -> None:
        """Mark the runs that a document has."""
        word_hashes = self.words.hashes(text)
        runs = _run_hashes(word_hashes, self.num_words)
        candidates = np.flatnonzero(self.maybe[runs >> np.uint64(40)])
        if not len(candidates):
            return
        wanted = runs[candidates]
        low, high = np.searchsorted(self.hashes, wanted, "left"), np.searchsorted(self.hashes, wanted, "right")
        hit = high > low
        if not hit.any():
            return
        checks = _run_checks(word_hashes, self.num_words)[candidates]
        for start, stop, check in set(zip(low[hit].tolist(), high[hit].tolist(), checks[hit].tolist(), strict=True)):
            same = start + np.flatnonzero(self.check[start:stop] == np.uint64(check))
            self.found[same] = True
            for owner in self.owner[same].tolist():
                self.document.setdefault(owner, name)

    def table(self, places: Mapping[str, range]) -> pa.Table:
        """The flags of every task's rows, `FLAG_SCHEMA`."""
        found_runs = np.bincount(self.owner[self.found], minlength=self.num_rows)
        rows = [
            {
                "task": label,
                "row": row,
                "contaminated": bool(found_runs[owner]) if self.num_runs[owner] else None,
                "num_runs": int(self.num_runs[owner]),
                "found_runs": int(found_runs[owner]),
                "document": self.document.get(owner),
            }
            for label, owners in places.items()
            for row, owner in enumerate(owners)
        ]
        return pa.Table.from_pylist(rows, schema=FLAG_SCHEMA)


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    """The text fields of a row; its category is a name, not a text."""
    for name, value in row.items():
        if name == "category":
            continue
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


def _run_hashes(word_hashes: np.ndarray, num_words: int) -> np.ndarray:
    """A 64-bit hash of every run of `num_words` words: a polynomial in the words' hashes, mixed so that its high bits are as good as its low."""
    return _mixed(_polynomial(word_hashes, num_words, _MULTIPLIER))


def _run_checks(word_hashes: np.ndarray, num_words: int) -> np.ndarray:
    """A second hash, independent of the first: both equal means the same words (1 in 10^38 otherwise)."""
    return _polynomial(_mixed(word_hashes), num_words, np.uint64(0xD6E8FEB86659FD93))


def _polynomial(values: np.ndarray, num_words: int, multiplier: np.uint64) -> np.ndarray:
    count = len(values) - num_words + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    runs = values[:count].copy()
    for offset in range(1, num_words):
        runs *= multiplier
        runs += values[offset : offset + count]
    return runs


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values ^ (values >> np.uint64(32))
    values = values * np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(29))
