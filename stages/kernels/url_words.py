r"""Lists of domains and words against URLs, in three passes over their lower-cased bytes.

    site_hashes   the site of each URL as a 64-bit hash (what urllib.parse calls netloc, tidied), to be looked up among hashes of domains
    holds_word    whether a word of a list stands anywhere in it, once "-" and "." are taken out
    count_words   how many different words of a list stand in it as whole words

Two different sites have one hash with probability 2**-64: among 10**9 URLs and 5 million domains one expects 3e-4 mistakes.
0.1 to 0.2 microseconds a URL and pass.
"""

import numpy as np
from numba import njit

from stages.kernels.predicates import ALNUM, character_flags
from stages.kernels.text_view import Text
from stages.kernels.trie import Trie

SEED = np.uint64(0x3C_79_AC_49_2B_A7_B6_53)
PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)


def site_hashes(urls: Text, dclm_compat: bool) -> np.ndarray:
    """Hash the site of each lower-cased URL, uint64[n]; that of a URL without one is the hash of "".

    The site is the part between "//" and the next of / ? # as urllib.parse.urlsplit finds it. With `dclm_compat` every "www" is deleted
    from it and nothing else; otherwise user, port and a leading "www." are left out.
    """
    hashes = np.zeros(len(urls), np.uint64)
    longest = int(np.diff(urls.offsets).max(initial=0))
    _sites(urls.data, urls.offsets, dclm_compat, np.empty(longest, np.uint8), hashes)
    return hashes


def hash_sites(sites: Text) -> np.ndarray:
    """Hash sites that are written as such, uint64[n]."""
    hashes = np.zeros(len(sites), np.uint64)
    _hash_all(sites.data, sites.offsets, hashes)
    return hashes


def holds_word(urls: Text, automaton: Trie) -> np.ndarray:
    """Return bool[n]: a word of the automaton stands in the URL without its hyphens and dots."""
    found = np.zeros(len(urls), np.bool_)
    _holds(urls.data, urls.offsets, automaton.columns, automaton.children, automaton.words, found)
    return found


def count_words(urls: Text, trie: Trie, dclm_compat: bool) -> np.ndarray:
    r"""Return int32[n]: different words of the trie that stand in the URL as whole words.

    With `dclm_compat` as re.findall counts \b(?:words)\b: from left to right, the longest at each place, without overlap, "_" being
    part of a word. Otherwise each word that has neither a letter nor a digit before or after it.
    """
    counts = np.zeros(len(urls), np.int32)
    met = np.full(int(trie.words.max(initial=-1)) + 1, -1, np.int64)
    flags = character_flags()
    ascii_kinds = (flags[:128] & ALNUM != 0).astype(np.int64)
    ascii_kinds[ord("_")] = 2
    _count(urls.data, urls.offsets, trie.columns, trie.children, trie.words, flags, ascii_kinds, dclm_compat, met, counts)
    return counts


@njit(nogil=True, cache=True)
def _hash(data, i, end):
    h = SEED
    for k in range(i, end):
        h = (h ^ np.uint64(data[k])) * PRIME
        h ^= h >> np.uint64(29)
    return h


@njit(nogil=True, cache=True)
def _hash_all(data, offsets, hashes):
    for doc in range(len(offsets) - 1):
        hashes[doc] = _hash(data, offsets[doc], offsets[doc + 1])


@njit(nogil=True, cache=True)
def _sites(data, offsets, dclm_compat, site, hashes):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        while i < end and data[i] <= 32:
            i += 1
        n = 0  # site[:n] is the URL up to the end of its site, without tabs and line breaks: urlsplit takes them out
        slashes, begin = 0, -1  # slashes read in a row where "//" must stand, and where the site begins
        scheme = i < end and 97 <= data[i] <= 122
        ready = True  # nothing stands before but a scheme
        while i < end:
            b = data[i]
            i += 1
            if b == 9 or b == 10 or b == 13:
                continue
            if begin >= 0:
                if b == 47 or b == 63 or b == 35:
                    break
                site[n] = b
                n += 1
            elif b == 47 and ready:
                slashes += 1
                if slashes == 2:
                    begin = n
            elif slashes:
                break
            elif b == 58 and scheme:
                scheme, ready = False, True
            elif scheme and (97 <= b <= 122 or 48 <= b <= 57 or b == 43 or b == 45 or b == 46):
                ready = False
            else:
                break
        low, o = 0, n
        if dclm_compat:
            k, o = 0, 0
            while k < n:
                if k + 2 < n and site[k] == 119 and site[k + 1] == 119 and site[k + 2] == 119:
                    k += 3
                else:
                    site[o] = site[k]
                    o += 1
                    k += 1
        else:
            for k in range(n):
                if site[k] == 64:
                    low = k + 1
            k = n
            while k > low and 48 <= site[k - 1] <= 57:
                k -= 1
            if k > low and site[k - 1] == 58:
                o = k - 1
            if o - low >= 4 and site[low] == 119 and site[low + 1] == 119 and site[low + 2] == 119 and site[low + 3] == 46:
                low += 4
        hashes[doc] = _hash(site, low, o)


@njit(nogil=True, cache=True)
def _holds(data, offsets, columns, children, words, found):
    for doc in range(len(offsets) - 1):
        node = 0
        for i in range(offsets[doc], offsets[doc + 1]):
            b = data[i]
            if b != 45 and b != 46:
                node = children[node, columns[b]]
                if words[node] >= 0:
                    found[doc] = True
                    break


@njit(nogil=True, cache=True)
def _kind(data, i, end, flags):
    """What the character at i < end is: a letter or digit (1), an underscore (2), another one (0); and its bytes."""
    c, width = np.int64(data[i]), 1
    if c >= 0xC0:
        if c < 0xE0 and i + 1 < end:
            c, width = (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
        elif 0xE0 <= c < 0xF0 and i + 2 < end:
            c, width = (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), 3
        elif c >= 0xF0 and i + 3 < end:
            high = (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
            c, width = min(high | (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F), 0x10FFFF), 4
    return (np.int64(flags[c]) >> 3 & 1) + 2 * np.int64(c == 95), width


@njit(nogil=True, cache=True)
def _count(data, offsets, columns, children, words, flags, ascii_kinds, dclm_compat, met, counts):
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        before = np.int64(0)  # kind of the character before i
        while i < end:
            if data[i] < 0x80:
                kind, width = ascii_kinds[data[i]], 1
            else:
                kind, width = _kind(data, i, end, flags)
            if before == 1 and kind == 1:  # inside a word nothing begins
                i += width
                continue
            begins = (before == 0) != (kind == 0) if dclm_compat else before != 1
            node = children[0, columns[data[i]]]
            after, k, longest = i + width, i, -1
            while begins and node != 0:
                k += 1
                word = words[node]
                if word >= 0:
                    follows = np.int64(0)
                    if k < end:
                        follows, _ = _kind(data, k, end, flags)
                    if not dclm_compat:
                        if follows != 1 and met[word] != doc:
                            met[word] = doc
                            counts[doc] += 1
                    else:
                        last = k - 1
                        while data[last] & 0xC0 == 0x80:
                            last -= 1
                        ending, _ = _kind(data, last, end, flags)
                        if (ending == 0) != (follows == 0):
                            longest, after, kind = word, k, ending
                node = children[node, columns[data[k]]] if k < end else np.int32(0)
            if longest >= 0 and met[longest] != doc:
                met[longest] = doc
                counts[doc] += 1
            before = kind
            i = after
