"""The lines of C4: which of a document's lines stay, without citations, and how many sentences they hold.

A line is one of str.splitlines, stripped, and a word of it one of str.split; what is asked of it, in this order, is in `edit_lines`.
A citation is "[", decimal digits of any script or none, "]"; "[edit]"; "[citation needed]". Phrases are sought in any case.

Sentences are counted much as spaCy's sentencizer does: one ends at a character that ends sentences (punctuation.py), and the next begins at
the first letter or digit after it, if white space lies between or it is a capital. No sentence ends at the dots of "...", after a letter
that stands alone ("J. Smith", "U.S.") or after one of ABBREVIATIONS.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from stages.kernels.punctuation import sentence_terminals
from stages.kernels.text_view import Text
from stages.kernels.trie import Trie, build_automaton
from stages.kernels.unicode import character_classes, lower_case

LOREM_IPSUM, CURLY_BRACKET = 1, 2
"""Why a document is dropped at one of its lines."""
COUNTED = ("lines", "too_long_word", "no_terminal_punctuation", "too_few_words", "javascript", "policy", "kept")
"""What is counted of the lines: all that were looked at, those removed by each rule, those kept."""
_LOREM, _JAVASCRIPT, _POLICY = 1, 2, 4
PHRASES = {"lorem ipsum": _LOREM, "javascript": _JAVASCRIPT} | dict.fromkeys(
    ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"), _POLICY
)
ABBREVIATIONS = (
    "Adm Apr Aug Bros Co Corp Dec Dr Feb Gen Gov Inc Jan Jr Jul Jun Ltd Mar Mr Mrs Ms Nov Oct Prof Rep Rev Sen Sep Sept St Sr vs"
)
_DECIMAL_ZEROS = (  # of Unicode 14.0; nine more digits follow each
    "30 660 6F0 7C0 966 9E6 A66 AE6 B66 BE6 C66 CE6 D66 DE6 E50 ED0 F20 1040 1090 17E0 1810 1946 19D0 1A80 1A90 1B50 1BB0 1C40 1C50 A620 "
    "A8D0 A900 A9D0 A9F0 AA50 ABF0 FF10 104A0 10D30 11066 110F0 11136 111D0 112F0 11450 114D0 11650 116C0 11730 118E0 11950 11C50 11D50 "
    "11DA0 16A60 16AC0 16B50 1D7CE 1D7D8 1D7E2 1D7EC 1D7F6 1E140 1E2F0 1E950 1FBF0"
)
_AFTER_BRACKET = np.frombuffer(b"edit]citation needed]", np.uint8)


@dataclass(frozen=True)
class Edited:
    """n documents as their lines left them."""

    text: Text
    """In a buffer of its own; a document that is dropped is as it was."""
    dropped: np.ndarray
    """int64[n]: LOREM_IPSUM, CURLY_BRACKET, or 0."""
    sentences: np.ndarray
    """int64[n]: sentences in the lines that stay."""
    counts: dict[str, int]
    """COUNTED, over all documents; lines after one for which a document is dropped are not looked at."""


def edit_lines(
    text: Text,
    *,
    max_word_chars: int | None,
    citations: bool,
    terminal_punctuation: bool,
    min_words: int | None,
    min_sentences: int | None,
    lorem_ipsum: bool,
    javascript: bool,
    curly_bracket: bool,
    policy: bool,
) -> Edited:
    """Ask of every line, in this order, and of the first no on it is gone, or where it says so the document:

    max_word_chars        has it only words of so many characters?
    citations             (they are taken out; words have been counted before)
    terminal_punctuation  does it end with one of . ? ! " ' but not with "..."?
    min_words             has it so many words?
    lorem_ipsum           is it without "lorem ipsum"?                                              the document
    javascript            is it without "javascript"?
    curly_bracket         is it without "{"?                                                        the document
    policy                is it without a phrase such as "terms of use" or "cookie policy"?

    Lines that stay are joined by newlines, and white space at both ends of the document is taken off. A document with fewer sentences
    than `min_sentences` is to be dropped by the caller and stays as it was here; False and None turn a question off.
    """
    wanted = (lorem_ipsum and _LOREM) | (javascript and _JAVASCRIPT) | (policy and _POLICY)
    automaton, actions = _phrases()
    limits = np.array(
        [
            np.iinfo(np.int64).max if max_word_chars is None else max_word_chars,
            citations,
            terminal_punctuation,
            min_words or 0,
            wanted,
            curly_bracket,
            -1 if min_sentences is None else min_sentences,
        ],
        np.int64,
    )
    data = np.empty(int(text.offsets[-1] - text.offsets[0]) + 1, np.uint8)
    offsets, counts = np.zeros(len(text) + 1, np.int64), np.zeros(len(COUNTED), np.int64)
    dropped, sentences = np.zeros((2, len(text)), np.int64)
    tables = (_decimals(), sentence_terminals(), character_classes(), lower_case(), _abbreviations())
    _edit(
        text.data, text.offsets, limits, automaton.columns, automaton.children, actions, *tables, data, offsets, dropped, sentences, counts
    )
    return Edited(Text(data[: offsets[-1]], offsets), dropped, sentences, dict(zip(COUNTED, counts.tolist(), strict=True)))


@cache
def _phrases() -> tuple[Trie, np.ndarray]:
    automaton = build_automaton(PHRASES)  # none ends another one, so that a node says all that ends there
    return automaton, np.array([*PHRASES.values(), 0], np.int64)[automaton.words]


@cache
def _abbreviations() -> np.ndarray:
    """Their letters as one number each, in ascending order."""
    return np.array(sorted(int.from_bytes(word.encode()) for word in ABBREVIATIONS.split()), np.uint64)


@cache
def _decimals() -> np.ndarray:
    table = np.zeros(0x110000, np.bool_)
    for zero in _DECIMAL_ZEROS.split():
        table[int(zero, 16) : int(zero, 16) + 10] = True
    table.flags.writeable = False
    return table


@njit(nogil=True, cache=True)
def _decode(data, i, end):
    """The character at i and its bytes; what is no UTF-8 is read as it comes."""
    c = np.int64(data[i])
    if c >= 0xC0:
        if c < 0xE0 and i + 1 < end:
            return (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
        if 0xE0 <= c < 0xF0 and i + 2 < end:
            return (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), 3
        if c >= 0xF0 and i + 3 < end:
            c = (
                (c & 0x07) << 18
                | (np.int64(data[i + 1]) & 0x3F) << 12
                | (np.int64(data[i + 2]) & 0x3F) << 6
                | (np.int64(data[i + 3]) & 0x3F)
            )
            return min(c, np.int64(0x10FFFF)), 4
    return c, 1


@njit(nogil=True, cache=True)
def _space_width(data, i, end):
    """Bytes of the white-space character (str.isspace) at i, 0 if there is another one."""
    b = data[i]
    if b < 0x80:
        return 1 if b == 32 or 9 <= b <= 13 or 28 <= b <= 31 else 0
    if b == 0xC2 and i + 1 < end:  # U+0085, U+00A0
        return 2 if data[i + 1] == 0x85 or data[i + 1] == 0xA0 else 0
    if i + 2 < end:
        c, d = data[i + 1], data[i + 2]
        if b == 0xE2 and c == 0x80:  # U+2000..200A, 2028, 2029, 202F
            return 3 if 0x80 <= d <= 0x8A or d == 0xA8 or d == 0xA9 or d == 0xAF else 0
        if (b == 0xE2 and c == 0x81 and d == 0x9F) or (b == 0xE1 and c == 0x9A and d == 0x80) or (b == 0xE3 and c == 0x80 and d == 0x80):
            return 3  # U+205F, U+1680, U+3000
    return 0


@njit(nogil=True, cache=True)
def _strip(data, low, high):
    while low < high:
        width = _space_width(data, low, high)
        if width == 0:
            break
        low += width
    while low < high:
        back = high - 1
        while back > low and data[back] & 0xC0 == 0x80:
            back -= 1
        if _space_width(data, back, high) != high - back:
            break
        high = back
    return low, high


@njit(nogil=True, cache=True)
def _line_end(data, i, end):
    """Where the line that i is in ends, and the bytes of what ends it: 0 at the end of the document."""
    while i < end:
        b = data[i]
        if b < 32:
            if b == 13:
                return i, 2 if i + 1 < end and data[i + 1] == 10 else 1
            if 10 <= b <= 12 or 28 <= b <= 30:
                return i, 1
        elif b == 0xC2:
            if i + 1 < end and data[i + 1] == 0x85:
                return i, 2
        elif b == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and (data[i + 2] == 0xA8 or data[i + 2] == 0xA9):
            return i, 3
        i += 1
    return end, 0


@njit(nogil=True, cache=True)
def _words(data, low, high):
    """Words of a line, and the characters of the longest."""
    words, longest, length, i = 0, 0, 0, low
    while i < high:
        b = data[i]
        white, width = b == 32 or 9 <= b <= 13 or 28 <= b <= 31, 1
        if b >= 0x80:
            width = _space_width(data, i, high)
            white = width > 0
            width = max(width, 1)
        words += length == 0 and not white
        length = 0 if white else length + (b & 0xC0 != 0x80)
        longest = max(longest, length)
        i += width
    return words, longest


@njit(nogil=True, cache=True)
def _citation(data, i, high, decimals):
    """Bytes of the citation that begins with the "[" at i, 0 if none does."""
    k = i + 1
    while k < high:
        c, width = _decode(data, k, high)
        if c == 93:
            return k + 1 - i
        if not decimals[c]:
            break
        k += width
    for first, last in ((0, 5), (5, 21)):
        length = last - first
        if i + 1 + length <= high and np.array_equal(data[i + 1 : i + 1 + length], _AFTER_BRACKET[first:last]):
            return 1 + length
    return 0


@njit(nogil=True, cache=True)
def _copy(data, low, high, citations, decimals, out, at):
    """Copy a line to out[at:], without its citations if they are to go; where it ends there."""
    i = low
    while i < high:
        if citations and data[i] == 91:
            skipped = _citation(data, i, high, decimals)
            if skipped:
                i += skipped
                continue
        out[at] = data[i]
        at += 1
        i += 1
    return at


@njit(nogil=True, cache=True)
def _ends_well(line, low, high):
    if low == high:
        return False
    b = line[high - 1]
    if b == 46:
        return not (high - low >= 3 and line[high - 2] == 46 and line[high - 3] == 46)
    return b == 63 or b == 33 or b == 34 or b == 39


@njit(nogil=True, cache=True)
def _find(line, low, high, columns, children, actions):
    """All that the phrases of a line ask for, and whether it holds "{"."""
    node, found, bracket, i = np.uint32(0), 0, False, low
    while i < high:
        b = line[i]
        i += 1
        if 65 <= b <= 90:
            b |= 32
        elif b == 123:
            bracket = True
        elif b == 0xE2 and i + 1 < high and line[i] == 0x84 and line[i + 1] == 0xAA:
            b = 107  # the Kelvin sign, the one other character whose lower case is an ASCII letter
            i += 2
        node = np.uint32(children[node, columns[b]])
        found |= actions[node]
    return found, bracket


@njit(nogil=True, cache=True)
def _dot_ends(data, low, i, high, classes, short):
    """Whether a sentence ends at the dot at i."""
    if (i > low and data[i - 1] == 46) or (i + 1 < high and data[i + 1] == 46):
        return False
    word, letters, kind, k = np.uint64(0), 0, 0, i  # the letters before the dot, eight at most, as one number
    while k > low and letters < 8:
        k -= 1
        while k > low and data[k] & 0xC0 == 0x80:
            k -= 1
        c, _ = _decode(data, k, high)
        kind = classes[c]
        if kind != 1:
            break
        word |= np.uint64(min(c, 0xFF)) << np.uint64(8 * letters)
        letters += 1
    if letters == 1:
        return kind == 2 or kind == 3
    place = np.searchsorted(short, word)
    return place == len(short) or short[place] != word


@njit(nogil=True, cache=True)
def _sentences(data, low, high, terminals, classes, lower, short):
    count, i = 1, low
    pending, apart = False, False  # a sentence has ended; so that even a small letter begins the next
    while i < high:
        b = data[i]
        if b < 128 and not pending and b != 46 and b != 33 and b != 63:
            i += 1
            continue
        c, width = _decode(data, i, high)
        if terminals[c]:
            if c != 46 or _dot_ends(data, low, i, high, classes, short):
                pending, apart = True, c >= 128
        elif pending:
            kind = classes[c]
            if kind == 4:
                apart = True
            elif kind != 0:
                count += apart or lower[c] != c
                pending = False
        i += width
    return count


@njit(nogil=True, cache=True)
def _edit(
    data, offsets, limits, columns, children, actions, decimals, terminals, classes, lower, short, out, bounds, dropped, sentences, counts
):
    longest_word, citations, well, fewest_words, wanted, no_bracket, fewest_sentences = limits
    at = 0
    for doc in range(len(dropped)):
        begin, i, end = at, offsets[doc], offsets[doc + 1]
        kept = 0
        while i < end and dropped[doc] == 0:
            stop, width = _line_end(data, i, end)
            low, high = _strip(data, i, stop)
            i = stop + width
            words, longest = _words(data, low, high)
            counts[0] += 1
            if longest > longest_word:
                counts[1] += 1
                continue
            start = at + (kept > 0)  # after a newline
            stop = _copy(data, low, high, citations, decimals, out, start)
            if well and not _ends_well(out, start, stop):
                counts[2] += 1
                continue
            if words < fewest_words:
                counts[3] += 1
                continue
            found, bracket = _find(out, start, stop, columns, children, actions)
            found &= wanted
            if found & _LOREM:
                dropped[doc] = LOREM_IPSUM
            elif found & _JAVASCRIPT:
                counts[4] += 1
            elif no_bracket and bracket:
                dropped[doc] = CURLY_BRACKET
            elif found & _POLICY:
                counts[5] += 1
            else:
                counts[6] += 1
                if fewest_sentences >= 0:
                    sentences[doc] += _sentences(out, start, stop, terminals, classes, lower, short)
                if kept:
                    out[at] = 10
                at = stop
                kept += 1
        if dropped[doc] or sentences[doc] < fewest_sentences:
            at = begin + end - offsets[doc]
            out[begin:at] = data[offsets[doc] : end]
        else:
            low, high = _strip(out, begin, at)
            at = begin + high - low
            if low > begin:
                for k in range(high - low):  # forwards, as the two overlap
                    out[begin + k] = out[low + k]
        bounds[doc + 1] = at
