"""A fastText classifier with character n-grams, such as the language model lid.176: the likeliest label of each document and its probability.

What a document's rows are (fastText 0.9; Bojanowski et al. 2017 for the n-grams):
- Words lie between the bytes space, \\t, \\n, \\v, \\f, \\r and NUL; labels, known or beginning with __label__, are passed over. "</s>" ends the
  line; without one in the text it follows the last word, and it has no n-grams.
- A known word gives its row. Every word, put between "<" and ">", gives a row for each of its n-grams of minn to maxn characters (neither "<" nor
  ">" alone), in bucket hash mod bucket. A pruned model has kept few buckets; the others give nothing.
The mean of all rows, h, is scored: softmax over o_label . h; or, with hierarchical softmax, the way of largest probability down the tree (leaf
by leaf, a branch is left as soon as it can not win), whose logarithms fastText rounds up by adding 1e-5 to each probability.

Natural text repeats its words, so the sum of a word's rows is kept in a cache: a slot per hash, the newest word stays, its bytes are the key. The
sum is in fastText's order and in float32, the same whether it was kept or not, so that a result depends on nothing but its document.
Words are added up in float64; fastText adds row by row in float32, from which its probability is off by some 1e-6, up to 2e-5 in texts of 15 KB.
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

SEPARATORS = np.zeros(256, np.bool_)
SEPARATORS[[0, 9, 10, 11, 12, 13, 32]] = True

FNV_SEED, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)

OFFSET = 1e-5
"""What fastText adds to a probability."""

KEY_BYTES = 32
"""Words of at most so many bytes are kept."""

CACHE_BYTES = 8 << 20

EOS, PREFIX = np.frombuffer(END_OF_LINE, np.uint8), np.frombuffer(LABEL_PREFIX, np.uint8)


@dataclass(frozen=True)
class Classifier:
    """A model ready to predict; threads wait for one another, because of its cache."""

    labels: list[str]
    rows: np.ndarray
    """float32[words + buckets or kept n-grams, dim]."""
    output: np.ndarray
    """float32: [labels - 1, dim], the inner nodes of the tree; or [dim, labels], transposed, for softmax."""
    children: np.ndarray
    """int32[labels - 1, 2], left and right of each inner node: a label, or labels + inner node. Empty for softmax."""
    words: Text
    """The dictionary: words and, after them, labels."""
    table: np.ndarray
    """uint64[slots, 2], of fasttext_words.build_table."""
    num_words: int
    minn: int
    maxn: int
    bucket: int
    kept_bits: np.ndarray
    """uint64[bucket / 64], which buckets a pruned model has kept; empty if all have rows."""
    kept_rows: np.ndarray
    """int32[bucket], their rows below the words."""
    keys: np.ndarray = field(repr=False)
    """uint64[slots, 5], bytes of a word and number of its rows; zeros are free."""
    sums: np.ndarray = field(repr=False)
    """float32[slots, dim]."""
    lock: Lock = field(default_factory=Lock, repr=False)


def classifier(model: "FasttextModel") -> Classifier:
    """Make a model ready. A quantised input is decoded, a dense one stays where the file is mapped.

    ValueError for what is no classifier, and for what no language model has: other losses, n-grams of words.
    """
    settings, n = model.settings, model.num_labels
    if settings["model"] != "supervised" or settings["loss"] not in ("softmax", "hs") or settings["word_n_grams"] > 1 or n < 2:
        raise ValueError(
            f"{model.name} is a {settings['model']} model of {n} labels with loss {settings['loss']} and n-grams of {settings['word_n_grams']} "
            "words; give a classifier of two or more labels with loss softmax or hs, and without n-grams of words"
        )
    rows, output, bucket, dim = model.input_rows(), model.output_rows(), max(1, settings["bucket"]), settings["dim"]
    kept_bits, kept_rows = np.empty(0, np.uint64), np.empty(0, np.int32)
    if model.pruned is not None:
        kept_bits, kept_rows = np.zeros(-(-bucket // 64), np.uint64), np.full(bucket, -1, np.int32)
        buckets, kept = model.pruned.T.astype(np.int64)
        np.bitwise_or.at(kept_bits, buckets // 64, np.uint64(1) << (buckets % 64).astype(np.uint64))
        kept_rows[buckets] = kept
    hierarchical = settings["loss"] == "hs"
    slots = 1 << max(4, (CACHE_BYTES // (KEY_BYTES + 8 + 4 * dim)).bit_length() - 1)
    return Classifier(
        labels=model.labels,
        rows=rows,
        output=np.ascontiguousarray(output[: n - 1] if hierarchical else output.T),
        children=_tree(model.counts[model.num_words :]) if hierarchical else np.empty((0, 2), np.int32),
        words=model.entries,
        table=build_table(model.entries),
        num_words=model.num_words,
        minn=settings["minn"],
        maxn=settings["maxn"],
        bucket=bucket,
        kept_bits=kept_bits,
        kept_rows=kept_rows,
        keys=np.zeros((slots, KEY_BYTES // 8 + 1), np.uint64),
        sums=np.zeros((slots, dim), np.float32),
    )


def predict(made: Classifier, text: Text) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each document's likeliest label, int32[n], and its probability as fastText gives it, float32[n].

    A probability can exceed 1 by 1e-5 or so. Where no word and no n-gram has a row, the label is -1 and the probability 0.
    """
    best, probabilities = np.empty(len(text), np.int32), np.empty(len(text), np.float32)
    means, counts = np.empty((len(text), made.rows.shape[1]), np.float32), np.empty(len(text), np.int64)
    with made.lock:
        _mean_rows(
            text.data,
            text.offsets,
            SEPARATORS,
            EOS,
            PREFIX,
            made.words.data,
            made.words.offsets,
            made.table,
            made.rows,
            made.num_words,
            made.minn,
            made.maxn,
            made.bucket,
            made.kept_bits,
            made.kept_rows,
            made.keys,
            made.sums,
            means,
            counts,
        )
    if len(made.children):
        _descend(means, counts, made.output, made.children, best, probabilities)
    else:
        _softmax(means, counts, made.output, best, probabilities)
    return best, probabilities


