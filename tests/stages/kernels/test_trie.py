import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.kernels.trie import build_automaton, build_trie

WORDS = st.lists(st.text("abé中", max_size=5), max_size=8)


def walk(trie, text):
    node = 0
    for byte in text.encode():
        node = trie.children[node, trie.columns[byte]]
        yield int(node), int(trie.words[node])


@given(WORDS, st.text("abcé中", max_size=12))
def test_trie_holds_its_words_and_no_others(words, text):
    trie = build_trie(words)
    for word in set(words) - {""}:
        *_, (node, place) = walk(trie, word)
        assert node and words[place] == word
    steps = list(walk(trie, text))
    if text and all(node for node, _ in steps):
        assert any(word.encode().startswith(text.encode()) for word in words)
        assert (steps[-1][1] >= 0) == (text in words)


@given(WORDS, st.text("abcé中", max_size=20))
def test_automaton_finds_a_word_wherever_one_ends(words, text):
    automaton = build_automaton(words)
    raw, wanted = text.encode(), [word.encode() for word in words if word]
    for end, (_, place) in enumerate(walk(automaton, text), 1):
        assert (place >= 0) == any(raw[:end].endswith(word) for word in wanted)
        assert place < 0 or raw[:end].endswith(words[place].encode())


def test_no_words_at_all():
    for trie in (build_trie([]), build_automaton([""])):
        assert trie.children.tolist() == [[0]] and trie.words.tolist() == [-1] and not np.any(trie.columns)
