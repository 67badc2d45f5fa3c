import pytest

from evaluation.journal import Journal


def test_finished_batches_come_back_bit_for_bit(tmp_path):
    first = Journal(tmp_path / "new", "key")
    assert first.finished == {}
    first.append(0, [[3, 0, -0.1 - 1e-17, True], [3, 1, float("-inf"), False]])
    first.append(1, [[7, "text with\nlines and ünicode"]])
    first.close()
    again = Journal(tmp_path / "new", "key")
    assert again.finished == {0: [[3, 0, -0.1 - 1e-17, True], [3, 1, float("-inf"), False]], 1: [[7, "text with\nlines and ünicode"]]}
    again.close()
    other = Journal(tmp_path / "new", "other")
    assert other.finished == {}
    other.close()


@pytest.mark.parametrize("lost", [1, 10, 60])
def test_a_line_that_a_kill_cut_short_is_dropped_and_written_over(tmp_path, lost):
    journal = Journal(tmp_path, "key")
    journal.append(0, [[1, 0, -1.5, True]])
    whole = journal.path.stat().st_size
    journal.append(1, [[2, 0, -2.5, True], [2, 1, -0.25, False]])
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-lost])
    assert journal.path.stat().st_size > whole
    again = Journal(tmp_path, "key")
    assert list(again.finished) == [0]
    again.append(1, [[2, 0, -3.0, True]])
    again.close()
    last = Journal(tmp_path, "key")
    assert last.finished == {0: [[1, 0, -1.5, True]], 1: [[2, 0, -3.0, True]]}
    last.close()