def _tree(counts: np.ndarray) -> np.ndarray:
    """fastText's Huffman tree of the labels, which are in order of falling count: the two rarest of leaves and nodes are joined, a leaf if it is rarer."""
    n = len(counts)
    weights, children = [*counts.tolist()], np.empty((n - 1, 2), np.int32)
    leaf, node = n - 1, n
    for made in range(n - 1):
        pair = []
        for _ in range(2):
            # a node that is not made yet counts as 1e15
            if leaf >= 0 and weights[leaf] < (weights[node] if node < len(weights) else 10**15):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        children[made] = pair
        weights.append(weights[pair[0]] + weights[pair[1]])
    return children


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
def _part(data, start, end):
    """The first 8 bytes from `start` to `end`, filled up with zeros."""
    size = end - start
    if size <= 0:
        return np.uint64(0)
    if start + 8 <= len(data):
        part = _load(data, start)
        return part if size >= 8 else part & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    part = np.uint64(0)
    for i in range(min(size, 8)):
        part |= np.uint64(data[start + i]) << np.uint64(8 * i)
    return part


@njit(nogil=True, cache=True, inline="always")
def _same(data, start, end, words, begin, stop):
    """Whether two stretches of bytes are equal."""
    if end - start != stop - begin:
        return False
    for i in range(end - start):
        if data[start + i] != words[begin + i]:
            return False
    return True


@njit(nogil=True, cache=True, inline="always")
def _find(table, h, data, start, end, words, word_offsets):
    """Number of the entry that is this word, or -1."""
    mask = np.int64(len(table) - 1)
    slot = np.int64(h) & mask
    while table[slot, 0] != 0:
        if table[slot, 0] >> np.uint64(32) == np.uint64(h):
            entry = np.int64(table[slot, 0] & np.uint64(0xFFFFFFFF)) - 1
            if _same(data, start, end, words, word_offsets[entry], word_offsets[entry + 1]):
                return entry
        slot = (slot + 1) & mask
    return np.int64(-1)


