"""Drop documents by Gopher's rules of quality and repetition as DCLM has them (Rae et al. 2021, appendix A.1.1; Li et al. 2024).

Reads text, adds nothing. The rules, their order, their arithmetic and their limits are those of DCLM's RefinedWeb recipe, from
page_length_filter to massive_web_repetition_filters, decision by decision. The first rule that fails is the drop reason; detail holds
the value that was measured and its limit; a value that equals its limit stays.

Three kinds of words, as there: word_count takes what fastText splits (ASCII white space and NUL) and begins with a letter or a digit;
the other rules of quality take str.split(); n-grams take UAX#29 words that begin with a letter or a digit, in their case. Lines and
paragraphs are stripped and empty ones left out; every copy of what repeats counts, the first one too; shares are of the characters of
words, lines or paragraphs, not of the text. One line or paragraph alone, and n-grams that occur once, repeat nothing. Characters are
those of Unicode 14 (letters, white space, lower case) and 15 (words), whatever the Python.
Cost: 80 MB/s a core; every rule is put only to the documents that are left, the dear ones last.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.rules import Rules, share
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class FilterHeuristic:
    min_words: int | None = 50
    """word_count: fewest words of a document; None turns a rule off, here and below."""
    max_words: int | None = 100_000
    """word_count: most words of a document."""
    min_mean_word_length: float | None = 3.0
    """mean_word_length: least mean length of white-space tokens, in characters."""
    max_mean_word_length: float | None = 10.0
    """mean_word_length: greatest mean length of white-space tokens, in characters."""
    max_symbol_ratio: float | None = 0.1
    """symbol_ratio: "#", "...", ". . ." and U+2026, added up, per white-space token."""
    max_bullet_lines: float | None = 0.9
    """bullet_lines: share of lines that begin with U+25CF, U+2022, "*" or "-"."""
    max_ellipsis_lines: float | None = 0.3
    """ellipsis_lines: share of lines that end with "...", ". . ." or U+2026."""
    min_alphabetic_words: float | None = 0.8
    """alphabetic_words: share of white-space tokens that hold a letter."""
    min_stop_words: int | None = 2
    """stop_words: fewest white-space tokens that are one of `stop_words`, all of them counted."""
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Words that running English can not do without; in any case, and with no punctuation at either end."""
    max_dup_lines: float | None = 0.30
    """dup_lines: share of lines that occur twice or more."""
    max_dup_paragraphs: float | None = 0.30
    """dup_paragraphs: share of paragraphs (between empty lines) that occur twice or more."""
    max_dup_line_chars: float | None = 0.20
    """dup_line_chars: share of the lines' characters that are in such lines."""
    max_dup_paragraph_chars: float | None = 0.20
    """dup_paragraph_chars: share of the paragraphs' characters that are in such paragraphs."""
    max_top_2_gram: float | None = 0.20
    """top_2_gram: characters of the most frequent 2-gram times its count, per character of all words; likewise below."""
    max_top_3_gram: float | None = 0.18
    """top_3_gram."""
    max_top_4_gram: float | None = 0.16
    """top_4_gram."""
    max_dup_5_grams: float | None = 0.15
    """dup_5_grams: share of the words' characters that lie in a 5-gram that occurs twice or more; likewise below."""
    max_dup_6_grams: float | None = 0.14
    """dup_6_grams."""
    max_dup_7_grams: float | None = 0.13
    """dup_7_grams."""
    max_dup_8_grams: float | None = 0.12
    """dup_8_grams."""
    max_dup_9_grams: float | None = 0.11
    """dup_9_grams."""
    max_dup_10_grams: float | None = 0.10
    """dup_10_grams."""

    def __post_init__(self) -> None:
        for word in self.stop_words:
            if word.split() != [word]:
                count = len(word.split())
                raise ValueError(f"filter_heuristic: stop word {word!r} is {count} words; list single words, without white space")


