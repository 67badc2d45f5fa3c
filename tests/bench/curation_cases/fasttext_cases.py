"""fastText classifiers, of two labels (DCLM's quality model) and of 176 languages, each beside fastText's own predict on a list."""

import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from curation_cases.corpus import Corpus
from curation_cases.measure import Speed, clocked, in_turns, over
from stages.core.stage import Inputs, Resources

TOLERANCE = 1e-5
SHAPE, QUICK_SHAPE = {"bucket": 2_000_000, "dim": 100}, {"bucket": 50_000, "dim": 16}
LANGUAGE_BYTES, QUICK_BYTES = 10_000_000, 300_000


def score(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """score_fasttext with a model of DCLM's shape: bigrams, 2,000,000 buckets, 100 dimensions (quick: 50,000 and 16); trained here.

    Both go from texts to probabilities, the joining of lines included; the loading of the model is in neither time.
    """

    from stages.score_fasttext import ScoreFasttext, score_fasttext

    shape = QUICK_SHAPE if quick else SHAPE
    part = corpus.part(QUICK_BYTES) if quick else corpus
    predict = lambda: model.predict([_line(text) for text in part.texts], k=-1)  # noqa: E731
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name:
        model = train(corpus.part(1_000_000) if quick else corpus, Path(name), shape)
        inputs = Inputs((SimpleNamespace(name="bench", file=lambda file: str(Path(name) / file)),), ("artifact",))
        judge, load = clocked(lambda: score_fasttext(ScoreFasttext(), inputs, Resources()))
        ours = np.concatenate([judge(batch).columns["score_fasttext"].to_numpy(zero_copy_only=False) for batch in part.batches])
        seconds = in_turns(1 if quick else 5, winnow=lambda: over(judge, part.batches), fasttext=predict)
    labels, probabilities = predict()
    theirs = np.array([p[names.index("__label__hq")] for names, p in zip(labels, probabilities, strict=True)]).clip(0, 1)
    furthest = float(np.abs(ours - theirs).max())
    return Speed(part.megabytes, seconds["winnow"], "fastText's predict on a list", part.megabytes, seconds["fasttext"]).rows(
        "fasttext/score", equal=furthest <= TOLERANCE, at_least=80.0, times=8.0, load_seconds=round(load.wall, 2),
        largest_difference=furthest, probability_quartiles=[round(float(q), 4) for q in np.quantile(theirs, (0.25, 0.5, 0.75))], **shape,
        note=f"equal: probabilities of {len(theirs)} documents within {TOLERANCE:g}",
    )  # fmt: skip


def language(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """filter_language (lid.176.ftz) beside fastText's predict over the same texts; equal: languages, and probabilities within 1e-5."""
    import fasttext

    from stages.filter_language import FilterLanguage, filter_language, model_path

    part = corpus.part(QUICK_BYTES if quick else LANGUAGE_BYTES)
    model = fasttext.load_model(str(model_path(FilterLanguage())))
    predict = lambda: model.predict([text.replace("\n", " ") for text in part.texts])  # noqa: E731
    judge = filter_language(FilterLanguage(), Inputs(), Resources())
    made = [judge(batch).columns for batch in part.batches]
    seconds = in_turns(1 if quick else 3, winnow=lambda: over(judge, part.batches), fasttext=predict)
    labels, probabilities = predict()
    languages = [language for columns in made for language in columns["language"].to_pylist()]
    scores = np.array([score for columns in made for score in columns["language_score"].to_pylist()])
    theirs = np.array([min(p[0], 1.0) if len(p) else 0.0 for p in probabilities])
    same = languages == [names[0].removeprefix("__label__") if names else "und" for names in labels]
    furthest = float(np.abs(scores - theirs).max())
    return Speed(part.megabytes, seconds["winnow"], "fastText's predict on a list", part.megabytes, seconds["fasttext"]).rows(
        "filter_language", equal=same and furthest <= TOLERANCE, largest_difference=furthest,
        note=f"equal: languages of {len(theirs)} documents, probabilities within {TOLERANCE:g}",
    )  # fmt: skip


def train(corpus: Corpus, place: Path, shape: dict[str, int]) -> Any:
    """Train to tell texts with few brackets (prose) from those with many (API reference), and write model.bin to `place`.

    Every line is an example: of whole pages fastText would learn nothing in one epoch, and all probabilities would be a half.
    """
    import fasttext

    marks = [text.count("(") / len(text) for text in corpus.texts]
    middle = float(np.median(marks))
    labelled = [("hq" if mark <= middle else "cc", text) for mark, text in zip(marks, corpus.texts, strict=True)]
    lines = [f"__label__{label} {line}\n" for label, text in labelled for line in text.splitlines() if line.strip()]
    random.Random(0).shuffle(lines)
    examples = place / "examples.txt"
    examples.write_text("".join(lines))
    model = fasttext.train_supervised(str(examples), wordNgrams=2, epoch=1, lr=0.5, thread=1, verbose=0, seed=0, **shape)
    model.save_model(str(place / "model.bin"))
    return model


def _line(text: str) -> str:
    return " ".join(text.strip().splitlines())
