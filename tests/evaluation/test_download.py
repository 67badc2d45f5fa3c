"""Fetching one file from a real server that misbehaves in every way to order."""

import fcntl
import subprocess
import time

import pytest

from evaluation.download import Patience, Unreachable, download
from evaluation.files import EvalDataError, git_blob
from tests.evaluation.file_server import serving

DATA = bytes(range(256)) * 4000
QUICK = Patience(first_wait_seconds=0.01, timeout_seconds=5)


@pytest.fixture
def server():
    with serving() as running:
        running.files["/a"] = DATA
        yield running


@pytest.fixture
def blob(tmp_path) -> str:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return git_blob(path)


def test_the_blob_hash_is_gits(tmp_path, blob):
    done = subprocess.run(["git", "hash-object", "--no-filters", str(tmp_path / "blob")], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("git is absent")
    assert done.stdout.strip() == blob


def test_a_file_arrives_whole_and_nothing_else_stays(server, tmp_path, blob):
    download(f"{server.url}/a", tmp_path / "to" / "a", blob=blob, num_bytes=len(DATA), patience=QUICK)
    assert (tmp_path / "to" / "a").read_bytes() == DATA and len(list((tmp_path / "to").iterdir())) == 1


def test_a_cut_transfer_goes_on_where_it_broke(server, tmp_path, blob):
    server.faults["/a"] = ["cut", 503, "cut"]
    download(f"{server.url}/a", tmp_path / "a", blob=blob, patience=QUICK)
    half = len(DATA) // 2
    assert [asked for _, asked in server.requests] == [None, f"bytes={half}-", f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges_sends_it_again(server, tmp_path, blob):
    server.ranges, server.faults["/a"] = False, ["cut"]
    download(f"{server.url}/a", tmp_path / "a", blob=blob, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("etags", [True, False])
def test_what_changed_meanwhile_is_not_mixed(server, tmp_path, etags):
    """Without a known hash only the ETag tells two versions apart, and without one either the whole comes again."""
    server.etags = etags
    server.faults["/a"] = ["cut"]
    new = DATA[::-1]

    class Changing(dict):
        def __getitem__(self, key):
            return new if len(server.requests) > 1 else DATA

    server.files = Changing({"/a": b""})
    download(f"{server.url}/a", tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == new


@pytest.mark.parametrize("left", [DATA[:1000], b"x" * 1000, DATA, DATA + b"more"], ids=["part", "other", "whole", "longer"])
def test_what_a_killed_run_left(server, tmp_path, blob, left):
    (tmp_path / ".a.part").write_bytes(left)
    download(f"{server.url}/a", tmp_path / "a", blob=blob, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA and not (tmp_path / ".a.part").exists()
    assert len(server.requests) == {DATA[:1000]: 1, b"x" * 1000: 2, DATA: 0}.get(left, 2)
    (tmp_path / ".b.part").write_bytes(left)  # nothing tells whether it belongs to the same version: not used
    download(f"{server.url}/a", tmp_path / "b", patience=QUICK)
    assert (tmp_path / "b").read_bytes() == DATA


def test_other_bytes_are_refused_and_the_old_file_stays(server, tmp_path, blob):
    (tmp_path / "a").write_bytes(b"old")
    server.files["/a"] = DATA[:-1] + b"!"
    with pytest.raises(EvalDataError, match=f"{blob[:8]} was expected"):
        download(f"{server.url}/a", tmp_path / "a", blob=blob, patience=QUICK)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir() if p.name != "blob"] == [("a", b"old")]


@pytest.mark.parametrize("announce", [True, False])
def test_too_much_is_refused(server, tmp_path, announce):
    server.announce = announce
    with pytest.raises(EvalDataError, match="not the file meant"):
        download(f"{server.url}/a", tmp_path / "a", max_bytes=1000, patience=QUICK)
    assert not (tmp_path / "a").exists()


def test_a_refusal_is_final_and_a_broken_server_is_given_up(server, tmp_path):
    with pytest.raises(EvalDataError, match="404"):
        download(f"{server.url}/nothing", tmp_path / "a", patience=QUICK)
    assert len(server.requests) == 1
    server.faults["/a"] = [500] * 9
    with pytest.raises(EvalDataError, match="500 .* 4 attempts"):
        download(f"{server.url}/a", tmp_path / "a", patience=QUICK)
    assert len(server.requests) == 5


def test_a_server_that_asks_for_a_wait_gets_it(server, tmp_path):
    server.faults["/a"] = [429]
    start = time.monotonic()
    download(f"{server.url}/a", tmp_path / "a", patience=QUICK)
    assert 1 <= time.monotonic() - start < 5


def test_no_network_is_said_soon(tmp_path):
    with pytest.raises(Unreachable, match="there may be no network"):
        download("http://127.0.0.1:9/a", tmp_path / "a", patience=QUICK)
    with pytest.raises(EvalDataError, match="only http"):
        download("file:///etc/hostname", tmp_path / "a", patience=QUICK)


def test_two_processes_do_not_fetch_the_same_file(server, tmp_path):
    with (tmp_path / ".a.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EvalDataError, match="another process"):
            download(f"{server.url}/a", tmp_path / "a", patience=QUICK)
