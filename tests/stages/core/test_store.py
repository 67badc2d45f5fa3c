"""Locks, tokens, commits and journals of the local store."""

import multiprocessing
import os
import time

import pytest

from stages.core.store import RunJournal, Store, StoreError, commit_text, read_journals


def _hold(path, ready, release):
    from stages.core.store import DatasetDir

    with DatasetDir(path).locked():
        ready.set()
        release.wait(20)


def test_one_writer_at_a_time(store):
    where = store.dataset_dir("s", "f" * 64)
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(where.path, ready, release))
    other.start()
    assert ready.wait(30)
    with pytest.raises(StoreError, match="being written by another run"), where.locked(wait_seconds=0.2):
        pass
    other.kill()  # the kernel gives a dead process's lock back
    other.join()
    with where.locked(wait_seconds=5) as token:
        assert where.token() == token


def test_a_leftover_worker_may_not_commit(store):
    where = store.dataset_dir("s", "a" * 64)
    with where.locked() as first:
        where.check_token(first)
    with where.locked():
        with pytest.raises(StoreError, match="another run has taken over"):
            where.check_token(first)


def test_leftovers_are_swept_and_commits_are_whole(store):
    where = store.dataset_dir("s", "b" * 64)
    where.documents.mkdir(parents=True)
    (where.documents / ".tmp-host-1-abc-x.parquet").write_text("half")
    (where.path / ".tmp-host-1-abc-scratch").mkdir()
    with where.locked():
        assert [p.name for p in where.documents.iterdir()] == []
        assert not (where.path / ".tmp-host-1-abc-scratch").exists()
    commit_text("whole", where.path / "x.txt")
    assert (where.path / "x.txt").read_text() == "whole" and (where.path / "x.txt").stat().st_mode & 0o777 == 0o444


def test_unknown_schemes_are_refused():
    for url in ("s3://bucket/x", "memory://x", "hf://datasets/x"):
        with pytest.raises(StoreError, match="only local directories"):
            Store(url)


def test_journal_survives_a_cut_line(store):
    journal = RunJournal(store, "p", "default")
    journal.write("run_started", nodes=["a"])
    with open(journal.path, "a") as file:
        file.write('{"event": "half')
    os.utime(journal.path, (time.time(), time.time()))
    assert [event["event"] for event in read_journals(store)] == ["run_started"]


def test_refs(store):
    store.write_ref("p", "default", "n", "s", "c" * 64)
    assert store.read_ref("p", "default", "n") == ("s", "c" * 64)
    assert store.read_ref("p", "default", "m") is None
    assert list(store.refs()) == []  # no manifest, so it does not exist for a reader
