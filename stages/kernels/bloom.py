"""Paragraphs whose n-grams were seen before: a Bloom filter, used as DCLM's BFF uses its own (remove type old-both).

A paragraph begins at a newline, which belongs to it, or at the document's start. Its n-grams are all runs of `most` tokens (UAX#29
segments that are not white space); with fewer tokens but at least `least` it is one n-gram, with still fewer it has none. The hash of
an n-gram is mix(sum of token[i] * PRIME**(most-1-i)) mod 2**64, rolled in O(1) and made apart from the filter, by any number of threads.

The filter is blocked (Putze, Sanders and Singler 2009): all bits of an n-gram lie in one block of 512 bits, a cache line, so it costs one
cache miss instead of k; and as the hashes of a batch are known beforehand, the line is fetched `AHEAD` n-grams before it is needed.

    block = hash * blocks >> 64;  bits = the k lowest 9-bit pieces of g = hash * FACTOR, g ^= g >> 32  (7 * 9 = 63: at most 7 pieces)

The price: blocks fill unevenly. In a block with i n-grams the k bits of another one are all set with probability E[(X/512)**k], X of 512
cells being hit by i*k balls, and i is Poisson with mean n/blocks. 1 % takes 9.92 bits an n-gram (k = 6) where a classic filter takes 9.59
(k = 7), 0.1 % 16.0 for 14.4, 0.01 % 24.9 for 19.2. To look up and insert random n-grams takes 7 ns each at 16 MiB (classic 11), 11 ns
at 1 GiB (classic 38), 13 ns at 4 GiB; to hash them 7 ns a token.
"""

import math
import mmap
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stages.kernels.text_view import Text
from stages.kernels.uax29 import Tokens

PRIME = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)
FACTOR = np.uint64(0xFF_51_AF_D7_ED_55_8C_CD)

BLOCK_BITS = 512
MOST_HASHES = 7
"""Pieces of 9 bits in the 64 of a hash."""

AHEAD = 32
"""How many n-grams before its use a block is fetched; more gains nothing."""


@dataclass(frozen=True)
class NGrams:
    """Paragraphs that have n-grams, those of document i at bounds[i]:bounds[i + 1], and the hashes of their n-grams."""

    bounds: np.ndarray
    """int64[n + 1]."""
    starts: np.ndarray
    """int64[paragraphs], first byte in Text.data: a newline, or the first of the document."""
    ends: np.ndarray
    """int64[paragraphs], byte after the last."""
    hash_bounds: np.ndarray
    """int64[paragraphs + 1]: the n-grams of paragraph p are hashes[hash_bounds[p]:hash_bounds[p + 1]]."""
    hashes: np.ndarray
    """uint64[n-grams]."""
    num_paragraphs: int
    """Of all documents, those without n-grams too."""


@dataclass(frozen=True)
class Found:
    """What the filter said about n documents and their paragraphs."""

    n_grams: np.ndarray
    """int64[n]: n-grams of each document."""
    contained: np.ndarray
    """int64[n]: how many of them were in the filter when their paragraph was reached."""
    removed: np.ndarray
    """bool[paragraphs]: more than the threshold of the paragraph's n-grams were in the filter; the others were inserted."""


