"""Drop documents that have too few long paragraphs, as multilingual C4 does (Xue et al. 2021; datatrove's C4ParagraphFilter).

Reads text, adds nothing. A paragraph is what stands between newlines, unstripped. Cost: 1 GB/s a core.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.rules import Rules
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class FilterParagraphs:
    min_paragraphs: int = 3
    """Fewest long paragraphs (mC4)."""
    min_paragraph_chars: int = 200
    """Fewest characters of a long paragraph (mC4)."""

    def __post_init__(self) -> None:
        if self.min_paragraph_chars < 1:
            raise ValueError(f"min_paragraph_chars is {self.min_paragraph_chars}; give 1 or more, as empty paragraphs are not counted")


@stage(version=1, kind="map", needs={"text"}, drop_band=(0.0, 0.98))
def filter_paragraphs(config: FilterParagraphs, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents with fewer long paragraphs than asked for."""
    from stages.kernels.raw_segments import raw_lines
    from stages.kernels.text_view import text_view

    def judge(batch: pa.RecordBatch) -> Verdict:
        lines = raw_lines(text_view(batch.column("text")))
        before = np.concatenate(([0], np.cumsum(lines.chars >= config.min_paragraph_chars)))
        rules = Rules(len(batch))
        rules.at_least("few_paragraphs", before[lines.bounds[1:]] - before[lines.bounds[:-1]], config.min_paragraphs)
        return rules.verdict()

    return judge
