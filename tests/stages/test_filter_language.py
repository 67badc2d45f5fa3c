import random
import string
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from stages.core.fingerprint import file_digest
from stages.core.stage import Inputs, Resources
from stages.filter_language import FilterLanguage, filter_language, model_path

TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights.\nThey are endowed with reason and conscience.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.\nSie sind mit Vernunft und Gewissen begabt.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos, dotados como están de razón.",
}


def judge(texts, **fields):
    return filter_language(FilterLanguage(**fields), Inputs(), Resources())(
        pa.record_batch({"text": pa.array(texts, pa.string())})
    )


def test_keeps_english_and_says_what_else_it_saw():
    verdict = judge(list(TEXTS.values()))
    assert verdict.columns["language"].to_pylist() == list(TEXTS)
    assert verdict.keep.to_pylist() == [language == "en" for language in TEXTS]
    assert verdict.columns["language_score"].type == pa.float32()
    assert [d["note"] for d in verdict.detail.to_pylist()] == list(TEXTS)
    assert all(d["limit"] == 0.65 and 0.5 < d["value"] <= 1 for d in verdict.detail.to_pylist())
    assert set(verdict.reason.to_pylist()) == {"language"}


def test_another_language_and_another_limit():
    assert judge(list(TEXTS.values()), language="de").keep.to_pylist() == [False, True, False, False, False]
    mixed = TEXTS["en"] + " " + TEXTS["de"]
    score = judge([mixed]).columns["language_score"][0].as_py()
    language = judge([mixed]).columns["language"][0].as_py()
    assert judge([mixed], language=language, min_score=score).keep.to_pylist() == [True]
    assert judge([mixed], language=language, min_score=min(1, score + 1e-3)).keep.to_pylist() == [False]


def test_scores_are_those_of_one_text_at_a_time():
    import fasttext

    model = fasttext.load_model(str(model_path(FilterLanguage())))
    texts = [*TEXTS.values(), "ok", "a\0b the end", "line\r\nend"]
    columns = judge(texts).columns
    for text, language, score in zip(
        texts, columns["language"].to_pylist(), columns["language_score"].to_pylist(), strict=True
    ):
        labels, scores = model.predict(text.replace("\n", " "))
        assert labels[0] == "__label__" + language and score == pytest.approx(min(1, scores[0]), abs=1e-6)
    halves = [judge(texts[:3]).columns["language_score"], judge(texts[3:]).columns["language_score"]]
    assert pa.concat_arrays(halves).equals(columns["language_score"])


def test_empty_null_and_no_rows():
    verdict = judge(["", None, "\n"])
    assert verdict.keep.to_pylist() == [False] * 3
    assert len(judge([]).keep) == 0


def test_identity_is_the_model_not_its_place(tmp_path):
    packaged = model_path(FilterLanguage())
    copy = tmp_path / "copy.ftz"
    copy.write_bytes(packaged.read_bytes())
    assert filter_language.identity(FilterLanguage(model=str(copy))) == filter_language.identity(FilterLanguage())
    assert filter_language.identity(FilterLanguage())["model"] == file_digest(packaged)
    with pytest.raises(ValueError, match="there is no model"):
        model_path(FilterLanguage(model=str(tmp_path / "none.bin")))
    with pytest.raises(ValueError, match="probability"):
        FilterLanguage(min_score=65)


def as_dclm(model, text):
    """Language and probability as DCLM's enricher has them: none for blank text, newlines deleted."""
    if all(character in string.punctuation or character == " " for character in text):
        return "und", 0.0
    labels, scores = model.predict(text.replace("\n", ""))
    return labels[0].removeprefix("__label__"), min(1, scores[0])


def test_dclm_compat_deletes_newlines_and_judges_no_blank_text():
    import fasttext

    model = fasttext.load_model(str(model_path(FilterLanguage())))
    texts = [*TEXTS.values(), "the\nend of\nthe\nline", "a\n\nb", "", " ", "  .,;: !?", string.punctuation, "\n", "...\n...", "\u3002", "\t", "ok", None]
    columns, plain = judge(texts, dclm_compat=True).columns, judge(texts).columns
    for text, language, score in zip(texts, columns["language"].to_pylist(), columns["language_score"].to_pylist(), strict=True):
        expected = as_dclm(model, text or "")
        assert language == expected[0] and score == pytest.approx(expected[1], abs=1e-5), text
    assert columns["language_score"][0] != plain["language_score"][0], "words around a newline become one"
    assert plain["language"][8].as_py() != "und", "without it, the model has the last word"


def test_dclm_compat_asks_for_more_than_the_limit():
    score = judge([TEXTS["fr"]]).columns["language_score"][0].as_py()
    fields = {"language": "fr", "min_score": score}
    assert judge([TEXTS["fr"]], **fields).keep.to_pylist() == [True]
    assert judge([TEXTS["fr"]], **fields, dclm_compat=True).keep.to_pylist() == [False]


def test_another_model_and_one_that_is_none(tmp_path):
    import fasttext

    (tmp_path / "lines.txt").write_text("__label__one the cat sat\n__label__two le chat noir\n" * 80)
    trained = fasttext.train_supervised(str(tmp_path / "lines.txt"), dim=16, minn=2, maxn=4, bucket=5000, epoch=20, thread=1, verbose=0)
    trained.save_model(str(tmp_path / "own.bin"))
    texts = ["the cat", "chat noir\nle chat", "the cats and hats"]
    verdict = judge(texts, language="one", model=str(tmp_path / "own.bin"))
    expected = [trained.predict(text.replace("\n", " ")) for text in texts]
    assert ["__label__" + language for language in verdict.columns["language"].to_pylist()] == [labels[0] for labels, _ in expected]
    assert verdict.columns["language_score"].to_pylist() == pytest.approx([min(1, scores[0]) for _, scores in expected], abs=1e-5)
    assert verdict.keep.to_pylist() == [True, False, True]
    (tmp_path / "page.html").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="is no fastText model"):
        judge(texts, model=str(tmp_path / "page.html"))


@pytest.mark.parametrize("dclm_compat", [False, True])
def test_every_kind_of_string_column(dclm_compat):
    texts = [*TEXTS.values(), "", None, "a\nb", "?!"]
    want = judge(texts, dclm_compat=dclm_compat)
    column = pa.array(texts, pa.string())
    stage = filter_language(FilterLanguage(dclm_compat=dclm_compat), Inputs(), Resources())
    for other in (column.cast(pa.large_string()), pa.array(texts, pa.string_view()), column.dictionary_encode()):
        found = stage(pa.record_batch({"text": other}))
        assert found.keep.equals(want.keep) and found.columns == want.columns


def test_threads_may_share_what_was_made():
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh  ", k=300)) for _ in range(1600)]  # words enough that they drive one another out of the cache
    batches = [pa.record_batch({"text": texts[start : start + 400]}) for start in range(0, 1600, 400)]
    stage = filter_language(FilterLanguage(), Inputs(), Resources())
    want = [stage(batch).columns for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for number, verdict in enumerate(pool.map(lambda k: stage(batches[k % 4]), range(24))):
            assert verdict.columns == want[number % 4]


def test_a_language_that_the_model_does_not_know():
    with pytest.raises(ValueError, match=r"knows no language 'qqq' \(it has 176"):
        filter_language(FilterLanguage(language="qqq"), Inputs(), Resources())
    with pytest.raises(ValueError, match="did you mean 'en'"):
        filter_language(FilterLanguage(language="eng"), Inputs(), Resources())
