import csv
from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.aggregate import accuracies, aggregate, centered_accuracy
from evaluation.tasks import load_tasks

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def at_chance(version="v2"):
    return {
        label: (task.baseline_v1 if version == "v1" else task.baseline_v2) / 100 for label, task in load_tasks().items()
    }


def test_every_published_row_is_recomputed():
    path = SHARED / "published" / "results.csv"
    if not path.is_file():
        pytest.skip("../shared/data/published is absent")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = load_tasks()
    extended = 0
    for row in rows:
        given = {label: float(row[label]) for label in tasks if row[label]}
        for version in ("v1", "v2"):
            result = aggregate(given, version)
            assert abs(result.core - float(row[f"Core_{version}"])) < 1e-12
            if len(given) == len(tasks):
                assert abs(result.extended - float(row[f"Extended_{version}"])) < 1e-12
                extended += 1
            else:
                assert result.extended is None and result.missing == [label for label in tasks if label not in given]
        assert result.mmlu == float(row["mmlu_fewshot"])
        for category, value in result.categories.items():
            if value is not None:
                assert abs(value - float(row["cat_" + category.replace(" ", "_")])) < 1e-12
    assert len(rows) == 104 and extended == 2 * 99


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_chance_is_zero_and_perfection_one(version):
    chance = aggregate(at_chance(version), version)
    assert chance.core == pytest.approx(0, abs=1e-15) and chance.extended == pytest.approx(0, abs=1e-15)
    perfect = aggregate(dict.fromkeys(load_tasks(), 1.0), version)
    assert perfect.core == perfect.extended == perfect.mmlu == 1.0
    assert set(perfect.categories.values()) == {1.0} and len(perfect.categories) == 6


def test_one_task_moves_the_means_by_its_share():
    given = at_chance()
    given["boolq"] = 0.81  # centered: (0.81 - 0.62) / 0.38 = 0.5
    result = aggregate(given)
    assert result.core == pytest.approx(0.5 / 22) and result.extended == pytest.approx(0.5 / 53)
    assert result.categories["reading comprehension"] == pytest.approx(0.5 / 8)
    assert result.categories["safety"] == pytest.approx(0)


def test_worse_than_chance_is_negative():
    assert centered_accuracy(0.0, load_tasks()["copa"]) == -1.0


def test_what_is_missing_makes_means_none_and_is_named():
    given = at_chance()
    del given["squad"], given["bbq"]
    given["gsm8k"] = 0.5
    result = aggregate(given)
    assert result.core is None and result.extended is None
    assert result.missing == ["squad", "bbq"] and result.ignored == ["gsm8k"]
    assert result.categories["safety"] is None and result.categories["world knowledge"] is not None
    assert aggregate(given | {"squad": 0.1}).core is not None
    assert aggregate({}).mmlu is None and len(aggregate({}).missing) == 53


@pytest.mark.parametrize("value", [float("nan"), 62.0, -0.1, None])
def test_an_impossible_accuracy_is_an_error(value):
    with pytest.raises(ValueError, match="boolq"):
        aggregate({"boolq": value})


def test_an_unknown_version_is_an_error():
    with pytest.raises(ValueError, match="v3"):
        aggregate({}, "v3")


def test_accuracies_weigh_categories_alike():
    items = pa.table(
        {
            "task": ["copa", "copa", "copa", "jeopardy", "jeopardy", "jeopardy", "jeopardy"],
            "category": [None, None, None, "science", "science", "science", "literature"],
            "correct": [True, False, False, True, True, False, False],
        }
    )
    assert accuracies(items) == {"copa": pytest.approx(1 / 3), "jeopardy": pytest.approx((2 / 3 + 0) / 2)}


def test_accuracies_refuse_a_table_they_can_not_read():
    with pytest.raises(ValueError, match="correct"):
        accuracies(pa.table({"task": ["copa"], "category": pa.array([None], pa.string())}))
    mixed = pa.table({"task": ["bbq", "bbq"], "category": [None, "Age"], "correct": [True, True]})
    with pytest.raises(ValueError, match="with and without"):
        accuracies(mixed)


def test_core_without_squad_is_another_number():
    given = {label: 0.3 + i / 100 for i, label in enumerate(load_tasks())}
    centered = {label: centered_accuracy(given[label], task) for label, task in load_tasks().items() if task.in_core}
    assert aggregate(given).core == pytest.approx(sum(centered.values()) / 22)
    del given["squad"], centered["squad"]
    assert aggregate(given).core is None and aggregate(given).core_no_squad == pytest.approx(sum(centered.values()) / 21)
    del given["copa"]
    assert aggregate(given).core_no_squad is None
