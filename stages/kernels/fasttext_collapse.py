"""A fastText classifier of two labels as one number per input row: the score of a document is a mean of numbers, not of vectors.

With softmax over two labels, p(label) = sigmoid((o_label - o_other) . mean of the rows), and the dot product may be taken row by row beforehand:
rows[r] = x_r . (o_label - o_other). The words of a document and their n-grams then cost one look-up of 4 bytes each, not of 400.

What a document's rows are (fastText 0.9, Joulin et al. 2017):
- Words lie between the bytes space, \\t, \\n, \\v, \\f, \\r and NUL. Here the text is " ".join(text.strip().splitlines()) first (as DCLM does): the
  line ends of Python, \\x1c to \\x1e, U+0085, U+2028 and U+2029, separate words too, and white space of Python at both ends is cut off.
- A known word gives its row. An unknown one gives none, but its hash takes part in n-grams. Labels, known or beginning with __label__, are passed over.
- "</s>" ends the line; without one in the text it follows the last word. It is a word like the others.
- n-grams of 2 to n words give row words + (h_1 * M**(k-1) + .. + h_k mod 2**64) mod bucket, with 32-bit hashes sign-extended to 64 bits.
fastText adds 1e-5 to a probability before it takes its logarithm, so 1e-5 is added here too, and the sum is cut at 1.

Sums are in float64, in the order of the words; fastText's are in float32, and its probability is off by some 1e-6, by 2e-5 in texts of 4 MB.
"""

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stages.kernels.fasttext_words import END_OF_LINE, LABEL_PREFIX, build_table
from stages.kernels.text_view import Text

if TYPE_CHECKING:
    from stages.formats.fasttext_model import FasttextModel

OFFSET = 1e-5
"""What fastText adds to a probability."""

FNV_SEED, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
N_GRAM = np.uint64(116049371)
"""Factor between the words of an n-gram."""

SEPARATOR, LEAD_C2, LEAD_E2 = 1, 2, 3
BYTES = np.zeros(256, np.uint8)
"""What a byte may be: part of a word (0), a separator, or the first byte of U+0085 (C2 85), of U+2028 or U+2029 (E2 80 A8, E2 80 A9)."""
BYTES[[0, 9, 10, 11, 12, 13, 28, 29, 30, 32]] = SEPARATOR
BYTES[0xC2], BYTES[0xE2] = LEAD_C2, LEAD_E2

STRIPPED = np.zeros(0x3001, np.bool_)
"""Characters that str.strip() takes away: str.isspace(), which is the same from Unicode 6.3 on."""
STRIPPED[[*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]] = True

CACHE_SLOTS = 1 << 15
"""Words that are kept: 32 bytes each, 1 MB together, what fits in a processor's second cache."""

ONES = np.uint64(0x01_01_01_01_01_01_01_01)
MIX = np.uint64(0x9E_37_79_B9_7F_4A_7C_15)

EOS, PREFIX = np.frombuffer(END_OF_LINE, np.uint8), np.frombuffer(LABEL_PREFIX, np.uint8)


@dataclass(frozen=True)
class Collapsed:
    """A classifier of two labels, ready to score; threads wait for one another, because of its cache."""

    rows: np.ndarray
    """float32[words + buckets], log odds that a row adds before the mean is taken."""
    words: Text
    """The dictionary: words and, after them, labels."""
    table: np.ndarray
    """uint64[slots, 2], of fasttext_words.build_table."""
    num_words: int
    n_grams: int
    bucket: int
    cache: np.ndarray = field(repr=False)
    """uint64[slots, 4]: a word of at most 15 bytes in two numbers, filled up with zeros; its hash << 32 | entry + 1; unused. It is kept in the slot that
    its bytes choose, until another comes; what is kept is what would be found again, so that no score depends on it."""
    lock: Lock = field(default_factory=Lock, repr=False)


def why_not_collapsible(model: "FasttextModel") -> str | None:
    """Say what keeps a model from being collapsed, or None if nothing does."""
    settings = model.settings
    if settings["model"] != "supervised" or settings["loss"] != "softmax" or model.num_labels != 2:
        return f"it is a {settings['model']} model of {model.num_labels} labels with loss {settings['loss']}"
    if settings["maxn"] > 0:
        return f"it has n-grams of {settings['minn']} to {settings['maxn']} characters"
    return "it is quantised" if model.quantised else None


