import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filter_c4 import FilterC4, filter_c4
from tests.stages.datatrove_peer import decide, judge, random_documents, real_documents
from tests.stages.kernels.test_c4_lines import sentences_twin

ARGUMENTS = {
    "max_word_chars": "max_word_length",
    "citations": "remove_citations",
    "terminal_punctuation": "filter_no_terminal_punct",
    "min_words": "min_words_per_line",
    "lorem_ipsum": "filter_lorem_ipsum",
    "javascript": "filter_javascript",
    "curly_bracket": "filter_curly_bracket",
    "policy": "filter_policy",
    "min_sentences": "min_num_sentences",
}
COUNTERS = {
    "lines": "line-total",
    "lines_too_long_word": "line-filter-too_long_word",
    "lines_no_terminal_punctuation": "line-filter-no_terminal_punc",
    "lines_too_few_words": "line-filter-too_few_words",
    "lines_javascript": "line-filter-javascript",
    "lines_policy": "line-filter-policy",
    "lines_kept": "line-kept",
}
OFF = dict.fromkeys(("max_word_chars", "min_words", "min_sentences")) | dict.fromkeys(
    ("citations", "terminal_punctuation", "lorem_ipsum", "javascript", "curly_bracket", "policy"), False
)
SPECIAL = (
    "Please enable JavaScript to view this page.",
    "By going on you accept the Terms of Use.",
    "This site uses cookies, see our Cookie Policy.",
    "We make use of coo\u212aies, and use cookies.",
    "Use of cookies is not what we use. Cookie!",
    "Lorem Ipsum dolor sit amet.",
    "function() { return 1; }.",
    "and {var javascript = 1}.",
    "The town[1] lies[٢٣] on the[edit] river[citation needed] Rhine.[]",
    "[ 1] stays, [Edit] and [[2]] do not quite[3",
    "too short.",
    "Goes on and on and on...",
    "w" * 1001 + " is a long word.",
    "é" * 1000 + " is not that long.",
    "He asked 'why?'",
    "\xa0 white   space\u2003around \u3000",
    "[7] . [8]",
)


def compare(texts, **fields):
    """Reasons, texts and counts against datatrove's, given the same sentences; returns the reasons."""
    from datatrove.pipeline.filters import C4QualityFilter

    arguments = {ARGUMENTS[name]: -1 if value is None else value for name, value in fields.items()}
    block = C4QualityFilter(**arguments)
    wanted, after = decide(block, texts, split_into_sentences=sentences_twin)
    reasons, verdict = judge(filter_c4, texts, **fields)
    assert reasons == wanted
    assert verdict.columns["text"].to_pylist() == after
    totals = {name: block.stats[name].total if name in block.stats.stats else 0 for name in COUNTERS.values()}
    assert verdict.counters == {ours: totals[theirs] for ours, theirs in COUNTERS.items()}
    return reasons


def special_documents(count):
    rng = random.Random(8)
    documents = []
    for text in random_documents(count):
        lines = text.split("\n")
        for _ in range(rng.choice((0, 1, 1, 3, 9))):
            lines.insert(rng.randint(0, len(lines)), rng.choice(SPECIAL))
        documents.append(rng.choice(("\n", "\r\n", "\u2028")).join(lines))
    return documents


def test_every_rule_is_named_here():
    assert set(FilterC4.__dataclass_fields__) == set(ARGUMENTS) == set(OFF)


def test_decisions_reasons_texts_and_counts_are_those_of_datatrove():
    texts = special_documents(300)
    reasons = compare(texts)
    assert set(reasons) == {None, "lorem_ipsum", "curly_bracket", "too_few_sentences"}
    compare(texts, terminal_punctuation=False)  # as FineWeb has it
    assert reasons == [reason for start in range(0, len(texts), 7) for reason in judge(filter_c4, texts[start : start + 7])[0]]


def test_on_real_documents(shared):
    texts = real_documents(shared)
    assert len(texts) > 2000 and set(compare(texts)) >= {None, "too_few_sentences"}
    compare(texts, terminal_punctuation=False)


@pytest.mark.parametrize("field", OFF)
def test_rules_stand_alone_and_can_be_off(field):
    texts = special_documents(100)
    value = getattr(FilterC4(), field)
    alone = compare(texts, **OFF | {field: value})
    reason = {"min_sentences": "too_few_sentences", "lorem_ipsum": "lorem_ipsum", "curly_bracket": "curly_bracket"}.get(field)
    assert set(alone) == {None, reason}
    compare(texts, **{field: OFF[field]})
    changed = judge(filter_c4, texts, **OFF | {field: value})[1], judge(filter_c4, texts, **OFF)[1]
    assert changed[0].columns["text"] != changed[1].columns["text"] or changed[0].keep != changed[1].keep


PIECE = st.sampled_from(
    [*'aB \n\n\x0b\x1c\x85\u2029\xa0[]1٣²."?{é🐎\u212aİ', "\r\n", "edit]", "[citation needed]", "...", "javascript", "JAVA", "script"]
    + ["Lorem", " ipsum", "use", "s", " coo", "kies", "terms of "]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(PIECE, max_size=25).map("".join) | st.text(max_size=20), max_size=4))
def test_on_any_text(texts):
    compare(texts, max_word_chars=12, min_words=2, min_sentences=1)
    compare(texts, **OFF | {"citations": True, "javascript": True, "policy": True, "lorem_ipsum": True})


def test_detail_and_text_of_what_is_dropped():
    texts = ["One line is here. And two.", "lorem ipsum is it.", "So {it} is."]
    reasons, verdict = judge(filter_c4, texts)
    assert reasons == ["too_few_sentences", "lorem_ipsum", "curly_bracket"]
    assert [(row["value"], row["limit"]) for row in verdict.detail.to_pylist()] == [(2, 5), (1, 0), (1, 0)]
    assert verdict.columns["text"].to_pylist() == texts


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_kinds_of_columns_slices_nulls_and_no_rows(kind):
    from stages.core.stage import Inputs, Resources

    column = pa.array(["left out.", " It stays. \nfor long", None, "It is [1]."], kind).slice(1)
    stage = filter_c4(FilterC4(min_sentences=1), Inputs(), Resources())
    verdict = stage(pa.record_batch({"text": column}))
    assert verdict.keep.to_pylist() == [False, False, True]
    assert verdict.columns["text"].to_pylist() == [" It stays. \nfor long", "", "It is ."]
    assert stage(pa.record_batch({"text": column.slice(0, 0)})).columns["text"].to_pylist() == []
