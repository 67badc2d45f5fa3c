import random

import pytest

from stages.filter_paragraphs import FilterParagraphs, filter_paragraphs
from tests.stages.datatrove_peer import decide, judge


def test_decisions_are_those_of_datatrove():
    from datatrove.pipeline.filters import C4ParagraphFilter

    rng = random.Random(1)
    texts = ["", "x" * 600, "\n\n"]
    for _ in range(300):
        paragraphs = ["é" * rng.choice((0, 1, 199, 200, 201, 500)) for _ in range(rng.randint(0, 8))]
        texts.append(rng.choice(("\n", "\n\n", "\n \n")).join(paragraphs))
    wanted, _ = decide(C4ParagraphFilter(), texts)
    found, verdict = judge(filter_paragraphs, texts)
    assert [reason is None for reason in found] == [reason is None for reason in wanted]
    assert set(found) == {None, "few_paragraphs"}
    assert all(row["limit"] == 3 and row["value"] < 3 for row, reason in zip(verdict.detail.to_pylist(), found, strict=True) if reason)


def test_limits():
    assert judge(filter_paragraphs, ["ab\ncd\ne", None], min_paragraphs=2, min_paragraph_chars=2)[0] == [None, "few_paragraphs"]
    assert judge(filter_paragraphs, [])[0] == []
    with pytest.raises(ValueError, match="give 1 or more"):
        FilterParagraphs(min_paragraph_chars=0)
