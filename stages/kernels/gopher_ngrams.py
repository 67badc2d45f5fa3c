"""Repetition of word n-grams, as datatrove measures it for Gopher's rules (Rae et al. 2021, table A1): only as far as a limit asks.

top       n = 2..4: length of the most frequent n-gram, its words joined by spaces, times its count; the first of those tied, and that of
          the whole document where none repeats
repeated  n = 5..10: from the first word on, an n-gram that was met before adds its length, its words joined by nothing, and is skipped;
          any other is noted, and the reading goes on at the next word

Both are compared with the characters of the text. Three facts make this cheap, and leave every decision and every value as it is:

1. Put the positions of a document into 256 drawers by their first two words. What an n-gram adds up to is at most what the 4-grams of its
   drawer do: where the fullest drawer stays below every limit, as nearly always in prose, no n-gram is over one, and none is counted.
2. Words joined by nothing can be equal and split differently ("on line", "online"): a repeated n-gram needs no repeated word. But its
   first 16 bytes must be met again where a word begins, or, if it is shorter than that, its first 8 at such a short one, unless it is
   shorter still. Only these positions are searched, for all n: in prose one in fifty.
3. The words that n-grams of such positions reach, later copies only, bound what repeats: within the limit there is nothing to search.

N-grams are told apart by 64-bit hashes of their words (top) or of their bytes (repeated).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stages.kernels.text_view import Text
from stages.kernels.uax29 import Tokens

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
MULTIPLIER = np.uint64(0xD6_E8_FE_B8_66_59_FD_93)
DRAWERS = 256


def first_repetition(
    text: Text, tokens: Tokens, chars: np.ndarray, wanted: np.ndarray, limits: tuple[float | None, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the first n, of 2..10, whose n-grams repeat beyond the limit, in the documents where `wanted` (bool[n]) holds.

    chars   int64[n], characters of each text
    limits  nine shares of these, for n = 2..10; None is no limit
    Returns n as int64[n], 0 where all is within the limits, and the share that was found there as float64[n].
    """
    assert len(limits) == len(TOP) + len(REPEATED)
    bounds = np.array([np.inf if limit is None else limit for limit in limits])
    over, values = np.zeros(len(text), np.int64), np.zeros(len(text))
    if len(tokens.hashes):
        _search(
            text.data,
            text.offsets,
            tokens.bounds,
            tokens.starts,
            tokens.ends,
            tokens.chars,
            tokens.hashes,
            chars,
            wanted,
            bounds,
            over,
            values,
        )
    return over, values


