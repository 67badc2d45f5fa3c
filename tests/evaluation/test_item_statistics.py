"""Item intervals against scipy, against formulas worked by hand, and against a bootstrap over clusters."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from evaluation.aggregate import accuracies, aggregate
from evaluation.item_statistics import (
    TaskItems,
    compare_items,
    degenerate_answers,
    linear_interval,
    mean_items,
    read_items,
    suite_intervals,
)
from evaluation.passages import family_of
from evaluation.tasks import load_tasks

TASKS = load_tasks()


def task(correct, clusters=None, categories=None):
    correct = np.asarray(correct, dtype=float)
    clusters = np.arange(len(correct)) if clusters is None else np.asarray(clusters)
    names, strata = np.unique(np.asarray(categories if categories is not None else [""] * len(correct)), return_inverse=True)
    return TaskItems(np.arange(len(correct)), correct, strata.astype(np.int64), tuple(names.tolist()), clusters.astype(np.int64))


def world(seed=0):
    """Two tasks on the same questions in three categories, passages of one to nine questions, and questions that stand alone."""
    rng = np.random.default_rng(seed)
    categories = np.repeat(["a", "b", "c"], (300, 500, 900))
    clusters = np.concatenate([1000 * k + rng.integers(0, n // 2, n) for k, n in enumerate((300, 500, 900), 1)])
    ability = {c: rng.normal() for c in np.unique(clusters)}
    trait = np.array([ability[c] for c in clusters]) + rng.normal(size=len(clusters))
    zero = (trait + rng.normal(size=len(trait)) > 0.5).astype(float)
    few = (trait + rng.normal(size=len(trait)) > 0.0).astype(float)
    sizes = rng.integers(1, 10, 400)
    stories = np.repeat(np.arange(400), sizes)
    coqa = (np.repeat(rng.normal(size=400), sizes) + rng.normal(size=len(stories)) > 0.3).astype(float)
    return {
        "mmlu_zeroshot": task(zero, clusters, categories),
        "mmlu_fewshot": task(few, clusters, categories),
        "coqa": task(coqa, stories),
        "piqa": task(rng.random(800) < 0.7),
    }


def bootstrap(items, coefficients, resamples=3000, seed=1):
    """Standard deviation of the statistic when the clusters of every (family, category) are drawn again."""
    rng = np.random.default_rng(seed)
    means: dict[tuple[str, str], list[np.ndarray]] = {}
    cells = {}
    for label in coefficients:
        for code, category in enumerate(items[label].categories):
            at = items[label].strata == code
            cells.setdefault((family_of(label), category), []).append((label, items[label].clusters[at], items[label].correct[at]))
    for (_, category), members in cells.items():
        names = np.unique(np.concatenate([clusters for _, clusters, _ in members]))
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        for label, clusters, correct in members:
            place = np.searchsorted(names, clusters)
            right = draws @ np.bincount(place, correct, len(names))
            asked = draws @ np.bincount(place, minlength=len(names))
            means.setdefault((label, category), []).append(right / asked)
    total = np.zeros(resamples)
    for (label, _), values in means.items():
        total += coefficients[label] / len(items[label].categories) * values[0]
    return total.std(ddof=1)


@pytest.mark.parametrize(
    "coefficients",
    [
        {"mmlu_zeroshot": 1.0},
        {"coqa": 1.0},
        {"piqa": 1.0},
        {"mmlu_zeroshot": 0.5, "mmlu_fewshot": 0.5},
        {"mmlu_zeroshot": 0.4, "mmlu_fewshot": 0.3, "coqa": 0.2, "piqa": 0.9},
    ],
)
def test_analytic_error_agrees_with_the_cluster_bootstrap(coefficients):
    items = world()
    analytic = linear_interval(items, coefficients).standard_error
    assert analytic == pytest.approx(bootstrap(items, coefficients), rel=0.05)


def test_passages_and_shared_questions_widen_the_interval():
    items = world()
    alone = {label: replace(found, clusters=np.arange(len(found.correct)) + 10**6 * i) for i, (label, found) in enumerate(items.items())}
    assert linear_interval(items, {"coqa": 1.0}).standard_error > 1.3 * linear_interval(alone, {"coqa": 1.0}).standard_error
    both = {"mmlu_zeroshot": 0.5, "mmlu_fewshot": 0.5}
    parts = [linear_interval(items, {label: 0.5}).standard_error for label in both]
    assert linear_interval(items, both).standard_error > 1.1 * math.hypot(*parts)


def test_single_items_give_the_usual_t_interval():
    correct = (np.random.default_rng(3).random(200) < 0.6).astype(float)
    found = linear_interval({"copa": task(correct)}, {"copa": 1.0})
    low, high = stats.t.interval(0.95, 199, loc=correct.mean(), scale=stats.sem(correct))
    assert (found.estimate, found.low, found.high) == pytest.approx((correct.mean(), low, high))
    assert (found.num_items, found.num_clusters, found.degrees) == (200, 200, pytest.approx(199))


def test_strata_take_the_difference_between_categories_out():
    correct, categories = [1] * 50 + [0] * 50 + [1, 0] * 50, ["easy"] * 50 + ["hard"] * 50 + ["even"] * 100
    found = linear_interval({"jeopardy": task(correct, categories=categories)}, {"jeopardy": 1.0})
    assert found.estimate == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 99) / 3)  # only the even category varies
    assert found.degrees == pytest.approx(99)


@pytest.mark.parametrize("right,count", [(0, 40), (3, 40), (38, 40), (40, 40)])
def test_few_right_or_wrong_answers_use_agresti_and_coull(right, count):
    found = linear_interval({"copa": task([1] * right + [0] * (count - right))}, {"copa": 1.0})
    fair = (right + 2) / (count + 4)
    assert found.few == ("copa",)
    assert found.standard_error >= math.sqrt(fair * (1 - fair) / (count + 4)) - 1e-15
    assert found.low <= right / count <= found.high and found.low < found.high
    assert linear_interval({"copa": task([1] * 5 + [0] * 35)}, {"copa": 1.0}).few == ()


def test_one_passage_alone_falls_back_to_its_questions():
    found = linear_interval({"coqa": task([1, 0] * 20, [7] * 40)}, {"coqa": 1.0})
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 39)) and found.num_clusters == 40


def items_table(labels, per_task=30, seed=0, cluster=True):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "task": label, "category": f"c{row % 3}" if TASKS[label].has_categories else None, "row": row,
            "correct": bool(rng.random() < 0.6), "prediction": int(rng.integers(4)), "gold": 0, "generated": None, "cluster": row // 2,
        }
        for label in labels
        for row in range(per_task)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    return table if cluster else table.drop_columns(["cluster"])


def test_intervals_of_a_whole_suite_are_centred_on_its_aggregate():
    table = items_table(list(load_tasks()))
    items = read_items(table)
    for version in ("v1", "v2"):
        whole, found = aggregate(accuracies(table), version), suite_intervals(items, version, fewshot_seed=7)
        assert (found.core.estimate, found.extended.estimate) == pytest.approx((whole.core, whole.extended), abs=1e-12)
        assert found.core_no_squad.estimate == pytest.approx(whole.core_no_squad, abs=1e-12)
        assert {name: part.estimate for name, part in found.categories.items()} == pytest.approx(whole.categories, abs=1e-12)
        for label, interval in found.centered.items():
            chance = getattr(TASKS[label], f"baseline_{version}") / 100
            assert interval.standard_error == pytest.approx(found.tasks[label].standard_error / (1 - chance))
        assert all("conditional on few-shot seed 7" in part.condition for part in (found.core, *found.tasks.values()))
        assert all(0 <= part.low <= part.estimate <= part.high <= 1 for part in found.tasks.values())


def test_missing_tasks_leave_core_out_but_not_the_tasks():
    found = suite_intervals(read_items(items_table(["copa", "piqa"])))
    assert found.core is found.extended is found.core_no_squad is None and set(found.tasks) == {"copa", "piqa"}
    no_squad = [label for label in load_tasks() if label != "squad"]
    found = suite_intervals(read_items(items_table(no_squad)))
    assert found.core is None and found.core_no_squad is not None


def test_items_are_read_in_any_order_and_with_or_without_clusters():
    table = items_table(["jeopardy", "copa"])
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    for label, found in read_items(table).items():
        again = read_items(shuffled)[label]
        for field in ("rows", "correct", "strata", "clusters"):
            np.testing.assert_array_equal(getattr(found, field), getattr(again, field))
        assert found.categories == again.categories
    bare = read_items(items_table(["hellaswag", "hellaswag_zeroshot"], cluster=False))
    np.testing.assert_array_equal(bare["hellaswag"].clusters, bare["hellaswag_zeroshot"].clusters)
    assert len(np.unique(bare["hellaswag"].clusters)) == 30
    with pytest.raises(ValueError, match="'correct' is missing"):
        read_items(table.drop_columns(["correct"]))
    with pytest.raises(ValueError, match="a row twice"):
        read_items(pa.concat_tables([table, table]))
    with pytest.raises(ValueError, match="no items of"):
        linear_interval({}, {"copa": 1.0})


def test_mcnemar_for_questions_that_stand_alone():
    rng = np.random.default_rng(5)
    a, b = (rng.random(300) < 0.62).astype(float), (rng.random(300) < 0.5).astype(float)
    (found,) = compare_items({"copa": task(a)}, {"copa": task(b)})
    only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
    assert found.test.startswith("McNemar") and found.effect == pytest.approx(a.mean() - b.mean())
    assert found.p_value == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)


def test_passages_and_categories_are_compared_by_clusters():
    rng = np.random.default_rng(6)
    stories = np.repeat(np.arange(60), 5)
    a, b = ((np.repeat(rng.normal(size=60), 5) + rng.normal(size=300) > t).astype(float) for t in (0.0, 0.4))
    (found,) = compare_items({"coqa": task(a, stories)}, {"coqa": task(b, stories)})
    sums = np.bincount(stories, a - b)  # equal sizes: the t test on story means, of which there are 60
    assert found.test == "paired difference over items, clustered"
    assert found.p_value == pytest.approx(stats.ttest_1samp(sums / 5, 0).pvalue)
    same, few = a.copy(), a.copy()
    few[:10] = 1 - few[:10]
    (found,) = compare_items({"coqa": task(a, stories)}, {"coqa": task(same, stories)})
    assert (found.effect, found.p_value, found.marked) == (0.0, 1.0, False)
    (found,) = compare_items({"coqa": task(a, stories)}, {"coqa": task(few, stories)})
    assert found.test == "exact sign test over passages" and found.p_value >= 0.5


def test_task_marks_are_adjusted_over_the_tasks():
    labels = list(load_tasks())
    a, b = read_items(items_table(labels, 60, 1)), read_items(items_table(labels, 60, 2))
    found = {d.score: d for d in compare_items(a, b)}
    tasks = [found[label] for label in labels]
    raw = [d.p_value for d in tasks]
    np.testing.assert_allclose([d.p_adjusted for d in tasks], stats.false_discovery_control(raw))
    assert min(raw) < 0.05 and not any(d.marked for d in tasks), "luck alone marks nothing here"
    assert found["core"].p_adjusted == found["core"].p_value and "category:safety" in found
    swapped = {d.score: d for d in compare_items(b, a)}
    assert swapped["core"].effect == pytest.approx(-found["core"].effect)
    assert swapped["core"].p_value == pytest.approx(found["core"].p_value)


def test_a_real_difference_is_found_and_other_questions_are_refused():
    better, worse = task([1] * 90 + [0] * 10), task([1] * 60 + [0] * 40)
    found = {d.score: d for d in compare_items({"copa": better, "piqa": worse}, {"copa": worse, "piqa": worse})}
    assert found["copa"].marked and found["copa"].low > 0 and not found["piqa"].marked
    with pytest.raises(ValueError, match="different questions of copa"):
        compare_items({"copa": better}, {"copa": replace(worse, rows=np.arange(1, 101))})


def test_seeds_are_averaged_question_by_question():
    first, second = {"copa": task([1, 0, 1, 0])}, {"copa": task([1, 1, 0, 0]), "piqa": task([1])}
    assert mean_items([first, second])["copa"].correct.tolist() == [1, 0.5, 0.5, 0]
    assert set(mean_items([first, second])) == {"copa"}


def test_one_answer_for_everything_is_told():
    rows = [{"task": "copa", "prediction": 1, "gold": i % 2, "generated": None} for i in range(40)]
    rows += [{"task": "piqa", "prediction": i % 2, "gold": 0, "generated": None} for i in range(40)]
    rows += [{"task": "siqa", "prediction": 0, "gold": 0, "generated": None} for i in range(40)]
    rows += [{"task": "triviaqa_sm_sub", "prediction": None, "gold": None, "generated": " "} for _ in range(25)]
    rows += [{"task": "svamp_cot", "prediction": None, "gold": None, "generated": "42"} for _ in range(19)]
    rows += [{"task": "coqa", "prediction": None, "gold": 0, "generated": None} for _ in range(50)]
    found = degenerate_answers(pa.Table.from_pylist(rows))
    assert found == {
        "copa": "answered choice 1 to all 40 questions",
        "triviaqa_sm_sub": "generated nothing for all 25 questions",
    }