@njit(nogil=True, cache=True)
def _add_rows(rows, num_words, kept_rows, places, count, total):
    """Add the rows of buckets to `total` one after the other. Four in a pass: the sums wait for memory, and the order of additions is the same."""
    for i in range(count):
        places[i] = num_words + (np.int64(kept_rows[places[i]]) if len(kept_rows) else places[i])
    whole = count - count % 4
    for i in range(0, whole, 4):
        a, b, c, e = places[i], places[i + 1], places[i + 2], places[i + 3]
        for d in range(len(total)):
            total[d] = total[d] + rows[a, d] + rows[b, d] + rows[c, d] + rows[e, d]
    for i in range(whole, count):
        for d in range(len(total)):
            total[d] += rows[places[i], d]


@njit(nogil=True, cache=True)
def _word_sum(data, start, end, entry, is_eos, rows, num_words, minn, maxn, bucket, kept_bits, kept_rows, framed, places, total):
    """Add up the rows of one word in `total`, and return how many they are. All are found before any is read, so that reading overlaps."""
    for d in range(len(total)):
        total[d] = rows[entry, d] if entry >= 0 else np.float32(0)
    count, waiting = np.int64(entry >= 0), 0
    if is_eos or maxn <= 0:
        return count
    size = end - start + 2
    framed[0], framed[size - 1] = 60, 62  # < and >
    for i in range(end - start):
        framed[i + 1] = data[start + i]
    pruned = len(kept_bits) > 0
    divisor = np.uint32(bucket)
    for i in range(size):
        if framed[i] & 0xC0 == 0x80:
            continue
        if waiting + maxn > len(places):
            _add_rows(rows, num_words, kept_rows, places, waiting, total)
            count, waiting = count + waiting, 0
        h = FNV_SEED
        j, n = i, 1
        while j < size and n <= maxn:
            h = np.uint32((h ^ np.uint32(np.int8(framed[j]))) * FNV_PRIME)
            j += 1
            while j < size and framed[j] & 0xC0 == 0x80:
                h = np.uint32((h ^ np.uint32(np.int8(framed[j]))) * FNV_PRIME)
                j += 1
            if n >= minn and not (n == 1 and (i == 0 or j == size)):
                place = np.int64(np.uint32(h % divisor))
                places[waiting] = place
                # without a branch, which would be guessed wrongly every other time
                waiting += np.int64(kept_bits[place >> 6] >> np.uint64(place & 63) & np.uint64(1)) if pruned else 1
            n += 1
    _add_rows(rows, num_words, kept_rows, places, waiting, total)
    return count + waiting


