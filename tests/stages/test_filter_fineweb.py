import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.stage import Inputs, Resources
from stages.filter_fineweb import FilterFineweb, filter_fineweb
from tests.stages.datatrove_peer import decide, judge, random_documents, real_documents, words_of

RULES = {
    "min_punctuated_lines": ("line_punct_thr", "line_punct_ratio", -1.0),
    "max_short_lines": ("short_line_thr", "short_line_ratio", 2.0),
    "max_dup_line_chars": ("char_duplicates_ratio", "char_dup_ratio", 2.0),
    "max_newlines_per_word": ("new_line_ratio", "list_ratio", 1e9),
}
"""Each rule of ours: datatrove's argument, the reason, and a value of the argument that turns it off."""
OFF = dict.fromkeys(RULES)


def datatrove(texts, **arguments):
    from datatrove.pipeline.filters import FineWebQualityFilter

    return decide(FineWebQualityFilter(**arguments), texts, split_into_words=words_of)[0]


def test_every_rule_is_named_here():
    assert set(OFF) == {name for name in FilterFineweb.__dataclass_fields__ if name.startswith(("min_", "max_"))}


def test_decisions_and_reasons_are_those_of_datatrove():
    texts = random_documents(1500)
    reasons, _ = judge(filter_fineweb, texts)
    assert reasons == datatrove(texts)
    assert set(reasons) == {None, "empty", *(reason for _, reason, _ in RULES.values())}
    assert reasons == [reason for start in range(0, len(texts), 7) for reason in judge(filter_fineweb, texts[start : start + 7])[0]]


def test_on_real_documents(shared):
    texts = real_documents(shared)
    found = judge(filter_fineweb, texts)[0]
    assert found == datatrove(texts) and len(texts) > 2000 and len(set(found)) >= 4


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.text(st.sampled_from("ab.!。𑈸é\u0308\xa0\u2028\r\n\n\n  ") | st.characters(exclude_categories=("Cs",)), max_size=60), max_size=6
    )
)
def test_on_any_text(texts):
    """Also where the words between white space do not settle it."""
    ours = {"short_line_length": 3, "max_short_lines": 0.9, "max_dup_line_chars": 0.5, "max_newlines_per_word": 0.8}
    theirs = {"short_line_length": 3, "short_line_thr": 0.9, "char_duplicates_ratio": 0.5, "new_line_ratio": 0.8}
    assert judge(filter_fineweb, texts, **ours)[0] == datatrove(texts, **theirs)
    assert judge(filter_fineweb, texts, **OFF | {"max_newlines_per_word": 0.2})[0] == datatrove(
        texts, **{argument: off for argument, _, off in RULES.values()} | {"new_line_ratio": 0.2}
    )


@pytest.mark.parametrize("field", RULES)
def test_rules_stand_alone(field):
    texts = random_documents(200, seed=len(field))
    argument, reason, _ = RULES[field]
    limit = getattr(FilterFineweb(), field)
    found, verdict = judge(filter_fineweb, texts, **OFF | {field: limit})
    assert found == datatrove(texts, **{name: off for name, _, off in RULES.values()} | {argument: limit})
    assert set(found) == {None, "empty", reason}
    for row, why in zip(verdict.detail.to_pylist(), found, strict=True):
        assert row["limit"] == {None: None, "empty": 1, reason: limit}[why]


def test_values():
    text = "One two.\nshort\na line that is longer than thirty characters is not short\nshort\n\n"
    limits = {"min_punctuated_lines": 0.5, "max_short_lines": 0.5, "max_dup_line_chars": 0, "max_newlines_per_word": 0.1}
    values = {
        "min_punctuated_lines": 1 / 4,
        "max_short_lines": 3 / 4,
        "max_dup_line_chars": 5 / (len(text) - 5),
        "max_newlines_per_word": 5 / 16,
    }
    for field, limit in limits.items():
        _, verdict = judge(filter_fineweb, [text], **OFF | {field: limit})
        assert verdict.detail.to_pylist()[0]["value"] == values[field]


def test_stop_chars():
    texts = ["a;\nb;\nc.", "a\nb\nc", "a.\nb.\nc."]
    off = {argument: off for argument, _, off in RULES.values()}
    for chars, exclude in ((None, False), ((";",), False), ((";",), True), ((), True), (("🐎",), False)):
        found = judge(filter_fineweb, texts, **OFF | {"min_punctuated_lines": 0.5}, stop_chars=chars, keep_unpunctuated=exclude)[0]
        assert found == datatrove(texts, **off | {"line_punct_thr": 0.5}, stop_chars=chars, line_punct_exclude_zero=exclude)
    with pytest.raises(ValueError, match="'...'; list single characters"):
        FilterFineweb(stop_chars=("...",))


def test_null_and_no_rows():
    assert judge(filter_fineweb, [None], **OFF)[0] == ["empty"]
    assert judge(filter_fineweb, [])[0] == []


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_string_column(kind):
    texts = ["a b c d\nb", "a\nb\nc", None, "中文\n中文中文中文"]
    column = pa.array(texts, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(texts, kind)
    stage = filter_fineweb(FilterFineweb(**OFF | {"max_newlines_per_word": 0.3}), Inputs(), Resources())
    assert stage(pa.record_batch({"text": column})).keep.to_pylist() == [True, False, False, True]


@pytest.mark.filterwarnings("error")
def test_no_word_but_bytes_that_are_not_utf8():
    """A lone byte 85 is no white space among lines, and is white space (U+0085) among words."""
    column = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 3], np.int32)), pa.py_buffer(b"\x85\n\x85")])
    stage = filter_fineweb(FilterFineweb(**OFF | {"max_newlines_per_word": 0.3}), Inputs(), Resources())
    assert stage(pa.record_batch({"text": column})).detail.to_pylist() == [{"value": 1.0, "limit": 0.3, "kept_id": None, "note": None}]
