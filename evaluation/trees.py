"""Questions as token trees: what the choices of a question have in common is fed to the model once.

Every choice is an input, its context followed by its continuation without the last token, and the inputs of a question are
merged where they begin alike. So the context stands once, continuations are its branches, one-token choices add nothing,
options of a schema share what precedes them, and contexts that were cut to different lengths share nothing unless they still
begin alike. Positions are depths, so sharing never changes what a token sees.

Usage: `trees = trees_of(request)`; `without_branches=True` gives plain rows, for models that know no trees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .requests import Request


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Tokens (int64) that follow their parents; the first is the root. Legend: T tokens of the tree."""

    tokens_T: np.ndarray
    parents_T: np.ndarray
    """Index of the token before each one, -1 for the root."""
    depth: int
    """Tokens from the root to the deepest leaf: what has to fit the model."""
    spans: tuple[tuple[tuple[int, ...], np.ndarray, np.ndarray], ...]
    """(choices, places, targets): identical choices stand together, and the token after places[i] should be targets[i]."""

    def __len__(self) -> int:
        return len(self.tokens_T)


class _Growing:
    """A tree while choices are added to it."""

    def __init__(self, inputs: np.ndarray):
        self.inputs, self.paths = [inputs], [np.arange(len(inputs))]
        self.tokens, self.parents = [inputs], [np.arange(-1, len(inputs) - 1)]
        self.size = len(inputs)
        self.spans: list[tuple[list[int], np.ndarray, np.ndarray]] = []

    def nearest(self, inputs: np.ndarray) -> tuple[int, int]:
        """(length, which) of the longest beginning shared with an input that is already here."""
        return max((_common(inputs, other), -which) for which, other in enumerate(self.inputs))

    def add(self, inputs: np.ndarray, shared: int, which: int) -> np.ndarray:
        """Places of the tokens of `inputs`, whose first `shared` are those of input `which`."""
        new = np.arange(self.size, self.size + len(inputs) - shared)
        path = np.concatenate([self.paths[which][:shared], new])
        if len(new):
            self.inputs.append(inputs)
            self.paths.append(path)
            self.tokens.append(inputs[shared:])
            self.parents.append(path[shared - 1 : -1])
            self.size += len(new)
        return path


def trees_of(request: Request, without_branches: bool = False) -> list[Tree]:
    """The trees, one in all but rare cases, that score every choice of a question.

    With `without_branches` each is a plain row: a choice then shares one only if its whole input begins another's.
    """
    choices: dict[tuple[int, bytes], list[int]] = {}
    for choice, (context, continuation) in enumerate(zip(request.contexts, request.continuations, strict=True)):
        choices.setdefault((len(context), np.concatenate([context, continuation]).tobytes()), []).append(choice)
    together = sorted(choices.values(), key=lambda same: -len(request.contexts[same[0]]) - len(request.continuations[same[0]]))
    growing: list[_Growing] = []
    for same in together:  # longest first: the trunk is then as long as it can be
        context, continuation = request.contexts[same[0]], request.continuations[same[0]]
        inputs = np.concatenate([context, continuation[:-1]]).astype(np.int64)
        shared, tree, which = 0, None, 0
        for candidate in growing:
            length, nearest = candidate.nearest(inputs)
            if length > shared and not (without_branches and length < len(inputs)):
                shared, tree, which = length, candidate, -nearest
        if tree is None:
            tree = _Growing(inputs)
            growing.append(tree)
            path = tree.paths[0]
        else:
            path = tree.add(inputs, shared, which)
        tree.spans.append((same, path[len(context) - 1 :], continuation.astype(np.int64)))
    return [_grown(each) for each in growing]


def _grown(tree: _Growing) -> Tree:
    return Tree(
        np.concatenate(tree.tokens),
        np.concatenate(tree.parents),
        max(map(len, tree.inputs)),
        tuple((tuple(same), places, targets) for same, places, targets in tree.spans),
    )


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common beginning."""
    shorter = min(len(a), len(b))
    differ = a[:shorter] != b[:shorter]
    at = int(differ.argmax())
    return at if differ[at] else shorter
