import sys
import unicodedata

import numpy as np
import pytest

from stages.kernels.unicode import CODE_POINTS, character_classes, lower_case


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="this Python has another Unicode than the pinned tables"
)
def test_tables_agree_with_python():
    categories = {"L": 1, "M": 2, "N": 3}
    want = [4 if chr(c).isspace() else categories.get(unicodedata.category(chr(c))[0], 0) for c in range(CODE_POINTS)]
    assert np.array_equal(character_classes(), want)
    assert lower_case().tolist() == [ord(chr(c).lower()[0]) for c in range(CODE_POINTS)]


def test_what_every_unicode_agrees_on():
    classes, lower = character_classes(), lower_case()
    assert len(classes) == len(lower) == sys.maxunicode + 1
    for character, kind in [
        ("a", 1),
        ("é", 1),
        ("中", 1),
        ("\u0301", 2),
        ("7", 3),
        ("½", 3),
        (" ", 4),
        ("\u3000", 4),
        ("_", 0),
        ("-", 0),
    ]:
        assert classes[ord(character)] == kind
    assert [chr(lower[ord(c)]) for c in "AÉΣaИİ中"] == list("aéσaиi中")
    assert not classes.flags.writeable and not lower.flags.writeable
