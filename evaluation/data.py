"""Bring the evaluation's data into one directory, and say of each of the 53 tasks whether it is there.

`import_data` copies from a directory that someone has (a clone of llm-foundry or DCLM, an unpacked bundle), `pull` fetches. Both take
a file as it is published only if its git blob hash is the known one; another file with the right number of sound rows is kept under
`name.reconstructed.jsonl`, anything else is refused with the reason. Nothing is overwritten by something less certain. GPQA is taken
as the encrypted archive alone.

Usage: `rows = import_data("llm-foundry/scripts/eval", "eval_data"); suite = load_suite("eval_data"); status_rows(suite)`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .conversions import CONVERSIONS, Conversion
from .download import Patience, Unreachable, download
from .files import GPQA_ARCHIVE, EvalDataError, KnownFile, git_blob, known_files
from .tasks import Suite, Task, checked_rows, load_suite, load_tasks

logger = logging.getLogger(__name__)

LLM_FOUNDRY = "https://raw.githubusercontent.com/mosaicml/llm-foundry/8c8dd48f72168c5d51e2f7b151595892a8fba43d/scripts/eval"
DCLM = "https://raw.githubusercontent.com/mlfoundations/dclm/361714bdd60bb9b7f4b2d8354cebbf0dec0c329e/eval"
HUGGING_FACE = "https://huggingface.co"

PREFIXES = ("", "local_data", "scripts/eval/local_data", "eval/local_data", "eval", "eval_data")
"""Where a directory to be imported may hold the folders: as itself, a clone of llm-foundry or of DCLM, nanochat's bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Base addresses to fetch from."""

    llm_foundry: str = field(default_factory=lambda: os.environ.get("WINNOW_EVAL_LLM_FOUNDRY", LLM_FOUNDRY))
    """Above `local_data/`."""
    dclm: str = field(default_factory=lambda: os.environ.get("WINNOW_EVAL_DCLM", DCLM))
    """Above `gpqa/dataset.zip`."""
    hugging_face: str = field(default_factory=lambda: os.environ.get("HF_ENDPOINT", HUGGING_FACE))
    """The hub, or a mirror of it."""


def status_rows(suite: Suite, done: Mapping[str, str] | None = None) -> list[dict]:
    """One row per task of a suite, missing ones too: task, core, status, reason, file, rows, dataset, licence.

    `done` tells, by path in llm-foundry's layout, what has just been done about a file: a column more.
    """
    rows = []
    for label, entry in suite.entries.items():
        known = known_files().get(entry.task.file)
        rows.append(
            {
                "task": label,
                "core": entry.task.in_core,
                "status": entry.status,
                **({} if done is None else {"done": done.get(_carrier(known), "") if known else ""}),
                "reason": entry.reason,
                "file": str(entry.path) if entry.path else entry.task.file,
                "rows": known.num_rows if known else None,
                "dataset": known.dataset if known else "",
                "licence": known.licence if known else "",
            }
        )
    return rows


def count_rows(rows: list[dict]) -> dict[str, int]:
    """How many tasks are present, reconstructed and missing, and how many of the 22 CORE tasks are there."""
    counts = {status: sum(row["status"] == status for row in rows) for status in ("present", "reconstructed", "missing")}
    return counts | {"core": sum(row["core"] and row["status"] != "missing" for row in rows)}


def import_data(source: str | Path, to: str | Path) -> list[dict]:
    """Copy the task files found under `source` into `to`; the status of all 53 tasks in `to` afterwards.

    Raises EvalDataError where `source` is no directory, or neither it nor `to` holds any file of the suite.
    """
    source, to = Path(source), Path(to)
    if not source.is_dir():
        raise EvalDataError(f"eval-data import: {source} is not a directory; give the one that holds local_data or its folders")
    done = {}
    for known in known_files().values():
        if not known.git_blob:  # GPQA's rows: the archive carries them
            continue
        found = _look(source, known.file)
        if found is not None:
            done[known.file] = _take(known, found, to)
    if source.resolve() != to.resolve() and any(_look(source, f"gpqa_data/{name}.jsonl") for name in ("gpqa_main", "gpqa_diamond")):
        done.setdefault(GPQA_ARCHIVE, "plain text is not copied: give DCLM's eval/gpqa/dataset.zip")
    if not done and not _holds_anything(to):
        example = load_tasks()["copa"].file
        raise EvalDataError(f"eval-data import: {source} holds no file of the suite, for instance {example}; also looked below {', '.join(PREFIXES[1:])}")
    return _status(to, done)


