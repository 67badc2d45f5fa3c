import numpy as np
import pyarrow as pa

from stages.core.rules import Rules, share


def test_the_first_broken_rule_is_the_reason():
    rules = Rules(4)
    rules.at_least("few", np.array([1, 5, 5, 5]), 2)
    assert rules.passed.tolist() == [False, True, True, True]
    rules.at_most("many", np.array([9, 9, 4, 3.5]), 4)
    rules.at_most("off", np.array([9, 9, 9, 9]), None)
    rules.at_least("off", np.zeros(4), None)
    rules.drop("odd", np.array([True, True, False, True]), np.array([7, 7, 7, 7.5]), 0)
    verdict = rules.verdict(columns={"n": pa.array([1, 2, 3, 4])}, counters={"c": 2})
    assert verdict.keep.to_pylist() == [False, False, True, False]
    assert verdict.reason.to_pylist() == ["few", "many", None, "odd"]
    assert [(row["value"], row["limit"]) for row in verdict.detail.to_pylist()] == [(1, 2), (9, 4), (None, None), (7.5, 0)]
    assert verdict.columns["n"].to_pylist() == [1, 2, 3, 4] and verdict.counters == {"c": 2}


def test_a_value_at_its_limit_stays_and_no_number_breaks_no_rule():
    rules = Rules(2)
    rules.at_least("low", np.array([2, np.nan]), 2)
    rules.at_most("high", np.array([2, np.nan]), 2)
    assert rules.passed.all() and rules.verdict().reason.null_count == 2


def test_no_documents():
    rules = Rules(0)
    rules.at_least("few", np.zeros(0), 1)
    assert len(rules.verdict().keep) == 0


def test_share():
    assert share(np.array([0, 1, 3]), np.array([0, 2, 4])).tolist() == [0, 0.5, 0.75]
