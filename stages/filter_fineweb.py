"""Drop documents by the rules that FineWeb adds to Gopher's and C4's (Penedo et al. 2024), as datatrove's FineWebQualityFilter has them.

Reads text, adds nothing. The arithmetic and the drop reasons are those of datatrove 0.10, decision by decision; detail holds the value and
its limit. Lines are what stands between newlines, unstripped, blank ones left out. A document without such a line is dropped as "empty".
Words, of which only the last rule speaks, are UAX#29 words and symbols in the place of spaCy's; they are sought only in documents that
have too many newlines for the words between white space. Cost: 400 to 500 MB/s a core.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.rules import Rules, share
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class FilterFineweb:
    min_punctuated_lines: float | None = 0.12
    """line_punct_ratio: share of lines that end with one of `stop_chars`; None turns a rule off, here and below.
    This limit and the others are datatrove's defaults, with which it makes FineWeb."""
    keep_unpunctuated: bool = False
    """Let documents pass this rule in which no line at all ends so (datatrove's line_punct_exclude_zero)."""
    stop_chars: tuple[str, ...] | None = None
    """Characters that may end a sentence; None takes datatrove's 159 of all scripts (TERMINAL_PUNCTUATION)."""
    max_short_lines: float | None = 0.67
    """short_line_ratio: share of lines of `short_line_length` characters at most."""
    short_line_length: int = 30
    """Longest short line, in characters."""
    max_dup_line_chars: float | None = 0.01
    """char_dup_ratio: characters of lines that stood there before, per character that is no newline."""
    max_newlines_per_word: float | None = 0.3
    """list_ratio: newlines per word."""

    def __post_init__(self) -> None:
        for character in self.stop_chars or ():
            if len(character) != 1:
                raise ValueError(f"stop_chars holds {character!r}; list single characters")


@stage(version=1, kind="map", needs={"text"}, drop_band=(0.01, 0.9))
def filter_fineweb(config: FilterFineweb, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents whose lines end, are cut short or come back as those of lists and menus do."""
    from stages.kernels.line_ends import count_lines
    from stages.kernels.punctuation import sentence_terminals
    from stages.kernels.raw_segments import filled_lines, later_copies
    from stages.kernels.text_view import text_view

    last = sentence_terminals()
    if config.stop_chars is not None:
        last = np.zeros_like(last)
        last[[ord(character) for character in config.stop_chars]] = True

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = text_view(batch.column("text"))
        lines = filled_lines(text)
        counts, num_lines = count_lines(text, lines, last, config.short_line_length), np.diff(lines.bounds)
        rules = Rules(len(text))
        rules.at_least("empty", num_lines, 1)
        ended = share(counts.ended, num_lines)
        if config.min_punctuated_lines is not None:
            exempt = (counts.ended == 0) & config.keep_unpunctuated
            rules.drop("line_punct_ratio", (ended < config.min_punctuated_lines) & ~exempt, ended, config.min_punctuated_lines)
        rules.at_most("short_line_ratio", share(counts.short, num_lines), config.max_short_lines)
        rules.at_most("char_dup_ratio", share(later_copies(lines)[:, 1], counts.chars), config.max_dup_line_chars)
        if config.max_newlines_per_word is not None:
            ratio = share(counts.newlines, counts.heads)  # never too low, as words are at least so many
            doubtful = np.flatnonzero(rules.passed & (ratio > config.max_newlines_per_word))
            ratio[doubtful] = share(counts.newlines[doubtful], _count_words(batch.column("text"), doubtful))
            rules.at_most("list_ratio", ratio, config.max_newlines_per_word)
        return rules.verdict()

    return judge


def _count_words(texts: pa.Array, rows: np.ndarray) -> np.ndarray:
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    if texts.type == pa.string_view():
        texts = texts.cast(pa.large_string())  # Arrow takes no rows of views
    return np.diff(segment_uax29(text_view(texts.take(pa.array(rows)))).bounds)
