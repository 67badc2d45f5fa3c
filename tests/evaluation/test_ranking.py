"""One metric of a group: its words, its numbers, and which pairs are written out."""

import random

import pytest

from evaluation.ranking import MAX_PAIRS, finite, format_number, item_facts, join_names, mean, metrics_of, ranking


def test_numbers():
    assert format_number(-0.0004, 3) == "0.000" and format_number(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert format_number(None, 3) == "\N{EN DASH}" and format_number(0.1234, 1, 100) == "12.3"


def arms(count, seeds=(0, 1), spread=0.001):
    rng = random.Random(0)
    return {f"s{i:02}": [{"seed": s, "core": i / 100 + rng.gauss(0, spread)} for s in seeds] for i in range(count)}


def core():
    return next(metric for metric in metrics_of(["a"]) if metric.name == "core")


def test_many_strategies_are_all_tested_and_the_pairs_of_the_best_written():
    few, many = ranking(core(), arms(10), {}), ranking(core(), arms(40), {})
    assert len(few["pairs"]) == few["pairs_tested"] == 45 and few["top"] == ["s09"]
    assert many["pairs_tested"] == 780 > MAX_PAIRS and len(many["pairs"]) == 39
    assert {pair["better"] for pair in many["pairs"]} == {"s39"} == set(many["top"])
    assert all(0 <= pair["p_value"] <= pair["p_adjusted"] <= 1 for pair in many["pairs"])


def test_one_run_is_in_no_test():
    found = ranking(core(), arms(3) | {"lone": [{"seed": 0, "core": 0.9}]}, {})
    lone = next(arm for arm in found["arms"] if arm["strategy"] == "lone")
    assert (lone["rank"], lone["low"], lone["training"]) == (None, None, "1 run, training variance unknown")
    assert not any("lone" in (pair["better"], pair["worse"]) for pair in found["pairs"]) and found["best"] == "s02"
    alone = ranking(core(), arms(2, seeds=(0,)), {})
    assert alone["pair_test"] is None and alone["headline"].startswith("No winner can be named")


def test_bits_of_a_run_without_a_text_are_no_mean():
    metric = metrics_of(["a", "b"])[0]
    assert metric.read({"val_bpb": {"a": 1.0, "b": 2.0}}) == 1.5 and metric.read({"val_bpb": {"a": 1.0}}) is None
    assert metrics_of([], ["x acc"])[-1].read({"scores": {"x acc": 0.5}}) == 0.5


def test_words_and_means():
    assert join_names(["a"]) == "a" and join_names(["a", "b", "c"]) == "a, b and c"
    assert join_names([str(i) for i in range(20)]).endswith("3 and 16 more")
    assert item_facts(None) is None and not finite(float("nan")) and not finite(None)
    assert mean([1.0, None]) is None and mean([]) is None and mean([1, 2]) == pytest.approx(1.5)
