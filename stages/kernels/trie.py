"""A set of words as a trie over their UTF-8 bytes, and the same completed to an automaton that finds any of them in one pass.

Aho and Corasick 1975. Bytes that no word holds share a column, so that lists of some hundred words stay in the cache.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trie:
    """Node 0 is the root; a child 0 means that no word goes on this way (in an automaton: that nothing has been read of any)."""

    columns: np.ndarray
    """uint8[256]: the column of each byte; 0 = in no word."""
    children: np.ndarray
    """int32[nodes, columns]."""
    words: np.ndarray
    """int32[nodes]: which word ends here, by its place in the list; -1 = none. In an automaton: ends here or at a suffix."""


def build_trie(words: Iterable[str]) -> Trie:
    """Make a trie of `words`; the empty word is left out, a repeated one keeps its last place."""
    encoded = [word.encode() for word in words]
    columns = np.zeros(256, np.uint8)
    used = sorted(set(b"".join(encoded)))
    columns[used] = np.arange(1, len(used) + 1)  # at most 243 different bytes stand in UTF-8
    nodes: list[dict[int, int]] = [{}]
    ends: dict[int, int] = {}
    for place, word in enumerate(encoded):
        node = 0
        for byte in word:
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        if node:
            ends[node] = place
    children = np.zeros((len(nodes), len(used) + 1), np.int32)
    for node, edges in enumerate(nodes):
        for byte, child in edges.items():
            children[node, columns[byte]] = child
    found = np.full(len(nodes), -1, np.int32)
    found[list(ends)] = list(ends.values())
    return Trie(columns, children, found)


def build_automaton(words: Iterable[str]) -> Trie:
    """Make the automaton of `words`: from every node every byte leads to the longest suffix read that begins a word."""
    trie = build_trie(words)
    children, found = trie.children.copy(), trie.words.copy()
    fails = np.zeros(len(children), np.int32)
    queue = [int(child) for child in children[0] if child]
    for node in queue:  # breadth first: the suffix of a node is complete before the node is
        suffix = fails[node]
        if found[node] < 0:
            found[node] = found[suffix]
        own = np.flatnonzero(trie.children[node])
        fails[trie.children[node, own]] = children[suffix, own]
        queue.extend(trie.children[node, own].tolist())
        missing = trie.children[node] == 0
        children[node, missing] = children[suffix, missing]
    return Trie(trie.columns, children, found)
