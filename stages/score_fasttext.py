"""Score documents with a fastText classifier: the probability that a document is of the wanted kind.

As DCLM does (Li et al. 2024, section 4.3): lines joined with spaces, case kept, probability of `__label__hq`.
Read: text, and the model that train_fasttext made or import_fasttext brought -> written: id, score_fasttext.
Cost: 300 MB/s a core for a classifier of two labels with loss softmax and n-grams of words, such as DCLM's: it is collapsed to one number per row
(0.1 to 1.5 s a worker; 4 bytes per row and 50 per word in memory). Any other model goes through fastText, at 15 to 30 MB/s and the model's size in memory.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, Verdict, stage

if TYPE_CHECKING:
    from stages.formats.fasttext_model import FasttextModel


@config
class ScoreFasttext:
    label: str = "__label__hq"
    """Label whose probability is the score."""


@stage(
    version=2,
    kind="score",
    takes=("documents", "artifact"),
    needs={"id", "text"},
    adds={"score_fasttext": pa.float32()},
    uses=("fasttext-community",),
)
def score_fasttext(config: ScoreFasttext, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Give every document the model's probability of `label`, clipped to [0, 1].

    The clip is needed because fastText adds 1e-5 before its logarithm. A null text counts as empty. Where the model is collapsed, the score is within
    1e-5 of fastText's (measured: 1e-6 up to 0.4 MB, 2e-5 at 4 MB, where fastText's own float32 sums are that far from the exact value).
    Raises ValueError if the model lacks the label, or says nothing about a document.
    """
    from stages.formats.fasttext_model import read_fasttext_model
    from stages.kernels.fasttext_collapse import why_not_collapsible

    file = inputs.artifact.file("model.bin")
    model = read_fasttext_model(file)
    if config.label not in model.labels:
        raise ValueError(f"score_fasttext: {inputs.artifact.name} has no label {config.label} (has: {', '.join(model.labels)})")
    probability = _collapsed(model, config.label) if why_not_collapsible(model) is None else _whole(file, config.label)

    def score(batch: pa.RecordBatch) -> Verdict:
        scores = probability(batch.column("text"))
        if (silent := np.isnan(scores)).any():
            raise ValueError(
                f"score_fasttext: the model knows no word of document {batch.column('id')[int(silent.argmax())].as_py()} and no end "
                "of line; train it from a file of lines, or drop the document first"
            )
        return Verdict(columns={"score_fasttext": pa.array(scores.clip(0, 1), pa.float32())})

    return score


Probability = Callable[[pa.Array], np.ndarray]
"""Texts -> float32[n], not a number where the model says nothing."""


def _collapsed(model: "FasttextModel", label: str) -> Probability:
    from stages.kernels.fasttext_collapse import collapse, score
    from stages.kernels.text_view import text_view

    collapsed = collapse(model, label)
    return lambda texts: score(collapsed, text_view(texts))


def _whole(file: str, label: str) -> Probability:
    """The library itself, with DCLM's preparation of a text."""
    import fasttext

    model = fasttext.load_model(file)

    def probability(texts: pa.Array) -> np.ndarray:
        lines = [" ".join((text or "").strip().splitlines()) for text in texts.to_pylist()]
        named, values = model.predict(lines, k=-1) if lines else ([], [])
        # fastText leaves out labels below 1e-5 where it walks a tree (loss hs), and names none where it has nothing to go by
        return np.array(
            [found[names.index(label)] if label in names else 0.0 if names else np.nan for names, found in zip(named, values, strict=True)], np.float32
        )

    return probability
