"""What is remembered outlives the process, an error and a damaged file; a home that can not be written to does no harm."""

import pytest

from stages.formats.remembered import Remembered


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_it_is_there_the_next_time_and_under_its_name_alone():
    with Remembered("a") as known:
        known.value["x"] = 1
    assert Remembered("a").value == {"x": 1} and Remembered("b").value == {}


def test_what_was_learnt_before_an_error_is_kept():
    with pytest.raises(KeyError), Remembered("a") as known:
        known.value["x"] = 1
        raise KeyError
    assert Remembered("a").value == {"x": 1}


@pytest.mark.parametrize("damage", ["", "[1]", "{"])
def test_a_damaged_file_is_forgotten(home, damage):
    with Remembered("a") as known:
        known.value["x"] = 1
    next((home / "winnow").iterdir()).write_text(damage)
    assert Remembered("a").value == {}


def test_nowhere_to_write(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with Remembered("a") as known:
        known.value["x"] = 1
    assert Remembered("a").value == {}
