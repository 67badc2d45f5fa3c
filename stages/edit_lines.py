"""Edit the lines of the text as RefinedWeb does (Penedo et al. 2023, appendix G.2), with the arithmetic of DCLM (Li et al. 2024).

Reads text, replaces it, and adds lines_removed and words_removed. In this order, each on what those before have left: drop lines in upper
case, of digits alone, that count likes or shares, of one word; cut "items in cart" out of short lines, "Read more..." off their end,
"Sign-in" off their beginning. A document that loses more than 5 % of its words this way is dropped (`removed_words`), as is one that
has none (`no_words`) or of which no line is left (`no_text`). Words are what fastText splits at blanks, if they begin with a letter or a
digit. Counters, over the documents that stay: `<rule>_lines` dropped or shortened and `<rule>_words` gone with them, for each rule.
Cost: 130 MB/s a core and more.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class EditLines:
    max_uppercase: float | None = 0.5
    """uppercase: drop lines with a greater share of upper-case characters, blanks counted; None turns a rule off, here and below."""
    max_digits: float | None = 0.999999
    """digits: drop lines with a greater share of digits."""
    counters: bool = True
    """counter: drop lines that are a number and likes, shares, comments, retweets, reposts, quotes, bookmarks, upvotes, downvotes,
    downloads, views or followers."""
    min_line_words: int | None = 2
    """short: drop lines of fewer words (between blanks); empty lines stay."""
    max_phrase_line_words: int = 10
    """Lines of more words than this keep their phrases."""
    phrases: tuple[str, ...] = ("items in cart",)
    """phrase: cut these out of a line, with the blank before them, in any case; a line that is blank then is dropped."""
    suffixes: tuple[str, ...] = ("Read more...",)
    """suffix: likewise at the end of a line."""
    prefixes: tuple[str, ...] = ("Sign-in",)
    """prefix: likewise at the beginning of a line, with the blank after them."""
    max_removed_words: float | None = 0.05
    """removed_words: greatest share of the document's words that may go; None keeps documents that lose more."""
    dclm_compat: bool = False
    """True: a full stop in a phrase stands for any character, as in DCLM, where phrases are unescaped regular expressions: a line loses
    its end if that is "Read more" and any three characters. False: a full stop is one."""

    def __post_init__(self) -> None:
        for phrase in (*self.phrases, *self.suffixes, *self.prefixes):
            if not phrase or phrase != phrase.strip() or (self.dclm_compat and phrase[0] == "."):
                raise ValueError(f"phrase {phrase!r} is empty, has a blank at an end or (dclm_compat) begins with a full stop; correct it")


@stage(
    version=1,
    kind="map",
    needs={"text"},
    adds={"text": pa.string(), "lines_removed": pa.int32(), "words_removed": pa.int32()},
    drop_band=(0.0, 0.6),
)
def edit_lines(config: EditLines, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop lines of boilerplate, cut phrases out of short lines, and drop documents that lose too much by it."""
    from stages.kernels.cut import text_column
    from stages.kernels.edit_lines import RULES, edit_lines, make_phrases
    from stages.kernels.text_view import text_view

    cuts = [make_phrases(listed, config.dclm_compat) for listed in (config.phrases, config.suffixes, config.prefixes)]
    rules = (config.max_uppercase, config.max_digits, config.counters, config.min_line_words, config.max_phrase_line_words)
    reasons = pa.array(["no_words", "removed_words", "no_text"])

    def judge(batch: pa.RecordBatch) -> Verdict:
        edited = edit_lines(text_view(batch.column("text")), *rules, *cuts)
        before, after = edited.words.T
        removed = (before - after) / np.maximum(before, 1)
        code = np.full(len(batch), -1, np.int32)
        code[np.diff(edited.text.offsets) == 0] = 2
        if config.max_removed_words is not None:
            code[removed > config.max_removed_words] = 1
            code[before == 0] = 0
        keep = code < 0
        columns = {
            "lines_removed": pa.array(edited.lines.sum(axis=1), pa.int32()),
            "words_removed": pa.array(edited.gone.sum(axis=1), pa.int32()),
        }
        if edited.changed:
            columns["text"] = text_column(edited.text, batch.column("text").type)
        counters = {}
        for rule, name in enumerate(RULES):
            counters[f"{name}_lines"] = int(edited.lines[keep, rule].sum())
            counters[f"{name}_words"] = int(edited.gone[keep, rule].sum())
        return Verdict(
            keep=pa.array(keep),
            reason=pa.DictionaryArray.from_arrays(pa.array(code, mask=keep), reasons),
            detail=detail_array(
                len(batch),
                value=pa.array(removed, mask=code != 1),
                limit=pa.array(np.full(len(batch), config.max_removed_words or 0.0), mask=code != 1),
            ),
            columns=columns,
            counters=counters,
        )

    return judge
