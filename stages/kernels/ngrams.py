"""Repetition of word n-grams, as DCLM counts it for Gopher's rules (Rae et al. 2021, table A1; Li et al. 2024).

top n-gram      n = 2..4: characters of the most frequent n-gram times its count (the longest of those tied; 0 if none repeats)
repeated n-gram n = 5..10: characters of the words that lie in any n-gram that occurs twice, each word once, all copies

Words are the tokens that begin with a letter or a digit. An n-gram repeats only if both (n-1)-grams in it do, so every n looks only at
what the one before left over: on prose that is a tenth of the words from n = 4 on. N-grams are told apart by a 64-bit polynomial over the
hashes of their words.
"""

import numpy as np
from numba import njit

from stages.kernels.uax29 import Tokens

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
MULTIPLIER = np.uint64(0xD6_E8_FE_B8_66_59_FD_93)


def ngram_repetition(tokens: Tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count repetition in n documents.

    Returns top int64[n, 3] for n-grams of 2..4 words, repeated int64[n, 6] for 5..10, and total int64[n], the characters of all words.
    """
    docs = len(tokens.bounds) - 1
    top, repeated = np.zeros((docs, len(TOP)), np.int64), np.zeros((docs, len(REPEATED)), np.int64)
    total = np.zeros(docs, np.int64)
    if len(tokens.hashes):
        _repetition(tokens.bounds, tokens.hashes, tokens.chars, tokens.wordlike, top, repeated, total)
    return top, repeated, total


@njit(nogil=True, cache=True)
def _repetition(bounds, hashes, chars, wordlike, top, repeated, total):
    longest = 0
    for doc in range(len(bounds) - 1):
        longest = max(longest, bounds[doc + 1] - bounds[doc])
    size = 4
    while size < 2 * longest:
        size *= 2
    table = np.empty(size, np.int32)  # slot -> 1 + first place of the n-gram
    words = np.empty(longest, np.uint64)  # hashes
    grams = np.empty(longest, np.uint64)  # polynomial of the n-gram that begins at a word
    count = np.empty(longest, np.int32)  # at its first place: how often
    first = np.empty(longest, np.int32)  # its first place
    places = np.empty(longest, np.int32)  # where n-grams that may repeat begin, ascending
    before = np.zeros(longest + 1, np.int64)  # characters before a word
    for doc in range(len(bounds) - 1):
        num_words = 0
        for token in range(bounds[doc], bounds[doc + 1]):
            words[num_words] = grams[num_words] = hashes[token]
            before[num_words + 1] = before[num_words] + chars[token]
            places[num_words] = num_words
            num_words += wordlike[token]
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
                key = grams[i] * PRIME + words[i + n - 1]
                grams[i] = key
                slot = np.int64((key * MULTIPLIER) >> shift)
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
