import pytest

from evaluation.studies.arm_series import seeds_and_means
from evaluation.studies.equivalence import arm_means

LOSSES = {"a": {1: 3.0, 2: 3.2, 3: None}, "b": {1: 3.5, 2: 3.4}, "gone": {1: None, 2: None}}


def test_no_seed_is_hidden():
    dots, means = seeds_and_means(LOSSES, {0: "a", 1: "b", 2: "gone"}, jitter=0.1)
    assert dots["y"] == [3.0, 3.2, None, 3.5, 3.4, None, None] and dots["x"] == pytest.approx([-0.1, 0, 0.1, 0.95, 1.05, 1.95, 2.05])
    assert means["x"] == [0, 1] and means["y"] == pytest.approx([3.1, 3.45]) and means["marks"] == "dots"
    assert means["low"] == [arm_means(LOSSES)[arm].low for arm in ("a", "b")]


def test_a_line_has_one_name():
    dots, means = seeds_and_means(LOSSES, {0.8: "b", 0.9: "a"}, name="adamw")
    assert dots["name"] == means["name"] == "adamw" and means["marks"] == "both" and dots["x"] == [0.8, 0.8, 0.9, 0.9, 0.9]
