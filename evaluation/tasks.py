"""The 53 tasks of the DCLM evaluation as data, and the suite of task files found in a directory.

The table is `tasks.csv` beside this file: settings of DCLM's `eval/heavy.yaml` and the two sets of random baselines of its
`eval_meta_data.csv` (DataComp-LM, arXiv 2406.11794, section 3 and appendix). Delimiters and stop strings are JSON strings
there, so that a newline or a trailing space can be seen. The prompt string is empty and examples are joined by a newline
in all 53 tasks, which is why the table has no column for either.

Usage: `suite = load_suite("eval_data"); suite.missing; suite.rows("copa")`.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .files import GPQA_ARCHIVE, EvalDataError, file_hashes, git_blob, known_files
from .gpqa import SHA256 as GPQA_SHA256
from .gpqa import gpqa_rows, gpqa_sha256

MULTIPLE_CHOICE = "multiple_choice"
SCHEMA = "schema"
LANGUAGE_MODELING = "language_modeling"
GENERATION = "generation_task_with_answers"
TASK_TYPES = (MULTIPLE_CHOICE, SCHEMA, LANGUAGE_MODELING, GENERATION)

DCLM = "dclm"
DCLM_RECONSTRUCTED = "dclm-reconstructed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task: how its prompts are built, how it is scored, what chance gives."""

    label: str
    """Its name in results, for instance `arc_easy`."""
    category: str
    """One of the six categories of the suite, for instance `world knowledge`."""
    task_type: str
    """One of `TASK_TYPES`."""
    num_fewshot: int
    """Solved examples in front of every question."""
    continuation_delimiter: str = " "
    """Between a question and its answer."""
    question_prelimiter: str = ""
    """In front of every question."""
    cot_delimiter: str = ""
    """Between a chain of thought and the answer (generation only)."""
    early_stops: tuple[str, ...] = ()
    """A generated answer ends where one of these begins (regular expressions, as in the reference)."""
    has_categories: bool = False
    """Rows carry a `category`: few-shot examples stay inside it, and accuracy is the mean over categories."""
    baseline_v1: float
    """Accuracy of chance in percent, aggregation v1."""
    baseline_v2: float
    """The same as corrected in aggregation v2."""
    in_core: bool
    """One of the 22 CORE tasks."""
    file: str
    """Path of its rows in llm-foundry's layout."""


def load_tasks() -> dict[str, Task]:
    """The 53 tasks by label, in the order of the DCLM suite."""
    with Path(__file__).with_name("tasks.csv").open(newline="", encoding="utf-8") as file:
        return {row["label"]: _task(row) for row in csv.DictReader(file)}


