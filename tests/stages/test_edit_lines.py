import pyarrow as pa
import pytest

from stages.core.stage import Inputs, Resources
from stages.edit_lines import EditLines, edit_lines

PROSE = " ".join(["The river runs past the old mill and down to the sea."] * 10)


def judge(texts, **fields):
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    verdict = edit_lines(EditLines(**fields), Inputs(), Resources())(batch)
    return verdict.columns.get("text", batch.column("text")).to_pylist(), verdict


@pytest.mark.parametrize(
    "line, left, rule",
    [
        ("BUY IT Now", None, "uppercase"),
        ("20240117", None, "digits"),
        ("1,204 Likes!", None, "counter"),
        ("Share", None, "short"),
        ("2 items in cart today", "2 today", "phrase"),
        ("a tale of two, read more...", "a tale of two,", "suffix"),
        ("Sign-in to comment", "to comment", "prefix"),
        ("ITEMS in cart", None, "phrase"),
    ],
)
def test_every_rule(line, left, rule):
    (text,), verdict = judge([f"{PROSE}\n{line}\n{PROSE}"])
    assert text == "\n".join(part for part in (PROSE, left, PROSE) if part is not None)
    assert verdict.keep.to_pylist() == [True] and verdict.counters[f"{rule}_lines"] == 1
    assert sum(n for name, n in verdict.counters.items() if name.endswith("_lines")) == 1
    assert verdict.columns["lines_removed"].to_pylist() == [1]
    assert verdict.columns["words_removed"].to_pylist() == [verdict.counters[f"{rule}_words"]]


def test_each_rule_can_be_left_out():
    lines = "BUY IT NOW\n20240117\n3 likes\nShare\nitems in cart 2\nto read more...\nSign-in here"
    off = dict(max_uppercase=None, max_digits=None, counters=False, min_line_words=None, phrases=(), suffixes=(), prefixes=(), max_removed_words=None)
    (text,), verdict = judge([lines], **off)
    assert text == lines and "text" not in verdict.columns and not any(verdict.counters.values())
    for field, line in zip(off, lines.split("\n"), strict=False):
        (text,), _ = judge([lines], **{name: value for name, value in off.items() if name != field})
        assert line not in text.split("\n") and len(text.split("\n")) >= 5  # the date is one word, too


def test_dots_of_dclm():
    line = f"{PROSE}\nIf you will, read more now"
    assert judge([line])[0] == [line]
    assert judge([line], dclm_compat=True)[0] == [f"{PROSE}\nIf you will, read more now"]  # four characters, not three
    assert judge([line[:-1]], dclm_compat=True)[0] == [f"{PROSE}\nIf you will,"]
    assert judge([f"{PROSE}\nhere: read more..."])[0] == [f"{PROSE}\nhere:"]


def test_documents_that_lose_too_much():
    texts = ["one two three\nFour", "??? !!!", "MENU", "", None, PROSE]
    _, verdict = judge(texts)
    assert verdict.reason.to_pylist() == ["removed_words", "no_words", "removed_words", "no_words", "no_words", None]
    assert verdict.keep.to_pylist() == [False] * 5 + [True]
    detail = verdict.detail.to_pylist()
    assert (detail[0]["value"], detail[0]["limit"]) == (0.25, 0.05) and detail[1]["value"] is None and detail[2]["value"] == 1.0
    _, verdict = judge(texts, max_removed_words=None)
    assert verdict.reason.to_pylist() == [None, None, "no_text", "no_text", "no_text", None]
    _, verdict = judge([f"{'word ' * 19}\nFour"])  # exactly one in twenty
    assert verdict.keep.to_pylist() == [True]


def test_counters_are_of_the_documents_that_stay():
    _, verdict = judge([f"{PROSE}\nShare", "Share\nme"])
    assert verdict.keep.to_pylist() == [True, False] and verdict.counters["short_lines"] == verdict.counters["short_words"] == 1


def test_no_rows_and_any_batch_size():
    assert judge([])[1].keep.to_pylist() == []
    texts = [f"{PROSE}\n{i} likes\nA{'B' * i}\n" for i in range(20)]
    assert judge(texts)[0] == [left for i in range(0, 20, 3) for left in judge(texts[i : i + 3])[0]]


@pytest.mark.parametrize("fields", [{"phrases": ("",)}, {"suffixes": ("more ",)}, {"prefixes": (".x",), "dclm_compat": True}])
def test_phrases_that_can_not_be(fields):
    with pytest.raises(ValueError, match="correct it"):
        EditLines(**fields)
