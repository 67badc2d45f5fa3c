import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.stage import Inputs, Resources
from stages.filter_bad_words import FilterBadWords, filter_bad_words, read_words
from tests.stages.datatrove_peer import decide, real_documents

WORDS = ("darn", "s&m", "hot dog", "dog", "g-spot", "🖕", "été", "2 cups (1)")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "words.txt"
    path.write_text("\n".join(WORDS) + "\n\n darn \n")
    return str(path)


def judge(texts, **fields):
    stage = filter_bad_words(FilterBadWords(**fields), Inputs(), Resources())
    verdict = stage(pa.record_batch({"text": pa.array(texts, pa.string())}))
    return [not kept for kept in verdict.keep.to_pylist()], verdict


def datatrove(texts, words):
    """datatrove's filter, with its list read from here and not from the net."""
    from datatrove.pipeline.filters import C4BadWordsFilter

    block = C4BadWordsFilter()
    block._badwords_regex["en"] = re.compile(r"(?:\W|^)({})(?:\W|$)".format("|".join(map(re.escape, words))))
    return [reason is not None for reason in decide(block, texts)[0]]


def test_words_count_where_they_stand_alone(listed):
    texts = [
        "Darn!",
        "darning",
        "_darn",
        "S&M.",
        "a hot\ndog",
        "hot dogs",
        "G-Spot",
        "🖕",
        "x🖕",
        "ÉTÉ",
        "2 cups (1)",
        "2 cups 1",
        "",
        None,
    ]
    dropped, verdict = judge(texts, words=listed)
    assert dropped == [True, False, False, True, True, False, True, True, False, True, True, False, False, False]
    notes = [row["note"] for row in verdict.detail.to_pylist()]
    assert notes == ["darn", None, None, "s&m", "dog", None, "g-spot", "🖕", None, "été", "2 cups (1)", None, None, None]
    assert set(verdict.reason.to_pylist()) == {"bad_word"}
    assert judge(["darning", "da rn"], words=listed, whole_words=False)[0] == [True, False]
    assert judge([], words=listed)[0] == []


PIECE = st.sampled_from([*WORDS, *"aİı\u0307_-. \nΣ1²\u0301", "HOT ", "DOG", "da", "rn"])


@settings(deadline=None, max_examples=200)
@given(texts=st.lists(st.lists(PIECE, max_size=8).map("".join), max_size=5))
def test_against_datatrove(listed, texts):
    assert judge(texts, words=listed)[0] == datatrove(texts, WORDS)


def test_on_real_documents(shared):
    path = shared / "banlists" / "ldnoobw.txt"
    texts = real_documents(shared)
    words = sorted({line.strip() for line in path.open()})
    dropped = judge(texts, words=str(path))[0]
    assert dropped == datatrove(texts, words) and 10 < sum(dropped) < len(texts) / 2


def test_without_a_list_the_small_one_counts():
    assert judge(["Hentai and more", "a henta"])[0] == [True, False]


def test_an_empty_list_is_refused(tmp_path):
    (tmp_path / "none").write_text("\n")
    with pytest.raises(ValueError, match="holds no words"):
        judge(["x"], words=str(tmp_path / "none"))


def test_the_list_and_not_its_place_makes_the_fingerprint(listed, tmp_path):
    (tmp_path / "other").write_text("\n".join(reversed(WORDS)))
    (tmp_path / "more").write_text("more\n" + "\n".join(WORDS))
    one, other, more = (filter_bad_words.identity(FilterBadWords(words=str(p))) for p in (listed, tmp_path / "other", tmp_path / "more"))
    assert one == other != more


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no list .*; correct `words` or leave it out"):
        read_words(FilterBadWords(words=str(tmp_path / "nope")))
