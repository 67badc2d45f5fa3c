import random
import re
import unicodedata
from collections import Counter

import pyarrow as pa
import pytest

from stages.core.stage import Inputs, Resources
from stages.filter_heuristic import FilterHeuristic, filter_heuristic

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
    others = {
        name: None
        for name in FilterHeuristic.__dataclass_fields__
        if name.startswith(("min_", "max_")) and name != field
    }
    assert first(text, **others)[0] == field.removeprefix("max_")
    assert first(text, **{**others, field: None})[0] is None


def twin(text):
    """The rules written plainly, over Python strings."""
    words = re.findall(r"[^\W_]+", text)  # letters and digits; the texts below hold no marks
    assert all(unicodedata.category(c)[0] in "LN" for word in words for c in word)
    tokens, total = text.split(), sum(map(len, words))
    lines = [s.strip() for s in text.split("\n") if s.strip()]
    paragraphs = [s.strip() for s in re.split("\n{2,}", text) if s.strip()]
    share = lambda a, b: a / b if b else 0.0  # noqa: E731
    repeats = lambda items, size: sum(n * size(i) for i, n in Counter(items).items() if n > 1)  # noqa: E731
    yield "word_count", len(words), 50, 100_000
    yield "mean_word_length", share(sum(map(len, tokens)), len(tokens)), 3, 10
    yield "symbol_ratio", share(sum(text.count(s) for s in ("#", "...", ". . .", "…")), len(tokens)), None, 0.1
    yield "bullet_lines", share(sum(line[0] in "●•*-:" for line in lines), len(lines)), None, 0.9
    yield "ellipsis_lines", share(sum(line.endswith(("...", ". . .", "…")) for line in lines), len(lines)), None, 0.3
    yield "alphabetic_words", share(sum(any(map(str.isalpha, t)) for t in tokens), len(tokens)), 0.8, None
    yield "stop_words", min(2, sum(w.lower() in FilterHeuristic().stop_words for w in words)), 2, None
    yield "dup_lines", share(repeats(lines, lambda _: 1), len(lines)), None, 0.3
    yield "dup_paragraphs", share(repeats(paragraphs, lambda _: 1), len(paragraphs)), None, 0.3
    yield "dup_line_chars", share(repeats(lines, len), sum(map(len, lines))), None, 0.2
    yield "dup_paragraph_chars", share(repeats(paragraphs, len), sum(map(len, paragraphs))), None, 0.2
    for n, limit in zip(range(2, 11), (0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        if n < 5:
            most = max(counts.values(), default=0)
            chars = most * max((len("".join(g)) for g, c in counts.items() if c == most), default=0) if most > 1 else 0
            yield f"top_{n}_gram", share(chars, total), None, limit
        else:
            covered = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
            yield f"dup_{n}_grams", share(sum(len(words[i]) for i in covered), total), None, limit


def by_twin(text):
    for reason, value, low, high in twin(text):
        for limit, broken in ((low, low is not None and value < low), (high, high is not None and value > high)):
            if broken:
                return reason, value, limit
    return None, None, None


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
    assert found == [by_twin(text) for text in texts]
    assert len({reason for reason, _, _ in found}) >= 8
    assert found == [row for start in range(0, len(texts), 7) for row in judge(texts[start : start + 7])[0]]


def test_stop_words_are_any_case_and_of_one_word():
    assert first(re.sub("(?i)the|and|of|to|have|with|be|that", "x", PROSE) + " THE Of")[0] is None
    with pytest.raises(ValueError, match="'et al' is 2 words"):
        judge([PROSE], stop_words=("et al",))


def test_null_and_no_rows():
    assert judge([None])[0][0][0] == "word_count"
    assert judge([])[0] == []