def _task(row: dict[str, str]) -> Task:
    return Task(
        label=row["label"],
        category=row["category"],
        task_type=row["task_type"],
        num_fewshot=int(row["num_fewshot"]),
        continuation_delimiter=json.loads(row["continuation_delimiter"]),
        question_prelimiter=json.loads(row["question_prelimiter"]),
        cot_delimiter=json.loads(row["cot_delimiter"]),
        early_stops=tuple(json.loads(row["early_stops"])),
        has_categories=row["has_categories"] == "true",
        baseline_v1=float(row["baseline_v1"]),
        baseline_v2=float(row["baseline_v2"]),
        in_core=row["in_core"] == "true",
        file=row["file"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTask:
    """A task of a suite, and what was found of it."""

    task: Task
    """With the suite's number of few-shot examples."""
    status: str
    """`present`, `reconstructed` (its bytes are not the known ones: right contents perhaps, unverified layout) or `missing`."""
    path: Path | None = None
    """The file found; the encrypted archive for GPQA."""
    sha256: str | None = None
    """Hash of the file's bytes; for GPQA of the file that DCLM would write from the archive."""
    reason: str = ""
    """Why it is missing or counts as reconstructed."""
    encrypted: bool = False
    """Its rows exist in memory only: do not write their text anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The task files of one directory. Every task of the table has an entry, so a missing one stays visible."""

    name: str
    """`dclm`, `dclm-reconstructed`, or the name in suite.json. Results of different suites are never compared."""
    data_hash: str
    """sha256 over every task's label, few-shot count, status and file hash; the directory's path does not enter."""
    entries: dict[str, SuiteTask]
    """By label, in the order of the suite."""

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that have a file."""
        return {label: entry.task for label, entry in self.entries.items() if entry.status != "missing"}

    @property
    def reconstructed(self) -> list[str]:
        """Labels whose file is a reconstruction."""
        return [label for label, entry in self.entries.items() if entry.status == "reconstructed"]

    @property
    def missing(self) -> dict[str, str]:
        """Reason by label for every task without a file."""
        return {label: entry.reason for label, entry in self.entries.items() if entry.status == "missing"}

    def rows(self, label: str) -> list[dict]:
        """The rows of one task, in file order. Raises ValueError for an unknown or missing task and for a broken line."""
        if label not in self.entries:
            raise ValueError(f"suite {self.name}: no task {label!r}{_nearest(label, self.entries)}")
        entry = self.entries[label]
        if entry.path is None:
            raise ValueError(f"suite {self.name}: task {label!r} is missing ({entry.reason}); `winnow eval-data pull` fetches it")
        return gpqa_rows(entry.path, label) if entry.encrypted else read_rows(entry.path)


def read_rows(path: Path) -> list[dict]:
    """The JSON objects of a JSONL file; blank lines are skipped. Raises ValueError naming the line that is no object."""
    return [row for _, row in _numbered_rows(path)]


def _numbered_rows(path: Path) -> Iterator[tuple[int, dict]]:
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error}); repair or fetch the file again") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is a {type(row).__name__}; expected a JSON object per line")
            yield number, row


def checked_rows(task: Task, path: Path) -> list[dict]:
    """The rows of a JSONL file, each with the fields that its task needs. Raises ValueError with file, line and remedy."""
    rows = []
    for number, row in _numbered_rows(path):
        problem = row_problem(task, row)
        if problem:
            raise ValueError(f"{path}: line {number}: {problem}")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: holds no rows; write one JSON object a line")
    return rows


def row_problem(task: Task, row: dict) -> str:
    """What is wrong with a row of a task, and the remedy; "" if nothing is."""
    texts = {
        MULTIPLE_CHOICE: ("query",),
        SCHEMA: ("continuation",),
        LANGUAGE_MODELING: ("context", "continuation"),
        GENERATION: ("context", "answer"),
    }[task.task_type]
    for name in (*texts, *(("category",) if task.has_categories else ())):
        if not isinstance(row.get(name), str):
            return f"{name!r} is {row.get(name)!r}; a row of type {task.task_type} needs it as text (has: {', '.join(row) or 'nothing'})"
    if "continuation" in texts and not row["continuation"].strip():
        return "'continuation' is empty; there is nothing to score"
    options = {MULTIPLE_CHOICE: "choices", SCHEMA: "context_options"}.get(task.task_type)
    if options:
        given, gold = row.get(options), row.get("gold")
        if not isinstance(given, list) or len(given) < 2 or not all(isinstance(each, str) and each for each in given):
            return f"{options!r} is {given!r}; give a list of two or more texts"
        if type(gold) is not int or not 0 <= gold < len(given):
            return f"'gold' is {gold!r}; give the index of the right one of {len(given)} {options}, from 0"
    if task.task_type == GENERATION:
        aliases = row.get("aliases")
        if aliases is not None and not (isinstance(aliases, list) and all(isinstance(each, str) for each in aliases)):
            return f"'aliases' is {aliases!r}; give a list of other accepted answers, or leave it out"
        if not isinstance(row.get("chain_of_thought", ""), str | None):
            return f"'chain_of_thought' is {row['chain_of_thought']!r}; give text, or leave it out"
    return ""


def load_suite(data_dir: str | Path) -> Suite:
    """Finds every task's rows under `data_dir`, in llm-foundry's layout with or without the leading `local_data/`.

    A file counts as present if it has the bytes that are published (`task_files.csv`), otherwise as reconstructed;
    `name.reconstructed.jsonl` stands in for `name.jsonl`, and `gpqa/dataset.zip` for GPQA's two files. A `suite.json` in the directory, {"name": "mini-v1",
    "num_fewshot": {label: n}, "max_num_fewshot": 2}, gives the suite its own name (its files are then its own, and all present)
    and shortens few-shot prompts: a label's own number wins over the maximum. Raises ValueError where the directory does not exist or suite.json is not understood.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise ValueError(f"suite: {root} is not a directory; give the directory that holds the task files")
    tasks = load_tasks()
    name, fewshot, max_fewshot = _read_suite_json(root / "suite.json", tasks)
    entries = {}
    for label, task in tasks.items():
        num_fewshot = fewshot.get(
            label, task.num_fewshot if max_fewshot is None else min(task.num_fewshot, max_fewshot)
        )
        entries[label] = _find(root, replace(task, num_fewshot=num_fewshot), published=name is None)
    if all(entry.status == "missing" for entry in entries.values()):
        raise ValueError(f"suite: {root} holds none of the {len(tasks)} task files, for instance {tasks['copa'].file}")
    if name is None:
        name = DCLM_RECONSTRUCTED if any(e.status == "reconstructed" for e in entries.values()) else DCLM
    facts = [[label, e.task.num_fewshot, e.status, e.sha256] for label, e in entries.items()]
    return Suite(name=name, data_hash=hashlib.sha256(json.dumps(facts).encode()).hexdigest(), entries=entries)


def _find(root: Path, task: Task, published: bool) -> SuiteTask:
    wanted = Path(task.file)
    places = (
        [wanted, wanted.relative_to("local_data")]
        if wanted.parts[0] == "local_data"
        else ["local_data" / wanted, wanted]
    )
    for suffix in (".jsonl", ".reconstructed.jsonl"):
        for place in places:
            path = (root / place).with_suffix(suffix)
            if path.is_file():
                sha256, blob = file_hashes(path)
                differs = published and _difference(task, sha256, blob)
                reconstructed = differs if published else suffix != ".jsonl"
                return SuiteTask(
                    task=task,
                    status="reconstructed" if reconstructed else "present",
                    path=path,
                    sha256=sha256,
                    reason=differs or "",
                )
    if task.label in GPQA_SHA256:
        for place in (GPQA_ARCHIVE, f"local_data/{GPQA_ARCHIVE}", "gpqa_data/dataset.zip", "local_data/gpqa_data/dataset.zip"):
            if (root / place).is_file():
                return _in_archive(task, root / place)
    return SuiteTask(task=task, status="missing", reason=f"no file {task.file.removeprefix('local_data/')}")


def _difference(task: Task, sha256: str, blob: str) -> str:
    """How a file differs from the published one; "" if it does not."""
    if task.label in GPQA_SHA256:
        return "" if sha256 == GPQA_SHA256[task.label] else "not the rows that DCLM makes of its archive"
    known = known_files()[task.file].git_blob
    return "" if blob == known else f"git blob {blob[:8]}, llm-foundry's is {known[:8]}"


def _in_archive(task: Task, archive: Path) -> SuiteTask:
    """GPQA's rows stay encrypted on disk; of DCLM's own archive it is known what they hash to."""
    if git_blob(archive) == known_files()[GPQA_ARCHIVE].git_blob:
        return SuiteTask(task=task, status="present", path=archive, sha256=GPQA_SHA256[task.label], encrypted=True)
    try:
        sha256 = gpqa_sha256(archive, task.label)
    except EvalDataError as error:
        return SuiteTask(task=task, status="missing", reason=str(error))
    reason = "another archive than DCLM's"
    return SuiteTask(task=task, status="reconstructed", path=archive, sha256=sha256, reason=reason, encrypted=True)


def _read_suite_json(path: Path, tasks: dict[str, Task]) -> tuple[str | None, dict[str, int], int | None]:
    if not path.is_file():
        return None, {}, None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("name"), str) or not facts["name"]:
        raise ValueError(f'{path}: needs a "name", since results of different suites are never compared')
    if facts["name"] in (DCLM, DCLM_RECONSTRUCTED):
        raise ValueError(f"{path}: the name {facts['name']!r} is reserved for the unchanged suite; choose another")
    known = {"name", "num_fewshot", "max_num_fewshot", "version", "description"}  # the last two are for people
    for key in facts:
        if key not in known:
            raise ValueError(f"{path}: unknown key {key!r}{_nearest(key, known)}")
    fewshot = facts.get("num_fewshot", {})
    if not isinstance(fewshot, dict):
        raise ValueError(f"{path}: num_fewshot is {fewshot!r}; expected an object of label: number")
    maximum = facts.get("max_num_fewshot")
    for label, number in [*fewshot.items(), *([] if maximum is None else [("max_num_fewshot", maximum)])]:
        if label not in tasks and label != "max_num_fewshot":
            raise ValueError(f"{path}: num_fewshot names no task {label!r}{_nearest(label, tasks)}")
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ValueError(f"{path}: {label} is {number!r}; expected a whole number of examples, 0 or more")
    return facts["name"], fewshot, maximum


def _nearest(name: str, known) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

