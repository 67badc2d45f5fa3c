"""Repetition of word n-grams, as Gopher counts it (Rae et al. 2021, table A1).

top n-gram      n = 2..4: characters of the most frequent n-gram times its count (the longest of those tied; 0 if none repeats)
repeated n-gram n = 5..10: characters of the words that lie in any n-gram that occurs twice, each word once, all copies

An n-gram repeats only if both (n-1)-grams in it do, so every n looks only at what the one before left over: on prose that is
a tenth of the words from n = 4 on. N-grams are told apart by a 64-bit polynomial over the hashes of their words.
"""

import numpy as np
from numba import njit

from stages.kernels.words import Words

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)


def ngram_repetition(words: Words, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count repetition in the documents where `wanted` (bool[n]) holds; the rows of others are 0.

    Returns top int64[n, 3] for n-grams of 2..4 words, repeated int64[n, 6] for 5..10, and total int64[n], the characters of all words.
    """
    docs = len(words.bounds) - 1
    top, repeated = np.zeros((docs, len(TOP)), np.int64), np.zeros((docs, len(REPEATED)), np.int64)
    total = np.zeros(docs, np.int64)
    if len(words.hashes):
        _repetition(words.bounds, words.hashes, words.chars, wanted, top, repeated, total)
    return top, repeated, total


@njit(nogil=True, cache=True)
def _repetition(bounds, hashes, chars, wanted, top, repeated, total):
    longest = 0
    for doc in range(len(wanted)):
        if wanted[doc]:
            longest = max(longest, bounds[doc + 1] - bounds[doc])
    size = 4
    while size < 2 * longest:
        size *= 2
    table = np.empty(size, np.int32)  # slot -> 1 + first place of the n-gram
    grams = np.empty(longest, np.uint64)  # polynomial of the n-gram that begins at a word
    count = np.empty(longest, np.int32)  # at its first place: how often
    first = np.empty(longest, np.int32)  # its first place
    places = np.empty(longest, np.int32)  # where n-grams that may repeat begin, ascending
    before = np.zeros(longest + 1, np.int64)  # characters before a word
    for doc in range(len(wanted)):
        if not wanted[doc]:
            continue
        start, num_words = bounds[doc], bounds[doc + 1] - bounds[doc]
        for i in range(num_words):
            before[i + 1] = before[i] + chars[start + i]
            grams[i] = hashes[start + i]
            places[i] = i
        total[doc] = before[num_words]
        live = num_words - 1
        for n in range(2, 11):
            if live < 2:
                break
            size, bits = 4, 2
            while size < 2 * live:
                size *= 2
                bits += 1
            table[:size] = 0
            shift, mask = np.uint64(64 - bits), size - 1
            for k in range(live):
                i = places[k]
                key = grams[i] * np.uint64(0x9E3779B97F4A7C15) + hashes[start + i + n - 1]
                grams[i] = key
                slot = np.int64((key * np.uint64(0xD6E8FEB86659FD93)) >> shift)
                while table[slot] != 0 and grams[table[slot] - 1] != key:
                    slot = (slot + 1) & mask
                if table[slot] == 0:
                    table[slot] = i + 1
                    first[i] = i
                    count[i] = 1
                else:
                    first[i] = table[slot] - 1
                    count[first[i]] += 1
            most, best, covered, end = 1, 0, 0, 0
            kept, last = 0, -2
            for k in range(live):
                i = places[k]
                times = count[first[i]]
                if times < 2:
                    continue
                length = before[i + n] - before[i]
                if times > most or (times == most and length > best):
                    most, best = times, length
                covered += before[i + n] - before[max(i, end)]
                end = i + n
                # the place before stays alive if this one follows it at once
                if last == i - 1:
                    places[kept] = last
                    kept += 1
                last = i
            if n <= 4 and most > 1:
                top[doc, n - 2] = best * most
            if n >= 5:
                repeated[doc, n - 5] = covered
            live = kept
