"""A good submission passes; each fault is named with path, value and remedy; a hostile file does no harm."""

import copy
import hashlib
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.aggregate import aggregate
from evaluation.board import build_board
from evaluation.submission import check_submission, submission_entries
from evaluation.tasks import load_tasks
from evaluation.unpaired import NUM_ITEMS

BUDGETS = {"nano": 458_752, "1b-1x": 28_795_904_000}
TASKS = load_tasks()


def accuracies(seed):
    rng = random.Random(seed)
    return {label: round(0.3 * n + rng.random() * 0.3 * n) / n for label, n in NUM_ITEMS.items()}


def run(seed, **changes):
    tasks = {label: {"accuracy": value, "num_items": NUM_ITEMS[label]} for label, value in accuracies(seed).items()}
    facts = {"seed": seed, "train_tokens": 28_795_904_000, "fewshot_seed": 1234, "items_sha256": "a" * 64, "tasks": tasks}
    return facts | changes


@pytest.fixture
def good():
    return {
        "submission_version": 1, "strategy": "my filter-2", "description": "Keeps \u00fcber pages.", "scale": "1b-1x", "suite": "dclm",
        "suite_hash": "0" * 64, "eval_version": "v2", "fingerprint": "f" * 64, "runs": [run(0), run(1)],
    }  # fmt: skip


def check(tmp_path, document, name="s.json", **options):
    path = tmp_path / name
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return check_submission(path, BUDGETS, **options)


def test_a_good_submission_is_accepted_and_becomes_a_group_of_its_own(tmp_path, good):
    whole = aggregate(accuracies(0))
    good["runs"][0] |= {"core": whole.core, "extended": whole.extended, "commit": "abc1234", "date": "2026-01-31", "val_bpb": {"prose": 1.1}}
    found = check(tmp_path, good)
    assert found.accepted and found.problems == []
    entries = submission_entries(found.document)
    assert [entry["core"] for entry in entries] == pytest.approx([whole.core, aggregate(accuracies(1)).core])
    board = build_board(entries)
    assert [group["origin"] for group in board["groups"]] == ["submitted"]


