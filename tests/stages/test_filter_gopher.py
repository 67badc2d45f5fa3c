import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filter_gopher import FilterGopher, filter_gopher
from tests.stages.datatrove_peer import SENTENCES, decide, judge, random_documents, real_documents, words_of

PROSE = " ".join(SENTENCES)
QUALITY = {
    "min_words": ("min_doc_words", "gopher_short_doc"),
    "max_words": ("max_doc_words", "gopher_long_doc"),
    "min_mean_word_length": ("min_avg_word_length", "gopher_below_avg_threshold"),
    "max_mean_word_length": ("max_avg_word_length", "gopher_above_avg_threshold"),
    "max_hash_ratio": ("max_symbol_word_ratio", "gopher_too_many_hashes"),
    "max_ellipsis_ratio": ("max_symbol_word_ratio", "gopher_too_many_ellipsis"),
    "max_bullet_lines": ("max_bullet_lines_ratio", "gopher_too_many_bullets"),
    "max_ellipsis_lines": ("max_ellipsis_lines_ratio", "gopher_too_many_end_ellipsis"),
    "min_alphabetic_words": ("max_non_alpha_words_ratio", "gopher_below_alpha_threshold"),
    "min_stop_words": ("min_stop_words", "gopher_enough_stop_words"),
}
"""Each rule of ours: datatrove's argument, and the reason."""
REPETITION = {
    "max_dup_paragraphs": ("dup_para_frac", "dup_para_frac"),
    "max_dup_paragraph_chars": ("dup_para_char_frac", "dup_para_char_frac"),
    "max_dup_lines": ("dup_line_frac", "dup_line_frac"),
    "max_dup_line_chars": ("dup_line_char_frac", "dup_line_char_frac"),
    **{f"max_top_{n}_gram": (n, f"top_{n}_gram") for n in (2, 3, 4)},
    **{f"max_dup_{n}_grams": (n, f"duplicated_{n}_n_grams") for n in (5, 6, 7, 8, 9, 10)},
}
OFF = dict.fromkeys(QUALITY | REPETITION)


def datatrove(texts):
    """The reasons of datatrove's two filters, quality first, given our words."""
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    texts = list(texts)
    quality, _ = decide(GopherQualityFilter(), texts, split_into_words=words_of)
    repetition, _ = decide(GopherRepetitionFilter(), texts, split_into_words=words_of)
    return [first or second for first, second in zip(quality, repetition, strict=True)]


def datatrove_alone(field, limit, texts):
    """The reasons of datatrove's filter with one rule on."""
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    if field in QUALITY:
        argument, reason = QUALITY[field]
        block = GopherQualityFilter(**{name: limit if name == argument else None for name, _ in QUALITY.values()})
        texts = [text if words_of(text) else "#" for text in texts]  # it divides by the number of words
        return [found if found == reason else None for found in decide(block, texts, split_into_words=words_of)[0]]
    argument, _ = REPETITION[field]
    fractions = {name: limit if name == argument else None for name, _ in list(REPETITION.values())[:4]}
    grams = {
        "top_n_grams": [(n, limit) for n in (2, 3, 4) if n == argument],
        "dup_n_grams": [(n, limit) for n in range(5, 11) if n == argument],
    }
    return decide(GopherRepetitionFilter(**fractions, **grams), texts, split_into_words=words_of)[0]


def test_every_rule_is_named_here():
    assert set(OFF) == {name for name in FilterGopher.__dataclass_fields__ if name.startswith(("min_", "max_"))}


def test_prose_stays():
    reasons, verdict = judge(filter_gopher, [PROSE])
    assert reasons == [None] and verdict.detail.to_pylist() == [dict.fromkeys(("kept_id", "value", "limit", "note"))]


def test_decisions_and_reasons_are_those_of_datatrove():
    texts = random_documents(700)
    reasons, _ = judge(filter_gopher, texts)
    assert reasons == datatrove(texts)
    assert len(set(reasons)) >= 12
    assert reasons == [reason for start in range(0, len(texts), 7) for reason in judge(filter_gopher, texts[start : start + 7])[0]]


def test_on_real_documents(shared):
    texts = real_documents(shared)
    found, wanted = judge(filter_gopher, texts)[0], datatrove(texts)
    assert found == wanted and len(texts) > 2000
    assert len(set(found)) >= 8 and found.count(None) > 1000


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.text(st.sampled_from("ab Aé東🐎.…#•-\u0308\u200d\u2028\x1c\x85\n\n  ") | st.characters(exclude_categories=("Cs",)), max_size=80),
        max_size=6,
    )
)
def test_on_any_text(texts):
    limits = {"min_words": 3, "max_words": 30, "min_stop_words": 1, "stop_words": ("a", "b")}
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    quality, _ = decide(
        GopherQualityFilter(min_doc_words=3, max_doc_words=30, min_stop_words=1, stop_words=["a", "b"]), texts, split_into_words=words_of
    )
    repetition, _ = decide(GopherRepetitionFilter(), texts, split_into_words=words_of)
    assert judge(filter_gopher, texts, **limits)[0] == [first or second for first, second in zip(quality, repetition, strict=True)]
    assert judge(filter_gopher, texts, **{name: None for name in QUALITY})[0] == repetition


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # datatrove's, of documents without words
@pytest.mark.parametrize("field", QUALITY | REPETITION)
def test_rules_stand_alone(field):
    """Every other rule off: the decisions are datatrove's with that rule alone, and both answers occur; off itself, only "" is dropped."""
    texts = random_documents(200, seed=len(field))
    if field == "max_ellipsis_ratio":
        texts = [text.replace("#", "") for text in texts]  # datatrove has one argument for the two, and counts these first
    middling = {"max_words": 100, "min_mean_word_length": 4.2, "max_mean_word_length": 4.5}
    limit = middling.get(field, getattr(FilterGopher(), field))
    found, verdict = judge(filter_gopher, texts, **OFF | {field: limit})
    wanted = datatrove_alone(field, limit, texts)
    answers = [(mine, theirs) for mine, theirs, text in zip(found, wanted, texts, strict=True) if words_of(text)]
    assert all(mine == theirs for mine, theirs in answers)
    assert {mine for mine, _ in answers} == {None, (QUALITY | REPETITION)[field][1]}
    assert {row["limit"] for row, reason in zip(verdict.detail.to_pylist(), found, strict=True) if reason} <= {limit, 1}
    assert [reason for reason in judge(filter_gopher, texts, **OFF)[0] if reason] == ["empty"]