def collapse(model: "FasttextModel", label: str) -> Collapsed:
    """Collapse a model for the probability of `label`: one pass over its input matrix, 0.3 s for 2 million rows of 100 in the page cache.

    ValueError if it can not be collapsed or lacks the label.
    """
    if (reason := why_not_collapsible(model)) is not None:
        raise ValueError(f"{model.name} can not be collapsed: {reason}; score it with fastText itself")
    if label not in model.labels:
        raise ValueError(f"{model.name} has no label {label} (has: {', '.join(model.labels)})")
    output = model.output_rows().astype(np.float64)
    wanted = model.labels.index(label)
    rows = np.empty(len(model.input), np.float32)
    _project(model.input, output[wanted] - output[1 - wanted], rows)
    settings = model.settings
    return Collapsed(
        rows=rows,
        words=model.entries,
        table=build_table(model.entries),
        num_words=model.num_words,
        n_grams=max(1, settings["word_n_grams"]),
        bucket=max(1, settings["bucket"]),
        cache=np.zeros((CACHE_SLOTS, 4), np.uint64),
    )


def score(collapsed: Collapsed, text: Text) -> np.ndarray:
    """Return the probability of the label for every document, float32[n] in [0, 1]; NaN where no word and no n-gram has a row."""
    scores = np.empty(len(text), np.float32)
    with collapsed.lock:
        _score(
            text.data,
            text.offsets,
            BYTES,
            STRIPPED,
            EOS,
            PREFIX,
            collapsed.words.data,
            collapsed.words.offsets,
            collapsed.table,
            collapsed.rows,
            collapsed.num_words,
            np.zeros(collapsed.n_grams, np.uint64),
            np.uint64(collapsed.bucket),
            collapsed.cache,
            scores,
        )
    return scores


@njit(nogil=True, cache=True)
def _project(matrix, direction, rows):
    for row in range(len(rows)):
        total = 0.0
        for column in range(len(direction)):
            total += np.float64(matrix[row, column]) * direction[column]
        rows[row] = total


@njit(nogil=True, cache=True, inline="always")
def _same(data, start, end, words, begin, stop):
    """Whether two stretches of bytes are equal."""
    if end - start != stop - begin:
        return False
    for i in range(end - start):
        if data[start + i] != words[begin + i]:
            return False
    return True


