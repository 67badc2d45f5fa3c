r"""Where URLs and IPv4 addresses stand in running text, and where line breaks pile up: spans to be cut out.

The two patterns of DCLM, as one would write them in Python's re, with TLD = any name of the list, case-sensitive:

    URL      \s{0,10} (?:(https?|ftp)://)? [-a-zA-Z0-9@:%._+~#=]{1,256} \. TLD \b [-a-zA-Z0-9()@:%_+.~#?&/=]*
    address  \s{0,10} \b ((https?|ftp)://)? (?:[0-2]?[0-9]{1,2}\.){3} [0-2]?[0-9]{1,2} [-a-zA-Z0-9()@:%_+.~#?&/=]*

Both need a dot, so dots are looked for and everything else is read only around the few that have a top-level domain, or digits on
both sides. What a leftmost, greedy match comes to: among a run of name characters the first dot before a TLD decides that there
is a match; it begins 256 characters before that dot or where the run, a scheme and up to ten blanks begin; and it goes on from the
last such dot within 256 characters of the beginning. Together some 400 MB/s a core.
"""

import numpy as np
from numba import njit

from stages.kernels.cut import Spans
from stages.kernels.predicates import character_flags
from stages.kernels.text_view import Text
from stages.kernels.trie import Trie

_ALNUM = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_NAME, _TAIL = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
_NAME[list(_ALNUM + b"-@:%._+~#=")] = True
_TAIL[list(_ALNUM + b"-()@:%_+.~#?&/=")] = True


def find_urls(text: Text, domains: Trie, where: np.ndarray | None = None) -> Spans:
    """Find what the URL pattern matches with the top-level `domains`, only in documents where `where` (bool[n]) is true if given."""
    where = np.ones(len(text), np.bool_) if where is None else where
    starts, ends, bounds = _room(text, 4)  # the shortest is a.ac
    trie = (domains.columns, domains.children, domains.words)
    _urls(text.data, text.offsets, where, character_flags(), _NAME, _TAIL, *trie, bounds, starts, ends)
    return Spans(bounds, starts[: bounds[-1]], ends[: bounds[-1]])


def find_addresses(text: Text) -> Spans:
    """Find what the pattern of IPv4 addresses matches."""
    starts, ends, bounds = _room(text, 7)  # 1.2.3.4
    _addresses(text.data, text.offsets, character_flags(), _TAIL, bounds, starts, ends)
    return Spans(bounds, starts[: bounds[-1]], ends[: bounds[-1]])


def find_surplus_newlines(text: Text, most: int) -> Spans:
    """Find what goes beyond `most` newlines in a row."""
    starts, ends, bounds = _room(text, most + 1)
    _newlines(text.data, text.offsets, most, bounds, starts, ends)
    return Spans(bounds, starts[: bounds[-1]], ends[: bounds[-1]])


def begins_with_any(text: Text, words: Trie, table: np.ndarray) -> np.ndarray:
    """Return bool[n]: the document begins with one of `words` once each character is replaced by table[character] (int32[0x110000])."""
    found = np.zeros(len(text), np.bool_)
    _begins(text.data, text.offsets, words.columns, words.children, words.words, table, found)
    return found


