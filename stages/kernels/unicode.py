"""Unicode as two lookup tables: what class a character has, and what its lower case is.

Pinned to Unicode 14.0, whatever the Python: words, and with them hashes and drops, stay the same on the next interpreter.
Packed below as base85 of zlib of variable-length integers (7 bits a byte, low first):
classes as runs `length * 5 + class` from U+0000 on; lower case as runs (gap to the last, step, count, zigzag delta).
Cost: 1.1 MB and 4.5 MB of memory, some 10 ms once a process.
"""

import base64
import zlib
from functools import cache

import numpy as np

LETTER, MARK, DIGIT, SPACE = 1, 2, 3, 4
"""General categories L*, M*, N*, and what str.isspace calls white space; 0 is everything else."""

CODE_POINTS = 0x110000

_CLASSES = (
    "c-m!F4Qw3M5!SrBdGGvoo!zx|H|(9+v$c2Do!zsobDkW-*_9n+EIEnnR8FKgQY{3I1gLJ6YZX_jmBv7V+cY76CaP^YNg-"
    "+~5rpbeknm4Zss^b60w@N_pion2aY-"
    "W7C@m@N>^byD)my!NZ+G6zH?!Z&Z0_#PySr5|3jQeM%l1N9jtAw)jTpxYEaC*<=a${t84oz}z89i#)TD#l=V&6whj2QAzeY^YahwCm{Y#Mf1E4^i"
    "hREy(+j$CFyhV6K*_yZ>L7tXXnvSlfOv!t=7>6f8&PG~zr+O9|G@DByhg{ykEuPpuV%h7xVNB*~--"
    "7Ss892x+zJsTmbg8h{!mQNf5T*#LBLykerNuMC*3cvYO;$^eLRy%#SH-"
    "k&NP!8P1Pu|87lG1E(QIKoIkPGfCr!0zp(S~@Mrv}r3jbqi^?k`wVBIl<ygDy9CJhrEL!+2zhGv*XtDP_`bSWgF^S<^(mMj#pH#|-"
    "H+(1Y2UxpSkHOR?A>3!3x{#6N|;D-"
    "9Ob~nU#3G~%B+%rWDS$+VMwCy*B2|kx8L)cXm_*!2{z5NCVE$yXhQC)x#QyhnBZW3ApmvLHENhO_W;Jb8xCmo_;>sg!udl2<_3;qgnVv;SwAXk3U"
    "bu4aaY18d!<3hP|4v>3XE&}c?M@LfpX}$zBJq!QdZ^S7^w>OxyayyOQo^uhIG$!woTgyhlyTy!(Y|!uK2CU|Oz0g74>4nGHDKNOrg;c)kvrs61HW"
    "I}3Ux47=2P{uSY_r?)Y8+&|c?oPH>^(0*F=3Cfb$A3M$*XprnS{SWVg<Hk4b|6Bu*PA7rk0?qFav`bWteIPWPPv*((JMD5l1A2W^r#poM+dhOp<R"
    "jWyynZOn@9?C4QNhB90~P4li8Y`xLD4%07j%o*0+a9>u8RpKu2H2)t|}>A1go-of?K@!~eey-cfouJRmvBJ!O}cb$NVul+sdJC>G<eHF|TEa2Uum"
    "`maRj#Ka{@Iw`4wif$AV->NZLbEB9x-{`Z1RY8&yb>|i=1;<P=$!_29O`g0-7moAd41uBY@VIJ%3o(6gFG*dUZp*_0xqs2&-"
    "4$N(qDpl`B+pgFt5as-MzvTj-ZeVqdNaME9hUqj=b`BBn@J<PzRt^7B>_QgW;|~S10)$7fmWo%<RgUB1>HLiw3v8pbutgdR*s%?>6Q7gf#VhlH!^"
    "yxkr%i_vfRv7|PH5GEykoH{s}O?93W@BsvSJLfqq`2|F<4X_&K<(P!Z4HQN`MJji|rt@f6lE%PjnKf`a{sanmm5u>DEn&+SuM*#=u*hYE(S@<McS"
    "cbwh>nop$iZLYUH=$dMfqfFz<{pY=W8NGjJfaj)KZ})@VVsAkz^3aWWGDvfabqd*@7!N!NA=uLKD#@KZvoc7%aT-OmVlC;%c86+%9;ttG+qZn;8h"
    "M)6HDJ`CzxHXeM9~UD9?4zb%^eVL0YzG+;terX<ac5Sv&x`UD<Px<%eY5fLGVQtL9MTGj@dSVeNZZP(1@~M$Kwd5ZcuZ?TN@?P&_l#vUVTzyO-"
    "hNng@$HYm9AbK0&#!^PKx3v;?AkBv8IJ16`<WuJg?EASBOOH=xV0UDOrv)ZW?Lk0Wiqc$JlMmmF;hR-nyOzWd*m5B1f`7nU?HuFJHMcoE0g4#!ir"
    "Fpt9x7$h1INWKDT*|5ve&(gDP25(lgum~Hd+Wv&?2f4}qx}BO7OR(v0kp=cZAxniYO9qCkh!QT5MlY!MSyujrw4@22*av*wMM!fuBQm_@W7uNw?V"
    "qvJvL0WCTCC;WM<M)#-^Q-"
    "Lun_4SR2g9hN^_B+`bAGpLW1^*5P?46P72=r=oJ`EeHnQ!+V_sQJ^05+_e%EI6fC=wZ?Y*jpjxB+A4g~+y@}=<kj^;;g*EuFH*h_^z`l1NdW+eDA"
    "7g>rG0(_t(X4mAdkr$@8ZSfr=n`{EF?(LS3TB^^dBr%o{pqOJVbljrhW^ou@CnH89(NK(Ri;*^kAu66);_*-BDx1o<Jkx<GwM{-"
    "9;nl{(kDsbZ^L4mrNsd%v0-KyDSW0}j^Iexp#N{m%74Hf`xvutLq>FpZzXWkp}Gn9D3-"
    "=;G98BE=dlmLNT(#R;#GYdMBfs)>dVFyX{Xe|_k?Ur{~q39X>O~}{j-ez1=ikX%Yd6-"
    "6Atbt!c)(ojzaQ0{2Q=WOP+b>`Bx*{g`sdta!t6E3TPa+zU|(3?NK$Ax%yc7G)$d>;7UyX=qhyHJk5SOJnsDYo?G+q<i+>kg|atR?)?{K4x5<"
)

