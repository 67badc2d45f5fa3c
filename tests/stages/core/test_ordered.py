"""Threads may finish in any order; what comes out is in the order of what went in."""

import threading
import time

import pytest

from stages.core.ordered import in_order

ITEMS = [("a", 3), ("a", 1), ("a", None), ("b", 2), ("b", None), ("c", None)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_order_is_kept(threads):
    def work(number):
        time.sleep(0.01 * number)
        return number * 10

    assert list(in_order(work, ITEMS, threads)) == [("a", 30), ("a", 10), ("a", None), ("b", 20), ("b", None), ("c", None)]


def test_no_more_than_two_items_a_thread_are_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield "s", number

    for seen, (_, number) in enumerate(in_order(lambda number: number, items(), 3)):
        assert number == seen and len(taken) <= seen + 1 + 2 * 3


def test_an_error_comes_out_where_its_item_stands():
    started = threading.Event()

    def work(number):
        started.set()
        if number == 1:
            raise RuntimeError("one")
        return number

    found = in_order(work, [("s", 0), ("s", 1), ("s", 2)], 2)
    assert next(found) == ("s", 0)
    with pytest.raises(RuntimeError, match="one"):
        list(found)
