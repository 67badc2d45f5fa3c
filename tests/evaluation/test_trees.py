"""Trees against the inputs they stand for: every path is its choice's input, and nothing that could be shared stands twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation.requests import Request
from evaluation.trees import trees_of

TOKENS = st.lists(st.integers(1, 3), min_size=1, max_size=7)  # three tokens only, so that beginnings are often shared
CHOICES = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=6)


def request(choices: list[tuple[list[int], list[int]]]) -> Request:
    contexts, continuations = zip(*choices, strict=True)
    return Request(
        task="arc_easy",
        task_type="multiple_choice",
        category=None,
        row=0,
        contexts=tuple(np.array(each, dtype=np.int32) for each in contexts),
        continuations=tuple(np.array(each, dtype=np.int32) for each in continuations),
        truncated=(False,) * len(choices),
    )


def path(tree, place: int) -> list[int]:
    """Tokens from the root down to a place, by parents alone."""
    tokens = []
    while place >= 0:
        tokens.append(int(tree.tokens_T[place]))
        place = int(tree.parents_T[place])
    return tokens[::-1]


def check_paths(trees, choices) -> None:
    found = []
    for tree in trees:
        assert tree.parents_T[0] == -1 and (tree.parents_T[1:] >= 0).all()
        assert (tree.parents_T < np.arange(len(tree))).all() and tree.tokens_T.dtype == tree.parents_T.dtype == np.int64
        assert tree.depth == max(len(path(tree, place)) for place in range(len(tree)))
        for same, places, targets in tree.spans:
            for choice in same:
                context, continuation = choices[choice]
                assert targets.tolist() == continuation and len(places) == len(continuation)
                for number, place in enumerate(places):
                    assert path(tree, place) == context + continuation[:number]
                found.append(choice)
    assert sorted(found) == list(range(len(choices)))


@given(CHOICES)
def test_every_beginning_stands_once(choices):
    trees = trees_of(request(choices))
    check_paths(trees, choices)
    inputs = [context + continuation[:-1] for context, continuation in choices]
    beginnings = {tuple(each[:length]) for each in inputs for length in range(1, len(each) + 1)}
    assert sum(map(len, trees)) == len(beginnings)
    assert len(trees) == len({each[0] for each in inputs})


@given(CHOICES)
def test_without_branches_a_tree_is_a_row(choices):
    trees = trees_of(request(choices), without_branches=True)
    check_paths(trees, choices)
    assert all(tree.parents_T.tolist() == list(range(-1, len(tree) - 1)) for tree in trees)


def test_equal_choices_stand_together_so_that_they_tie_exactly():
    choices = [([1, 2], [3, 1]), ([1, 2], [2]), ([1, 2], [3, 1]), ([1], [2, 3, 1])]
    spans = [same for tree in trees_of(request(choices)) for same, _, _ in tree.spans]
    assert sorted(spans) == [(0, 2), (1,), (3,)]


def test_one_token_choices_add_nothing_and_cut_contexts_share_nothing():
    (letters,) = trees_of(request([([1, 2, 3], [4]), ([1, 2, 3], [5]), ([1, 2, 3], [6])]))
    assert letters.tokens_T.tolist() == [1, 2, 3]
    cut = trees_of(request([([1, 2, 3], [4]), ([2, 3], [5, 6]), ([2, 3], [5, 7])]))
    assert sorted(tree.tokens_T.tolist() for tree in cut) == [[1, 2, 3], [2, 3, 5]]
