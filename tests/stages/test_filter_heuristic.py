import json
import random
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.stage import Inputs, Resources
from stages.filter_heuristic import FilterHeuristic, filter_heuristic
from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29

DATA = Path(__file__).parents[3] / "shared/data"
LIMITS = {name: field.default for name, field in FilterHeuristic.__dataclass_fields__.items() if name.startswith(("min_", "max_"))}
OFF = dict.fromkeys(LIMITS)

PROSE = (
    "The river runs past the old mill and down to the sea. Every spring the people of the village come to mend the banks, "
    "and they have done so with care for as long as anyone can tell. In a dry year the water hardly covers the stones; in a "
    "wet one it takes away fences, boats, even a bridge that was thought to be safe. Nobody minds much, because a meadow "
    "fed by floods grows twice the hay."
)


def judge(texts, **fields):
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    verdict = filter_heuristic(FilterHeuristic(**fields), Inputs(), Resources())(batch)
    reasons, details = verdict.reason.to_pylist(), verdict.detail.to_pylist()
    return [(reason, d["value"], d["limit"]) for reason, d in zip(reasons, details, strict=True)], verdict


def first(text, **fields):
    return judge([text], **fields)[0][0]


def test_prose_stays():
    found, verdict = judge([PROSE])
    assert found == [(None, None, None)] and verdict.keep.to_pylist() == [True]


@pytest.mark.parametrize(
    "text, reason, value, limit",
    [
        ("too short", "word_count", 2, 50),
        ("a " * 100_001, "word_count", 100_001, 100_000),
        ("of a to I " * 25, "mean_word_length", 1.5, 3),
        ("incomprehensibly " * 60, "mean_word_length", 16, 10),
        (PROSE + " #" * 12, "symbol_ratio", 12 / 91, 0.1),
        ("\n".join("- the line and " + chr(97 + i) * 5 for i in range(20)), "bullet_lines", 1.0, 0.9),
        (PROSE.replace(". ", "...\n"), "ellipsis_lines", 3 / 4, 0.3),
        (PROSE + " 1234" * 40, "alphabetic_words", 79 / 119, 0.8),
        ("stones " * 60, "stop_words", 0, 2),
        ("the, (of) and. to; " * 30, "stop_words", 0, 2),
        (PROSE + "\nthe same line" * 3, "dup_lines", 0.75, 0.3),
        (PROSE.replace(". ", ".\n\n") + "\n\nyes\n\nno" * 2, "dup_lines", 0.5, 0.3),
        (PROSE + " river banks" * 12, "top_2_gram", None, 0.2),
    ],
)
def test_every_rule_has_its_reason(text, reason, value, limit):
    found = first(text)
    assert found[0] == reason and found[2] == limit
    assert value is None or found[1] == pytest.approx(value)


@pytest.mark.parametrize(
    "field, text",
    [
        ("max_dup_paragraphs", PROSE + "\n\nyes" * 3),
        ("max_dup_line_chars", PROSE + "\n" + PROSE),
        ("max_dup_paragraph_chars", PROSE + "\n\n" + PROSE),
        ("max_top_3_gram", PROSE + " one more time" * 12),
        ("max_top_4_gram", PROSE + " one more time please" * 12),
        *[(f"max_dup_{n}_grams", PROSE + " " + PROSE) for n in range(5, 11)],
    ],
)
def test_rules_stand_alone(field, text):
    """With every other rule turned off, and each off on its own."""
    others = {name: None for name in LIMITS if name != field}
    assert first(text, **others)[0] == field.removeprefix("max_")
    assert first(text, **{**others, field: None})[0] is None


def uax29_words(text):
    view = text_view(pa.array([text]))
    tokens = segment_uax29(view)  # which has twins of its own
    spans = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
    return [word for a, b in spans if (word := view.data[a:b].tobytes().decode())[0].isalnum()]


def twin(text, c):
    """The rules as DCLM's functions go about them, over Python strings: name, broken or not, value, limit."""
    below = lambda value, low: low is not None and value < low  # noqa: E731
    above = lambda value, high: high is not None and value > high  # noqa: E731
    tokens = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [p.strip() for p in text.split("\n\n") if p.strip()]

    words = [word for word in re.split("[\0\t\n\v\f\r ]+", text) if word and word[0].isalnum()]
    yield "word_count", below(len(words), c.min_words), len(words), c.min_words
    yield "word_count", above(len(words), c.max_words), len(words), c.max_words
    yield "blank", not tokens, 0, 1
    if not tokens:
        return
    mean = sum(len(token) for token in tokens) / len(tokens)
    yield "mean_word_length", below(mean, c.min_mean_word_length), mean, c.min_mean_word_length
    yield "mean_word_length", above(mean, c.max_mean_word_length), mean, c.max_mean_word_length
    symbols = sum(text.count(symbol) for symbol in ("#", "...", ". . .", "…")) / len(tokens)
    yield "symbol_ratio", above(symbols, c.max_symbol_ratio), symbols, c.max_symbol_ratio
    for name, marked, limit in (
        ("bullet_lines", [line for line in lines if line.startswith(("●", "•", "*", "-"))], c.max_bullet_lines),
        ("ellipsis_lines", [line for line in lines if line.endswith(("...", ". . .", "…"))], c.max_ellipsis_lines),
    ):
        yield name, limit is not None and len(marked) > limit * len(lines), len(marked) / len(lines), limit
    alphabetic = [token for token in tokens if any(character.isalpha() for character in token)]
    no_letter = (len(tokens) - len(alphabetic)) / len(tokens)
    broken = c.min_alphabetic_words is not None and not no_letter <= round(1 - c.min_alphabetic_words, 9)
    yield "alphabetic_words", broken, len(alphabetic) / len(tokens), c.min_alphabetic_words
    stops = sum(token.lower() in c.stop_words for token in tokens)
    yield "stop_words", below(stops, c.min_stop_words), stops, c.min_stop_words

    def copies(segments, count_characters):
        if len(segments) == 1:
            return 0.0
        size = len if count_characters else lambda segment: 1
        counts = Counter(segments)
        return sum(size(s) * n for s, n in counts.items() if n > 1) / sum(size(s) for s in segments)

    for name, segments, count_characters in (
        ("dup_lines", lines, False),
        ("dup_paragraphs", paragraphs, False),
        ("dup_line_chars", lines, True),
        ("dup_paragraph_chars", paragraphs, True),
    ):
        limit, value = getattr(c, f"max_{name}"), copies(segments, count_characters)
        yield name, above(value, limit), value, limit

    words = uax29_words(text)
    for n in range(2, 11):
        name = f"top_{n}_gram" if n < 5 else f"dup_{n}_grams"
        limit = getattr(c, f"max_{name}")
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        most = max(counts.values(), default=1)
        if most == 1:
            return
        if n < 5:
            chars = most * max(len("".join(gram)) for gram, count in counts.items() if count == most)
        else:
            chars = sum(len(words[i]) for i in {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)})
        value = chars / sum(map(len, words))
        yield name, above(value, limit), value, limit


