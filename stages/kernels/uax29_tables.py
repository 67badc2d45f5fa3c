"""What UAX#29 word segmentation asks of a character, one byte each; and its rules, one table of transitions.

Pinned to Unicode 15.0, whatever the Python: tokens, and with them hashes and drops, stay the same on the next interpreter.
Made from the Unicode Character Database 15.0.0 (Debian package unicode-data 15.0.0-1): Word_Break of auxiliary/WordBreakProperty.txt,
Extended_Pictographic of emoji/emoji-data.txt, White_Space of PropList.txt, and ALNUM (str.isalnum: category L* or a numeric value) of
UnicodeData.txt; it equals str.isalnum of Python 3.12 on every code point. Packed below as base85 of zlib of the table itself.
Cost: 1.1 MB of memory, some 5 ms once a process.
"""

import base64
import zlib
from functools import cache

import numpy as np

CLASS, PICTOGRAPHIC, WHITE_SPACE, ALNUM = 31, 32, 64, 128
"""The parts of a character's byte: its Word_Break class (an index of CLASSES), and three flags."""

CLASSES = (
    "Other", "CR", "LF", "Newline", "Extend", "ZWJ", "Format", "WSegSpace", "ALetter", "Hebrew_Letter", "Numeric", "Katakana",
    "ExtendNumLet", "MidLetter", "MidNum", "MidNumLet", "Single_Quote", "Double_Quote", "Regional_Indicator",
)  # fmt: skip
ZWJ = CLASSES.index("ZWJ")

BREAK = 255
"""Not a state: the character before which a segment ends."""

STATES = (
    "start", "other", "cr", "newline", "spaces", "letter", "hebrew", "number", "katakana", "connector", "flag", "hebrew_quote",
    "letter_mid", "hebrew_double_quote", "number_mid",
)  # fmt: skip
"""What the segment so far ends in, Extend, Format and ZWJ aside (WB4). In the last three it ends in a character that belongs to it only
if the right one follows; otherwise it has ended before that character (WB6, WB7b, WB12)."""
START, LETTER, FIRST_PENDING = STATES.index("start"), STATES.index("letter"), STATES.index("letter_mid")

_JOINS = {
    "start": {
        "Other": "other", "CR": "cr", "LF": "newline", "Newline": "newline", "Extend": "other", "ZWJ": "other", "Format": "other",
        "WSegSpace": "spaces", "ALetter": "letter", "Hebrew_Letter": "hebrew", "Numeric": "number", "Katakana": "katakana",
        "ExtendNumLet": "connector", "MidLetter": "other", "MidNum": "other", "MidNumLet": "other", "Single_Quote": "other",
        "Double_Quote": "other", "Regional_Indicator": "flag",
    },
    "other": {},
    "cr": {"LF": "newline"},  # WB3
    "newline": {},  # WB3a
    "spaces": {"WSegSpace": "spaces", "Extend": "other", "ZWJ": "other", "Format": "other"},  # WB3d: only spaces side by side
    "letter": {
        "ALetter": "letter", "Hebrew_Letter": "hebrew",  # WB5
        "MidLetter": "letter_mid", "MidNumLet": "letter_mid", "Single_Quote": "letter_mid",  # WB6
        "Numeric": "number",  # WB9
        "ExtendNumLet": "connector",  # WB13a
    },
    "hebrew": {
        "ALetter": "letter", "Hebrew_Letter": "hebrew", "MidLetter": "letter_mid", "MidNumLet": "letter_mid", "Numeric": "number",
        "Single_Quote": "hebrew_quote",  # WB7a
        "Double_Quote": "hebrew_double_quote",  # WB7b
        "ExtendNumLet": "connector",
    },
    "number": {
        "Numeric": "number",  # WB8
        "ALetter": "letter", "Hebrew_Letter": "hebrew",  # WB10
        "MidNum": "number_mid", "MidNumLet": "number_mid", "Single_Quote": "number_mid",  # WB12
        "ExtendNumLet": "connector",
    },
    "katakana": {"Katakana": "katakana", "ExtendNumLet": "connector"},  # WB13
    "connector": {
        "ALetter": "letter", "Hebrew_Letter": "hebrew", "Numeric": "number", "Katakana": "katakana", "ExtendNumLet": "connector",
    },  # WB13b
    "flag": {"Regional_Indicator": "other"},  # WB15, WB16: in twos
    "hebrew_quote": {"ALetter": "letter", "Hebrew_Letter": "hebrew"},  # WB7
    "letter_mid": {"ALetter": "letter", "Hebrew_Letter": "hebrew"},  # WB7
    "hebrew_double_quote": {"Hebrew_Letter": "hebrew"},  # WB7c
    "number_mid": {"Numeric": "number"},  # WB11
}  # fmt: skip

