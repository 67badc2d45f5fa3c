"""Intervals and comparisons of rows that have accuracies only."""

import math
from pathlib import Path

import pytest
from scipy import stats

from evaluation.aggregate import aggregate
from evaluation.tasks import load_suite, load_tasks
from evaluation.unpaired import NUM_ITEMS, compare_counts, count_interval, suite_count_intervals

EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "eval"


def test_a_count_has_the_normal_interval_unless_it_is_small():
    found = count_interval(0.3, 1000)
    assert found.standard_error == pytest.approx(math.sqrt(0.21 / 999))
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, 0.3, found.standard_error))
    none = count_interval(0.0, 32)
    fair = 2 / 36
    assert none.few and none.standard_error == pytest.approx(math.sqrt(fair * (1 - fair) / 36))
    assert none.low == 0 and none.high == pytest.approx(fair + stats.norm.ppf(0.975) * none.standard_error)
    assert count_interval(1.0, 32).high == 1
    with pytest.raises(ValueError, match="accuracy 1.5 of 10 items"):
        count_interval(1.5, 10)


def test_core_adds_deviations_within_a_family_and_variances_between():
    accuracies = {label: 0.5 + i / 200 for i, label in enumerate(load_tasks())}
    found = suite_count_intervals(accuracies)
    assert found.core.estimate == pytest.approx(aggregate(accuracies).core, abs=1e-12)
    assert "independent" in found.core.condition and "few-shot seed 1234" in found.core.condition
    core = {label: task for label, task in load_tasks().items() if task.in_core}
    parts = {label: found.tasks[label].standard_error / (1 - task.baseline_v2 / 100) / 22 for label, task in core.items()}
    pair = parts.pop("hellaswag") + parts.pop("hellaswag_zeroshot")
    assert found.core.standard_error == pytest.approx(math.hypot(pair, *parts.values()))
    assert found.extended.estimate == pytest.approx(aggregate(accuracies).extended, abs=1e-12)
    assert suite_count_intervals({"copa": 0.5}).core is None


def test_rows_are_compared_by_two_samples_and_benjamini_hochberg():
    a = dict.fromkeys(NUM_ITEMS, 0.5)
    b = a | {"copa": 0.4, "arc_easy": 0.4}
    found = {d.score: d for d in compare_counts(a, b)}
    error = math.sqrt(0.25 / 99 + 0.24 / 99)
    assert found["copa"].p_value == pytest.approx(2 * stats.norm.sf(0.1 / error)) and not found["copa"].marked
    assert found["arc_easy"].marked and found["arc_easy"].test == "unpaired two-sample z test over items"
    tasks = [d for d in found.values() if d.score in NUM_ITEMS]
    assert [d.p_adjusted for d in tasks] == pytest.approx(list(stats.false_discovery_control([d.p_value for d in tasks])))
    assert compare_counts({"copa": 0.5}, {"piqa": 0.5}) == []


@pytest.mark.skipif(not EVAL.is_dir(), reason="the published task files are not on this machine")
def test_numbers_of_questions_are_those_of_the_files():
    suite = load_suite(EVAL)
    assert set(NUM_ITEMS) == set(load_tasks())
    assert {label: len(suite.rows(label)) for label in suite.tasks} == {label: NUM_ITEMS[label] for label in suite.tasks}
