import dataclasses

import numpy as np
import pytest

from evaluation.request_table import SCHEMA, RequestTable, to_arrow
from evaluation.requests import Request, compile_requests
from evaluation.tasks import Task
from tests.evaluation.test_requests import TYPES, ToyTokenizer, make_rows, make_task


def same(ours: Request, theirs: Request) -> None:
    """Every field, the dtype of arrays, and which contexts are one array."""
    for field in dataclasses.fields(Request):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in ("contexts", "continuations"):
            assert [each.tolist() for each in mine] == [each.tolist() for each in other] and type(mine) is tuple
            assert all(each.dtype == np.int32 for each in mine)
        else:
            assert mine == other and type(mine) is type(other), field.name
    sharing = [[first is second for second in ours.contexts] for first in ours.contexts]
    assert sharing == [[first is second for second in theirs.contexts] for first in theirs.contexts]


def cases() -> list[tuple[Task, list[Request]]]:
    tokenizer, found = ToyTokenizer(), []
    for task_type in TYPES:
        for length in (24, 2048):  # the short one cuts contexts, so that choices of unequal length stop sharing theirs
            task = make_task(task_type, has_categories=length == 24, cot_delimiter=" #### ", early_stops=("\n\n", "Q:"))
            rows = make_rows(task_type, 12)
            found.append((task, compile_requests(task, rows, tokenizer, max_seq_len=length, faithful=False)))
    return found


def test_requests_come_back_as_they_were():
    several = cases()
    table = RequestTable([(task, to_arrow(requests)) for task, requests in several])
    flat = [request for _, requests in several for request in requests]
    assert len(table) == len(flat) == 96
    for ours, theirs in zip(table, flat, strict=True):
        same(ours, theirs)
    assert any(request.truncated.count(True) for request in flat) and any(request.answers for request in flat)
    assert any(len({id(context) for context in request.contexts}) < len(request.contexts) for request in flat)


def test_it_is_a_sequence():
    several = cases()
    table = RequestTable([(task, to_arrow(requests)) for task, requests in several])
    flat = [request for _, requests in several for request in requests]
    for index in (0, 11, 12, 50, 95, -1, -96):
        same(table[index], flat[index])
    assert [request.row for request in table[10:30:3]] == [request.row for request in flat[10:30:3]]
    for index in (96, -97):
        with pytest.raises(IndexError, match="96"):
            table[index]
    assert len(RequestTable([])) == 0 and list(RequestTable([])) == []


def test_shared_contexts_are_stored_once():
    task, requests = cases()[1]
    arrow = to_arrow(requests)
    assert arrow.schema == SCHEMA
    assert all(len(contexts) == 1 for contexts in arrow.column("contexts").to_pylist())
    once = sum(len(request.contexts[0]) + sum(map(len, request.continuations)) for request in requests)
    assert RequestTable([(task, arrow)]).num_tokens == once


def test_arrays_are_views_that_nobody_can_write():
    task, requests = cases()[0]
    ids = RequestTable([(task, to_arrow(requests))])[0].contexts[0]
    assert not ids.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_a_task_without_questions():
    task = make_task(TYPES[0])
    table = RequestTable([(task, to_arrow([])), cases_part := (task, to_arrow(cases()[1][1])), (task, to_arrow([]))])
    assert len(table) == len(cases_part[1]) and table[-1].row == cases_part[1].column("row")[-1].as_py()
