"""Clusters are the passages that questions share, decided from the rows, and equal across tasks that ask the same."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.passages import add_clusters, cluster_ids, family_of, passage_of, row_ids
from evaluation.tasks import load_suite

EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "eval"
NUM_CLUSTERS = {
    "mmlu_fewshot": (14042, 13610), "hellaswag": (10042, 10019), "jeopardy": (2117, 2109), "siqa": (1954, 1930),
    "piqa": (1838, 1803), "bigbench_strange_stories": (174, 69), "winograd": (273, 171), "winogrande": (1267, 1032),
    "bigbench_conlang_translation": (164, 27), "agi_eval_lsat_ar": (230, 40), "bigbench_logical_deduction": (1500, 300),
    "bigbench_operators": (210, 66), "logi_qa": (651, 557), "agi_eval_lsat_rc": (268, 41), "agi_eval_lsat_lr": (510, 507),
    "coqa": (7983, 499), "boolq": (3270, 2938), "agi_eval_sat_en": (206, 44), "copa": (100, 100), "arc_easy": (2376, 2371),
    "triviaqa_sm_sub": (3000, 3000), "bigbench_misconceptions": (219, 219), "winogender_mc_male": (60, 60),
}  # fmt: skip
"""Task -> questions and passages of the published files: what the rules of this file find, to be looked at when one changes."""


def test_coqa_questions_of_a_story_are_one_cluster():
    story = "Below is a story.\nStory: Once upon a time."
    first = {"context": f"{story}\n\nFinal question:\nQuestion: Who?\nAnswer: "}
    second = {"context": f"{story}\nPreceding questions:\nQuestion: Who?\nAnswer: I\n\nFinal question:\nQuestion: When?\nAnswer: "}
    other = {"context": "Below is a story.\nStory: Twice.\n\nFinal question:\nQuestion: Who?\nAnswer: "}
    a, b, c = cluster_ids("coqa", [first, second, other])
    assert a == b != c


def test_both_readings_of_a_schema_are_one_sentence():
    rows = [
        {"context_options": ["the cat sat as the cat", "the cat sat as the mat"], "continuation": "slept", "gold": 0},
        {"context_options": ["the cat sat as the mat", "the cat sat as the cat"], "continuation": "was soft", "gold": 0},
    ]
    assert len(set(cluster_ids("winogrande", rows))) == 1


def test_tasks_of_a_family_have_the_same_ids_and_others_do_not():
    row = {"query": "Question: 2 + 2?\nChoices:\nA. 4\n", "category": "sums"}
    assert cluster_ids("mmlu_zeroshot", [row]) == cluster_ids("mmlu_fewshot", [row])
    assert cluster_ids("mmlu_fewshot", [row]) != cluster_ids("gpqa_main", [row])
    assert cluster_ids("mmlu_fewshot", [row]) != cluster_ids("mmlu_fewshot", [row | {"category": "others"}])
    sums = cluster_ids("simple_arithmetic_withspaces", [{"context": "25 - 759 ="}])
    assert sums == cluster_ids("simple_arithmetic_nospaces", [{"context": "25-759="}])
    assert row_ids("hellaswag", [3, 4]) == row_ids("hellaswag_zeroshot", [3, 4]) and len(set(row_ids("copa", range(9)))) == 9
    assert family_of("gpqa_diamond") == family_of("gpqa_main") == "gpqa" and family_of("copa") == "copa"


def test_items_get_the_cluster_of_their_row():
    rows = {"piqa": [{"query": "a"}, {"query": "b"}, {"query": "a"}], "copa": [{"query": "a"}]}
    items = pa.table({"task": ["piqa", "copa", "piqa"], "row": pa.array([2, 0, 0], pa.int32())})
    found = add_clusters(items, rows.__getitem__).column("cluster").to_pylist()
    assert found[0] == found[2] != found[1] and found[1] == cluster_ids("copa", rows["copa"])[0]
    with pytest.raises(ValueError, match="copa has 1 rows, there is an item of row 5"):
        add_clusters(pa.table({"task": ["copa"], "row": [5]}), rows.__getitem__)


def test_a_question_without_its_mark_is_its_own_passage():
    assert passage_of("boolq", {"query": "no mark here"}) == "no mark here"
    assert passage_of("bigbench_operators", {"context": "op i is i.\nop 3 ="}) == "op i is i."
    quoted = "Question: This question refers to the following information.\nA king wrote.\nWho?\nChoices:\nA. I\n"
    assert passage_of("mmlu_fewshot", {"query": quoted}).endswith("A king wrote.")
    assert cluster_ids("copa", [{"query": "\ud800"}])  # half a surrogate pair hashes, too


@pytest.mark.skipif(not EVAL.is_dir(), reason="the published task files are not on this machine")
def test_passages_of_the_published_files():
    suite = load_suite(EVAL)
    for label, (num_rows, num_clusters) in NUM_CLUSTERS.items():
        ids = cluster_ids(label, suite.rows(label))
        assert (len(ids), len(set(ids))) == (num_rows, num_clusters), label
    stories = Counter(cluster_ids("coqa", suite.rows("coqa")))
    assert max(stories.values()) == 40
    assert all(-(2**63) <= cluster < 2**63 for cluster in stories)


@pytest.mark.skipif(not EVAL.is_dir(), reason="the published task files are not on this machine")
def test_families_ask_the_same_questions():
    suite = load_suite(EVAL)
    for a, b in (("mmlu_zeroshot", "mmlu_fewshot"), ("simple_arithmetic_nospaces", "simple_arithmetic_withspaces")):
        assert cluster_ids(a, suite.rows(a)) == cluster_ids(b, suite.rows(b))
    if "gpqa_main" in suite.tasks:
        assert set(cluster_ids("gpqa_diamond", suite.rows("gpqa_diamond"))) <= set(cluster_ids("gpqa_main", suite.rows("gpqa_main")))
