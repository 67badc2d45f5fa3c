import numpy as np

from stages.kernels.punctuation import sentence_terminals, symbols


def test_the_sets_are_those_of_datatrove():
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    assert {chr(c) for c in np.flatnonzero(sentence_terminals())} == TERMINAL_PUNCTUATION
    assert {chr(c) for c in np.flatnonzero(symbols())} == PUNCTUATION_SET
