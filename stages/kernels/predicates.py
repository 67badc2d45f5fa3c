"""What Python's str.isupper, isdigit, isdecimal, isalnum and isspace say of every character, as one table of flags.

Pinned to Unicode 14.0 as the tables of unicode.py are, whatever the Python. The first three are packed below as base85 of zlib of
variable-length integers (7 bits a byte, low first): runs `length * 4 + kind` from U+0000 on, kinds 0 none, 1 upper, 2 digit, 3 decimal.
"""

import base64
import zlib
from functools import cache

import numpy as np

from stages.kernels.unicode import CODE_POINTS, LETTER, character_classes
from stages.kernels.unicode import DIGIT as NUMBER
from stages.kernels.unicode import SPACE as WHITE

UPPER, DIGIT, DECIMAL, ALNUM, SPACE, SEPARATOR = 1, 2, 4, 8, 16, 32
"""Bits. A decimal is a digit too; SEPARATOR marks what fastText splits words at: NUL, tab to carriage return, space."""

_UPPER_DIGIT_DECIMAL = (
    "c-pm8v1%JZ5M}Om&b#s+(IrxR2@<&@_8~G#@DI31ktVoH<0fT50v9P$UO-JCO+dvOTsYvujUj~#mr5CeA>{^AxCyv$afLs?vnv@Qh@)6WyuH!R?rLUk?!6rWwfet;S|dtd"
    "i}nCe%mq2ap8@5pR(=-C#98*#)t>b0ZmzM#p8St|{!A=zUbHwrM@X*xfpR5chUqx05--HsM?e|tYa%p!-SPxRv%9)FUzO?>J-_)k-hq8dMv#f9(qzMHN9nBz$Vz9^9dO+^"
    "ZxqMyGdOre2Iz~TQcyHRO35PGzy;<h9D<C?+JawYKCCW2L!Le8<Qd!UWF^b@f@IyH*-d_gk$#vyISsLnI+n3S-Au;^6Pa{W1AEUmvASP$8AIszqD~<qd#@0TqsL!86XOX_"
    "633V<UVPg!e(HGiZHcyS^uNu2?Cnmw`c?&YrleG#Na?RJn~dodZez;i7Wfv=BFAi2$Cl%>Wr-N%+jUrchSQMJPf&@cVneirI#|0~B`0vfB2mTuoucc+PyvmElZ>r-9W9dy"
    "{aAhvCAgVgA-m*t^;=9NV^(<cFzWXl+;xLe@dcW*r<fGEXm9hct6I0W$EQ5ry&1rt1NC<(Uy_N*tbc%GPPg%l8I&^2D>8c(Tmo7Rj#&"
)


@cache
def character_flags() -> np.ndarray:
    """Return the flags of every code point, uint8[0x110000]; read-only, one array a process."""
    runs, number, shift = [], 0, 0
    for byte in zlib.decompress(base64.b85decode(_UPPER_DIGIT_DECIMAL)):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            runs.append(number)
            number = shift = 0
    packed = np.array(runs, np.int64)
    table = np.repeat(np.array([0, UPPER, DIGIT, DIGIT | DECIMAL], np.uint8)[packed % 4], packed // 4)
    assert len(table) == CODE_POINTS
    classes = character_classes()
    table |= np.where((classes == LETTER) | (classes == NUMBER), np.uint8(ALNUM), np.uint8(0))
    table |= np.where(classes == WHITE, np.uint8(SPACE), np.uint8(0))
    table[[0, *range(9, 14), 32]] |= SEPARATOR
    table.flags.writeable = False
    return table
