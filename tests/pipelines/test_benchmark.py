"""The comparison as a plan: the same budget, tokenizer and validation texts for every arm; sizes that agree with the scales."""

from collections import Counter

import pytest

from models.scales import SCALES
from pipelines import benchmark, demo
from pipelines.benchmark import VOCAB_AND_CONTEXT, plan
from stages.core.plan import PlanError

STRATEGIES = ("raw", "clean", "fasttext", "random")

RECIPE = """
from pipelines.benchmark import Comparison, Strategy
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts

def comparison():
    texts = read_texts.on(list_warcs.on(root="texts", source="own", pattern="jsonl"), name="texts")
    return Comparison((Strategy("all", texts, "All."),), texts, (("held", texts),))
"""


def test_sizes_agree_with_the_scales():
    assert {name: (scale.model.vocab_size, scale.model.seq_len) for name, scale in SCALES.items()} == VOCAB_AND_CONTEXT


def test_every_arm_has_its_nodes():
    made = plan(scales=("nano", "400m-1x"), seeds=(0, 7))
    assert made.name == "demo"
    names = {node.name for node in made.nodes}
    for scale in ("nano", "400m_1x"):
        assert f"tokenizer_{scale}" in names
        for strategy in STRATEGIES:
            assert f"tokens_{strategy}_{scale}" in names
            assert {f"{kind}_{strategy}_{scale}_{seed}" for kind in ("train", "evaluate") for seed in (0, 7)} <= names
    kinds = Counter(node.stage.name for node in made.nodes)
    assert (
        kinds["train_tokenizer"],
        kinds["tokenize_shuffle"],
        kinds["train"],
        kinds["evaluate"],
        kinds["leaderboard"],
    ) == (2, 8, 16, 16, 1)
    assert {node.name for node in demo.plan().nodes} <= names


def test_arms_differ_in_documents_and_seed_alone():
    made = plan()
    trains = [node for node in made.nodes if node.stage.name == "train"]
    assert len(trains) == 12
    assert {(t.config.scale, t.config.num_tokens, t.config.lr, t.config.num_threads) for t in trains} == {
        ("nano", None, None, 1)
    }
    assert Counter(t.config.seed for t in trains) == {0: 4, 1: 4, 2: 4}
    tokenizer = made["tokenizer_nano"]
    assert all(t.inputs[1] is tokenizer for t in trains)
    assert {(t.inputs[0].config.seq_len, t.inputs[0].config.seed) for t in trains} == {
        (SCALES["nano"].model.seq_len, 0)
    }
    documents = {s.name: s.documents.name for s in demo.comparison().strategies}
    for strategy in STRATEGIES:
        assert made[f"tokens_{strategy}_nano"].inputs[0].name == documents[strategy]
    assert [node.name for node in tokenizer.inputs] == ["filter_language"], "the least curated text"


def test_arms_are_evaluated_alike_and_named_in_order():
    made = plan(seeds=(0, 1), evaluation={"eval_data": "elsewhere"})
    (board,) = made.outputs
    evaluations = [node for node in board.inputs if node.stage.name == "evaluate"]
    for node, strategy in zip(evaluations, board.config.strategies, strict=True):
        assert node.name.startswith(f"evaluate_{strategy}_nano_") and node.config.eval_data == "elsewhere"
        assert (
            node.inputs[0].name == node.name.replace("evaluate_", "train_") and node.inputs[1] is made["tokenizer_nano"]
        )
        assert [text.name for text in node.inputs[2:]] == list(node.config.validation) == ["prose", "reference"]
    assert dict(board.config.descriptions).keys() == set(STRATEGIES) and board.config.pipeline == "demo"


def test_each_strategys_documents_are_searched_for_the_questions_that_are_asked():
    made = plan(scales=("nano", "400m-1x"), seeds=(0, 1), evaluation={"eval_data": "elsewhere", "tasks": ("core",), "limit": 3})
    (board,) = made.outputs
    flags = [node for node in board.inputs if node.stage.name == "flag_contamination"]
    assert list(board.inputs)[-4:] == flags and [node.name for node in flags] == [f"contamination_{name}" for name in STRATEGIES]
    documents = {s.name: s.documents.name for s in demo.comparison().strategies}
    for node, strategy in zip(flags, STRATEGIES, strict=True):
        assert [parent.name for parent in node.inputs] == [documents[strategy]]
        assert (node.config.eval_data, node.config.tasks) == ("elsewhere", ("core",))


def test_unknown_scale():
    with pytest.raises(PlanError, match="there is no scale '2b-1x'; the scales are nano, 400m-1x"):
        plan(scales=("2b-1x",))


def test_unknown_pipeline():
    with pytest.raises(PlanError, match="there is no pipeline 'demmo'"):
        plan("demmo")
    with pytest.raises(PlanError, match=r"no file nowhere/own\.py"):
        plan("nowhere/own.py")


def test_pipeline_without_a_comparison():
    with pytest.raises(PlanError, match=r"'crawl' has no comparison\(\) -> Comparison; see pipelines/demo.py"):
        plan("crawl")


@pytest.mark.parametrize(("file", "name"), [("own.py", "own"), ("my-own.py", "my_own")])
def test_recipe_in_a_file(tmp_path, file, name):
    (tmp_path / file).write_text(RECIPE)
    made = plan(str(tmp_path / file), seeds=(0,))
    assert made.name == name and "train_all_nano_0" in made


def test_dotted_name_and_function_are_the_same_recipe():
    assert plan("pipelines.demo").recipe == plan("demo:plan").recipe == benchmark.plan().recipe
