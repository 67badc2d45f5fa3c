"""UAX#29 segmentation beside uniseg (which DCLM uses) and the regex module's default Unicode word boundaries."""

from typing import Any

from curation_cases.corpus import Corpus
from curation_cases.measure import Speed, clocked, in_turns, over

EXCERPTS, QUICK_EXCERPTS, EXCERPT_CHARS = 400, 40, 1_500
"""Text for uniseg, which does some 0.1 MB/s."""


def run(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Segment all texts; the peers get a part of them."""
    import regex
    import uniseg.wordbreak

    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    boundary = regex.compile(r"(?w)\b")
    views = [text_view(batch.column("text")) for batch in corpus.batches]
    part = corpus.excerpts(QUICK_EXCERPTS if quick else EXCERPTS, EXCERPT_CHARS)
    several = corpus.part(200_000 if quick else 4_000_000)

    ours = segments(part.texts)
    theirs, uniseg_seconds = clocked(lambda: [[w for w in uniseg.wordbreak.words(text) if not w.isspace()] for text in part.texts])
    regex_words = [[w for w in boundary.split(text) if w and not w.isspace()] for text in part.texts]
    agree = sum(a == b for a, b in zip(ours, regex_words, strict=True))
    # The one thing regex does differently: it joins an apostrophe to the vowel behind it.
    plain = [not regex.search(r"['’][aeiouyàâéèêëîïôûùAEIOUY]", text) for text in part.texts]
    equal_to_regex = all(a == b for a, b, same in zip(ours, regex_words, plain, strict=True) if same)

    segment_uax29(views[0])
    seconds = in_turns(
        1 if quick else 5,
        winnow=lambda: over(segment_uax29, views),
        regex=lambda: over(lambda text: [w for w in boundary.split(text) if not w.isspace()], several.texts),
    )
    return [
        *Speed(corpus.megabytes, seconds["winnow"], "uniseg", part.megabytes, uniseg_seconds).rows(
            "segment/uax29", equal=ours == theirs, at_least=150.0,
            note=f"equal: all segments of {len(ours)} excerpts are uniseg's, half of them those richest in non-ASCII",
        ),
        *Speed(corpus.megabytes, seconds["winnow"], r"regex (?w)\b", several.megabytes, seconds["regex"]).rows(
            "segment/uax29", equal=equal_to_regex,
            note=f"equal: on the {sum(plain)} excerpts without apostrophe and vowel, where regex leaves UAX#29; "
            f"it agrees on {agree} of all {len(ours)}",
        ),  # fmt: skip
    ]


def segments(texts: list[str]) -> list[list[str]]:
    """The words that the kernel finds, as strings, document by document."""
    import pyarrow as pa

    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    view = text_view(pa.array(texts, pa.large_string()))
    tokens = segment_uax29(view)
    data = view.data.tobytes()
    spans = list(zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True))
    bounds = tokens.bounds.tolist()
    return [[data[a:b].decode() for a, b in spans[low:high]] for low, high in zip(bounds, bounds[1:], strict=False)]