FAULTS = [
    (("strategy",), "<script>alert(1)</script>", "strategy", "character U+003C LESS-THAN SIGN is not allowed", "ASCII"),
    (("strategy",), "dclm-b\u0430seline", "strategy", "U+0430 CYRILLIC SMALL LETTER A", "ASCII"),
    (("strategy",), "a" * 200, "strategy", "not a name", "1 to 120"),
    (("strategy",), 7, "strategy", "not a name", "1 to 120"),
    (("description",), "abc\u202egnp", "description", "U+202E RIGHT-TO-LEFT OVERRIDE", "take it out"),
    (("description",), "a\u200bb", "description", "U+200B ZERO WIDTH SPACE", "take it out"),
    (("description",), "\x1b[2J", "description", "U+001B", "take it out"),
    (("description",), "u\u0308ber", "description", "composed form", "NFC"),
    (("description",), "x" * 501, "description", "500 characters", "shorten"),
    (("scale",), "2b-1x", "scale", "unknown scale", "nano, 1b-1x"),
    (("scale",), ["nano"], "scale", "unknown scale", "nano, 1b-1x"),
    (("eval_version",), "v3", "eval_version", "unknown metric version", "v1, v2"),
    (("eval_version",), {"v": 2}, "eval_version", "unknown metric version", "v1, v2"),
    (("submission_version",), 2, "submission_version", "unknown submission version", "write 1"),
    (("submission_version",), True, "submission_version", "unknown submission version", "write 1"),
    (("fingerprint",), "F" * 64, "fingerprint", "not a sha256", "64 hexadecimal digits"),
    (("suite_hash",), "../../etc/passwd", "suite_hash", "not a sha256", "64 hexadecimal digits"),
    (("runs",), [], "runs", "not a list of 1 to 64 runs", "one object a seed"),
    (("runs", 0), 5, "runs[0]", "not an object", "{"),
    (("runs", 0, "seed"), 1, "runs[1].seed", "the seed of runs[0] again", "keep one"),
    (("runs", 0, "seed"), -1, "runs[0].seed", "not a whole number", "from 0"),
    (("runs", 0, "seed"), True, "runs[0].seed", "not a whole number", "from 0"),
    (("runs", 0, "train_tokens"), 57_591_808_000, "runs[0].train_tokens", "not the token budget of 1b-1x", "28,795,904,000"),
    (("runs", 0, "train_tokens"), 10**30, "runs[0].train_tokens", "not a positive whole number", "2**63"),
    (("runs", 0, "items_sha256"), "abc", "runs[0].items_sha256", "not a sha256", "64"),
    (("runs", 0, "items_file"), "../../../etc/passwd.parquet", "runs[0].items_file", "not a plain file name", "without a directory"),
    (("runs", 0, "items_file"), "/etc/x.parquet", "runs[0].items_file", "not a plain file name", "without a directory"),
    (("runs", 0, "items_file"), "a\\..\\b.parquet", "runs[0].items_file", "not a plain file name", "without a directory"),
    (("runs", 0, "items_file"), "absent.parquet", "runs[0].items_file", "can not be opened", "regular file"),
    (("runs", 0, "tasks"), {}, "runs[0].tasks", "not an object of tasks", "copa"),
    (("runs", 0, "tasks", "arc_eazy"), {"accuracy": 1, "num_items": 1}, "runs[0].tasks.arc_eazy", "no task of the suite", "'arc_easy'"),
    (("runs", 0, "tasks", "<b>"), {}, "runs[0].tasks.['<b>']", "no task of the suite", "take it out"),
    (("runs", 0, "tasks", "copa", "accuracy"), 61, "runs[0].tasks.copa.accuracy", "not an accuracy", "divide percents by 100"),
    (("runs", 0, "tasks", "copa", "accuracy"), "0.5", "runs[0].tasks.copa.accuracy", "not an accuracy", "fraction"),
    (("runs", 0, "tasks", "copa", "accuracy"), 0.615, "runs[0].tasks.copa.accuracy", "no whole number of right answers out of 100", "unrounded"),
    (("runs", 0, "tasks", "copa", "num_items"), 50, "runs[0].tasks.copa.num_items", "copa has 100 questions", "score all of them"),
    (("runs", 0, "core"), 0.9, "runs[0].core", "the task accuracies give 0.", "recomputed"),
    (("runs", 0, "commit"), "HEAD; rm -rf /", "runs[0].commit", "not a commit", "hexadecimal"),
    (("runs", 0, "date"), "2026-13-01", "runs[0].date", "not a date", "YYYY-MM-DD"),
    (("runs", 0, "val_bpb"), {"<img>": 1.0}, "runs[0].val_bpb.['<img>']", "U+003C", "ASCII"),
    (("runs", 0, "val_bpb"), {"a": -1}, "runs[0].val_bpb.a", "not bits per byte", "above 0"),
    (("runs", 0, "hardwere"), "H100", "runs[0].hardwere", "unknown field", "'hardware'"),
    (("stratgy",), "x", "stratgy", "unknown field", "'strategy'"),
]  # fmt: skip


@pytest.mark.parametrize("place,value,path,problem,remedy", FAULTS)
def test_each_fault_is_named_with_path_value_and_remedy(tmp_path, good, place, value, path, problem, remedy):
    document = copy.deepcopy(good)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    found = check(tmp_path, document)
    assert not found.accepted
    (named,) = [p for p in found.problems if p.path == path]
    assert problem in named.problem and remedy in named.remedy and len(found.problems) == 1
    assert str(named).isascii() and len(named.value) <= 60


@pytest.mark.parametrize("field", ["strategy", "scale", "suite_hash", "fingerprint", "runs", "eval_version"])
def test_a_missing_field_is_named(tmp_path, good, field):
    del good[field]
    assert [(p.path, p.problem) for p in check(tmp_path, good).problems] == [(field, "field is missing")]