def pull(
    to: str | Path, labels: Collection[str] | None = None, sources: Sources | None = None, patience: Patience | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[dict]:  # fmt: skip
    """Fetch what is missing (of the tasks in `labels`, or of all) into `to`; the status of all 53 tasks afterwards.

    llm-foundry's and DCLM's files by their hash; where those can not be had, `CONVERSIONS` from Hugging Face. What is there and verified
    is not fetched again. `progress(done, total, file)` counts files. Raises EvalDataError for an unknown label, and where nothing at
    all could be reached.
    """
    to, sources = Path(to), sources or Sources()
    tasks = load_tasks()
    unknown = [label for label in labels or () if label not in tasks]
    if unknown:
        raise EvalDataError(f"eval-data pull: no task {unknown[0]!r}; `winnow list tasks` names them")
    wanted = list(dict.fromkeys(_carrier(known_files()[tasks[label].file]) for label in (labels or tasks)))
    done: dict[str, str] = {}
    dead: dict[str, str] = {}
    for number, file in enumerate(wanted):
        if progress is not None:
            progress(number, len(wanted), file)
        done[file] = _fetch(known_files()[file], to, sources, patience, dead)
    if progress is not None:
        progress(len(wanted), len(wanted), "")
    if dead and not any(done[file] in ("fetched", "verified already") or done[file].startswith("made from") for file in wanted):
        raise EvalDataError(
            f"eval-data pull: nothing could be fetched: {next(iter(dead.values()))}. Without a network: copy a clone of "
            "mosaicml/llm-foundry here and run `winnow eval-data import DIR`; behind a mirror set WINNOW_EVAL_LLM_FOUNDRY, WINNOW_EVAL_DCLM or HF_ENDPOINT"
        )
    return _status(to, done)


def _status(to: Path, done: Mapping[str, str]) -> list[dict]:
    try:
        return status_rows(load_suite(to), done)
    except ValueError:
        refusals = "; ".join(f"{file}: {told}" for file, told in done.items())
        raise EvalDataError(f"eval-data: {to} holds none of the 53 task files ({refusals or 'nothing was found'})") from None


def _carrier(known: KnownFile) -> str:
    """The file in which a task's rows are kept."""
    return known.file if known.git_blob else GPQA_ARCHIVE


def _task_of(file: str) -> Task:
    return next(task for task in load_tasks().values() if task.file == file)


def _target(to: Path, file: str, reconstructed: bool = False) -> Path:
    path = to / file.removeprefix("local_data/")
    return path.with_suffix(".reconstructed.jsonl") if reconstructed else path


def _look(source: Path, file: str) -> Path | None:
    """The file below a directory, as published or as a reconstruction."""
    inner = file.removeprefix("local_data/")
    for name in (inner, inner.removesuffix(".jsonl") + ".reconstructed.jsonl"):
        for prefix in PREFIXES:
            path = source / prefix / name
            if path.is_file():
                return path
    return None


def _holds_anything(to: Path) -> bool:
    return any(_look(to, file) for file in known_files())


def _verified(known: KnownFile, to: Path) -> bool:
    path = _target(to, known.file)
    return path.is_file() and git_blob(path) == known.git_blob


def _take(known: KnownFile, found: Path, to: Path) -> str:
    """Copy one file if it is better than what is there; what was done."""
    if _verified(known, to):
        return "verified already"
    blob = git_blob(found)
    if blob == known.git_blob:
        _commit(known, to, lambda temporary: shutil.copyfile(found, temporary))
        return "copied"
    if known.file == GPQA_ARCHIVE:
        return f"refused: {found} has git blob {blob[:8]}, DCLM's archive {known.git_blob[:8]}; take eval/gpqa/dataset.zip of mlfoundations/dclm"
    try:
        count = len(checked_rows(_task_of(known.file), found))
    except ValueError as error:
        return f"refused: {error}"
    if count != known.num_rows:
        return f"refused: {found} has {count:,} rows, the published file {known.num_rows:,}; it is cut or another version"
    there = _look(to, known.file)
    if there is not None:
        return "there already" if git_blob(there) == blob else f"kept {there}, as unverified as {found}; delete it to take the other"
    _write(_target(to, known.file, reconstructed=True), lambda temporary: shutil.copyfile(found, temporary))
    return "copied"


def _fetch(known: KnownFile, to: Path, sources: Sources, patience: Patience | None, dead: dict[str, str]) -> str:
    """Fetch one file, or make it from its data set's own files; what was done. `dead` gathers hosts that do not answer."""
    if _verified(known, to):
        return "verified already"
    base = sources.dclm if known.file == GPQA_ARCHIVE else sources.llm_foundry
    try:
        _unless_dead(base, dead)
        target = _target(to, known.file)
        # an unverified file under the published name makes way only for the published one, which download() renames into place
        download(f"{base.rstrip('/')}/{known.file}", target, blob=known.git_blob, num_bytes=known.num_bytes, patience=patience)
        _target(to, known.file, reconstructed=True).unlink(missing_ok=True)
        return "fetched"
    except EvalDataError as error:
        if isinstance(error, Unreachable):
            dead.setdefault(base, str(error))
        problem = str(error)
    conversion = CONVERSIONS.get(known.file)
    if conversion is None or _look(to, known.file):
        return f"not fetched: {problem}"
    try:
        _unless_dead(sources.hugging_face, dead)
        return _convert(known, conversion, to, sources.hugging_face.rstrip("/"), patience)
    except EvalDataError as error:
        if isinstance(error, Unreachable):
            dead.setdefault(sources.hugging_face, str(error))
        return f"not fetched: {problem}; nor made from its data set: {error}"


def _unless_dead(base: str, dead: Mapping[str, str]) -> None:
    if base in dead:
        raise Unreachable(dead[base])


def _convert(known: KnownFile, conversion: Conversion, to: Path, hub: str, patience: Patience | None) -> str:
    folder = to / "_downloads" / Path(known.file).stem
    files = [folder / path.replace("/", "+") for path in conversion.paths]
    try:
        for path, file in zip(conversion.paths, files, strict=True):
            download(f"{hub}/{path}", file, patience=patience)
        rows = conversion.convert(files)
    except EvalDataError:
        raise
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise EvalDataError(f"{hub}/{conversion.paths[0]}: its columns are not those expected ({type(error).__name__}: {error})") from None
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    if len(rows) != known.num_rows:
        raise EvalDataError(f"{hub}/{conversion.paths[0]}: {len(rows):,} rows came of it, the suite's file has {known.num_rows:,}")
    target = _target(to, known.file, reconstructed=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    _write(target, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    if git_blob(target) == known.git_blob:
        target.rename(_target(to, known.file))
    return "made from its data set"


def _commit(known: KnownFile, to: Path, fill: Callable[[Path], object]) -> None:
    """Write the published file; a reconstruction beside it has had its day."""
    _write(_target(to, known.file), fill, known.git_blob)
    _target(to, known.file, reconstructed=True).unlink(missing_ok=True)


def _write(target: Path, fill: Callable[[Path], object], blob: str = "") -> None:
    """Write aside, check, sync and rename; a reader sees the old file or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        fill(temporary)
        if blob and git_blob(temporary) != blob:
            raise EvalDataError(f"{target}: changed while it was copied; run again")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