def _room(text: Text, shortest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    most = int(text.offsets[-1] - text.offsets[0]) // shortest + 1  # pages of np.empty that stay unwritten cost nothing
    return np.empty(most, np.int64), np.empty(most, np.int64), np.zeros(len(text) + 1, np.int64)


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
def _is_word(data, i, end, flags):
    """Whether the character at i is one of \\w; what is at the end of a document is not."""
    if i >= end:
        return False
    c, _ = _character(data, i, end)
    return flags[c] & 8 != 0 or c == 95


@njit(nogil=True, cache=True)
def _word_before(data, i, begin, end, flags):
    return i > begin and _is_word(data, _back(data, i, begin), end, flags)


@njit(nogil=True, cache=True)
def _before_blanks(data, i, low, end, flags):
    """Go back from i over at most ten blanks, not below `low`."""
    for _ in range(10):
        if i <= low:
            break
        k = _back(data, i, low)
        c, width = _character(data, k, end)
        if k + width != i or flags[c] & 16 == 0:
            break
        i = k
    return i


@njit(nogil=True, cache=True)
def _before_scheme(data, i, low):
    """Where http://, https:// or ftp:// begins that ends at i; i if there is none above `low`."""
    if i - low < 6 or data[i - 1] != 47 or data[i - 2] != 47 or data[i - 3] != 58:
        return i
    k = i - 4
    if data[k] == 112 and data[k - 1] == 116 and data[k - 2] == 102:  # ftp
        return i - 6
    k -= data[k] == 115  # s
    if k - 3 >= low and data[k] == 112 and data[k - 1] == 116 and data[k - 2] == 116 and data[k - 3] == 104:  # http
        return k - 3
    return i


@njit(nogil=True, cache=True)
def _domain_end(data, i, begin, end, flags, columns, children, words):
    """End of the longest top-level domain that begins at i and ends at a word boundary; -1 if there is none."""
    node, best = 0, -1
    while i < end:
        node = children[node, columns[data[i]]]
        if node == 0:
            break
        i += 1
        if words[node] >= 0 and _word_before(data, i, begin, end, flags) != _is_word(data, i, end, flags):
            best = i
    return best


@njit(nogil=True, cache=True)
def _urls(data, offsets, where, flags, name, tail, columns, children, words, bounds, starts, ends):
    found = 0
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        low = begin  # end of the last match
        i = begin + 1 if where[doc] else end
        while i < end - 1:
            if data[i] != 46 or not name[data[i - 1]] or i <= low:
                i += 1
                continue
            stop = _domain_end(data, i + 1, begin, end, flags, columns, children, words)
            if stop < 0:
                i += 1
                continue
            p = i
            while p > low and i - p < 256 and name[data[p - 1]]:
                p -= 1
            k = i + 1
            while k < end and k - p <= 256 and name[data[k]]:
                if data[k] == 46:
                    further = _domain_end(data, k + 1, begin, end, flags, columns, children, words)
                    if further >= 0:
                        stop = further
                k += 1
            while stop < end and tail[data[stop]]:
                stop += 1
            starts[found] = _before_blanks(data, _before_scheme(data, p, low), low, end, flags)
            ends[found] = stop
            found += 1
            low = stop
            i = stop
        bounds[doc + 1] = found


@njit(nogil=True, cache=True)
def _octet_end(data, i, end):
    """End of the run of digits at i if it can be a number of an address: one to three, of three the first at most 2; else -1."""
    k = i
    while k < end and k - i < 4 and 48 <= data[k] <= 57:
        k += 1
    return k if 0 < k - i < 3 or (k - i == 3 and data[i] <= 50) else -1


@njit(nogil=True, cache=True)
def _addresses(data, offsets, flags, tail, bounds, starts, ends):
    found = 0
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        low = begin
        i = begin + 1
        while i < end - 5:
            if data[i] != 46 or not (48 <= data[i - 1] <= 57 and 48 <= data[i + 1] <= 57) or i <= low:
                i += 1
                continue
            first = i - 1
            while first > low and i - first < 4 and 48 <= data[first - 1] <= 57:
                first -= 1
            k = i
            whole = _octet_end(data, first, end) == i and not _word_before(data, first, begin, end, flags)
            for _ in range(2):
                if whole:
                    k = _octet_end(data, k + 1, end)
                    whole = 0 < k < end and data[k] == 46
            if not whole or k + 1 >= end or not 48 <= data[k + 1] <= 57:
                i += 1
                continue
            stop = k + 2
            while stop < end and tail[data[stop]]:
                stop += 1
            start = _before_scheme(data, first, low)
            if _word_before(data, start, begin, end, flags):
                start = first
            starts[found] = _before_blanks(data, start, low, end, flags)
            ends[found] = stop
            found += 1
            low = stop
            i = stop
        bounds[doc + 1] = found


@njit(nogil=True, cache=True)
def _newlines(data, offsets, most, bounds, starts, ends):
    found = 0
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        while i < end:
            if data[i] != 10:
                i += 1
                continue
            k = i + 1
            while k < end and data[k] == 10:
                k += 1
            if k - i > most:
                starts[found], ends[found] = i + most, k
                found += 1
            i = k
        bounds[doc + 1] = found


@njit(nogil=True, cache=True)
def _begins(data, offsets, columns, children, words, table, found):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        node = 0
        while i < end:
            c, width = _character(data, i, end)
            m = np.int64(table[c])
            if m < 0x80:
                node = children[node, columns[m]]
            else:
                if m < 0x800:
                    node = children[node, columns[0xC0 | m >> 6]]
                elif m < 0x10000:
                    node = children[node, columns[0xE0 | m >> 12]]
                    node = children[node, columns[0x80 | m >> 6 & 0x3F]] if node else 0
                else:
                    node = children[node, columns[0xF0 | m >> 18]]
                    node = children[node, columns[0x80 | m >> 12 & 0x3F]] if node else 0
                    node = children[node, columns[0x80 | m >> 6 & 0x3F]] if node else 0
                node = children[node, columns[0x80 | m & 0x3F]] if node else 0
            if node == 0:
                break
            if words[node] >= 0:
                found[doc] = True
                break
            i += width
