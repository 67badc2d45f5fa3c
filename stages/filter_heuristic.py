"""Drop documents by Gopher's rules of quality and repetition (Rae et al. 2021, appendix A.1.1, thresholds of the text and of table A1).

Reads text, adds nothing. The first rule that fails is the drop reason; detail holds the value that was measured and its limit.
The rules run in the order of the fields below, with the arithmetic of DCLM (Li et al. 2024): every copy of a repeated item counts,
lines and paragraphs are stripped and empty ones left out, n-grams are measured in characters of their words, and one word or
line alone repeats nothing. Two differences from DCLM: a word is a maximal run of Unicode letters, marks and digits, and a stop
word is one in any case. Mean word length, symbols and letters are counted over white-space tokens. Cost: 20 to 40 MB/s a core on two busy cores;
documents that fail a rule of quality are not searched for n-grams.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import detail_array
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
    """symbol_ratio: hashes and ellipses, added up, per white-space token."""
    max_bullet_lines: float | None = 0.9
    """bullet_lines: share of lines that begin with a bullet."""
    max_ellipsis_lines: float | None = 0.3
    """ellipsis_lines: share of lines that end with an ellipsis."""
    min_alphabetic_words: float | None = 0.8
    """alphabetic_words: share of white-space tokens that hold a letter."""
    min_stop_words: int | None = 2
    """stop_words: fewest occurrences of `stop_words`, together."""
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Words that running English can not do without; each must be one word by the rule above."""
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


@stage(version=1, kind="map", needs={"text"}, drop_band=(0.01, 0.9))
def filter_heuristic(
    config: FilterHeuristic, inputs: Inputs, resources: Resources
) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents that break a rule of quality or repetition of Gopher's; ValueError for a stop word that is not one word."""
    from stages.kernels.membership import count_members
    from stages.kernels.ngrams import REPEATED, TOP, ngram_repetition
    from stages.kernels.repeats import repeated_segments
    from stages.kernels.segments import split_lines, split_paragraphs
    from stages.kernels.symbols import count_symbols, marked_lines
    from stages.kernels.text_view import text_view
    from stages.kernels.words import segment_words

    listed = segment_words(text_view(pa.array(config.stop_words, pa.string())))
    for word, count in zip(config.stop_words, np.diff(listed.bounds), strict=True):
        if count != 1:
            raise ValueError(
                f"filter_heuristic: stop word {word!r} is {count} words; list single words of letters and digits"
            )
    stop_hashes = np.unique(listed.lower_hashes)

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = text_view(batch.column("text"))
        words, lines, paragraphs = segment_words(text), split_lines(text), split_paragraphs(text)
        tokens, token_chars, alphabetic = words.tokens.T
        num_lines, num_paragraphs = np.diff(lines.bounds), np.diff(paragraphs.bounds)
        marked, line_repeats, paragraph_repeats = (
            marked_lines(text, lines),
            repeated_segments(lines),
            repeated_segments(paragraphs),
        )
        rules = _Rules(len(text))
        rules.within("word_count", np.diff(words.bounds), config.min_words, config.max_words)
        rules.within(
            "mean_word_length", _share(token_chars, tokens), config.min_mean_word_length, config.max_mean_word_length
        )
        rules.within("symbol_ratio", _share(count_symbols(text), tokens), None, config.max_symbol_ratio)
        rules.within("bullet_lines", _share(marked[:, 0], num_lines), None, config.max_bullet_lines)
        rules.within("ellipsis_lines", _share(marked[:, 1], num_lines), None, config.max_ellipsis_lines)
        rules.within("alphabetic_words", _share(alphabetic, tokens), config.min_alphabetic_words, None)
        if config.min_stop_words is not None:
            found = count_members(words.bounds, words.lower_hashes, stop_hashes, config.min_stop_words)
            rules.within("stop_words", found, config.min_stop_words, None)
        rules.within("dup_lines", _share(line_repeats[:, 0], num_lines), None, config.max_dup_lines)
        rules.within("dup_paragraphs", _share(paragraph_repeats[:, 0], num_paragraphs), None, config.max_dup_paragraphs)
        rules.within("dup_line_chars", _share(line_repeats[:, 1], _sums(lines)), None, config.max_dup_line_chars)
        rules.within(
            "dup_paragraph_chars",
            _share(paragraph_repeats[:, 1], _sums(paragraphs)),
            None,
            config.max_dup_paragraph_chars,
        )
        top, repeated, total = ngram_repetition(words, rules.passed)
        for column, n in enumerate(TOP):
            rules.within(f"top_{n}_gram", _share(top[:, column], total), None, getattr(config, f"max_top_{n}_gram"))
        for column, n in enumerate(REPEATED):
            rules.within(
                f"dup_{n}_grams", _share(repeated[:, column], total), None, getattr(config, f"max_dup_{n}_grams")
            )
        return rules.verdict()

    return judge


class _Rules:
    """The first rule that each document of a batch breaks, with the value and the limit."""

    def __init__(self, docs: int) -> None:
        self.names: list[str] = []
        self.broken = np.full(docs, -1, np.int32)
        self.values, self.limits = np.zeros(docs), np.zeros(docs)

    @property
    def passed(self) -> np.ndarray:
        """bool[docs]: the documents that have broken no rule so far."""
        return self.broken < 0

    def within(self, name: str, values: np.ndarray, low: float | None, high: float | None) -> None:
        """Record the documents for which this is the first rule that they break: values[i] below `low` or above `high`."""
        self.names.append(name)
        for limit, breaks in ((low, np.less), (high, np.greater)):
            if limit is not None:
                rows = np.flatnonzero(self.passed & breaks(values, limit))
                self.broken[rows], self.values[rows], self.limits[rows] = len(self.names) - 1, values[rows], limit

    def verdict(self) -> Verdict:
        """Turn what was recorded into a verdict; reason, value and limit are null for documents that stay."""
        kept = self.passed
        reason = pa.DictionaryArray.from_arrays(
            pa.array(self.broken, pa.int32(), mask=kept), pa.array(self.names, pa.string())
        )
        detail = detail_array(
            len(kept),
            value=pa.array(self.values, pa.float64(), mask=kept),
            limit=pa.array(self.limits, pa.float64(), mask=kept),
        )
        return Verdict(keep=pa.array(kept), reason=reason, detail=detail)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)  # nothing out of nothing is 0


def _sums(segments) -> np.ndarray:
    before = np.concatenate(([0], np.cumsum(segments.chars, dtype=np.int64)))
    return before[segments.bounds[1:]] - before[segments.bounds[:-1]]
