import pyarrow as pa
import pytest

from evaluation.smooth import core_bpb, gold_bpb
from evaluation.tasks import load_tasks


def test_a_task_is_the_mean_of_its_items_that_have_bytes():
    items = pa.table({"task": ["copa", "copa", "piqa", "copa", "svamp_cot"], "gold_bpb": [1.0, None, 0.5, 4.0, None]})
    assert gold_bpb(items) == {"copa": 2.5, "piqa": 0.5, "svamp_cot": None}


def test_core_is_the_mean_of_the_core_tasks_present_and_names_them():
    value, names = core_bpb({"piqa": 0.5, "copa": 2.5, "mmlu_fewshot": 9.0, "squad": None, "own": 3.0})
    assert (value, names) == (pytest.approx(1.5), ["copa", "piqa"])
    assert core_bpb({"mmlu_fewshot": 1.0}) == (None, [])
    whole = {label: 1.0 for label in load_tasks()}
    assert core_bpb(whole)[0] == 1.0 and len(core_bpb(whole)[1]) == 22
