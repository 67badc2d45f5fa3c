"""Submissions to the board: one JSON file of a strategy's runs, checked field by field before anybody looks at it.

    {"submission_version": 1, "strategy": "my-filter", "description": "...", "scale": "1b-1x", "suite": "dclm",
     "suite_hash": <sha256 of the task files>, "eval_version": "v2", "fingerprint": <sha256 of the training set>, "pool": "...",
     "runs": [{"seed": 0, "train_tokens": 28795904000, "fewshot_seed": 1234, "items_sha256": <sha256 of the item file>,
               "items_file": "seed0.parquet", "core": 0.21, "extended": 0.10, "commit": "...", "hardware": "...",
               "date": "2026-01-31", "val_bpb": {"prose": 1.01}, "tasks": {"copa": {"accuracy": 0.61, "num_items": 100}}}]}

Optional: description, pool, items_file, core, extended, commit, hardware, date, val_bpb. `check_submission` returns every
problem with its path, the value seen and what to do, and never runs, follows or prints what a stranger wrote: the file is read
by `strict_json`, names are plain ASCII, an item file is a plain name beside the submission, and its size is capped before it
is opened. An accepted submission becomes entries of the board by `submission_entries`.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .aggregate import EVAL_VERSIONS, accuracies, aggregate
from .strict_json import StrictJsonError, quote, read_capped, read_json
from .tasks import DCLM, DCLM_RECONSTRUCTED, load_tasks
from .unpaired import NUM_ITEMS

SUBMISSION_VERSION = 1
MAX_PROBLEMS = 50
MAX_RUNS = 64
MAX_ITEM_BYTES = 256 * 2**20
MAX_ITEM_ROWS = 2_000_000
BUDGET_TOLERANCE = 0.005
"""A run may miss the tokens of its scale by half a percent: a last partial batch, not another budget."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()=,-]{0,119}\Z")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}\.parquet\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where, what was seen, why, and what to do."""

    path: str
    value: str
    """Quoted: ASCII and short, safe to print."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem} (found {self.value}); {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A submission and what is wrong with it; `document` is None where the file could not be read at all."""

    document: dict[str, Any] | None
    problems: list[Problem]

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong."""
        return self.document is not None and not self.problems


def check_submission(path: str | Path, budgets: Mapping[str, int], num_items: Mapping[str, int] = NUM_ITEMS) -> Checked:
    """Everything that is wrong with a submission file; at most 50 problems are listed.

    `budgets`: training tokens by scale. `num_items`: questions by task, for the unchanged suites. Never raises for what the
    file holds.
    """
    try:
        document = read_json(path)
    except StrictJsonError as error:
        return Checked(document=None, problems=[_problem("file", quote(Path(path).name), str(error), "repair the file and check it again")])
    except OSError as error:
        return Checked(document=None, problems=[_problem("file", quote(str(path)), type(error).__name__, "give a readable file")])
    check = _Check(budgets, num_items, Path(path).resolve().parent)
    check.submission(document)
    found = check.problems
    if len(found) > MAX_PROBLEMS:
        rest = len(found) - MAX_PROBLEMS
        found = [*found[:MAX_PROBLEMS], _problem("file", f"{rest} more", "too many problems to list", "repair these first")]
    return Checked(document=document if isinstance(document, dict) else None, problems=found)


def submission_entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Board entries of an accepted submission: one a run, CORE and EXTENDED recomputed from its task accuracies."""
    baselines = {label: getattr(task, f"baseline_{document['eval_version']}") / 100 for label, task in load_tasks().items()}
    entries = []
    for run in document["runs"]:
        given = {label: row["accuracy"] for label, row in run["tasks"].items()}
        whole = aggregate(given, document["eval_version"])
        tasks = {
            label: {
                "accuracy": row["accuracy"], "num_items": row["num_items"], "correct": row["accuracy"] * row["num_items"],
                "random_baseline": baselines[label], "gold_bpb": None,
            }
            for label, row in run["tasks"].items()
        }  # fmt: skip
        entries.append(
            {name: document.get(name) or "" for name in ("strategy", "description", "suite", "eval_version", "fingerprint", "pool")}
            | {name: run.get(name) for name in ("seed", "train_tokens", "commit", "hardware", "date")}
            | {"scale": document["scale"], "origin": "submitted", "val_bpb": run.get("val_bpb") or {}, "tasks": tasks}
            | {"core": whole.core, "core_no_squad": whole.core_no_squad, "extended": whole.extended, "missing": whole.missing}
        )
    return entries


