"""Item noise of rows that come without items: published and imported results, of which only accuracies are known.

Questions are taken as independent, since nobody knows which were answered together: where passages are shared the interval
is too narrow, and the words beside it say so. Two tasks that ask the same questions (hellaswag with and without examples)
are taken as perfectly correlated, which errs towards a wide interval. Rows are compared unpaired, for the same reason. None
of this is training noise: a row with one run has an item interval and an unknown training variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import special

from .item_statistics import FEW, ItemDifference, ItemInterval, SuiteIntervals, affine, condition_of, score_coefficients, suite_tasks
from .passages import family_of
from .statistics import benjamini_hochberg

NUM_ITEMS = {
    "mmlu_zeroshot": 14042, "hellaswag_zeroshot": 10042, "jeopardy": 2117, "triviaqa_sm_sub": 3000, "gsm8k_cot": 1319,
    "agi_eval_sat_math_cot": 220, "aqua_cot": 245, "svamp_cot": 300, "bigbench_qa_wikidata": 20321, "arc_easy": 2376,
    "arc_challenge": 1172, "mmlu_fewshot": 14042, "bigbench_misconceptions": 219, "copa": 100, "siqa": 1954,
    "commonsense_qa": 1221, "piqa": 1838, "openbook_qa": 500, "bigbench_novel_concepts": 32, "bigbench_strange_stories": 174,
    "bigbench_strategy_qa": 2289, "lambada_openai": 5153, "hellaswag": 10042, "winograd": 273, "winogrande": 1267,
    "bigbench_conlang_translation": 164, "bigbench_language_identification": 10000, "bigbench_conceptual_combinations": 103,
    "bigbench_elementary_math_qa": 38160, "bigbench_dyck_languages": 1000, "agi_eval_lsat_ar": 230,
    "bigbench_cs_algorithms": 1320, "bigbench_logical_deduction": 1500, "bigbench_operators": 210,
    "bigbench_repeat_copy_logic": 32, "simple_arithmetic_nospaces": 1000, "simple_arithmetic_withspaces": 1000,
    "math_qa": 2983, "logi_qa": 651, "pubmed_qa_labeled": 1000, "squad": 10570, "agi_eval_lsat_rc": 268,
    "agi_eval_lsat_lr": 510, "coqa": 7983, "bigbench_understanding_fables": 189, "boolq": 3270, "agi_eval_sat_en": 206,
    "winogender_mc_female": 60, "winogender_mc_male": 60, "enterprise_pii_classification": 3395, "bbq": 58492,
    "gpqa_main": 448, "gpqa_diamond": 198,
}  # fmt: skip
"""Questions of every task of the suite, by which a published accuracy becomes a count."""


def count_interval(accuracy: float, num_items: int, condition: str = "") -> ItemInterval:
    """The 95 % interval of an accuracy from its count; with fewer than five right or wrong answers (k + 2) / (n + 4)."""
    variance, few = _variance(accuracy, num_items)
    centre = (accuracy * num_items + 2) / (num_items + 4) if few else accuracy
    error = math.sqrt(variance)
    half = -float(special.ndtri(0.025)) * error
    return ItemInterval(
        estimate=accuracy, standard_error=error, low=max(0.0, min(accuracy, centre - half)),
        high=min(1.0, max(accuracy, centre + half)), num_items=num_items, num_clusters=num_items,
        degrees=max(1, num_items - 1), few=("this task",) if few else (), condition=condition,
    )  # fmt: skip


def suite_count_intervals(
    accuracies: Mapping[str, float], num_items: Mapping[str, int] = NUM_ITEMS, eval_version: str = "v2", fewshot_seed: int = 1234
) -> SuiteIntervals:
    """Item intervals of a row that has accuracies only, as `item_statistics.suite_intervals` for one that has items."""
    tasks, words = suite_tasks(), condition_of(fewshot_seed, known_passages=False)
    known = {label: value for label, value in accuracies.items() if label in num_items}
    plain = {label: count_interval(value, num_items[label], words) for label, value in known.items()}
    centered = {}
    for label, found in plain.items():
        if label not in tasks:
            continue  # a task of one's own: its chance is not known here
        chance = getattr(tasks[label], f"baseline_{eval_version}") / 100
        centered[label] = affine(found, 1 / (1 - chance), -chance / (1 - chance))
    scores = {
        name: _aggregate({label: (weights[label], plain[label]) for label in weights}, offset, words)
        for name, (weights, offset) in score_coefficients(list(known), eval_version).items()
    }
    return SuiteIntervals(
        tasks=plain, centered=centered, core=scores.get("core"), core_no_squad=scores.get("core_no_squad"),
        extended=scores.get("extended"),
        categories={name.partition(":")[2]: found for name, found in scores.items() if name.startswith("category:")},
    )  # fmt: skip


def compare_counts(
    first: Mapping[str, float], second: Mapping[str, float], num_items: Mapping[str, int] = NUM_ITEMS,
    eval_version: str = "v2", alpha: float = 0.05,
) -> list[ItemDifference]:  # fmt: skip
    """Compare two rows without items: a two-sample z test a task, Benjamini-Hochberg over the tasks, then complete scores."""
    shared = [label for label in first if label in second and label in num_items]
    pairs = {label: (count_interval(first[label], num_items[label]), count_interval(second[label], num_items[label])) for label in shared}
    raw = {
        label: _z_test(a.estimate - b.estimate, math.hypot(a.standard_error, b.standard_error)) for label, (a, b) in pairs.items()
    }
    adjusted = benjamini_hochberg([p_value for *_, p_value in raw.values()])
    name = "unpaired two-sample z test over items"
    found = [_difference(label, *raw[label], p_adjusted, name, alpha) for label, p_adjusted in zip(shared, adjusted, strict=True)]
    for score, (weights, offset) in score_coefficients(shared, eval_version).items():
        a, b = (_aggregate({label: (w, pairs[label][side]) for label, w in weights.items()}, offset, "") for side in (0, 1))
        effect, error, p_value = _z_test(a.estimate - b.estimate, math.hypot(a.standard_error, b.standard_error))
        found.append(_difference(score, effect, error, p_value, p_value, name, alpha))
    return found


def _variance(accuracy: float, num_items: int) -> tuple[float, bool]:
    if num_items < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"unpaired: accuracy {accuracy!r} of {num_items} items; expected a fraction from 0 to 1 of at least one item")
    right = accuracy * num_items
    if min(right, num_items - right) < FEW:
        fair = (right + 2) / (num_items + 4)
        return fair * (1 - fair) / (num_items + 4), True
    return accuracy * (1 - accuracy) / max(1, num_items - 1), False


def _aggregate(parts: Mapping[str, tuple[float, ItemInterval]], offset: float, condition: str) -> ItemInterval:
    """offset + sum of coefficient x accuracy: deviations add within a family, variances between families."""
    families: dict[str, float] = {}
    for label, (coefficient, found) in parts.items():
        families[family_of(label)] = families.get(family_of(label), 0.0) + abs(coefficient) * found.standard_error
    error = math.sqrt(math.fsum(deviation**2 for deviation in families.values()))
    estimate = offset + math.fsum(coefficient * found.estimate for coefficient, found in parts.values())
    half = -float(special.ndtri(0.025)) * error
    num_items = sum(found.num_items for _, found in parts.values())
    return ItemInterval(
        estimate=estimate, standard_error=error, low=estimate - half, high=estimate + half, num_items=num_items,
        num_clusters=num_items, degrees=max(1, num_items - len(parts)), few=(), condition=condition,
    )  # fmt: skip


def _z_test(effect: float, error: float) -> tuple[float, float, float]:
    return effect, error, 2 * float(special.ndtr(-abs(effect) / error))


def _difference(
    score: str, effect: float, error: float, p_value: float, p_adjusted: float, test: str, alpha: float
) -> ItemDifference:
    half = -float(special.ndtri(0.025)) * error
    return ItemDifference(
        score=score, effect=effect, standard_error=error, low=effect - half, high=effect + half, p_value=p_value,
        p_adjusted=p_adjusted, test=test, marked=p_adjusted < alpha,
    )  # fmt: skip