_LOWER = (
    "c-"
    "lo%OKTHR6y`g3W|GM}5R6vTQc4ko(5ef;%?PekO8$Xexs@)|oivu>3*DHyP+MvhJGMnoiy|VV3l$U}P;lF=ASwzjL_++|nTayobHDqY=RN1nAq+$"
    "(P>%$eXh^n-09Txd<Co>CEAay$^nkk#BFfxyASaL;1}NsaqphdwsSc)_cSQFTEgJ8or)A|=odzaY>-"
    "(%Z*9U2aNBx{n`u>syywv{xE+IpOT8fuCtZPXpAvHZrlM2=IQ;gK-"
    "B^N%%NHfl8{7b65O2U^#jiTv7;4?D7F@ZZm!zr+=vw|v{7DmHBC6s~$z?n2sG3kk$Cax^-"
    "Fc^(VRdTXjwL2jhmO4s{k%>23Fw&VM+nEehZ1`v{Y%*(5xmm@YUV~wJjdhWuk^{P@g?>3?%OQet-u46+#526@AE!&oEaaMAsak-yk^*C2vq}S-"
    "$`;A?wCX=*v&@2?onjT;b9%nq((4~+pfXsa&Eo(A`yZAtIx&{q_v?~cy*)_rZV4_K=~L_TZ&ST6{5)pk?6I(=(j_N*ITI0|=>1RdvDKs`7qmZ~?2"
    ">#k#`CeK<M5MQAKJdtxv-"
    "n6n<b4old~pUCdpHKr>%Iy<b9K!5?_xx9_L}kOuxtWUU)$XxbNV;`T+bZUWM4*ya)_8=YagUpv;xwlJPG^?3=>3ItSZY(ed8?1q>bj3sA;rLI"
)


@cache
def character_classes() -> np.ndarray:
    """Return the class of every code point, uint8[0x110000]; read-only, one array a process."""
    packed = _integers(_CLASSES)
    table = np.repeat((packed % 5).astype(np.uint8), packed // 5)
    assert len(table) == CODE_POINTS
    table.flags.writeable = False
    return table


@cache
def lower_case() -> np.ndarray:
    """Return the simple lower case of every code point, int32[0x110000]: one character to one character; read-only."""
    table = np.arange(CODE_POINTS, dtype=np.int32)
    last = 0
    for gap, step, count, zigzag in _integers(_LOWER).reshape(-1, 4).tolist():
        first = last + gap
        last = first + step * (count - 1)
        table[first : last + 1 : step] += (zigzag >> 1) ^ -(zigzag & 1)
    table.flags.writeable = False
    return table


def _integers(packed: str) -> np.ndarray:
    numbers, number, shift = [], 0, 0
    for byte in zlib.decompress(base64.b85decode(packed)):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number = shift = 0
    return np.array(numbers, dtype=np.int64)