@intrinsic
def _load(_context, array, index):
    """The 8 bytes at array[index] as one number, low first, wherever they lie."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        wide = ir.IntType(64).as_pointer()
        loaded = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), wide))
        loaded.align = 1
        return loaded

    return types.uint64(array, index), generate


@njit(nogil=True, cache=True, inline="always")
def _head(data, start, end):
    """The first 8 bytes of a word, filled up with zeros."""
    size = end - start
    if start + 8 <= len(data):
        head = _load(data, start)
        return head if size >= 8 else head & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    head = np.uint64(0)
    for i in range(min(size, 8)):
        head |= np.uint64(data[start + i]) << np.uint64(8 * i)
    return head


@njit(nogil=True, cache=True, inline="always")
def _find(table, h, head, data, start, end, words, word_offsets):
    """Number of the entry that is this word, or -1."""
    mask = np.int64(len(table) - 1)
    slot = np.int64(h) & mask
    while table[slot, 0] != 0:
        if table[slot, 1] == head and table[slot, 0] >> np.uint64(32) == np.uint64(h):
            entry = np.int64(table[slot, 0] & np.uint64(0xFFFFFFFF)) - 1
            if end - start < 8:
                return entry
            begin, stop = word_offsets[entry], word_offsets[entry + 1]
            if stop - begin == end - start and _load(data, end - 8) == _load(words, stop - 8):
                if end - start <= 16 or _same(data, start, end, words, begin, stop):
                    return entry
        slot = (slot + 1) & mask
    return np.int64(-1)


@njit(nogil=True, cache=True, inline="always")
def _character(data, i, end):
    """Code point at byte i and its width, for characters below U+10000; (-1, 1) for anything else. None of the others is white space."""
    c = np.int64(data[i])
    if c < 0x80:
        return c, 1
    if 0xC0 <= c < 0xE0 and i + 1 < end:
        return (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
    if 0xE0 <= c < 0xF0 and i + 2 < end:
        return (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), 3
    return np.int64(-1), 1


@njit(nogil=True, cache=True)
def _strip(data, begin, end, stripped):
    """Begin and end of what str.strip() leaves."""
    while begin < end:
        c, width = _character(data, begin, end)
        if c < 0 or c >= len(stripped) or not stripped[c]:
            break
        begin += width
    while begin < end:
        last = end - 1
        while last > begin and last > end - 3 and data[last] & 0xC0 == 0x80:
            last -= 1
        c, width = _character(data, last, end)
        if c < 0 or c >= len(stripped) or not stripped[c] or last + width != end:
            break
        end = last
    return begin, end


@intrinsic
def _first_bit(_context, value):
    """Number of the lowest bit that is set; value must not be 0."""

    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True, inline="always")
def _special(eight):
    """The high bit of each of 8 bytes that is at most a space, C2 or E2. Only the first that is set can be trusted: borrows run upwards."""
    c2, e2 = eight ^ (ONES * np.uint64(0xC2)), eight ^ (ONES * np.uint64(0xE2))
    return (((eight - ONES * np.uint64(0x21)) & ~eight) | ((c2 - ONES) & ~c2) | ((e2 - ONES) & ~e2)) & (ONES * np.uint64(0x80))


@njit(nogil=True, cache=True)
def _score(data, offsets, bytes_, stripped, eos, prefix, words, word_offsets, table, rows, num_words, chain, bucket, cache, scores):
    n, cache_mask = len(chain), np.uint64(len(cache) - 1)
    eos_hash = FNV_SEED
    for i in range(len(eos)):
        eos_hash = np.uint32((eos_hash ^ np.uint32(np.int8(eos[i]))) * FNV_PRIME)
    eos_entry = _find(table, eos_hash, _head(eos, 0, len(eos)), eos, 0, len(eos), words, word_offsets)
    for doc in range(len(offsets) - 1):
        i, end = _strip(data, offsets[doc], offsets[doc + 1], stripped)
        total, count, seen, done = 0.0, 0, 0, False
        while not done:
            start, width, slot, known = i, 1, np.int64(-1), False
            h, entry = FNV_SEED, np.int64(num_words)
            low, high = np.uint64(0), np.uint64(0)
            if i + 16 <= end:  # a word of up to 15 bytes, and what follows it, in two numbers
                low, high = _load(data, i), _load(data, i + 8)
                in_low, in_high = _special(low), _special(high)
                if in_low | in_high:
                    size = _first_bit(in_low) >> np.uint64(3) if in_low else np.uint64(8) + (_first_bit(in_high) >> np.uint64(3))
                    if size == 0 and bytes_[data[i]] == SEPARATOR:
                        i += 1
                        continue
                    if bytes_[data[i + np.int64(size)]] == SEPARATOR:
                        if size < 8:
                            low &= (np.uint64(1) << (np.uint64(8) * size)) - np.uint64(1)
                            high = np.uint64(0)
                        else:
                            high &= (np.uint64(1) << (np.uint64(8) * (size - np.uint64(8)))) - np.uint64(1)
                        mixed = (low ^ (high * MIX)) * MIX
                        slot = np.int64((mixed >> np.uint64(40)) & cache_mask)
                        if cache[slot, 0] == low and cache[slot, 1] == high:
                            h, entry = np.uint32(cache[slot, 2] >> np.uint64(32)), np.int64(cache[slot, 2] & np.uint64(0xFFFFFFFF)) - 1
                            i += np.int64(size) + 1
                            known = True
            if not known:
                while i < end:
                    b = data[i]
                    kind = bytes_[b]
                    if kind != 0:
                        if kind == SEPARATOR:
                            break
                        if kind == LEAD_C2 and i + 1 < end and data[i + 1] == 0x85:
                            width = 2
                            break
                        if kind == LEAD_E2 and i + 2 < end and data[i + 1] == 0x80 and (data[i + 2] == 0xA8 or data[i + 2] == 0xA9):
                            width = 3
                            break
                    h = np.uint32((h ^ np.uint32(np.int8(b))) * FNV_PRIME)
                    i += 1
                if i > start:
                    entry = _find(table, h, _head(data, start, i), data, start, i, words, word_offsets)
                    if entry == eos_entry and h == eos_hash:
                        done = _same(data, start, i, eos, 0, len(eos))
                    if entry < 0 and _same(data, start, min(i, start + len(prefix)), prefix, 0, len(prefix)):
                        entry = num_words
                    if slot >= 0 and not done:  # the end of a line must be seen each time
                        cache[slot, 0], cache[slot, 1] = low, high
                        cache[slot, 2] = np.uint64(h) << np.uint64(32) | np.uint64(entry + 1)
                elif i >= end:
                    entry, h, done = eos_entry, eos_hash, True
                i += width
            if entry >= num_words:  # a label, or nothing between two separators
                continue
            if entry >= 0:
                total += rows[entry]
                count += 1
            value = np.uint64(np.int64(np.int32(h)))
            # chain[k] is the hash of the k + 1 words that end here
            for k in range(min(seen, n - 1), 0, -1):
                chain[k] = chain[k - 1] * N_GRAM + value
                total += rows[num_words + np.int64(chain[k] % bucket)]
                count += 1
            chain[0] = value
            seen += 1
        if count:
            scores[doc] = min(1.0 / (1.0 + np.exp(-total / count)) + OFFSET, 1.0)
        else:
            scores[doc] = np.nan
