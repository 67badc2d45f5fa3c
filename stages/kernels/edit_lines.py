r"""Editing the lines of a document: rules that drop a line, phrases cut out of short ones, and a count of what went.

What str.split("\n") gives are the lines; each rule works on what the one before left, and the document is stripped as str.strip
does after every rule but that of short lines. Ratios are over all characters of a line, its words those of str.split; the words that
are counted as gone are fastText's (split at ASCII blanks and NUL) that begin with a letter or a digit. A counter is

    ^\W*\d[,.\d]*[kmb]?\s+(likes|shares|...)\W*$      over the lower-cased line

The document is copied once and edited in place: every edit only removes. 130 MB/s a core where lines are short, more where they are long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from stages.kernels.ignore_case import ignore_case
from stages.kernels.predicates import character_flags
from stages.kernels.text_view import Text
from stages.kernels.unicode import lower_case

RULES = ("uppercase", "digits", "counter", "short", "phrase", "suffix", "prefix")
"""In this order; the last three cut phrases out of lines and drop lines that are blank then."""

ANY = -1
"""In a phrase: stands for any one character."""


@dataclass(frozen=True)
class Edited:
    """n documents after the rules, and what these took away."""

    text: Text
    """In a buffer of its own, also where nothing was removed."""
    changed: bool
    """Whether any document was."""
    words: np.ndarray
    """int64[n, 2]: words before and after."""
    lines: np.ndarray
    """int32[n, rules]: lines that each rule dropped or shortened."""
    gone: np.ndarray
    """int32[n, rules]: words that went with them."""


@dataclass(frozen=True)
class Phrases:
    """Phrases ready to be compared without regard to case."""

    bounds: np.ndarray
    """int64[phrases + 1]."""
    characters: np.ndarray
    """int32: representatives of code points (ignore_case), or ANY."""
    leads: np.ndarray
    """bool[256]: the bytes that a phrase can begin with."""


def make_phrases(phrases: Sequence[str], dot_is_any: bool) -> Phrases:
    """Make phrases for `edit_lines`; with `dot_is_any` a full stop stands for any one character, as in an unescaped regular expression."""
    table = ignore_case()
    coded = [[ANY if dot_is_any and c == "." else int(table[ord(c)]) for c in phrase] for phrase in phrases]
    bounds = np.concatenate(([0], np.cumsum([len(phrase) for phrase in coded], dtype=np.int64))).astype(np.int64)
    leads = np.zeros(256, np.bool_)
    for first in {phrase[0] for phrase in coded}:
        leads[[chr(c).encode()[0] for c in np.flatnonzero(table == first)] if first != ANY else np.arange(256) & 0xC0 != 0x80] = True
    return Phrases(bounds, np.array([c for phrase in coded for c in phrase], np.int32), leads)


def edit_lines(
    text: Text,
    max_uppercase: float | None,
    max_digits: float | None,
    counters: bool,
    min_words: int | None,
    max_phrase_words: int,
    phrases: Phrases,
    suffixes: Phrases,
    prefixes: Phrases,
) -> Edited:
    """Edit every document.

    max_uppercase, max_digits   drop a line with a greater share of upper-case characters, of digits; None turns the rule off
    counters                    drop lines that count likes and the like
    min_words                   drop lines of fewer words, but not empty ones; None turns the rule off
    phrases, suffixes, prefixes cut these out of lines of at most `max_phrase_words` words, anywhere, at the end, at the beginning, with
                                a blank before (prefixes: after) them
    """
    n = len(text)
    longest = int(np.diff(text.offsets).max(initial=0)) + 1
    data = np.empty(int(text.offsets[-1] - text.offsets[0]), np.uint8)
    offsets = np.zeros(n + 1, np.int64)
    words = np.zeros((n, 2), np.int64)
    lines, gone = np.zeros((n, len(RULES)), np.int32), np.zeros((n, len(RULES)), np.int32)
    counted = _counted()
    _edit(
        text.data,
        text.offsets,
        character_flags(),
        lower_case(),
        ignore_case(),
        -1.0 if max_uppercase is None else float(max_uppercase),
        -1.0 if max_digits is None else float(max_digits),
        counters,
        -1 if min_words is None else min_words,
        max_phrase_words,
        (phrases.bounds, phrases.characters, phrases.leads),
        (suffixes.bounds, suffixes.characters, suffixes.leads),
        (prefixes.bounds, prefixes.characters, prefixes.leads),
        (counted.bounds, counted.characters, counted.leads),
        np.empty((longest, 2), np.int64),  # pages that stay unwritten cost nothing
        np.empty((longest, 5), np.int64),
        data,
        offsets,
        words,
        lines,
        gone,
    )
    return Edited(Text(data[: offsets[-1]], offsets), bool(offsets[-1] < len(data)), words, lines, gone)


@cache
def _counted() -> Phrases:
    return make_phrases("likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers".split(), False)


@njit(nogil=True, cache=True)
def _character(data, i, end):
    """Decode the character at i < end: its code point and bytes; a byte that is no UTF-8 is read as it comes."""
    c, width = np.int64(data[i]), 1
    if c >= 0xC0:
        if c < 0xE0 and i + 1 < end:
            c, width = (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
        elif 0xE0 <= c < 0xF0 and i + 2 < end:
            c, width = (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), 3
        elif c >= 0xF0 and i + 3 < end:
            high = (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
            c, width = min(high | (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F), 0x10FFFF), 4
    return c, width


@njit(nogil=True, cache=True)
def _back(data, i, begin):
    """Where the character that ends before i > begin begins."""
    k = i - 1
    while k > begin and i - k < 4 and data[k] & 0xC0 == 0x80:
        k -= 1
    return k


@njit(nogil=True, cache=True)
def _blank_before(data, i, begin, flags):
    """Where the blank that ends before i begins; i if there is none."""
    if i <= begin:
        return i
    k = _back(data, i, begin)
    c, width = _character(data, k, i)
    return k if k + width == i and flags[c] & 16 else i


@njit(nogil=True, cache=True)
def _measure(data, i, end, flags, stats, line):
    """Write characters, upper-case ones, digits, words of str.split and counted words of data[i:end] to stats[line]."""
    chars, upper, digits, words, counted = 0, 0, 0, 0, 0
    blank, separate = 1, 1  # of the character before
    while i < end:
        c, width = np.int64(data[i]), 1
        if c >= 0x80:
            c, width = _character(data, i, end)
        f = np.int64(flags[c])
        i += width
        chars += 1
        upper += f & 1
        digits += f >> 1 & 1
        words += blank & ~(f >> 4)
        counted += separate & f >> 3
        blank = f >> 4 & 1
        separate = f >> 5
    stats[line, 0], stats[line, 1], stats[line, 2], stats[line, 3], stats[line, 4] = chars, upper, digits, words, counted


@njit(nogil=True, cache=True)
def _strip(data, spans, first, count, flags, stats):
    """Strip the document whose lines are spans[first:count] as str.strip does; return the new first and count."""
    while first < count:
        i, end = spans[first, 0], spans[first, 1]
        while i < end:
            c, width = _character(data, i, end)
            if flags[c] & 16 == 0:
                break
            i += width
        if i < end:
            if i > spans[first, 0]:
                spans[first, 0] = i
                _measure(data, i, end, flags, stats, first)
            break
        first += 1
    while first < count:
        begin, i = spans[count - 1, 0], spans[count - 1, 1]
        while True:
            k = _blank_before(data, i, begin, flags)
            if k == i:
                break
            i = k
        if i > begin:
            if i < spans[count - 1, 1]:
                spans[count - 1, 1] = i
                _measure(data, begin, i, flags, stats, count - 1)
            break
        count -= 1
    return first, count


@njit(nogil=True, cache=True)
def _phrase_at(data, i, end, characters, begin, stop, table):
    """End of the phrase characters[begin:stop] if it stands at i; else -1."""
    for k in range(begin, stop):
        if i >= end:
            return -1
        c, width = _character(data, i, end)
        if characters[k] != -1 and characters[k] != table[c]:
            return -1
        i += width
    return i


@njit(nogil=True, cache=True)
def _any_at(data, i, end, phrases, table):
    """End of the first of `phrases` that stands at i; else -1."""
    bounds, characters, _ = phrases
    for p in range(len(bounds) - 1):
        stop = _phrase_at(data, i, end, characters, bounds[p], bounds[p + 1], table)
        if stop >= 0:
            return stop
    return -1


@njit(nogil=True, cache=True)
def _cut_anywhere(data, begin, end, phrases, flags, table):
    """Move what is left of the line together; return its new end."""
    leads = phrases[2]
    i, o, copied = begin, begin, begin  # data[begin:o] is what is left of data[begin:copied]
    while i < end:
        if not leads[data[i]]:
            i += 1
            continue
        stop = _any_at(data, i, end, phrases, table)
        if stop < 0:
            i += 1
            continue
        for k in range(copied, _blank_before(data, i, copied, flags)):
            data[o] = data[k]
            o += 1
        i = copied = stop
    if copied == begin:
        return end
    for k in range(copied, end):
        data[o] = data[k]
        o += 1
    return o


@njit(nogil=True, cache=True)
def _suffix_begin(data, begin, end, phrases, flags, table):
    """Where the longest of `phrases` that ends the line begins, with the blank before it; `end` if none does."""
    bounds, characters, _ = phrases
    best = end
    for p in range(len(bounds) - 1):
        i, left = end, bounds[p + 1]
        while left > bounds[p] and i > begin:
            k = _back(data, i, begin)
            c, width = _character(data, k, i)
            if k + width != i or (characters[left - 1] != -1 and characters[left - 1] != table[c]):
                break
            i = k
            left -= 1
        if left == bounds[p]:
            best = min(best, _blank_before(data, i, begin, flags))
    return best


@njit(nogil=True, cache=True)
def _prefix_end(data, begin, end, phrases, flags, table):
    """Where the first of `phrases` that begins the line ends, with the blank after it; `begin` if none does."""
    stop = _any_at(data, begin, end, phrases, table)
    if stop < 0:
        return begin
    if stop < end:
        c, width = _character(data, stop, end)
        stop += width if flags[c] & 16 else 0
    return stop


@njit(nogil=True, cache=True)
def _is_counter(data, i, end, flags, lower, counted):
    c, width = np.int64(0), 0
    while i < end:  # \W*
        c, width = _character(data, i, end)
        if flags[c] & 8 or c == 95:
            break
        i += width
    if i >= end or flags[c] & 4 == 0:
        return False
    while i < end:  # \d[,.\d]*
        c, width = _character(data, i, end)
        if not (flags[c] & 4 or c == 44 or c == 46):
            break
        i += width
    if i < end and (lower[c] == 107 or lower[c] == 109 or lower[c] == 98):  # [kmb]?
        i += width
    blanks = 0
    while i < end:  # \s+
        c, width = _character(data, i, end)
        if flags[c] & 16 == 0:
            break
        blanks += 1
        i += width
    if blanks == 0:
        return False
    bounds, characters, _ = counted
    for p in range(len(bounds) - 1):
        k, matched = i, True
        for q in range(bounds[p], bounds[p + 1]):
            if k >= end:
                matched = False
                break
            c, width = _character(data, k, end)
            if lower[c] != characters[q] or c == 0x130:  # the dotted capital I is two characters in lower case
                matched = False
                break
            k += width
        if matched:
            while k < end:  # \W*$
                c, width = _character(data, k, end)
                if flags[c] & 8 or c == 95:
                    return False
                k += width
            return True
    return False


@njit(nogil=True, cache=True)
def _edit(
    source,
    offsets,
    flags,
    lower,
    table,
    max_uppercase,
    max_digits,
    counters,
    min_words,
    max_phrase_words,
    phrases,
    suffixes,
    prefixes,
    counted,
    spans,
    stats,
    data,
    out_offsets,
    words,
    lines,
    gone,
):
    o = 0
    for doc in range(len(offsets) - 1):
        size = offsets[doc + 1] - offsets[doc]
        data[o : o + size] = source[offsets[doc] : offsets[doc + 1]]
        first, count, begin = 0, 0, o
        for i in range(o, o + size + 1):
            if i == o + size or data[i] == 10:
                spans[count, 0], spans[count, 1] = begin, i
                _measure(data, begin, i, flags, stats, count)
                words[doc, 0] += stats[count, 4]
                count += 1
                begin = i + 1
        for rule in range(7):
            if (
                (rule == 0 and max_uppercase < 0)
                or (rule == 1 and max_digits < 0)
                or (rule == 2 and not counters)
                or (rule == 3 and min_words < 0)
                or (rule == 4 and len(phrases[0]) == 1)
                or (rule == 5 and len(suffixes[0]) == 1)
                or (rule == 6 and len(prefixes[0]) == 1)
            ):
                continue
            kept = first
            for line in range(first, count):
                begin, end = spans[line, 0], spans[line, 1]
                before, drop, shortened = stats[line, 4], False, False
                if end == begin:
                    pass  # an empty line stays
                elif rule < 2:
                    drop = stats[line, 1 + rule] / stats[line, 0] > (max_uppercase if rule == 0 else max_digits)
                elif rule == 2:
                    drop = stats[line, 2] > 0 and _is_counter(data, begin, end, flags, lower, counted)
                elif rule == 3:
                    drop = stats[line, 3] < min_words
                elif stats[line, 3] <= max_phrase_words:
                    if rule == 4:
                        end = _cut_anywhere(data, begin, end, phrases, flags, table)
                    elif rule == 5:
                        end = _suffix_begin(data, begin, end, suffixes, flags, table)
                    else:
                        begin = _prefix_end(data, begin, end, prefixes, flags, table)
                    shortened = begin > spans[line, 0] or end < spans[line, 1]
                    if shortened:
                        _measure(data, begin, end, flags, stats, line)
                    drop = stats[line, 3] == 0
                if drop or shortened:
                    lines[doc, rule] += 1
                    gone[doc, rule] += before - (0 if drop else stats[line, 4])
                if not drop:
                    spans[kept, 0], spans[kept, 1] = begin, end
                    if kept < line:
                        for k in range(5):
                            stats[kept, k] = stats[line, k]
                    kept += 1
            count = kept
            if rule != 3:
                first, count = _strip(data, spans, first, count, flags, stats)
        for line in range(first, count):  # join what is left, moving it to the left
            begin, end = spans[line, 0], spans[line, 1]
            if line > first:
                data[o] = 10
                o += 1
            if o == begin:
                o = end
            else:
                for i in range(begin, end):
                    data[o] = data[i]
                    o += 1
            words[doc, 1] += stats[line, 4]
        out_offsets[doc + 1] = o