@intrinsic
def _eight(typingctx, data, i):
    """Eight bytes from data[i] on as one little-endian number, aligned or not."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        word = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), codegen


@njit(nogil=True, cache=True)
def _bytes(data, i, count):
    """The `count` bytes (8 at most) from data[i] on as one number."""
    if i + 8 <= len(data):
        word = _eight(data, i)
        return word if count >= 8 else word & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))
    word = np.uint64(0)
    for k in range(min(count, len(data) - i)):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True, cache=True)
def _search(data, offsets, bounds, starts, ends, chars, hashes, text_chars, wanted, limits, over, values):
    longest, most_bytes = 0, 0
    for doc in range(len(wanted)):
        if wanted[doc]:
            longest = max(longest, bounds[doc + 1] - bounds[doc])
            most_bytes = max(most_bytes, offsets[doc + 1] - offsets[doc])
    size = 16
    while size < 4 * longest:
        size *= 2
    table = np.empty(size, np.int32)  # slot -> 1 + first position
    keys, lows = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    count, places = np.empty(longest, np.int32), np.empty(longest, np.int32)
    kinds = np.empty(longest, np.uint8)
    before = np.zeros(longest + 1, np.int64)  # characters before a word
    at = np.empty(longest + 1, np.int64)  # bytes before a word, were there no white space
    packed = np.empty(most_bytes + 8, np.uint8)  # the words without it
    drawers = np.empty(DRAWERS, np.int64)
    least_top, least_repeated = limits[:3].min(), limits[3:].min()
    for doc in range(len(wanted)):
        first, words = bounds[doc], bounds[doc + 1] - bounds[doc]
        if not wanted[doc] or words < 2:
            continue
        mine, my_chars = hashes[first : first + words], chars[first : first + words]
        for i in range(words):
            before[i + 1] = before[i] + my_chars[i]
        total = text_chars[doc]
        n, value = 0, 0.0
        if least_top < np.inf and _fullest_drawer(mine, before, words, drawers) / total > least_top:
            n, value = _top(mine, before, words, total, limits, table, keys, count, places)
        if n == 0 and words >= 5 and least_repeated < np.inf:
            _candidates(data, starts[first : first + words], ends[first : first + words], table, keys, lows, places, kinds)
            full = False
            for k in range(5, 11):
                if limits[k - 2] == np.inf or _reach(kinds, before, words, k) / total <= limits[k - 2]:
                    continue
                if not full:
                    _pack(data, starts[first : first + words], ends[first : first + words], packed, at)
                    full = True
                value = _repeated(packed, at, kinds, before, words, k, table, keys) / total
                if value > limits[k - 2]:
                    n = k
                    break
        over[doc] = n
        values[doc] = value if n else 0.0


@njit(nogil=True, cache=True)
def _fullest_drawer(hashes, before, words, drawers):
    drawers[:] = 0
    for i in range(words - 1):
        key = (hashes[i] * PRIME + hashes[i + 1]) * MULTIPLIER
        drawers[np.int64(key >> np.uint64(56))] += before[min(i + 4, words)] - before[i] + 3
    return drawers.max()


@njit(nogil=True, cache=True)
def _top(hashes, before, words, total, limits, table, keys, count, places):
    """First n of 2..4 over its limit and the share, or 0: an n-gram repeats only if both (n-1)-grams in it do."""
    for i in range(words):
        keys[i] = hashes[i]
        places[i] = i
    live = words - 1
    for n in range(2, 5):
        if words < n:
            break
        size, bits = 4, 2
        while size < 2 * live:
            size *= 2
            bits += 1
        table[:size] = 0
        shift, mask = np.uint64(64 - bits), size - 1
        for k in range(live):
            i = places[k]
            keys[i] = key = keys[i] * PRIME + hashes[i + n - 1]
            slot = np.int64((key * MULTIPLIER) >> shift)
            while table[slot] != 0 and keys[table[slot] - 1] != key:
                slot = (slot + 1) & mask
            if table[slot] == 0:
                table[slot] = i + 1
                count[i] = 1
            else:
                count[table[slot] - 1] += 1
                count[i] = -table[slot]  # a later copy knows where the first one is
        most, best, kept, last = 1, before[n] - before[0], 0, -2
        for k in range(live):
            i = places[k]
            times = count[i] if count[i] > 0 else count[-count[i] - 1]
            if times < 2:
                continue
            if times > most:
                most, best = times, before[i + n] - before[i]
            if last == i - 1:  # the place before stays alive if this one follows it at once
                places[kept] = last
                kept += 1
            last = i
        share = (best + n - 1) * most / total
        if share > limits[n - 2]:
            return n, share
        live = kept
    return 0, 0.0


@njit(nogil=True, cache=True)
def _candidates(data, starts, ends, table, keys, lows, places, kinds):
    """kinds[i]: 0 = no n-gram from here on has a copy; 1 = it may be a first one; 2 = it may be a later one."""
    words = len(starts)
    low, high = np.uint64(0), np.uint64(0)  # 16 bytes from the word on, without white space
    for back in range(words):
        i = words - 1 - back
        length = ends[i] - starts[i]
        if length < 8:
            up, down = np.uint64(8 * length), np.uint64(64 - 8 * length)
            high = high << up | low >> down
            low = _bytes(data, starts[i], length) | low << up
        elif length == 8:
            high, low = low, _bytes(data, starts[i], 8)
        elif length < 16:
            high = _bytes(data, starts[i] + 8, length - 8) | low << np.uint64(8 * (length - 8))
            low = _bytes(data, starts[i], 8)
        else:
            high, low = _bytes(data, starts[i] + 8, 8), _bytes(data, starts[i], 8)
        key = (low * PRIME ^ high) * MULTIPLIER
        keys[i], lows[i] = key ^ key >> np.uint64(32), low
        kinds[i], places[i] = 0, i
    _meet(keys, places, words, table, kinds)
    short, five = 0, np.int64(0)  # bytes of the five words from i on
    for i in range(words):
        five += ends[i] - starts[i]
        if i >= 4:
            if five < 16:
                places[short] = i - 4
                short += 1
            if five < 8:
                kinds[i - 4] = 2
            five -= ends[i - 4] - starts[i - 4]
    _meet(lows, places, short, table, kinds)


@njit(nogil=True, cache=True)
def _meet(keys, places, live, table, kinds):
    """Mark the positions places[:live] whose key another one of them has."""
    size, bits = 16, 4
    while size < 4 * live:
        size *= 2
        bits += 1
    table[:size] = 0
    shift, mask = np.uint64(64 - bits), size - 1
    for k in range(live):
        i = places[k]
        key = keys[i]
        slot = np.int64((key * PRIME) >> shift)
        while table[slot] != 0 and keys[table[slot] - 1] != key:
            slot = (slot + 1) & mask
        if table[slot] == 0:
            table[slot] = i + 1
        else:
            kinds[i] = 2
            kinds[table[slot] - 1] = max(kinds[table[slot] - 1], np.uint8(1))


@njit(nogil=True, cache=True)
def _reach(kinds, before, words, n):
    """Characters of the words in n-grams that may be later copies: what is repeated is at most that."""
    reach, end = 0, 0
    for i in range(words - n + 1):
        if kinds[i] == 2:
            reach += before[i + n] - before[max(i, end)]
            end = i + n
    return reach


@njit(nogil=True, cache=True)
def _pack(data, starts, ends, packed, at):
    k = 0
    for i in range(len(starts)):
        at[i] = k
        for j in range(starts[i], ends[i]):
            packed[k] = data[j]
            k += 1
    at[len(starts)] = k
    packed[k : k + 8] = 0


@njit(nogil=True, cache=True)
def _repeated(packed, at, kinds, before, words, n, table, keys):
    live = 0
    for i in range(words - n + 1):
        live += kinds[i] != 0
    size, bits = 16, 4
    while size < 2 * live:
        size *= 2
        bits += 1
    table[:size] = 0
    shift, mask = np.uint64(64 - bits), size - 1
    repeated, free = 0, 0  # n-grams before `free` are skipped
    for i in range(words - n + 1):
        if kinds[i] == 0 or i < free:
            continue
        length = at[i + n] - at[i]
        h, place = np.uint64(length), at[i]
        while length > 0:
            h = (h ^ _bytes(packed, place, length)) * PRIME
            h ^= h >> np.uint64(32)
            place += 8
            length -= 8
        slot = np.int64((h * MULTIPLIER) >> shift)
        while table[slot] != 0 and keys[table[slot] - 1] != h:
            slot = (slot + 1) & mask
        if table[slot] == 0:
            table[slot] = i + 1
            keys[i] = h
        else:
            repeated += before[i + n] - before[i]
            free = i + n
    return repeated
