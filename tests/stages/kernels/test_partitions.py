import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels import partitions
from stages.kernels.partitions import KeyMap, Partitions, array_on_disk, equal_keys


def pairs_of(pieces):
    return sorted((int(a), int(b)) for first, other in equal_keys(pieces) for a, b in zip(first, other, strict=True))


def expected(rows):
    first = {}
    return sorted((first[tuple(key)], place) for *key, place in rows if first.setdefault(tuple(key), place) != place)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=30), st.integers(1, 9), st.booleans())
def test_the_first_of_each_key_whatever_the_pieces(keys, size, wide):
    rows = np.array([[a, b, i] if wide else [a, i] for i, (a, b) in enumerate(keys)], np.uint64).reshape(-1, 3 if wide else 2)
    assert pairs_of(rows[i : i + size] for i in range(0, len(rows), size)) == expected(rows.tolist())
    assert pairs_of([rows[::-1]]) == expected(rows.tolist())  # within a piece the order does not matter


@pytest.mark.parametrize("rows_in_memory, most_files", [(1 << 20, 1 << 14), (64, 1 << 14), (64, 8)])
def test_rows_come_back_in_order_and_equal_keys_together(tmp_path, monkeypatch, rows_in_memory, most_files):
    monkeypatch.setattr(partitions, "ROWS_IN_MEMORY", rows_in_memory)
    monkeypatch.setattr(partitions, "MOST_FILES", most_files)
    rng = np.random.default_rng(3)
    keys, groups = rng.integers(0, 2**64, 100, np.uint64)[rng.integers(0, 100, 3000)], rng.integers(0, 3, 3000)
    rows = np.column_stack((keys, np.arange(3000, dtype=np.uint64)))
    made = Partitions(tmp_path / "p", 2, 3, 1000)
    for start in range(0, 3000, 70):
        made.add(rows[start : start + 70], groups[start : start + 70])
    assert len(made) == (3 if rows_in_memory > 1000 else 6 if most_files == 8 else 3 * 16)
    seen, pairs = [], []
    for part in range(len(made)):
        pieces = list(made.pieces(part))
        assert all(len(piece) <= rows_in_memory for piece in pieces)
        places = [int(p) for piece in pieces for p in piece[:, 1]]
        assert places == sorted(places) and len(set(groups[places])) <= 1
        seen += places
        pairs += pairs_of(pieces)
    assert sorted(seen) == list(range(3000))
    assert sorted(pairs) == expected([[k, g, i] for i, (k, g) in enumerate(zip(keys.tolist(), groups.tolist(), strict=True))])


def test_one_group_takes_a_plain_number(tmp_path):
    made = Partitions(tmp_path / "p", 3, 1, 10)
    assert list(made.pieces(0)) == []
    made.add(np.array([[7, 8, 0]], np.uint64))
    assert [piece.tolist() for piece in made.pieces(0)] == [[[7, 8, 0]]]


def test_a_map_never_misses_and_rarely_errs():
    rng = np.random.default_rng(1)
    there, others = rng.integers(0, 2**64, 20_000, np.uint64), rng.integers(0, 2**64, 20_000, np.uint64)
    keys = KeyMap(len(there))
    assert not keys.may_hold(there).any()
    for start in range(0, len(there), 999):
        keys.add(there[start : start + 999])
    assert keys.may_hold(there).all()
    assert 0.01 < keys.may_hold(others).mean() < 0.07  # 16 to 8 bits a key


def test_an_array_on_disk_is_zeros_that_take_no_room(tmp_path):
    made = array_on_disk(tmp_path / "a", 10**9, np.int64)
    made[5 * 10**8] = 3
    made.flush()
    assert made[0] == 0 and made[5 * 10**8] == 3 and (tmp_path / "a").stat().st_blocks * 512 < 10**6
    assert len(array_on_disk(tmp_path / "b", 0, np.int64)) == 0
