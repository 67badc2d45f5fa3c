"""Drop documents that hold a word of a list, as C4 does with one of dirty and obscene words (Raffel et al. 2020).

Reads text, adds nothing; detail notes the word. The decisions are those of datatrove's C4BadWordsFilter: text is lower-cased, and a word
or phrase of the list counts where it stands alone, between characters that are neither letters, digits nor "_", or the ends of the text.
C4's lists are LDNOOBW's, one for each language. datatrove can keep a random part of such documents (keep_fraction); that depends on the
order in which they come and is not offered. Cost: 200 to 400 MB/s a core (RE2).
"""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.fingerprint import digest
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage

SMALL_LIST = ("bdsm", "blowjob", "creampie", "dildo", "gangbang", "hentai", "milf", "porn", "porno", "slut", "xxx")
"""A handful of words to start with, far smaller than any of LDNOOBW's lists: give `words` for real work."""


@config
class FilterBadWords:
    words: str | None = location(None)
    """File (path or URL) with one word or phrase a line, in lower case, such as LDNOOBW's; None takes the small list shipped here."""
    whole_words: bool = True
    """False finds words inside others too, as C4 does in Japanese, Thai and Chinese."""


def read_words(config: FilterBadWords) -> list[str]:
    """Return the words of the list, sorted and without repeats; ValueError for a list without any."""
    import fsspec

    if config.words is None:
        return sorted(SMALL_LIST)
    try:
        with fsspec.open(config.words, encoding="utf-8", mode="rt") as file:
            words = sorted({line.strip() for line in file} - {""})
    except FileNotFoundError:
        raise ValueError(f"filter_bad_words: there is no list {config.words}; correct `words` or leave it out") from None
    if not words:
        raise ValueError(f"filter_bad_words: {config.words} holds no words; give a file with one a line")
    return words


@stage(version=1, kind="map", needs={"text"}, drop_band=(0.0, 0.5), identity=lambda config: {"words": digest(read_words(config))})
def filter_bad_words(config: FilterBadWords, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents that hold a word of the list."""
    any_word = "|".join("".join(map(_literal, word)) for word in read_words(config))
    before, after = (r"(?:[^\pL\pN_]|^)", r"(?:[^\pL\pN_]|$)") if config.whole_words else ("", "")
    pattern = f"{before}(?P<word>{any_word}){after}"

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = batch.column("text").cast(pa.large_string()).fill_null("")
        # Arrow lower-cases one character to one; Python, and datatrove with it, makes two of this one
        text = pc.utf8_lower(pc.replace_substring(text, "\u0130", "i\u0307"))
        drop = pc.match_substring_regex(text, pattern)
        found = pc.struct_field(pc.extract_regex(text.filter(drop), pattern), "word")
        note = pc.replace_with_mask(pa.nulls(len(text), pa.string()), drop, found.cast(pa.string()))
        return Verdict(keep=pc.invert(drop), reason=pa.repeat("bad_word", len(text)), detail=detail_array(len(text), note=note))

    return judge


def _literal(character: str) -> str:
    return character if character.isalnum() or not character.isascii() else "\\" + character  # RE2 takes a backslash before any ASCII mark
