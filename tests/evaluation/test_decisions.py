"""Decision accuracy: pairs counted by hand, an interval against a plain bootstrap, one recipe by a rule that sees no score."""

import itertools
import random

import numpy as np
import pytest

from evaluation.decisions import decide, decision_accuracy


def rows(scale, scores, lr=1e-3, wd=0.1, **more):
    return [
        {"dataset": d, "scale": scale, "lr": lr, "wd": wd, "date": "2026-01-01", "source": f"{d}{lr}", "core": s} | more
        for d, s in scores.items()
    ]


NAMES = "abcdefghij"


def test_share_of_pairs_by_hand():
    small = dict(zip("abcd", (1, 2, 3, 4), strict=True))
    large = dict(zip("abcd", (1, 3, 2, 4), strict=True))
    assert decision_accuracy(small, large)[0] == pytest.approx(5 / 6)
    assert decision_accuracy(small, large, higher_is_better=False)[0] == pytest.approx(5 / 6)
    assert decision_accuracy(small, {d: -v for d, v in small.items()})[0] == 0
    tied = {"a": 1, "b": 1, "c": 2}
    assert decision_accuracy(tied, {"a": 1, "b": 2, "c": 3})[0] == pytest.approx(2.5 / 3)
    assert decision_accuracy(tied, tied)[0] == 1
    with pytest.raises(ValueError, match="at least two"):
        decision_accuracy({"a": 1}, {"a": 1})


def test_interval_is_the_bootstrap_over_datasets():
    rng = random.Random(4)
    small = {d: i + rng.gauss(0, 2) for i, d in enumerate(NAMES)}
    large = {d: i + rng.gauss(0, 2) for i, d in enumerate(NAMES)}
    accuracy, low, high = decision_accuracy(small, large)
    shares = []
    for _ in range(4000):
        drawn = [rng.choice(NAMES) for _ in NAMES]
        pairs = [(a, b) for a, b in itertools.combinations(drawn, 2) if a != b]
        shares.append(np.mean([(small[a] - small[b]) * (large[a] - large[b]) > 0 for a, b in pairs]))
    assert (low, high) == pytest.approx(np.quantile(shares, (0.025, 0.975)), abs=0.02)
    assert low <= accuracy <= high
    assert decision_accuracy(small, large) == (accuracy, low, high), "the same every time"


def test_a_number_from_eight_datasets_and_pairs_below():
    scores = {d: i / 100 for i, d in enumerate(NAMES[:8])}
    found = decide(rows("1b", scores) + rows("7b", scores), "1B", "7B")
    assert (found.accuracy, found.num_pairs, len(found.pairs)) == (1.0, 28, 28)
    fewer = {d: scores[d] for d in NAMES[:7]}
    found = decide(rows("1b", fewer) + rows("7b", scores), "1b", "7b")
    assert found.accuracy is found.low is found.high is None and len(found.pairs) == 21
    assert all(pair.agrees and pair.large >= 0 for pair in found.pairs)


def test_recipe_is_the_one_of_most_datasets_whatever_the_scores():
    many = {d: i / 100 for i, d in enumerate(NAMES[:5])}
    better = rows("1b", {"a": 0.9, "z": 0.9}, lr=3e-3)
    found = decide(rows("1b", many) + better + rows("7b", many | {"z": 0.5}, lr=None, wd=None), "1b", "7b")
    assert found.recipes == {"1b": "lr 0.001, wd 0.1", "7b": "the recipe of the scale"}
    assert found.datasets == list(NAMES[:5])
    assert found.left_out == {"z": "no run at 1b with lr 0.001, wd 0.1"}
    again = decide((rows("1b", many) + better + rows("7b", many | {"z": 0.5}, lr=None, wd=None))[::-1], "1b", "7b")
    assert again == found


def test_latest_run_counts_and_defective_ones_do_not():
    old, new = rows("1b", {"a": 0.1}, date="2025-01-01"), rows("1b", {"a": 0.3}, date="2025-06-01")
    rest = rows("1b", {"b": 0.2}) + rows("7b", {"a": 2, "b": 1})
    (pair,) = decide(new + old + rest, "1b", "7b").pairs
    assert (pair.better, pair.small, pair.agrees) == ("a", pytest.approx(0.1), True)
    broken = rows("1b", {"c": 0.9}, unusable=("core",)) + rows("7b", {"c": 0.1})
    assert decide(new + rest + broken, "1b", "7b").datasets == ["a", "b"]


def test_lower_is_better_for_bits_and_single_ties_say_so():
    bits = [row | {"val_bpb": row["core"]} for row in rows("s", {"a": 1.0, "b": 1.1}) + rows("l", {"a": 0.8, "b": 0.9})]
    (pair,) = decide(bits, "s", "l", "val_bpb").pairs
    assert pair.better == "a" and pair.agrees and pair.small == pytest.approx(0.1)
    (pair,) = decide(rows("s", {"a": 1, "b": 1}) + rows("l", {"a": 1, "b": 2}), "s", "l").pairs
    assert pair.agrees is None
    assert decide([], "s", "l").datasets == []