_CHARACTERS = (
    "c-rmVNp|D70RT`e7(KtV?MiY2E&CXq)S@;yloq{UbzLOKjKmR~K~j_L|Ep}vA_af|2!J3>hEVzAKi|LqI}H2?|GfP8$K~65_!j<ZyuBAI<dZH-Ul*2_zK2PF)Gv<b^$*AMi_"
    "<CO;Vqo<^Q+TT@H5dSE$72{IqU!a@={isYDxLlOa4;7YGrp;*S>Pcd9QYY{H=I5+^ecSQ}qvV&OE)uoI4lkr4qipB?tUoRoPXwDV+b6|LbP*=d^n9%UjgG9t!2__xDcp;V|3"
    "04~(X;?JvUL-_N0CcPXPP@<XVrR*_4W7j1gVQtEX#houD06~^uMs<;8^Cb+XbiGf@;{Qa`&lSwYtYS(Xm8}`q0vGtbEu3s$(bzRI>w+d6ma!6~Fx0K09ocSQkOFl$<!B{>;t"
    "wuhTMWOjw<>EPy@}}mMUv1^6@;(gWzkKdgxK#e~Q=u)Nl=$oaq1>mkvbf5SLemm8Y3<h1B4^@y6mNeKNmBgX?Jp8i#-9)BXD|Po1<@zh<^M4Lc>C*Zn#li<*SX(hK;Gtm9Z&"
    "V)P`@gdbd%QXB~^r3y#3i!E76I%4k01?hwsPR-^O1B8tT?{D*sPaHgxNMTKpj){?HV_VE@bd+n-YXMjL=Z{7oB|Rogcx|I?}2@@DiCMvsk_M<AiCtaXt`!-6bovE%&jwc@9h"
    "&RZ4-UB6quH?pVAJLkly3}rGYAzswRpJk^|e=>~4f9hBE5&6XX!<>uKQ)F<t)~a#g)cCFrr~6jI@UPR{Z?dN3N1XcQ-L6{wEWYZ`MvF#+J!NrEkv^oViZNd`1TzP4^#h|2jZ"
    "!+lul@Yqc*2#oV^@xZco!XQ*g}||6k8Zy?@ZcaHv_k-c99<o^TSt-Jq&lW@#Dz3-LHEXJhpst{|)7UZ_n^+sw3_V3yN{iX=LQxX?*%ap7XJCfBhTQg*N<@L-6dH^&z=^4gKN"
    "P=<sWFlsMkt_p^RYxzDdZNJ-N8Z*DSWYyCW>4r9;R*{^RC#}B8@@oK_|IMtR3pveiO>GXG!-g|RJWWD*zjVWF`zL?AC&i3YO(-+0Re!Nppiu5x%OiuD;byJeZ$Lb&2RnA8-I"
    "X>RHeyIMf9uTcLat-mEVLQSJoeABM5mmJQkJ2CKuaNz%o_!DD+qZU~I=_7T{=GO+^xt@2JBIN3T3i=U{!)95E*~gQFC7}EX#V+<n125?doYyRp0Da5^1;kOGsT{l8`c(Ow9^"
    "0TypGq+2mNJonMU39vCvEA;0<o8o8h<4{o}2JIku`_?~;qB9i~H#ui*IoCC%D6p1D3AuTgJ`s!-L4V_ZFscQ;y1?;3w+`|Dgiwi$e!X^D^3;_7o{5WP)WvsZL>&g1M3u2Xn;"
    "&%h@r(Brj=`S`*1$}e&_S8r-{^;0{mbi?zDqtl)J!<D58%Hh=~>wad}oiNKa7N5(H>L`490AJRZ<FAY2?L0s39N^Cl{j==1-_9?7`*ky++>-E27Y&5|RV(RdGSUn(A^G?%ZN"
    "0Ga_-bO!<76MY5dLrLtX)4n;1A*i000000Kijm{s#a6000000000000000000000N}ah0MGNB-a9_e_=`OMct!sA-}<XDUOX#fC>}W+J$-m_^=ofpHu1#cm#$|0=;dwgkEkk"
    "-P(7nIbq~p^uRNP6vm)2B=6=!po*&+M0Cu*e45y!B-PYGS{JyrTpA(<O^?NzS$?ctdruI@sv?<!S`MtvJZ+}r-Sv%fqmzM>(H`ch`T;3jyf9SI09L)OhYF2)%`sn#bcAB}hc"
    "_;td5{z@L+Yz)s=byixv`0@pg#ON&G8-!&ogM%H0000000000Tvx*N<eM(#4FCWD000000H1(6K;P3n^E<8lr!KK6Uj58|Hp0(XsJ@4v)&JUkuLhdiBpy)~`$N1@tr$t)<@f"
    "&GQQt#&dym#1xzp<F>r~*cudnanTX=t4h(A0{@g1sUeY<?Sq`kdAW|a-|S^gT5isaWufBv~#?A?0P`8ih+4u`{_KFq{3{$5z9z2TV~tIflJ-RU3go>F_PE6N@}{z|Le+Z)1c"
    "p&VBgRYJ^ZiEQtoe2v~94kxU<viI5h*Dd!ezV>=?j$ZNl?J&{C_S)6C)o#51u~?)_CBD=XF7~|BJ@FOW-w@V~$wGAl{pmkPSa`lrvqEA%uRN-ot>5*IGZTMG|8R%?Zy{qYso"
    "#5qo!2*p5ACxE!eWgq*6nt$TeffM`2z{%oiKK-@Ap5N%)LX$4fVfMp_A*?#`=G^_WyqIU+MGd&p(SFc+nq^uxoyGO~+Rh!d3rjZRy!7Q8PJT-=YbUg`IT1c5U2WX4;0OeJI="
    "bh^5H~@QjvtyVqpJL!CO)OIzcuW^ban4>Rq-#QvKYe{XBMp~PF15>_#C+MfTz#~IZ*dHxnX&nV<m#W7nyLQ=$4>Wi(pLjO~ZKf`odwzc<zB#%8GD#VA|lU;iM=<M?7swU*}t"
    "1a2+;J#W^r660kyFYgRC2{AEYGE&bv&DhI{-`gJw>#8F>z}u6el#yX6K+aH+nxU*Zq3%`|JJDUE0y=`^x#M*7e7DkhQsowtbf_uljokPeTwv+cQ-YC-<iw^Go4`cD7B&*X1%"
    "@a+U?Kk^Md^r;=CzyC6)IdjF=olXW*KRgqQ7WS$Yl2lN_&pHYq3nMhYqP+u>pTpBi^A6-zcM+^FqI*yTqXfJ>EcQ<YE752Od*G%Q!`-_-B<1MZ>;Pdo`eXktf3^S3UqJZ1di"
    "{11GVQ;bhNzTUf0N(uk~^A-0StUAsDQXP7-$DJAk0001<Wxf#?s{jB1000000B|!dU184^KTB(Ed49{9RICesc*m}_5%&MUt$*=Tl%CmJoKHorMdB;<AG;pj`CR?qCAcilwy"
    "BacxNYkG?d#tEwg0!do=FP;00000pNIK>;B&Wb%Qk!j00000000009_H6s@vZzBez{m^)+L*|PP6%2TuJn6B+uLBe7LK`002IZd*3m#|IYONBtvntvcs8D0ssI2V5_xv>7T!"
    "SKTK7!rm`I>gG#j=$dhi|17lx0um9-t{?C5#!EI*xuNTfag`xb>4>vTwhU+A_&5WdgqZEbcOok__-Q?8KhPoCu*U}IA$@uAGsdUbUCL14DwfP}ep*LX2=0;5h+Q4JRzwt_+x"
    "&05*QyrmRdWGYK<>Wl|@lTsyBO|UNG&|Hy%Ol%WewTtX^8LE?NBQ$b_lJ72D%@zM?$Ogj&9v&;!^CSuUylhc;b~uB#-6{|tiDbUOHcT8e?hv`354?OM!Zg_&%RV4l;5iJG41"
    "-zd!cvsCUgRs>5A$EhPmbJa{S^tyYu<?rR;i{RIV_${1V^qzsK*zzZJp91#-p0`q!j>m{DY-+aDz&bk;xe!4!j5*|3Mof1GSTK1ToZ=sx$+oqGRcd!y{Xv;Fh;sVzG~52G*n"
    ")a}(r*PowK1K{hne(nMX00000000000000000000000000000000000000000000000000@SMT|IRpRz08IM|^9SZf000000Js&`>j3}&000006aoMMfa@u7@Ccy)2LJ#70A"
    "`p^0{{R3uEG^d00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000DKCE`Ni3dJ$m!AFGht20000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000G9k8jP5Hi"
)


@cache
def characters() -> np.ndarray:
    """Return the byte of every code point, uint8[0x110000]; read-only, one array a process."""
    return np.frombuffer(zlib.decompress(base64.b85decode(_CHARACTERS)), np.uint8)


@cache
def transitions() -> np.ndarray:
    """Return the state after a character of each class, or BREAK: uint8[len(STATES), 32], a row for every state; read-only."""
    table = np.full((len(STATES), 32), BREAK, np.uint8)
    for row, state in enumerate(STATES):
        if state not in ("start", "cr", "newline"):
            for passed_over in ("Extend", "ZWJ", "Format"):  # WB4
                table[row, CLASSES.index(passed_over)] = row
        for character_class, joined in _JOINS[state].items():
            table[row, CLASSES.index(character_class)] = STATES.index(joined)
    table.flags.writeable = False
    return table