@stage(version=2, kind="map", needs={"text"}, drop_band=(0.01, 0.9))
def filter_heuristic(config: FilterHeuristic, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents that break a rule of quality or repetition.

    A document of white space alone is "blank", whatever rules are off: DCLM drops it by any of nearly all of them.
    """
    from stages.kernels.ngrams import REPEATED, TOP, ngram_repetition
    from stages.kernels.repeats import repeated_segments
    from stages.kernels.segments import split_lines, split_paragraphs
    from stages.kernels.symbols import count_symbols, marked_lines
    from stages.kernels.token_counts import count_stop_words, count_tokens
    from stages.kernels.uax29 import segment_uax29

    ngram_rules = [(f"top_{n}_gram", getattr(config, f"max_top_{n}_gram")) for n in TOP]
    ngram_rules += [(f"dup_{n}_grams", getattr(config, f"max_dup_{n}_grams")) for n in REPEATED]

    def judge(batch: pa.RecordBatch) -> Verdict:
        rules = Rules(batch.num_rows)

        left = _Left(batch.column("text"), rules)
        counts, symbols = count_tokens(left.text), count_symbols(left.text)
        rules.at_least("word_count", counts.words, config.min_words)
        rules.at_most("word_count", counts.words, config.max_words)
        rules.at_least("blank", counts.tokens, 1)
        mean_length = share(counts.token_chars, counts.tokens)
        rules.at_least("mean_word_length", mean_length, config.min_mean_word_length)
        rules.at_most("mean_word_length", mean_length, config.max_mean_word_length)
        rules.at_most("symbol_ratio", share(symbols, counts.tokens), config.max_symbol_ratio)

        left = _Left(batch.column("text"), rules)
        lines = split_lines(left.text)
        num_lines = np.diff(lines.bounds)
        bullets, ellipses = marked_lines(left.text, lines).T
        rules.at_most("bullet_lines", left.spread(share(bullets, num_lines)), config.max_bullet_lines)
        rules.at_most("ellipsis_lines", left.spread(share(ellipses, num_lines)), config.max_ellipsis_lines)
        rules.at_least("alphabetic_words", share(counts.alphabetic, counts.tokens), config.min_alphabetic_words)
        if config.min_stop_words is not None:
            found = count_stop_words(left.text, config.stop_words, config.min_stop_words)
            rules.at_least("stop_words", left.spread(found), config.min_stop_words)
        paragraphs = split_paragraphs(left.text)
        copies, copied_chars = repeated_segments(lines).T
        paragraph_copies, paragraph_copied_chars = repeated_segments(paragraphs).T
        rules.at_most("dup_lines", left.spread(share(copies, num_lines)), config.max_dup_lines)
        rules.at_most("dup_paragraphs", left.spread(share(paragraph_copies, np.diff(paragraphs.bounds))), config.max_dup_paragraphs)
        rules.at_most("dup_line_chars", left.spread(share(copied_chars, _chars(lines))), config.max_dup_line_chars)
        rules.at_most(
            "dup_paragraph_chars", left.spread(share(paragraph_copied_chars, _chars(paragraphs))), config.max_dup_paragraph_chars
        )

        if any(limit is not None for _, limit in ngram_rules):
            left = _Left(batch.column("text"), rules)
            top, repeated, total = ngram_repetition(segment_uax29(left.text))
            for (name, limit), chars in zip(ngram_rules, (*top.T, *repeated.T), strict=True):
                rules.at_most(name, left.spread(share(chars, total)), limit)
        return rules.verdict()

    return judge


class _Left:
    """The documents of a column that have broken no rule so far: their texts alone, and the way back to all rows."""

    def __init__(self, column: pa.Array, rules: Rules) -> None:
        from stages.kernels.text_view import text_view

        if column.type == pa.string_view():
            column = column.cast(pa.large_string())  # Arrow filters no views
        self.kept = rules.passed
        self.text = text_view(column if self.kept.all() else column.filter(pa.array(self.kept)))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every row its value, those that were dropped before a 0 that nobody asks for."""
        spread = np.zeros(len(self.kept), values.dtype)
        spread[self.kept] = values
        return spread


def _chars(segments) -> np.ndarray:
    """Characters of all segments of each document, int64[n]."""
    before = np.concatenate(([0], np.cumsum(segments.chars, dtype=np.int64)))
    return before[segments.bounds[1:]] - before[segments.bounds[:-1]]
