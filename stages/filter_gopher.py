"""Drop documents by Gopher's rules of quality and repetition as datatrove has them (GopherQualityFilter, GopherRepetitionFilter).

Reads text, adds nothing. The rules are those of Rae et al. 2021, appendix A.1.1 and table A1, with the arithmetic and the drop reasons of
datatrove 0.10, decision by decision; the first rule that fails is the reason, quality before repetition; detail holds the value and its
limit. FineWeb runs the two the other way round: the same documents stay, but one that breaks rules of both is booked under the other.

What datatrove counts differently from DCLM (filter_heuristic): of repeated lines, paragraphs and n-grams only the later copies; per
character of the text, white space included; lines unstripped, with the empty ones at both ends; the top n-gram even if it occurs once;
different stop words, in lower case; lines that begin with a bullet among all lines.

Words are UAX#29 words and symbols: datatrove's own are spaCy's, and its rules speak of symbols among the words ("#" and "..." per word,
words without a letter), so that runs of letters alone would turn some of them off. With spaCy's words the verdict is the same on 94 of 100
English web pages (with runs of letters on 84); what differs is min_alphabetic_words near its limit, as spaCy makes two words of "don't" and
one of "...". A document without any character is "empty", whatever rules are off. Cost: 85 to 95 MB/s a core, a third of it for the words.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.rules import Rules, share
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class FilterGopher:
    min_words: int | None = 50
    """gopher_short_doc: fewest words that are no symbols (A.1.1); None turns a rule off, here and below."""
    max_words: int | None = 100_000
    """gopher_long_doc: most words that are no symbols (A.1.1)."""
    min_mean_word_length: float | None = 3.0
    """gopher_below_avg_threshold: least mean length of these words, in characters (A.1.1)."""
    max_mean_word_length: float | None = 10.0
    """gopher_above_avg_threshold: greatest mean length of these words, in characters (A.1.1)."""
    max_hash_ratio: float | None = 0.1
    """gopher_too_many_hashes: "#" per word, symbols among the words from here on (A.1.1)."""
    max_ellipsis_ratio: float | None = 0.1
    """gopher_too_many_ellipsis: "..." and U+2026 per word (A.1.1)."""
    max_bullet_lines: float | None = 0.9
    """gopher_too_many_bullets: share of lines, empty ones too, that begin with U+2022 or "-" (A.1.1)."""
    max_ellipsis_lines: float | None = 0.3
    """gopher_too_many_end_ellipsis: share of lines, empty ones too, that end with an ellipsis (A.1.1)."""
    min_alphabetic_words: float | None = 0.8
    """gopher_below_alpha_threshold: share of words that hold a letter (A.1.1; 0.78 keeps as many web pages as 0.8 with spaCy's words)."""
    min_stop_words: int | None = 2
    """gopher_enough_stop_words: fewest different `stop_words` (A.1.1; datatrove's name for too few of them)."""
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Words that running English can not do without (A.1.1), each one word and spelt as it must stand in the text."""
    max_dup_paragraphs: float | None = 0.30
    """dup_para_frac: share of paragraphs (between empty lines) that stood there before (table A1, like all below)."""
    max_dup_paragraph_chars: float | None = 0.20
    """dup_para_char_frac: characters of these per character of the text."""
    max_dup_lines: float | None = 0.30
    """dup_line_frac: share of lines that stood there before."""
    max_dup_line_chars: float | None = 0.20
    """dup_line_char_frac: characters of these per character of the text."""
    max_top_2_gram: float | None = 0.20
    """top_2_gram: length of the most frequent 2-gram, with a space between its words, times its count, per character of the text."""
    max_top_3_gram: float | None = 0.18
    """top_3_gram."""
    max_top_4_gram: float | None = 0.16
    """top_4_gram."""
    max_dup_5_grams: float | None = 0.15
    """duplicated_5_n_grams: characters of 5-grams that were met before, none counted twice, per character of the text."""
    max_dup_6_grams: float | None = 0.14
    """duplicated_6_n_grams."""
    max_dup_7_grams: float | None = 0.13
    """duplicated_7_n_grams."""
    max_dup_8_grams: float | None = 0.12
    """duplicated_8_n_grams."""
    max_dup_9_grams: float | None = 0.11
    """duplicated_9_n_grams."""
    max_dup_10_grams: float | None = 0.10
    """duplicated_10_n_grams."""


@stage(version=1, kind="map", needs={"text"}, drop_band=(0.01, 0.9))
def filter_gopher(config: FilterGopher, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents that break a rule of Gopher's as datatrove reads them; ValueError for a stop word that is not one word."""
    from stages.kernels.gopher_ngrams import REPEATED, TOP, first_repetition
    from stages.kernels.gopher_quality import count_marks, count_words
    from stages.kernels.raw_segments import later_copies, raw_lines, raw_paragraphs
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    listed = segment_uax29(text_view(pa.array(config.stop_words, pa.string())))
    for word, count in zip(config.stop_words, np.diff(listed.bounds), strict=True):
        if count != 1 or word != word.strip():
            raise ValueError(f"filter_gopher: stop word {word!r} is {count} words; list single words, without white space")
    stop_hashes = listed.hashes
    ngram_rules = [(f"top_{n}_gram", getattr(config, f"max_top_{n}_gram")) for n in TOP]
    ngram_rules += [(f"duplicated_{n}_n_grams", getattr(config, f"max_dup_{n}_grams")) for n in REPEATED]
    ngram_limits = tuple(limit for _, limit in ngram_rules)

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = text_view(batch.column("text"))
        tokens = segment_uax29(text)
        words, marks = count_words(text, tokens, stop_hashes), count_marks(text)
        rules = Rules(len(text))
        rules.at_least("gopher_short_doc", words.plain, config.min_words)
        rules.at_most("gopher_long_doc", words.plain, config.max_words)
        mean_length = np.where(words.plain > 0, share(words.plain_chars, words.plain), np.nan)  # of no words none, which breaks no rule
        rules.at_least("gopher_below_avg_threshold", mean_length, config.min_mean_word_length)
        rules.at_most("gopher_above_avg_threshold", mean_length, config.max_mean_word_length)
        rules.at_most("gopher_too_many_hashes", share(marks.hashes, words.words), config.max_hash_ratio)
        rules.at_most("gopher_too_many_ellipsis", share(marks.ellipses, words.words), config.max_ellipsis_ratio)
        rules.at_most("gopher_too_many_bullets", share(marks.bullets, marks.lines), config.max_bullet_lines)
        rules.at_most("gopher_too_many_end_ellipsis", share(marks.ellipsis_lines, marks.lines), config.max_ellipsis_lines)
        rules.at_least("gopher_below_alpha_threshold", share(words.alphabetic, words.words), config.min_alphabetic_words)
        rules.at_least("gopher_enough_stop_words", words.stop_words, config.min_stop_words)
        rules.at_least("empty", marks.chars, 1)  # datatrove's filter of repetition knows no other answer to it

        for name, split, dups, dup_chars in (
            ("para", raw_paragraphs, config.max_dup_paragraphs, config.max_dup_paragraph_chars),
            ("line", raw_lines, config.max_dup_lines, config.max_dup_line_chars),
        ):
            if dups is not None or dup_chars is not None:
                segments = split(text)
                copies, copied_chars = later_copies(segments).T
                rules.at_most(f"dup_{name}_frac", share(copies, np.diff(segments.bounds)), dups)
                rules.at_most(f"dup_{name}_char_frac", share(copied_chars, marks.chars), dup_chars)
        over, shares = first_repetition(text, tokens, marks.chars, rules.passed, ngram_limits)
        for n, (name, limit) in enumerate(ngram_rules, start=TOP[0]):
            if limit is not None:
                rules.drop(name, over == n, shares, limit)
        return rules.verdict()

    return judge
