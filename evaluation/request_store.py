"""Compiled requests on disk: a suite is tokenised once per tokenizer, and read in a second after that.

A Parquet file per task (columns: request_table.SCHEMA), named `<task>.<key>.<digest>.parquet`. The key is a hash of all that the
requests follow from (see `request_key`), the digest one of the file's own bytes: a file whose bytes say otherwise is compiled again.
Files are written aside and renamed, so one is whole or absent, and nobody has to wait for anybody.

GPQA's authors ask that its text stays out of crawls, and token ids are text: such a file is sealed with the password that GPQA's
archive has, a hurdle and no secret, as theirs.

Usage: `requests = stored_requests(suite, tokenizer, "requests")`. Cost: 1 ns per token id to read (the 50 tasks: 75 million).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import gpqa
from .protocol import Tokenizer
from .request_table import SCHEMA, RequestTable, to_arrow
from .requests import SCORING_MODE, compile_requests
from .tasks import Suite, SuiteTask, Task
from .tokenizer_content import tokenizer_hash

logger = logging.getLogger(__name__)

COMPILER_VERSION = 2
"""Raise it when compile_requests gives other ids, or the table other columns, for the same inputs."""

_STALE_SECONDS = 3_600.0  # a temporary file this old was left behind by a process that was killed


def stored_requests(
    suite: Suite,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    fewshot_seed: int = 1234,
    max_seq_len: int = 2048,
    faithful: bool = True,
    compiled: Callable[[str], None] | None = None,
) -> RequestTable:
    """The requests of every task that the suite has, in its order: read where they are stored, else compiled and stored.

    `compiled(label)` is told of each task that had to be compiled. Raises ValueError as compile_requests and tokenizer_hash do,
    and where a task's file is no longer the one that the suite was loaded with.
    """
    directory = Path(directory)
    settings = {"fewshot_seed": fewshot_seed, "max_seq_len": max_seq_len, "faithful": faithful}
    tokenizer_key = tokenizer_hash(tokenizer)
    keys = {label: request_key(suite.entries[label], tokenizer_key, **settings) for label in suite.tasks}
    names = sorted(os.listdir(directory)) if directory.is_dir() else []
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda label: _read(directory, names, suite.entries[label], keys[label]), keys)
        tables = dict(zip(keys, found, strict=True))
    for label, table in tables.items():
        if table is None:
            entry = suite.entries[label]
            rows = suite.rows(label)
            tables[label] = to_arrow(compile_requests(entry.task, rows, tokenizer, **settings))
            _check_unchanged(entry)
            _write(directory, entry, keys[label], tables[label])
            if compiled is not None:
                compiled(label)
    return RequestTable([(suite.entries[label].task, table) for label, table in tables.items()])


def request_key(entry: SuiteTask, tokenizer_key: str, fewshot_seed: int, max_seq_len: int, faithful: bool) -> str:
    """sha256 of everything that the requests of a task are a function of; no path and no time."""
    import tokenizers

    facts = {
        "scoring_mode": SCORING_MODE,
        "compiler_version": COMPILER_VERSION,
        "tokenizers": tokenizers.__version__,
        "task": asdict(entry.task),
        "data": entry.sha256,
        "tokenizer": tokenizer_key,
        "fewshot_seed": fewshot_seed,
        "max_seq_len": max_seq_len,
        "faithful": faithful,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(directory: Path, names: list[str], entry: SuiteTask, key: str) -> pa.Table | None:
    """The stored table, or None; whatever is not what its name says is reported, and replaced when the task is compiled again."""
    stem = _stem(entry.task, key)
    for name in names:
        if not name.startswith(stem):
            continue
        try:
            data = (directory / name).read_bytes()
        except FileNotFoundError:  # replaced by another process since the directory was listed
            continue
        if name != _name(entry, key, data):
            logger.warning("%s: its bytes are not those that were written; the task is compiled again", directory / name)
            continue
        try:
            table = pq.read_table(io.BytesIO(_sealed(data, key) if entry.encrypted else data), use_threads=False)
        except pa.ArrowException as error:
            logger.warning("%s: not a table of requests (%s); the task is compiled again", directory / name, error)
            continue
        if table.schema.equals(SCHEMA) and table.schema.metadata == _metadata(key):
            return table
        logger.warning("%s: holds other requests than its name says; the task is compiled again", directory / name)
    return None


def _write(directory: Path, entry: SuiteTask, key: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(_metadata(key)), sink, compression="zstd", use_dictionary=False, row_group_size=max(1, len(table)))
    data = _sealed(sink.getvalue(), key) if entry.encrypted else sink.getvalue()
    directory.mkdir(parents=True, exist_ok=True)
    for left in directory.glob("_tmp-*"):
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)
    temporary = directory / f"_tmp-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    target = directory / _name(entry, key, data)
    os.replace(temporary, target)
    for other in directory.glob(f"{_stem(entry.task, key)}*"):
        if other != target:  # what was found wanting
            other.unlink(missing_ok=True)


def _stem(task: Task, key: str) -> str:
    return f"{re.sub('[^A-Za-z0-9_-]', '_', task.label)[:80]}.{key[:32]}."


def _name(entry: SuiteTask, key: str, data: bytes) -> str:
    suffix = "parquet.sealed" if entry.encrypted else "parquet"
    return f"{_stem(entry.task, key)}{hashlib.sha256(data).hexdigest()[:32]}.{suffix}"


def _metadata(key: str) -> dict[bytes, bytes]:
    return {b"requests": key.encode()}


def _sealed(data: bytes, key: str) -> bytes:
    """The bytes under a key stream of the password and the requests' key; twice gives them back."""
    password = os.environ.get(gpqa.PASSWORD_VARIABLE) or gpqa.PASSWORD
    stream = hashlib.shake_256(f"{password}:{key}".encode()).digest(len(data))
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(stream, np.uint8)).tobytes()


def _check_unchanged(entry: SuiteTask) -> None:
    """What was compiled must have come from the bytes that the key names. An archive's rows have the hash of no file."""
    if entry.path is None or entry.encrypted:
        return
    with entry.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        raise ValueError(f"{entry.task.label}: {entry.path} was written while its requests were compiled; load the suite again")