def by_twin(text, config):
    return next(((name, value, limit) for name, broken, value, limit in twin(text, config) if broken), (None, None, None))


def random_document(rng):
    # what repeats is drawn from PROSE at every grain, so that every rule has documents that break it and that do not
    sentences = PROSE.split(". ") + [" ".join(rng.sample(PROSE.split(), rng.randint(1, 20))) for _ in range(8)]
    parts = [rng.choice(sentences) for _ in range(rng.randint(1, 30))]
    parts += [
        rng.choice(["...", "# #", "- the", "42", "…", ". . .", "déjà 𝔘 🐎", "● one"]) for _ in range(rng.randint(0, 12))
    ]
    rng.shuffle(parts)
    return "".join(part + rng.choice([" ", " ", "\n", "\n\n", "...\n"]) for part in parts)


def test_against_the_plain_twin_and_any_batch_size():
    rng = random.Random(3)
    texts = ["", " \n"] + [random_document(rng) for _ in range(600)] + [PROSE]
    found, _ = judge(texts)
    assert found == [by_twin(text, FilterHeuristic()) for text in texts]
    assert len({reason for reason, _, _ in found}) >= 8
    assert found == [row for start in range(0, len(texts), 7) for row in judge(texts[start : start + 7])[0]]


PIECES = st.sampled_from(
    ["the", "To", "and,", "a", "it's", "#", "...", ". . .", "…", "- ", "●", "42", "éé", "中文", "🐎", "\u00a0", "\0", "_x"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.sampled_from([" ", "\n", "\n\n", "  \n"]) | st.text(st.characters(codec="latin-1"), max_size=4), max_size=40)
SOME_LIMITS = st.fixed_dictionaries(
    {name: st.sampled_from([None, limit, limit and (0.5 if limit < 1 else 4)]) for name, limit in LIMITS.items()}
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS.map("".join) | TEXTS.map(" ".join), max_size=4), SOME_LIMITS)
def test_any_text_under_any_limits(texts, limits):
    limits["min_alphabetic_words"] = limits["min_alphabetic_words"] and 0.75  # a limit that floats hold exactly
    assert judge(texts, **limits)[0] == [by_twin(text, FilterHeuristic(**limits)) for text in texts]


def real_texts():
    texts = [path.read_text(errors="ignore") for path in sorted((DATA / "text").rglob("*.txt"))]
    for path in (DATA / "quality").glob("*.jsonl"):
        texts += [json.loads(line)["text"] for line in path.read_text().splitlines()]
    return [text[i : i + 3_000] for text in texts for i in range(0, min(len(text), 9_000), 3_000)]


@pytest.mark.skipif(not (DATA / "text").is_dir(), reason="needs the collection of real texts")
def test_real_text():
    texts = random.Random(5).sample(real_texts(), 400)
    found, _ = judge(texts)
    assert found == [by_twin(text, FilterHeuristic()) for text in texts]
    assert len({reason for reason, _, _ in found}) >= 4 and (None, None, None) in found


@pytest.mark.parametrize("arrow_type", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_other_string_types_and_slices(arrow_type):
    texts = ["x", None, PROSE, PROSE + " #" * 12, "stones " * 60]
    column = pa.array(texts).cast(arrow_type) if pa.types.is_dictionary(arrow_type) else pa.array(texts, arrow_type)
    verdict = filter_heuristic(FilterHeuristic(), Inputs(), Resources())(pa.record_batch({"text": column.slice(1)}))
    assert verdict.reason.to_pylist() == ["word_count", None, "symbol_ratio", "stop_words"]


def test_stop_words_are_tokens_in_any_case():
    assert first(re.sub("(?i)the|and|of|to|have|with|be|that", "x", PROSE) + " THE Of")[0] is None
    assert first(PROSE, stop_words=("MILL", "sea"))[0] == "stop_words"  # "sea." is another token
    with pytest.raises(ValueError, match="'et al' is 2 words"):
        FilterHeuristic(stop_words=("et al",))


def test_blank_documents_stay_under_no_rules():
    assert judge(["", " \n\u3000", None, "."], **OFF)[0] == [("blank", 0, 1)] * 3 + [(None, None, None)]


def test_null_and_no_rows():
    assert judge([None])[0][0][0] == "word_count"
    assert judge([])[0] == []
