"""Take out lines by the rules of C4 and drop what is left too little of (Raffel et al. 2020), as datatrove's C4QualityFilter has them.

Reads and writes text; counts lines kept and removed, each by its rule. Decisions, drop reasons, texts and counts are those of datatrove
0.10, given the same sentences; detail holds the sentences that were left and their limit. Each line is stripped, and the questions are put
to it in the order of the fields below; documents end without white space around them. C4's list of words is filter_bad_words.

Sentences are counted by a rule near to that of spaCy's sentencizer, which datatrove asks: the same number in 96 of 100 lines, the same
verdict on 799 of 799 English web pages (kernels/c4_lines.py). FineWeb lets lines end as they like: terminal_punctuation=False. datatrove
can also judge sentence by sentence (split_paragraph=False); that is not offered. Cost: 110 to 125 MB/s a core.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.rules import Rules
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class FilterC4:
    max_word_chars: int | None = 1000
    """Remove lines that hold a longer word, between white space (C4's code); None and False turn a rule off, here and below."""
    citations: bool = True
    """Take "[1]", "[]", "[edit]" and "[citation needed]" out of lines (C4's code)."""
    terminal_punctuation: bool = True
    """Remove lines that do not end with one of . ? ! " ' or that end with "..." (C4)."""
    min_words: int | None = 3
    """Remove lines of fewer words, between white space, citations still among them."""
    lorem_ipsum: bool = True
    """lorem_ipsum: drop documents of which a line that came this far holds "lorem ipsum" in any case (C4)."""
    javascript: bool = True
    """Remove lines that hold "javascript" in any case (C4)."""
    curly_bracket: bool = True
    """curly_bracket: drop documents of which a line that came this far holds "{" (C4)."""
    policy: bool = True
    """Remove lines that hold, in any case, "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies" or
    "use cookies" (C4's code)."""
    min_sentences: int | None = 5
    """too_few_sentences: drop documents with fewer sentences in the lines that are left (C4's code)."""


@stage(version=1, kind="map", needs={"text"}, adds={"text": pa.string()}, drop_band=(0.01, 0.95))
def filter_c4(config: FilterC4, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Keep the lines that look like sentences, and the documents that have enough of them."""
    from stages.kernels.c4_lines import COUNTED, CURLY_BRACKET, LOREM_IPSUM, edit_lines
    from stages.kernels.cut import text_column
    from stages.kernels.text_view import text_view

    questions = {name: getattr(config, name) for name in FilterC4.__dataclass_fields__}

    def judge(batch: pa.RecordBatch) -> Verdict:
        column = batch.column("text")
        edited = edit_lines(text_view(column), **questions)
        once = np.ones(len(column))
        rules = Rules(len(column))
        rules.drop("lorem_ipsum", edited.dropped == LOREM_IPSUM, once, 0)
        rules.drop("curly_bracket", edited.dropped == CURLY_BRACKET, once, 0)
        rules.at_least("too_few_sentences", edited.sentences, config.min_sentences)
        counters = {f"lines_{name}" if name != "lines" else name: edited.counts[name] for name in COUNTED}
        return rules.verdict(columns={"text": text_column(edited.text, column.type)}, counters=counters)

    return judge
