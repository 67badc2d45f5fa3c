"""Score documents with a fastText classifier: the probability that a document is of the wanted kind.

As DCLM does (Li et al. 2024, section 4.3): lines joined with spaces, case kept, probability of `__label__hq`.
Read: text, and the model that train_fasttext made -> written: id, score_fasttext.
Cost: about 2,000 documents of 7 KB a CPU second; the model's size in memory.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class ScoreFasttext:
    label: str = "__label__hq"
    """Label whose probability is the score."""


@stage(
    version=1,
    kind="score",
    takes=("documents", "artifact"),
    needs={"id", "text"},
    adds={"score_fasttext": pa.float32()},
    uses=("fasttext-community",),
)
def score_fasttext(config: ScoreFasttext, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Give every document the model's probability of `label`, clipped to [0, 1].

    The clip is needed because fastText adds 1e-5 before its logarithm. A null text counts as empty.
    Raises ValueError if the model lacks the label, or says nothing about a document.
    """
    import fasttext

    model = fasttext.load_model(inputs.artifact.file("model.bin"))
    labels = model.get_labels()
    if config.label not in labels:
        raise ValueError(
            f"score_fasttext: {inputs.artifact.name} has no label {config.label} (has: {', '.join(labels)})"
        )

    def score(batch: pa.RecordBatch) -> Verdict:
        texts = [" ".join((text or "").strip().splitlines()) for text in batch.column("text").to_pylist()]
        named, probabilities = model.predict(texts, k=-1) if texts else ([], [])
        scores = np.empty(len(texts), np.float32)
        for i, (names, values) in enumerate(zip(named, probabilities, strict=True)):
            if config.label not in names:
                raise ValueError(
                    f"score_fasttext: the model knows no word of document {batch.column('id')[i].as_py()} and no end "
                    "of line; train it from a file of lines, or drop the document first"
                )
            scores[i] = values[names.index(config.label)]
        return Verdict(columns={"score_fasttext": pa.array(scores.clip(0, 1), pa.float32())})

    return score