@njit(nogil=True, cache=True)
def _mean_rows(
    data, offsets, separators, eos, prefix, words, word_offsets, table, rows, num_words, minn, maxn, bucket, kept_bits, kept_rows, keys, sums, means, counts
):
    """The mean of the rows of every document, and their number."""
    dim, mask = rows.shape[1], np.int64(len(keys) - 1)
    longest = 8
    for doc in range(len(offsets) - 1):
        longest = max(longest, offsets[doc + 1] - offsets[doc])
    places = np.empty(max(256, maxn), np.int64)
    framed, own, total = np.empty(longest + 2, np.uint8), np.empty(dim, np.float32), np.empty(dim, np.float64)
    for doc in range(len(offsets) - 1):
        i, end = offsets[doc], offsets[doc + 1]
        total[:] = 0
        count, done = 0, False
        while i < end and not done:
            start = i
            h = FNV_SEED
            while i < end and not separators[data[i]]:
                h = np.uint32((h ^ np.uint32(np.int8(data[i]))) * FNV_PRIME)
                i += 1
            stop = i
            i += 1
            if stop == start:
                continue
            if stop - start <= KEY_BYTES:
                slot = np.int64(h) & mask
                a, b = _part(data, start, stop), _part(data, start + 8, stop)
                c, d = _part(data, start + 16, stop), _part(data, start + 24, stop)
                if keys[slot, 0] == a and keys[slot, 1] == b and keys[slot, 2] == c and keys[slot, 3] == d:
                    count += np.int64(keys[slot, 4])
                    for k in range(dim):
                        total[k] += sums[slot, k]
                    continue
                into = sums[slot]
            else:
                slot, into = np.int64(-1), own
                a = b = c = d = np.uint64(0)
            entry = _find(table, h, data, start, stop, words, word_offsets)
            if entry >= num_words or (entry < 0 and _same(data, start, min(stop, start + len(prefix)), prefix, 0, len(prefix))):
                continue
            done = _same(data, start, stop, eos, 0, len(eos))
            found = _word_sum(data, start, stop, entry, done, rows, num_words, minn, maxn, bucket, kept_bits, kept_rows, framed, places, into)
            count += found
            for k in range(dim):
                total[k] += into[k]
            if slot >= 0:
                keys[slot, 0], keys[slot, 1], keys[slot, 2], keys[slot, 3] = a, b, c, d
                keys[slot, 4] = np.uint64(found)
                if done:
                    keys[slot, 0] = 0  # the end of a line is never kept: it must be seen each time
        if not done:
            h = FNV_SEED
            for k in range(len(eos)):
                h = np.uint32((h ^ np.uint32(np.int8(eos[k]))) * FNV_PRIME)
            entry = _find(table, h, eos, 0, len(eos), words, word_offsets)
            if entry >= 0 and entry < num_words:
                count += 1
                for k in range(dim):
                    total[k] += rows[entry, k]
        counts[doc] = count
        for k in range(dim):
            means[doc, k] = np.float32(total[k]) * np.float32(1.0 / max(count, 1))


@njit(nogil=True, cache=True)
def _descend(means, counts, output, children, best, probabilities):
    """The leaf of largest probability: left before right, and no branch that is already behind the best leaf."""
    n = len(children) + 1
    nodes, scores = np.empty(n, np.int64), np.empty(n, np.float32)
    least = np.float32(np.log(OFFSET))
    for doc in range(len(means)):
        best[doc], probabilities[doc] = -1, 0
        if counts[doc] == 0:
            continue
        top = np.float32(-np.inf)
        nodes[0], scores[0], depth = 2 * n - 2, np.float32(0), 1
        while depth:
            depth -= 1
            node, score = nodes[depth], scores[depth]
            if score < least or score < top:
                continue
            if node < n:
                top, best[doc] = score, node
                continue
            dot = np.float32(0)
            for k in range(means.shape[1]):
                dot += output[node - n, k] * means[doc, k]
            right = np.float32(1.0 / (1.0 + np.float64(np.exp(-dot))))
            left = np.float32(1.0 - np.float64(right))
            nodes[depth], scores[depth] = children[node - n, 1], score + np.float32(np.log(np.float64(right) + OFFSET))
            nodes[depth + 1], scores[depth + 1] = children[node - n, 0], score + np.float32(np.log(np.float64(left) + OFFSET))
            depth += 2
        if best[doc] >= 0:
            probabilities[doc] = np.exp(top)


@njit(nogil=True, cache=True)
def _softmax(means, counts, output, best, probabilities):
    n = output.shape[1]
    logits = np.empty(n, np.float32)
    for doc in range(len(means)):
        best[doc], probabilities[doc] = -1, 0
        if counts[doc] == 0:
            continue
        logits[:] = 0
        for k in range(means.shape[1]):
            for label in range(n):
                logits[label] += output[k, label] * means[doc, k]
        top = 0
        for label in range(1, n):
            if logits[label] >= logits[top]:
                top = label
        total = 0.0
        for label in range(n):
            total += np.exp(np.float64(logits[label] - logits[top]))
        best[doc], probabilities[doc] = top, 1.0 / total + OFFSET
