"""GPQA from its encrypted archive: DCLM's rows, in memory only."""

import csv
import hashlib
import io
import json
import random
from pathlib import Path

import pytest

from evaluation.files import EvalDataError
from evaluation.gpqa import PASSWORD, PASSWORD_VARIABLE, SHA256, gpqa_rows, gpqa_sha256
from evaluation.tasks import load_suite
from tests.evaluation.zip_cipher import encrypted_zip

ARCHIVE = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "eval" / "gpqa" / "dataset.zip"
ANSWERS = ["Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]


def table(rows: int = 7) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["Record ID", *ANSWERS, "Question"])
    writer.writeheader()
    for i in range(rows):
        writer.writerow({"Record ID": i, "Question": f"Which é, {i}?\nOf two lines", **{name: f"{name} of {i}" for name in ANSWERS}})
    return out.getvalue().encode()


def archive(path: Path, password: str = PASSWORD, **tables: bytes) -> Path:
    members = {"gpqa_main": table(7), "gpqa_diamond": table(3), **tables}
    encrypted_zip(path, {f"dataset/{name}.csv": data for name, data in members.items()}, password)
    return path


def test_rows_are_shuffled_by_one_generator_that_runs_through_them(tmp_path):
    rows = gpqa_rows(archive(tmp_path / "dataset.zip"), "gpqa_main")
    rng = random.Random(42)
    for i, row in enumerate(rows):
        order = list(range(4))
        rng.shuffle(order)
        assert row["query"] == f"Which é, {i}?\nOf two lines" and row["gold"] == order.index(0)
        assert row["choices"] == [f"{ANSWERS[k]} of {i}" for k in order]
    assert len(rows) == 7 and len({row["gold"] for row in rows}) > 1


def test_the_password_may_be_another_one(tmp_path, monkeypatch):
    path = archive(tmp_path / "dataset.zip", password="another")
    with pytest.raises(EvalDataError, match=PASSWORD_VARIABLE):
        gpqa_rows(path, "gpqa_main")
    monkeypatch.setenv(PASSWORD_VARIABLE, "another")
    assert len(gpqa_rows(path, "gpqa_diamond")) == 3


def test_another_file_is_told_apart(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(EvalDataError, match="not GPQA's archive"):
        gpqa_rows(tmp_path / "a.zip", "gpqa_main")
    with pytest.raises(EvalDataError, match="no dataset/gpqa_extended.csv"):
        gpqa_rows(archive(tmp_path / "b.zip"), "gpqa_extended")
    with pytest.raises(EvalDataError, match="row 1 of gpqa_main lacks a column"):
        gpqa_rows(archive(tmp_path / "c.zip", gpqa_main=b"Question,Correct Answer\na,b\n"), "gpqa_main")
    with pytest.raises(EvalDataError, match="holds no rows"):
        gpqa_rows(archive(tmp_path / "d.zip", gpqa_main=b"Question\n"), "gpqa_main")


def test_a_suite_reads_it_and_nothing_is_written(tmp_path):
    archive(tmp_path / "gpqa" / "dataset.zip")
    before = sorted(tmp_path.rglob("*"))
    suite = load_suite(tmp_path)
    assert suite.reconstructed == ["gpqa_main", "gpqa_diamond"]  # it is not DCLM's archive
    entry = suite.entries["gpqa_main"]
    text = "".join(json.dumps(row) + "\n" for row in suite.rows("gpqa_main"))
    assert entry.encrypted and entry.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_rows_that_dclm_makes_are_present_too(tmp_path):
    """A directory in which DCLM's script has already converted them has the same hash as one with the archive."""
    if not ARCHIVE.is_file():
        pytest.skip("../shared/data/eval is absent")
    suite = load_suite(ARCHIVE.parents[1])
    for label, count in (("gpqa_main", 448), ("gpqa_diamond", 198)):
        entry = suite.entries[label]
        assert (entry.status, entry.encrypted, entry.sha256) == ("present", True, SHA256[label])
        assert gpqa_sha256(ARCHIVE, label) == SHA256[label] and len(suite.rows(label)) == count
        assert all(len(row["choices"]) == 4 for row in suite.rows(label))


def test_it_is_what_pandas_and_numpy_make_of_it():
    """DCLM converts with pandas and numpy: missing values, quoting and shuffling could all differ."""
    if not ARCHIVE.is_file():
        pytest.skip("../shared/data/eval is absent")
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    import zipfile

    with zipfile.ZipFile(ARCHIVE) as opened:
        frame = pandas.read_csv(io.BytesIO(opened.read("dataset/gpqa_diamond.csv", pwd=PASSWORD.encode())))
    rng = random.Random(42)
    for i, row in enumerate(gpqa_rows(ARCHIVE, "gpqa_diamond")):
        order = list(range(4))
        rng.shuffle(order)
        choices = numpy.array([frame[name][i] for name in ANSWERS])[order].tolist()
        assert (row["query"], row["choices"], row["gold"]) == (frame["Question"][i], choices, order.index(0))