def test_core_without_all_its_tasks_is_refused(tmp_path, good):
    del good["runs"][0]["tasks"]["squad"]
    good["runs"][0]["core"] = 0.3
    (problem,) = check(tmp_path, good).problems
    assert problem.path == "runs[0].core" and "needs 1 tasks that are not there, for instance squad" in problem.problem
    del good["runs"][0]["core"]
    entries = submission_entries(check(tmp_path, good).document)
    assert entries[0]["core"] is None and entries[0]["core_no_squad"] is not None


def write_items(path, given, cheat=0):
    rows = []
    for label in ("copa", "winograd"):
        right = round(given[label] * NUM_ITEMS[label]) - cheat
        rows += [{"task": label, "category": None, "correct": i < right} for i in range(NUM_ITEMS[label])]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([("task", pa.string()), ("category", pa.string()), ("correct", pa.bool_())])), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small(good):
    tasks = {label: row for label, row in run(0)["tasks"].items() if label in ("copa", "winograd")}
    return good | {"runs": [run(0, tasks=tasks, items_file="seed0.parquet")]}


def test_items_are_checked_against_hash_and_accuracies(tmp_path, small):
    items = tmp_path / "seed0.parquet"
    small["runs"][0]["items_sha256"] = write_items(items, accuracies(0))
    assert check(tmp_path, small).accepted
    small["runs"][0]["items_sha256"] = "b" * 64
    (problem,) = check(tmp_path, small).problems
    assert problem.path == "runs[0].items_sha256" and "the file's sha256 is" in problem.problem
    small["runs"][0]["items_sha256"] = write_items(items, accuracies(0), cheat=3)
    assert [p.path for p in check(tmp_path, small).problems] == [f"runs[0].tasks.{label}.accuracy" for label in ("copa", "winograd")]


def test_item_files_of_strangers_do_no_harm(tmp_path, small):
    items = tmp_path / "seed0.parquet"
    for data in (b"", b"PAR1", b"PAR1" + b"\xff" * 200 + b"PAR1", b'{"not": "parquet"}'):
        items.write_bytes(data)
        small["runs"][0]["items_sha256"] = hashlib.sha256(data).hexdigest()
        (problem,) = check(tmp_path, small).problems
        assert problem.path == "runs[0].items_file" and "not a Parquet file of items" in problem.problem
    items.unlink()
    (tmp_path / "elsewhere").write_bytes(b"secret")
    items.symlink_to(tmp_path / "elsewhere")
    (problem,) = check(tmp_path, small).problems
    assert problem.problem == "a link" and "secret" not in str(problem)
    items.unlink()
    pq.write_table(pa.table({"task": pa.nulls(5, pa.string()), "correct": [1, 2, 3, 4, 5]}), items)
    small["runs"][0]["items_sha256"] = hashlib.sha256(items.read_bytes()).hexdigest()
    assert "not a Parquet file of items" in check(tmp_path, small).problems[0].problem
    bomb = pa.table({"task": ["x"] * 3_000_000, "category": pa.nulls(3_000_000, pa.string()), "correct": [True] * 3_000_000})
    pq.write_table(bomb, items)
    assert items.stat().st_size < 100_000
    small["runs"][0]["items_sha256"] = hashlib.sha256(items.read_bytes()).hexdigest()
    assert "3,000,000 rows" in check(tmp_path, small).problems[0].problem


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b'"x"', b"3", b"{", b'{"a": NaN}', b'{"a": 1, "a": 1}', b"[" * 10**6, b"\xff", b'{"strategy": {"strategy": {}}}', b"{}"],
)  # fmt: skip
def test_anything_else_is_refused_without_a_traceback(tmp_path, data):
    found = check(tmp_path, data)
    assert not found.accepted and found.problems and all(str(p).isascii() for p in found.problems)


def test_a_flood_of_faults_is_cut_short(tmp_path, good):
    good["runs"][0]["tasks"] |= {f"task{i}": 0 for i in range(10_000)}
    problems = check(tmp_path, good).problems
    assert len(problems) == 51 and "9950 more" in problems[-1].value


def test_own_suites_have_their_own_numbers_of_questions(tmp_path, good):
    good |= {"suite": "mini-v1", "runs": [run(0, tasks={"copa": {"accuracy": 0.5, "num_items": 20}})]}
    assert check(tmp_path, good).accepted
