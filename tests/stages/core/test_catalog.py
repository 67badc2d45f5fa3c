"""SQL over a store: views on every node, tables of what happened, macros that answer the first questions."""

import duckdb
import pytest

from stages.core.catalog import connect, write_catalog
from stages.core.engine import run_plan
from stages.core.plan import load_plan
from stages.core.stage import Resources


@pytest.fixture
def made(store, toy):
    run_plan(load_plan(toy()), store, Resources(workers=0))
    return store


def test_views_and_tables(made):
    db = connect(made)
    assert db.execute("select count(*) from toy.toy_extract").fetchone() == (96,)
    assert db.execute("select count(*), any_value(detail.limit) from toy.toy_filter_dropped").fetchone() == (24, 5.0)
    stats = db.execute("select node, documents_in, documents_out, dropped from meta.stage_stats where kind in ('extract', 'map') order by position").fetchall()
    assert stats == [("toy_extract", 120, 96, 24), ("toy_filter", 96, 72, 24), ("toy_apply", 72, 29, 43)]
    assert db.execute("select bool_and(records = documents + dropped) from meta.shards where stage = 'toy_extract'").fetchone() == (True,)
    assert db.execute("select count(distinct run) from meta.runs where event = 'run_finished'").fetchone() == (1,)


def test_macros(made):
    db = connect(made)
    assert [row[0] for row in db.execute("from funnel('toy')").fetchall()] == ["toy_extract", "toy_filter", "toy_apply"]
    assert db.execute("from why_dropped('toy')").fetchall()[0] == ("toy_apply", "duplicate", 43)
    assert len(db.execute("from tokens_by_source('toy')").fetchall()) == 9


def test_file_is_renamed_into_place_and_opens_anywhere(made, monkeypatch, tmp_path):
    path = write_catalog(made)
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(path), read_only=True) as db:
        assert db.execute("select count(*) from toy.toy_apply").fetchone() == (29,)


def test_an_empty_store_answers(store):
    assert connect(store).execute("select count(*) from meta.stage_stats").fetchone() == (0,)