class _Check:
    """Walks the document and collects problems; every method names the path that it looks at."""

    def __init__(self, budgets: Mapping[str, int], num_items: Mapping[str, int], folder: Path):
        self.budgets, self.num_items, self.folder = budgets, num_items, folder
        self.problems: list[Problem] = []

    def add(self, path: str, value: Any, problem: str, remedy: str) -> None:
        self.problems.append(_problem(path, quote(value), problem, remedy))

    def submission(self, found: Any) -> None:
        needed = {
            "submission_version": self.version, "strategy": self.name, "scale": self.scale, "suite": self.name,
            "suite_hash": self.sha256, "eval_version": self.eval_version, "fingerprint": self.sha256, "runs": self.runs,
        }  # fmt: skip
        optional = {"description": self.text, "pool": self.name}
        if self.fields("", found, needed, optional) and isinstance(found.get("runs"), list):
            for i, run in enumerate(found["runs"][:MAX_RUNS]):
                self.run(f"runs[{i}]", run, found)

    def run(self, path: str, run: Any, document: Mapping[str, Any]) -> None:
        needed = {
            "seed": self.whole, "train_tokens": self.positive, "fewshot_seed": self.whole, "items_sha256": self.sha256, "tasks": self.tasks,
        }  # fmt: skip
        optional = {
            "items_file": self.item_file, "core": self.number, "extended": self.number, "commit": self.commit,
            "hardware": self.text, "date": self.date, "val_bpb": self.val_bpb,
        }  # fmt: skip
        before = len(self.problems)
        if not self.fields(path, run, needed, optional):
            return
        self.budget(path, run, document)
        if len(self.problems) == before and document.get("eval_version") in EVAL_VERSIONS:
            self.counts(path, run, document)
            self.claims(path, run, document["eval_version"])
            if "items_file" in run:
                self.items(path, run)

    def fields(self, path: str, found: Any, needed: Mapping[str, Callable], optional: Mapping[str, Callable]) -> bool:
        if not isinstance(found, dict):
            self.add(path or "file", found, "not an object", 'write {"field": value, ...}')
            return False
        at = f"{path}." if path else ""
        known = [*needed, *optional]
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key[:60], known, n=1)
                self.add(f"{at}{_key(key)}", found[key], "unknown field", f"did you mean {near[0]!r}?" if near else "take it out")
        for key in needed:
            if key not in found:
                self.problems.append(_problem(f"{at}{key}", "nothing", "field is missing", "add it"))
        for key, check in {**needed, **optional}.items():
            if key in found:
                check(f"{at}{key}", found[key])
        return True

    def version(self, path: str, value: Any) -> None:
        if value != SUBMISSION_VERSION or isinstance(value, bool):
            self.add(path, value, "unknown submission version", f"write {SUBMISSION_VERSION}")

    def name(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or not _NAME.match(value):
            odd = next((c for c in value if not re.match(r"[A-Za-z0-9 ._+()=,-]", c)), None) if isinstance(value, str) else None
            what = f"character {_character(odd)} is not allowed in a name" if odd else "not a name"
            self.add(path, value, what, "use 1 to 120 ASCII letters, digits, spaces and ._+()=,- beginning with a letter or digit")

    def text(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or len(value) > 500:
            self.add(path, value, "not a text of at most 500 characters", "shorten it")
            return
        odd = next((c for c in value if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")), None)
        if odd is not None:
            self.add(path, value, f"character {_character(odd)} can not be seen or turns the text around", "take it out")
        elif value != unicodedata.normalize("NFC", value):
            self.add(path, value, "not in Unicode's composed form (NFC)", "normalise it to NFC")
        elif re.search(r"[\u0300-\u036f\u0483-\u0489\u20d0-\u20f0]{5}", value):
            self.add(path, value, "more than four combining marks in a row", "take them out")

    def scale(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or value not in self.budgets:
            self.add(path, value, "unknown scale", f"use one of {', '.join(self.budgets)}")

    def eval_version(self, path: str, value: Any) -> None:
        if value not in EVAL_VERSIONS:
            self.add(path, value, "unknown metric version", f"use one of {', '.join(EVAL_VERSIONS)}")

    def sha256(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or not _SHA256.match(value):
            self.add(path, value, "not a sha256", "write its 64 hexadecimal digits in lower case")

    def commit(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or not _COMMIT.match(value):
            self.add(path, value, "not a commit", "write 7 to 64 hexadecimal digits in lower case")

    def date(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or not _DATE.match(value):
            self.add(path, value, "not a date", "write YYYY-MM-DD")

    def whole(self, path: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            self.add(path, value, "not a whole number", "write a whole number from 0 to 2**63 - 1")

    def positive(self, path: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
            self.add(path, value, "not a positive whole number", "write a whole number from 1 to 2**63 - 1")

    def number(self, path: str, value: Any) -> None:
        if not _is_number(value):
            self.add(path, value, "not a number", "write a finite number")

    def runs(self, path: str, value: Any) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_RUNS:
            self.add(path, value, f"not a list of 1 to {MAX_RUNS} runs", "write one object a seed")
            return
        seen: dict[int, int] = {}
        for i, run in enumerate(value):
            seed = run.get("seed") if isinstance(run, dict) else None
            if isinstance(seed, int) and not isinstance(seed, bool):
                if seed in seen:
                    remedy = "keep one: a repeated run is no new evidence"
                    self.add(f"{path}[{i}].seed", seed, f"the seed of runs[{seen[seed]}] again", remedy)
                seen.setdefault(seed, i)

    def val_bpb(self, path: str, value: Any) -> None:
        if not isinstance(value, dict) or len(value) > 20:
            self.add(path, value, "not an object of at most 20 texts", 'write {"text": bits per byte}')
            return
        for key, number in value.items():
            self.name(f"{path}.{_key(key)}", key)
            if not _is_number(number) or not 0 < number < 100:
                self.add(f"{path}.{_key(key)}", number, "not bits per byte", "write a number above 0 and below 100")

    def tasks(self, path: str, value: Any) -> None:
        if not isinstance(value, dict) or not value:
            self.add(path, value, "not an object of tasks", 'write {"copa": {"accuracy": 0.61, "num_items": 100}, ...}')
            return
        known = load_tasks()
        for label, row in value.items():
            at = f"{path}.{_key(label)}"
            if label not in known:
                near = difflib.get_close_matches(label[:60], list(known), n=1)
                self.add(at, label, "no task of the suite", f"did you mean {near[0]!r}?" if near else "take it out")
            else:
                self.fields(at, row, {"accuracy": self.accuracy, "num_items": self.positive}, {})

    def accuracy(self, path: str, value: Any) -> None:
        if not _is_number(value) or not 0 <= value <= 1:
            self.add(path, value, "not an accuracy", "write a fraction from 0 to 1; divide percents by 100")

    def item_file(self, path: str, value: Any) -> None:
        if not isinstance(value, str) or not _FILE.match(value):
            self.add(path, value, "not a plain file name", "put the .parquet beside the submission and write its name without a directory")

    def budget(self, path: str, run: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        scale, tokens = document.get("scale"), run.get("train_tokens")
        budget = self.budgets.get(scale) if isinstance(scale, str) else None
        if budget and isinstance(tokens, int) and 0 < tokens < 2**63 and abs(tokens - budget) > BUDGET_TOLERANCE * budget:
            remedy = f"train on {budget:,} tokens, within {BUDGET_TOLERANCE:.1%}, or name the scale that was trained"
            self.add(f"{path}.train_tokens", tokens, f"not the token budget of {scale}", remedy)

    def counts(self, path: str, run: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        plain = {label for label, task in load_tasks().items() if not task.has_categories}
        for label, row in run["tasks"].items():
            expected = self.num_items.get(label) if document.get("suite") in (DCLM, DCLM_RECONSTRUCTED) else None
            at = f"{path}.tasks.{label}"
            if expected is not None and row["num_items"] != expected:
                remedy = "score all of them, or name your own suite"
                self.add(f"{at}.num_items", row["num_items"], f"{label} has {expected:,} questions", remedy)
                continue
            right = row["accuracy"] * row["num_items"]
            # Accuracies are often kept in single precision: 1e-6 of the count is rounding, more is no count.
            if label in plain and abs(right - round(right)) > 0.01 + 1e-6 * row["num_items"]:
                remedy = "give right answers over questions, unrounded"
                self.add(f"{at}.accuracy", row["accuracy"], f"no whole number of right answers out of {row['num_items']:,}", remedy)

    def claims(self, path: str, run: Mapping[str, Any], eval_version: str) -> None:
        whole = aggregate({label: row["accuracy"] for label, row in run["tasks"].items()}, eval_version)
        for name in ("core", "extended"):
            truth = getattr(whole, name)
            if name in run and truth is None:
                lacking = [label for label in whole.missing if name == "extended" or load_tasks()[label].in_core]
                what = f"{name} needs {len(lacking)} tasks that are not there, for instance {lacking[0]}"
                self.add(f"{path}.{name}", run[name], what, "leave it out or add the tasks")
            elif name in run and abs(run[name] - truth) > 1e-6:
                what = f"the task accuracies give {truth:.6f} ({eval_version})"
                self.add(f"{path}.{name}", run[name], what, "leave it out: it is recomputed")

    def items(self, path: str, run: Mapping[str, Any]) -> None:
        at, name = f"{path}.items_file", run["items_file"]
        place = self.folder / name
        if place.is_symlink():
            self.add(at, name, "a link", "put the file itself beside the submission")
            return
        try:
            data = read_capped(place, MAX_ITEM_BYTES)
        except StrictJsonError as error:
            self.add(at, name, str(error), "put a smaller regular file beside the submission")
            return
        digest = hashlib.sha256(data).hexdigest()
        if digest != run["items_sha256"]:
            self.add(f"{path}.items_sha256", run["items_sha256"], f"the file's sha256 is {digest}", "send the file that was hashed")
            return
        found = self._item_accuracies(at, name, data)
        for label, row in run["tasks"].items() if found is not None else ():
            if label not in found:
                self.add(f"{path}.tasks.{label}", label, "no items of this task in the item file", "write the items of every task")
            elif abs(found[label] - row["accuracy"]) > 1e-6:
                remedy = "send accuracies and items of one run"
                self.add(f"{path}.tasks.{label}.accuracy", row["accuracy"], f"the items give {found[label]:.6f}", remedy)

    def _item_accuracies(self, at: str, name: str, data: bytes) -> dict[str, float] | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(io.BytesIO(data))
            columns = [column for column in ("task", "category", "correct") if column in file.schema_arrow.names]
            groups = [file.metadata.row_group(g) for g in range(file.metadata.num_row_groups)]
            leaves = [group.column(c) for group in groups for c in range(group.num_columns)]
            size = sum(leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] in columns)
            if file.metadata.num_rows > MAX_ITEM_ROWS or size > MAX_ITEM_BYTES:
                what = f"{file.metadata.num_rows:,} rows, {size:,} bytes unpacked; too large"
                self.add(at, name, what, f"send at most {MAX_ITEM_ROWS:,} rows")
                return None
            return accuracies(file.read(columns=columns))
        except (pa.ArrowException, ValueError, TypeError, OSError, KeyError) as error:
            what = f"not a Parquet file of items ({type(error).__name__})"
            self.add(at, name, what, "write task, category, correct as the evaluation does")
            return None


def _problem(path: str, value: str, problem: str, remedy: str) -> Problem:
    return Problem(path=path, value=value, problem=problem, remedy=remedy)


def _key(key: str) -> str:
    """A stranger's key inside a path."""
    return key if re.match(r"[A-Za-z0-9_]{1,60}\Z", key) else f"[{quote(key)}]"


def _character(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