def hash_n_grams(text: Text, tokens: Tokens, least: int, most: int) -> NGrams:
    """Hash the n-grams of every paragraph; `tokens` are those of `text` (a newline within one, which UTF-8 never has, splits nothing)."""
    if not 1 <= least <= most:
        raise ValueError(f"hash_n_grams: n-grams of {least} to {most} tokens; at least 1, and not more than the longest")
    room = len(tokens.hashes)  # at most one n-gram begins at a token
    hashes, hash_bounds = np.empty(room, np.uint64), np.zeros(room // least + 1, np.int64)
    starts, ends = np.empty(room // least, np.int64), np.empty(room // least, np.int64)
    bounds = np.zeros(len(text) + 1, np.int64)
    power = np.uint64(pow(int(PRIME), most, 1 << 64))
    num_paragraphs = _hash(
        text.data, text.offsets, tokens.bounds, tokens.starts, tokens.ends, tokens.hashes, least, most, power,
        bounds, starts, ends, hash_bounds, hashes,
    )  # fmt: skip
    count = int(bounds[-1])
    hash_bounds = hash_bounds[: count + 1]
    # copies, so that what waits for the filter holds no more memory than it needs
    return NGrams(bounds, starts[:count].copy(), ends[:count].copy(), hash_bounds.copy(), hashes[: hash_bounds[-1]].copy(), num_paragraphs)


class BloomFilter:
    """A set of n-grams that may say `seen` of one that was not, and never the reverse; it has one owner."""

    def __init__(self, bits: int, num_hashes: int) -> None:
        """Make an empty filter of at least `bits` bits; whole blocks, zeroed, in huge pages where the system has them."""
        if bits < 1 or not 1 <= num_hashes <= MOST_HASHES:
            raise ValueError(f"BloomFilter: {bits} bits and {num_hashes} hash functions; give at least 1 bit, and 1 to {MOST_HASHES} functions")
        self.num_blocks, self.num_hashes = -(-bits // BLOCK_BITS), num_hashes
        memory = mmap.mmap(-1, self.num_blocks * BLOCK_BITS // 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # aligned to a page
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._words = np.frombuffer(memory, np.uint64)

    @property
    def bits(self) -> int:
        """Size of the filter in bits."""
        return self.num_blocks * BLOCK_BITS

    def judge(self, n_grams: NGrams, threshold: float) -> Found:
        """Go through the paragraphs in order: remove those with more than `threshold` of their n-grams in the filter, insert the others."""
        num_docs = len(n_grams.bounds) - 1
        removed, contained = np.zeros(len(n_grams.starts), np.bool_), np.zeros(num_docs, np.int64)
        _judge(
            self._words, np.uint64(self.num_blocks), self.num_hashes, n_grams.bounds, n_grams.hash_bounds, n_grams.hashes,
            float(threshold), contained, removed,
        )  # fmt: skip
        return Found(np.diff(n_grams.hash_bounds[n_grams.bounds]), contained, removed)

    def measure(self) -> tuple[float, float]:
        """Return the share of bits that are set, and the probability that an n-gram that was never inserted counts as seen, as it is now."""
        ones = rate = 0.0
        step = 1 << 16
        for start in range(0, self.num_blocks, step):
            words = self._words[start * 8 : (start + step) * 8].reshape(-1, 8)
            filled = np.bitwise_count(words).sum(axis=1, dtype=np.int64) / BLOCK_BITS
            ones += float(filled.sum())
            rate += float((filled**self.num_hashes).sum())
        return ones / self.num_blocks, rate / self.num_blocks


def false_positive_rate(load: float, num_hashes: int) -> float:
    """Return the expected rate of false positives with `load` different n-grams a block of 512 bits; see the head of this file."""
    most = int(load + 12 * math.sqrt(load) + 20)
    i = np.arange(most + 1, dtype=np.float64)
    poisson = np.exp(i * math.log(load) - load - np.cumsum(np.log(np.maximum(i, 1))))
    empty, pair = (1 - 1 / BLOCK_BITS) ** (i * num_hashes), (1 - 2 / BLOCK_BITS) ** (i * num_hashes)  # a cell, two cells stay empty
    filled, variance = 1 - empty, empty / BLOCK_BITS + (1 - 1 / BLOCK_BITS) * pair - empty**2  # of X/512
    curve = num_hashes * (num_hashes - 1) / 2  # E[X**k] to second order; simulations agree within 0.1 % from 20 n-grams a block on
    return float(poisson @ (filled**num_hashes + curve * filled ** max(num_hashes - 2, 0) * variance))


def size_filter(num_n_grams: int, target: float) -> tuple[int, int]:
    """Return the fewest bits, and the number of hash functions, with which `num_n_grams` n-grams give at most `target` false positives."""
    if not 0 < target < 1:
        raise ValueError(f"size_filter: a false positive rate of {target}; it must be between 0 and 1")
    load, num_hashes = max((_most_load(target, k), k) for k in range(1, MOST_HASHES + 1))
    return max(1, math.ceil(num_n_grams / load)) * BLOCK_BITS, num_hashes


def _most_load(target: float, num_hashes: int) -> float:
    """Most n-grams a block, to three decimals: the last bits of a logarithm, which differ between machines, must not reach the size."""
    low, high = 1, 1 << 19  # thousandths; at 512 n-grams a block nearly all is set
    while high - low > 1:
        middle = (low + high) // 2
        if false_positive_rate(middle / 1000, num_hashes) <= target:
            low = middle
        else:
            high = middle
    return low / 1000


@intrinsic
def _high(_context, a, b):
    """The upper 64 bits of a * b."""

    def generate(_context, builder, _signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def _fetch(_context, array, index):
    """Ask for the cache line of array[index], for writing."""

    def generate(context, builder, signature, arguments):
        array_type, i32, pointer = signature.args[0], ir.IntType(32), ir.IntType(8).as_pointer()
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        function = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], function)
        builder.call(prefetch, [place, *(ir.Constant(i32, value) for value in (1, 3, 1))])  # write, keep, data
        return context.get_dummy_value()

    return types.void(array, index), generate


@njit(nogil=True, cache=True, inline="always")
def _mix(h):
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _hash(data, offsets, token_bounds, token_starts, token_ends, tokens, least, most, power, bounds, starts, ends, hash_bounds, hashes):
    paragraphs, num_paragraphs, count = 0, 0, 0
    for doc in range(len(offsets) - 1):
        at = start = offsets[doc]
        length, x = 0, np.uint64(0)  # tokens of the paragraph so far, and the hash of its last `most` ones
        num_paragraphs += 1
        for t in range(token_bounds[doc], token_bounds[doc + 1] + 1):
            over = t == token_bounds[doc + 1]
            stop = offsets[doc + 1] if over else token_starts[t]
            first = last = np.int64(-1)
            for i in range(at, stop):  # newlines stand between tokens only
                if data[i] == 10:
                    first = i if first < 0 else first
                    last = i
                    num_paragraphs += 1
            if first >= 0 or over:
                if least <= length < most:
                    hashes[count] = _mix(x)
                    count += 1
                if count > hash_bounds[paragraphs]:
                    starts[paragraphs], ends[paragraphs] = start, first if first >= 0 else stop
                    paragraphs += 1
                    hash_bounds[paragraphs] = count
                start, length, x = last, 0, np.uint64(0)
            if not over:
                x = x * PRIME + tokens[t]
                length += 1
                if length > most:
                    x -= tokens[t - most] * power
                if length >= most:
                    hashes[count] = _mix(x)
                    count += 1
                at = token_ends[t]
        bounds[doc + 1] = paragraphs
    return num_paragraphs


@njit(nogil=True, cache=True, inline="always")
def _pieces(x):
    g = x * FACTOR
    return g ^ (g >> np.uint64(32))


@njit(nogil=True, cache=True)
def _judge(words, num_blocks, num_hashes, bounds, hash_bounds, hashes, threshold, contained, removed):
    three, six, nine = np.uint64(3), np.uint64(6), np.uint64(9)
    for i in range(min(AHEAD, len(hashes))):
        _fetch(words, _high(hashes[i], num_blocks) << three)
    for doc in range(len(bounds) - 1):
        for paragraph in range(bounds[doc], bounds[doc + 1]):
            low, high = hash_bounds[paragraph], hash_bounds[paragraph + 1]
            seen = 0
            for i in range(low, high):
                if i + AHEAD < len(hashes):
                    _fetch(words, _high(hashes[i + AHEAD], num_blocks) << three)
                block, g = _high(hashes[i], num_blocks) << three, _pieces(hashes[i])
                inside = np.uint64(1)
                for _ in range(num_hashes):  # all of them, without a branch: the line is there
                    inside &= words[block + ((g >> six) & np.uint64(7))] >> (g & np.uint64(63))
                    g >>= nine
                seen += np.int64(inside)
            contained[doc] += seen
            if seen / (high - low) > threshold:
                removed[paragraph] = True
                continue
            for i in range(low, high):
                block, g = _high(hashes[i], num_blocks) << three, _pieces(hashes[i])
                for _ in range(num_hashes):
                    words[block + ((g >> six) & np.uint64(7))] |= np.uint64(1) << (g & np.uint64(63))
                    g >>= nine