def twin(text):
    """Every rule written plainly: reason, value, limits."""
    words, share = words_of(text), lambda a, b: a / b if b else 0.0
    from datatrove.utils.text import PUNCTUATION_SET

    plain = [word for word in words if not set(word) <= PUNCTUATION_SET]
    lines, raw, paragraphs = text.splitlines(), re.split("\n+", text), re.split("\n{2,}", text.strip())
    yield "gopher_short_doc", len(plain), 50, None
    yield "gopher_long_doc", len(plain), None, 100_000
    if plain:
        yield "gopher_below_avg_threshold", share(sum(map(len, plain)), len(plain)), 3, None
        yield "gopher_above_avg_threshold", share(sum(map(len, plain)), len(plain)), None, 10
    yield "gopher_too_many_hashes", share(text.count("#"), len(words)), None, 0.1
    yield "gopher_too_many_ellipsis", share(text.count("...") + text.count("…"), len(words)), None, 0.1
    yield "gopher_too_many_bullets", share(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)), None, 0.9
    yield "gopher_too_many_end_ellipsis", share(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)), None, 0.3
    yield "gopher_below_alpha_threshold", share(sum(any(map(str.isalpha, word)) for word in words), len(words)), 0.8, None
    yield "gopher_enough_stop_words", len(set(words) & set(FilterGopher().stop_words)), 2, None
    yield "empty", len(text), 1, None
    for name, items in (("para", paragraphs), ("line", raw)):
        later = [item for i, item in enumerate(items) if item in items[:i]]
        yield f"dup_{name}_frac", len(later) / len(items), None, 0.3
        yield f"dup_{name}_char_frac", share(sum(map(len, later)), len(text)), None, 0.2
    for n, limit in zip(range(2, 5), (0.2, 0.18, 0.16), strict=True):
        counts = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        top = max(counts, key=lambda gram, counts=counts: counts[gram], default="")
        yield f"top_{n}_gram", share(len(top) * counts[top], len(text)), None, limit
    for n, limit in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True):
        met, chars, i = set(), 0, 0
        while i <= len(words) - n:
            gram = "".join(words[i : i + n])
            chars, i = (chars + len(gram), i + n) if gram in met else (chars, i + 1)
            met.add(gram)
        yield f"duplicated_{n}_n_grams", share(chars, len(text)), None, limit


def test_values_and_limits_are_those_of_the_plain_twin():
    texts = random_documents(300, seed=11)
    reasons, verdict = judge(filter_gopher, texts)
    for text, reason, detail in zip(texts, reasons, verdict.detail.to_pylist(), strict=True):
        broken = [
            (name, value, low if low is not None and value < low else high)
            for name, value, low, high in twin(text)
            if (low is not None and value < low) or (high is not None and value > high)
        ]
        assert (reason, detail["value"], detail["limit"]) == (broken or [(None, None, None)])[0]


def test_stop_words_are_one_word_each_and_in_their_case():
    texts = [re.sub("(?i)\\b(the|and|of|to|have|with|be|that)\\b", "x", PROSE) + end for end in (" The Of", " the of the", " the the")]
    assert judge(filter_gopher, texts)[0] == ["gopher_enough_stop_words", None, "gopher_enough_stop_words"]
    assert judge(filter_gopher, texts, stop_words=())[0] == ["gopher_enough_stop_words"] * 3
    for word, count in (("et al", 2), ("", 0)):
        with pytest.raises(ValueError, match=f"'{word}' is {count} words"):
            judge(filter_gopher, [PROSE], stop_words=(word,))


def test_null_and_no_rows():
    assert judge(filter_gopher, [None])[0] == ["gopher_short_doc"]
    assert judge(filter_gopher, [None], **OFF)[0] == ["empty"]
    assert judge(filter_gopher, [])[0] == []


def test_many_stop_words():
    rng = random.Random(0)
    words = sorted({"".join(rng.choices("abcdefgh", k=4)) for _ in range(300)})
    text = " ".join(words[:150] * 2)
    reasons, verdict = judge(filter_gopher, [text], **OFF | {"min_stop_words": 151}, stop_words=tuple(words))
    assert reasons == ["gopher_enough_stop_words"] and verdict.detail.to_pylist()[0]["value"] == 150
