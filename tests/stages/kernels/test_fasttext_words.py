import random

import numpy as np
import pyarrow as pa

from stages.kernels.fasttext_words import build_table, read_entries
from stages.kernels.text_view import Text, text_view


def plain_hash(word):
    h = 2166136261
    for byte in word:
        h = (h ^ (byte - 256 if byte > 127 else byte) % 2**32) * 16777619 % 2**32
    return h


def test_hash_takes_bytes_as_signed():
    for word in (b"", b"a", b"</s>", "жé\U0001f600".encode(), bytes(range(1, 256))):
        table = build_table(Text(np.frombuffer(word, np.uint8), np.array([0, len(word)])))
        assert [int(slot) >> 32 for slot in table[:, 0] if slot] == [plain_hash(word)]
    assert plain_hash(b"a") == 0xE40C292C  # published value of FNV-1a


def entry(word, count, kind):
    return word + b"\0" + count.to_bytes(8, "little", signed=True) + kind.to_bytes(1, "little")


def test_entries_as_written_and_cut():
    written = [(b"the", 2**40 + 3, 0), (b"\xff\xfe", 7, 0), (b"", 1, 0), (b"__label__x", 12, 1)]
    data = b"head" + b"".join(entry(*e) for e in written)
    words, counts, kinds, stop = read_entries(np.frombuffer(data, np.uint8), 4, 4)
    read = [words.data[words.offsets[i] : words.offsets[i + 1]].tobytes() for i in range(4)]
    assert list(zip(read, counts.tolist(), kinds.tolist(), strict=True)) == written and stop == len(data)
    for size in range(4, len(data)):
        assert read_entries(np.frombuffer(data[:size], np.uint8), 4, 4)[3] == -1
    assert read_entries(np.frombuffer(data, np.uint8), 4, 0)[3] == 4


def test_every_word_is_in_the_table_where_a_search_finds_it():
    rng = random.Random(0)
    words = list(dict.fromkeys("".join(rng.choices("abcж", k=rng.randint(1, 12))) for _ in range(3000)))
    table = build_table(text_view(pa.array(words)))
    mask = len(table) - 1
    assert len(table) & mask == 0 and (table[:, 0] != 0).sum() == len(words) <= len(table) / 2
    for number, word in enumerate(words):
        bytes_ = word.encode()
        slot = plain_hash(bytes_) & mask
        while (int(table[slot, 0]) & 0xFFFFFFFF) != number + 1:
            assert table[slot, 0] != 0, "a free slot ends the search"
            slot = (slot + 1) & mask
        assert int(table[slot, 0]) >> 32 == plain_hash(bytes_)
        assert int(table[slot, 1]) == int.from_bytes(bytes_[:8], "little")
