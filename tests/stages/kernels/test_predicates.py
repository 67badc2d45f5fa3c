import unicodedata

import numpy as np
import pytest

from stages.kernels.predicates import ALNUM, DECIMAL, DIGIT, SEPARATOR, SPACE, UPPER, character_flags
from stages.kernels.unicode import CODE_POINTS


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python has another Unicode than the pinned tables")
def test_flags_agree_with_python():
    flags = character_flags()
    for flag, asks in ((UPPER, str.isupper), (DIGIT, str.isdigit), (DECIMAL, str.isdecimal), (ALNUM, str.isalnum), (SPACE, str.isspace)):
        assert np.array_equal(flags & flag != 0, [asks(chr(c)) for c in range(CODE_POINTS)])


def test_what_every_unicode_agrees_on():
    flags = character_flags()
    for character, want in [
        ("A", UPPER | ALNUM),
        ("Ⅷ", UPPER | ALNUM),
        ("Ⓐ", UPPER),
        ("é", ALNUM),
        ("7", DIGIT | DECIMAL | ALNUM),
        ("²", DIGIT | ALNUM),
        ("½", ALNUM),
        ("\x00", SEPARATOR),
        ("\t", SPACE | SEPARATOR),
        ("\x1c", SPACE),
        ("\xa0", SPACE),
        ("_", 0),
    ]:
        assert flags[ord(character)] == want
    assert np.flatnonzero(flags & SEPARATOR).tolist() == [0, 9, 10, 11, 12, 13, 32]
    assert not flags.flags.writeable
