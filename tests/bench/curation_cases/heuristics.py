"""Heuristics: Gopher's rules beside datatrove's filters, and all of DCLM's steps beside plain Python."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation_cases import peer_dclm
from curation_cases.corpus import Corpus
from curation_cases.measure import Speed, clocked, in_turns, over
from curation_cases.peer_datatrove import gopher as datatrove_gopher
from curation_cases.peer_datatrove import words_given
from curation_cases.words import segments
from stages.core.stage import Inputs, Judge, Resources

PEER_BYTES, QUICK_PEER_BYTES = 2_000_000, 300_000
SHIPPED_BYTES, QUICK_SHIPPED_BYTES = 500_000, 30_000
"""Text for datatrove with spaCy."""

Steps = list[tuple[str, Judge]]


def gopher(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """filter_gopher, words included, beside datatrove's filters: with the same words given to them ready-made, and as shipped.

    Equal: the reason of every drop, given the same words. With spaCy's words, as shipped, some verdicts differ; these are counted.
    """
    from stages.filter_gopher import FilterGopher, filter_gopher

    steps = [("filter_gopher", filter_gopher(FilterGopher(), Inputs(), Resources()))]
    part = corpus.part(QUICK_PEER_BYTES if quick else PEER_BYTES)
    shipped = corpus.part(QUICK_SHIPPED_BYTES if quick else SHIPPED_BYTES)
    given = dict(zip(part.texts, segments(part.texts), strict=True))

    with words_given(given):
        theirs = datatrove_gopher(part.texts)
    same = sum(a == b for a, b in zip(_outcomes(steps, part)[0], theirs, strict=True))
    datatrove_gopher(shipped.texts[:2])  # loads spaCy
    as_shipped, shipped_seconds = clocked(lambda: datatrove_gopher(shipped.texts))
    agree = sum(bool(a) == bool(b) for a, b in zip(_outcomes(steps, shipped)[0], as_shipped, strict=True))

    run_all(steps, corpus.batches[:1])
    with words_given(given):
        seconds = in_turns(1 if quick else 5, winnow=lambda: run_all(steps, corpus.batches), datatrove=lambda: datatrove_gopher(part.texts))
    equal, words = same == len(theirs), f"equal: the reason of every drop with the same words, {same} of {len(theirs)} documents"
    return [
        *Speed(corpus.megabytes, seconds["winnow"], "datatrove's filters, our words given", part.megabytes, seconds["datatrove"]).rows(
            "heuristics/gopher", equal=equal, at_least=50.0, times=25.0, note=words
        ),
        *Speed(corpus.megabytes, seconds["winnow"], "datatrove's filters as shipped (spaCy)", shipped.megabytes, shipped_seconds).rows(
            "heuristics/gopher", equal=equal, note=f"{words}; with spaCy's words the same verdict on {agree} of {len(as_shipped)}"
        ),
    ]


def dclm(corpus: Corpus, quick: bool) -> list[dict[str, Any]]:
    """Steps 6, 7 and 9 to 19 of DCLM in one pass, edits included, beside plain Python; equal: reasons of drops and the text of what stays.

    Once to the letter of DCLM (dclm_compat), which is what the target is for, and once as winnow does by default: URLs go out of every
    document, not only of those that begin with the name of a top-level domain.
    """
    rows = []
    for letter in (True, False):
        steps, domains = _dclm_steps(letter), _domains(letter)
        part = corpus.part(QUICK_PEER_BYTES if quick else PEER_BYTES)
        run_all(steps, corpus.batches[:1])
        edited = [peer_dclm.edit_text(text, domains, letter) for text in part.texts]
        words = dict(zip(edited, _words(edited), strict=True))
        peer = lambda: [_by_hand(text, words, domains, letter) for text in part.texts]  # noqa: B023, E731 - called in this round
        ours, theirs = list(zip(*_outcomes(steps, part), strict=True)), peer()
        seconds = in_turns(1 if quick else 3, winnow=lambda: run_all(steps, corpus.batches), python=peer)  # noqa: B023
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        dropped = sum(reason != "" for reason, _ in ours)
        rows += Speed(corpus.megabytes, seconds["winnow"], "plain Python, words given", part.megabytes, seconds["python"]).rows(
            "heuristics/dclm", equal=same == len(ours), at_least=30.0 if letter else None, dclm_compat=letter,
            note=f"equal: reason of the drop and final text of {same} of {len(ours)} documents ({dropped} dropped)",
        )  # fmt: skip
    return rows


def run_all(steps: Steps, batches: list[pa.RecordBatch]) -> None:
    """Let each step judge what those before it kept and edited."""
    over(lambda batch: _through(steps, batch, lambda name, verdict, batch: None), batches)


def _through(steps: Steps, batch: pa.RecordBatch, note: Callable[..., None]) -> pa.RecordBatch:
    for name, judge in steps:
        if batch.num_rows:
            verdict = judge(batch)
            for column, values in verdict.columns.items():
                at = batch.schema.get_field_index(column)
                batch = batch.append_column(column, values) if at < 0 else batch.set_column(at, column, values)
            note(name, verdict, batch)
            batch = batch if verdict.keep is None else batch.filter(verdict.keep)
    return batch


def _outcomes(steps: Steps, corpus: Corpus) -> tuple[list[str], list[str]]:
    """Per document the reason of its drop ("" if it stays), and its text in the end ("" if it does not)."""
    reasons: dict[str, str] = {}

    def note(name: str, verdict: Any, batch: pa.RecordBatch) -> None:
        if verdict.keep is not None:
            gone = pc.invert(verdict.keep)
            reasons.update(zip(batch.column("id").filter(gone).to_pylist(), verdict.reason.filter(gone).to_pylist(), strict=True))

    kept = [_through(steps, batch, note) for batch in corpus.batches]
    texts = {i: t for batch in kept for i, t in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)}
    ids = corpus.table.column("id").to_pylist()
    return [reasons.get(i, "") for i in ids], [texts.get(i, "") for i in ids]


def _by_hand(text: str, words: dict[str, list[str]], domains: tuple[str, ...], letter: bool) -> tuple[str, str]:
    text = peer_dclm.edit_text(text, domains, letter)
    if not text:
        return "no_text", ""
    reason = peer_dclm.quality_rule(text) or peer_dclm.repetition_rule(text, words[text])
    return (reason, "") if reason else peer_dclm.edit_lines(text, letter)


def _words(texts: list[str]) -> list[list[str]]:
    """UAX#29 words that begin with a letter or digit."""
    return [[word for word in found if word[0].isalnum()] for found in segments(texts)]


def _dclm_steps(letter: bool) -> Steps:
    from stages.edit_lines import EditLines, edit_lines
    from stages.edit_text import EditText, edit_text
    from stages.filter_heuristic import FilterHeuristic, filter_heuristic

    return [
        ("edit_text", edit_text(EditText(dclm_compat=letter), Inputs(), Resources())),
        ("filter_heuristic", filter_heuristic(FilterHeuristic(), Inputs(), Resources())),
        ("edit_lines", edit_lines(EditLines(dclm_compat=letter), Inputs(), Resources())),
    ]


def _domains(letter: bool) -> tuple[str, ...]:
    from stages.edit_text import EditText, resolve_domains

    return tuple(resolve_domains(EditText(dclm_compat=letter)))
