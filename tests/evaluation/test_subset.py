"""`--limit`: nested, spread over categories, with the prompts of the full run, and never in CORE."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evaluation
from evaluation.aggregate import aggregate
from evaluation.requests import compile_requests
from evaluation.subset import Limited, choose_tasks, limited_tasks, nested_order, nested_subset, unlimited
from evaluation.tasks import load_suite, load_tasks

SUITE = load_suite(Path(evaluation.__file__).parent / "mini_v1")
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "eval"
TASKS = load_tasks()


class Characters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.integers(1, 70), st.integers(1, 70))
def test_a_smaller_limit_takes_a_subset_and_categories_take_turns(categories, one, other):
    rows = [{"category": f" {category}"} for category in categories]
    small, large = sorted((one, other))
    for task in (TASKS["mmlu_fewshot"], TASKS["copa"]):
        everything = set(range(len(rows)))
        assert (nested_subset(task, rows, small) or everything) <= (nested_subset(task, rows, large) or everything)
        assert sorted(nested_order(task, rows)) == sorted(everything)
        assert len(nested_subset(task, rows, small) or everything) == min(small, len(rows))
    chosen = Counter(categories[row] for row in nested_subset(TASKS["mmlu_fewshot"], rows, small) or everything)
    sizes = Counter(categories)
    for category, size in sizes.items():  # nobody is behind another by more than one, unless it has no more rows
        assert chosen[category] >= min(size, max(chosen.values()) - 1)


def test_the_order_is_the_same_everywhere():
    assert nested_order(TASKS["copa"], [{}] * 8) == [0, 2, 3, 7, 6, 4, 1, 5]


def test_no_limit_a_large_one_and_a_senseless_one():
    rows = SUITE.rows("copa")
    assert nested_subset(TASKS["copa"], rows, None) is None and nested_subset(TASKS["copa"], rows, len(rows)) is None
    with pytest.raises(ValueError, match="--limit 0"):
        nested_subset(TASKS["copa"], rows, 0)


@pytest.mark.parametrize("label", ["arc_easy", "mmlu_fewshot", "jeopardy"])
def test_prompts_are_those_of_the_full_run(label):
    task, rows = SUITE.entries[label].task, SUITE.rows(label)
    chosen = nested_subset(task, rows, 3)
    full = {request.row: request for request in compile_requests(task, rows, Characters(), max_seq_len=100_000)}
    part = compile_requests(task, rows, Characters(), max_seq_len=100_000, only_rows=chosen)
    assert {request.row for request in part} == chosen
    for request in part:
        assert [list(context) for context in request.contexts] == [list(context) for context in full[request.row].contexts]


def test_limited_tasks_never_enter_core():
    num_rows = {label: len(SUITE.rows(label)) for label in SUITE.tasks}
    limited = limited_tasks(num_rows, 8)
    assert limited and all(entry == Limited(8, num_rows[label]) for label, entry in limited.items())
    assert str(Limited(10, 14042)) == "limited to 10 of 14,042 rows"
    accuracies = dict.fromkeys(SUITE.tasks, 0.5)
    whole = aggregate(unlimited(accuracies, limited))
    assert whole.core is None and set(limited) == set(whole.missing)
    assert limited_tasks(num_rows, None) == limited_tasks(num_rows, max(num_rows.values())) == {}
    assert aggregate(unlimited(accuracies, {})).core is not None


def test_mmlu_is_spread_over_its_57_subjects():
    if not SHARED.is_dir():
        pytest.skip("../shared/data/eval is absent")
    rows = load_suite(SHARED).rows("mmlu_fewshot")
    for limit, largest in ((10, 1), (57, 1), (100, 2)):
        counts = Counter(rows[row]["category"] for row in nested_subset(TASKS["mmlu_fewshot"], rows, limit))
        assert len(counts) == min(57, limit) and max(counts.values()) == largest


def test_some_tasks_only():
    core = choose_tasks(SUITE, ["core"])
    assert len(core.tasks) == 22 and set(core.missing.values()) == {"not chosen (--tasks)"} and len(core.entries) == 53
    assert core.data_hash == SUITE.data_hash
    assert list(choose_tasks(SUITE, ["copa", "mmlu_fewshot"]).tasks) == ["mmlu_fewshot", "copa"]
    assert choose_tasks(SUITE, ["all"]) == SUITE
    with pytest.raises(ValueError, match="did you mean 'copa'"):
        choose_tasks(SUITE, ["copaa"])
    with pytest.raises(ValueError, match="winnow list tasks"):
        choose_tasks(SUITE, ["???"])


def test_a_part_is_named_by_its_tasks_however_they_were_chosen():
    labels = [label for label, task in TASKS.items() if task.in_core]
    assert choose_tasks(SUITE, ["core"]).name == choose_tasks(SUITE, labels[::-1]).name == f"{SUITE.name}-core"
    assert choose_tasks(SUITE, ["piqa", "copa", "piqa"]).name == choose_tasks(SUITE, ["copa", "piqa"]).name == f"{SUITE.name}-copa+piqa"
    assert choose_tasks(SUITE, list(TASKS)).name == SUITE.name
    many = [choose_tasks(SUITE, [*labels[:count], "siqa"]).name for count in (5, 6)]
    assert all(name.startswith(f"{SUITE.name}-{count}-tasks-") for name, count in zip(many, (6, 7), strict=True))
    assert choose_tasks(SUITE, [*labels[:4], labels[5], "siqa"]).name not in many


def test_a_task_without_its_file_can_not_be_asked_for_by_name(tmp_path):
    (tmp_path / "commonsense_reasoning").mkdir()
    (tmp_path / "commonsense_reasoning" / "copa.jsonl").write_text('{"query": "q", "choices": ["a", "b"], "gold": 0}\n')
    suite = load_suite(tmp_path)
    assert list(choose_tasks(suite, ["core"]).tasks) == ["copa"], "core is what there is of the 22, and says what is missing"
    assert choose_tasks(suite, ["core"]).missing["squad"].startswith("no file")
    with pytest.raises(ValueError, match="task 'piqa' is missing .no file .*; `winnow eval-data pull piqa`"):
        choose_tasks(suite, ["copa", "piqa"])
