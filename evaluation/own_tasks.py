"""Tasks of one's own beside the 53: a table like tasks.csv and a JSONL file for each of its rows.

    label,task_type,num_fewshot,baseline_v2,file
    capitals,multiple_choice,5,25,capitals.jsonl

Columns as in tasks.csv. label, task_type, num_fewshot and file are required; the rest have the usual values: category "own", delimiter
" ", no prelimiter, no stop strings, no categories, baseline 0 (v1: as v2). Delimiters and stop strings are JSON ("\\nAnswer: " needs its
quotes). Files are looked for beside the table. Such a suite is named own-<table>-<hash>: another table of that name, or other rows, are
another suite. No task of it is part of CORE.

Usage: `suite = load_own_suite("my_tasks.csv")`, which serves wherever a suite does.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from .files import file_hashes
from .tasks import GENERATION, TASK_TYPES, Suite, SuiteTask, Task, checked_rows, load_tasks

REQUIRED = ("label", "task_type", "num_fewshot", "file")
OPTIONAL = (
    "category", "continuation_delimiter", "question_prelimiter", "cot_delimiter", "early_stops", "has_categories", "baseline_v1",
    "baseline_v2", "in_core",
)  # fmt: skip
MAX_FEWSHOT = 1000


def load_own_suite(path: str | Path) -> Suite:
    """The suite of a table of one's own; every file is read and checked. Raises ValueError with file, line, what is wrong and the remedy."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"--tasks {path}: there is no such table; write a CSV with the columns {', '.join(REQUIRED)}")
    entries: dict[str, SuiteTask] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or [])
            for row in reader:
                entry = _entry(path, reader.line_num, row)
                if entry.task.label in entries:
                    raise ValueError(f"{path}: line {reader.line_num}: label {entry.task.label!r} is there twice; give each task its own")
                entries[entry.task.label] = entry
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV table in UTF-8 ({error})") from None
    if not entries:
        raise ValueError(f"{path}: no tasks below the header; write a row for each")
    facts = [[_facts(entry.task), entry.sha256] for entry in entries.values()]
    data_hash = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Suite(name=f"own-{path.stem}-{data_hash[:8]}", data_hash=data_hash, entries=entries)


def _facts(task: Task) -> list:
    """What decides a task's prompts and scores; the path of its file does not."""
    return [getattr(task, name) for name in Task.__slots__ if name != "file"]


def _check_columns(path: Path, names: list[str]) -> None:
    for name in REQUIRED:
        if name not in names:
            raise ValueError(f"{path}: line 1: column {name!r} is missing (has: {', '.join(names) or 'nothing'}); add it")
    for name in names:
        if name not in (*REQUIRED, *OPTIONAL):
            near = difflib.get_close_matches(name, [*REQUIRED, *OPTIONAL], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join((*REQUIRED, *OPTIONAL))}"
            raise ValueError(f"{path}: line 1: unknown column {name!r}; {hint}")


def _entry(path: Path, line: int, row: dict) -> SuiteTask:
    where = f"{path}: line {line}"
    if None in row or None in row.values():
        raise ValueError(f"{where}: another number of cells than the header has; a cell with a comma or a quote needs quotes around it")
    try:
        task = _task({name: value.strip() for name, value in row.items()})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    file = path.parent / task.file
    if not file.is_file():
        raise ValueError(f"{where}: there is no file {file}; a path is relative to the table's folder")
    try:
        rows = checked_rows(task, file)
    except ValueError as error:
        raise ValueError(f"{where}, task {task.label}: {error}") from None
    pools = Counter(each["category"].strip() if task.has_categories else "" for each in rows)
    smallest, count = min(pools.items(), key=lambda item: (item[1], item[0]))
    if task.num_fewshot >= count:
        pool = f"category {smallest!r} of {file}" if smallest else str(file)
        raise ValueError(
            f"{where}: num_fewshot is {task.num_fewshot}, but {pool} has {count} rows, so a question has {count - 1} others to show; "
            "lower it or add rows"
        )
    return SuiteTask(task=task, status="present", path=file, sha256=file_hashes(file)[0])


def _task(cells: dict[str, str]) -> Task:
    label, task_type = cells["label"], cells["task_type"]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", label):
        raise ValueError(f"label is {label!r}; use up to 100 letters, digits, _ . - and begin with a letter or digit")
    if label in load_tasks() or label.startswith("validation"):
        raise ValueError(f"label {label!r} is the name of a task that comes with the suite; choose another, so that nobody mistakes it")
    if task_type not in TASK_TYPES:
        near = difflib.get_close_matches(task_type, TASK_TYPES, n=1)
        raise ValueError(f"task_type is {task_type!r}; use one of {', '.join(TASK_TYPES)}{f' (did you mean {near[0]}?)' if near else ''}")
    if _flag(cells, "in_core"):
        raise ValueError("in_core is true; CORE is DCLM's 22 tasks and takes no other: write false or drop the column")
    early_stops = _json(cells, "early_stops", [])
    if not isinstance(early_stops, list) or not all(isinstance(stop, str) and stop for stop in early_stops):
        raise ValueError(f'early_stops is {cells["early_stops"]}; write a JSON list of texts, for instance ["\\n\\n"]')
    for stop in early_stops:
        try:
            re.compile(stop)
        except re.error as error:
            raise ValueError(f"early_stops holds {stop!r}, which is no regular expression ({error}); put \\ before a special character") from None
    if task_type != GENERATION and (early_stops or _text(cells, "cot_delimiter", "")):
        raise ValueError(f"early_stops and cot_delimiter are for {GENERATION} alone; leave them empty")
    baseline = _percent(cells, "baseline_v2", 0.0)
    return Task(
        label=label,
        category=cells.get("category") or "own",
        task_type=task_type,
        num_fewshot=_count(cells["num_fewshot"]),
        continuation_delimiter=_text(cells, "continuation_delimiter", " "),
        question_prelimiter=_text(cells, "question_prelimiter", ""),
        cot_delimiter=_text(cells, "cot_delimiter", ""),
        early_stops=tuple(early_stops),
        has_categories=_flag(cells, "has_categories"),
        baseline_v1=_percent(cells, "baseline_v1", baseline),
        baseline_v2=baseline,
        in_core=False,
        file=cells["file"],
    )


def _count(cell: str) -> int:
    if not re.fullmatch(r"\d{1,4}", cell) or int(cell) > MAX_FEWSHOT:
        raise ValueError(f"num_fewshot is {cell!r}; write a whole number from 0 to {MAX_FEWSHOT}")
    return int(cell)


def _percent(cells: dict[str, str], name: str, default: float) -> float:
    cell = cells.get(name, "")
    if not cell:
        return default
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", cell):
        raise ValueError(f"{name} is {cell!r}; write the accuracy of chance in percent, from 0 to below 100")
    return float(cell)


def _flag(cells: dict[str, str], name: str) -> bool:
    cell = cells.get(name, "") or "false"
    if cell.lower() not in ("true", "false"):
        raise ValueError(f"{name} is {cell!r}; write true or false")
    return cell.lower() == "true"


def _text(cells: dict[str, str], name: str, default: str) -> str:
    value = _json(cells, name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {cells[name]}; write a JSON text")
    return value


def _json(cells: dict[str, str], name: str, default):
    cell = cells.get(name, "")
    if not cell:
        return default
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        raise ValueError(f'{name} is {cell}; write JSON with its quotes, for instance "\\nAnswer: ", in CSV """\\nAnswer: """') from None
