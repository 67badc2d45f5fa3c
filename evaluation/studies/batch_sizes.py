"""The claims about the critical batch size, judged on numbers by seed: the law of the steps, B*, its growth, the noise scale, the theory.

    claims = [claim_law(misfits, refused, margin=0.1), claim_growth(growth, words), ...]

Every interval is a t interval over seeds, or over residuals with their deviation pooled over batch sizes; ratios are judged in the logarithm.
Sources: Zhang et al., arXiv 2410.21676 (critical batch size); McCandlish et al., arXiv 1812.06162 (noise scale and the law of the steps).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from evaluation.statistics import pooled_deviation
from evaluation.studies.claims import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim
from evaluation.studies.equivalence import t_interval

ZHANG, MCCANDLISH = "Zhang et al., arXiv 2410.21676", "McCandlish et al., arXiv 1812.06162"


class Interval(NamedTuple):
    """A geometric mean over seeds with its 95 % interval."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    """No ends for a single seed, nothing for none."""


def log_interval(values: Mapping[int, float]) -> Interval:
    """Geometric mean and t interval of positive values by seed."""
    logs = [math.log(value) for value in values.values()]
    if len(logs) < 2:
        return Interval(math.exp(logs[0])) if logs else Interval()
    ends = t_interval(fmean(logs), stdev(logs), len(logs), len(logs) - 1)
    return Interval(math.exp(fmean(logs)), *map(math.exp, ends))


def claim_law(misfits: Mapping[float, Mapping[int, Mapping[int, float]]], refused: Sequence[str], margin: float) -> Claim:
    """Steps follow a + b / B: at every target and batch size the mean misfit is shown to be inside the margin.

    misfits: target -> batch size -> seed -> log(steps / fit). refused: why other targets could not be fitted. Contradicted if one mean misfit
    is shown to be outside.
    """
    means: list[tuple[float, float, float, float, int]] = []
    for target, by_size in misfits.items():
        deviation, df = pooled_deviation(by_size)
        for size, by_seed in by_size.items():
            mean = fmean(by_seed.values())
            low, high = t_interval(mean, deviation, len(by_seed), df, confidence=0.9) if df else (-math.inf, math.inf)
            means.append((mean, low, high, target, size))
    outside = sum(low > margin or high < -margin for _, low, high, _, _ in means)
    inside = sum(-margin < low and high < margin for _, low, high, _, _ in means)
    words = [f"{inside} of {len(means)} mean misfits are surely within {margin:.0%}, {outside} surely beyond", *refused]
    worst = max(means, key=lambda found: abs(found[0]), default=None)
    if worst:
        words.insert(0, f"the largest is {math.expm1(worst[0]):+.1%}, at batch size {worst[4]} and loss {worst[3]:.3f}")
    known = worst is not None and math.isfinite(worst[1])
    return Claim(
        claim="Steps to a target loss follow a + b / B in the batch size B.", source=f"{ZHANG}, section 2; {MCCANDLISH}, section 2",
        verdict=CONTRADICTED if outside else SUPPORTED if means and inside == len(means) and not refused else UNDECIDED,
        estimate=worst and worst[0], low=worst[1] if known else None, high=worst[2] if known else None, unit="log(steps / fit), the largest",
        num_seeds=min((len(by_seed) for by_size in misfits.values() for by_seed in by_size.values()), default=None),
        method=f"least squares on log steps over all seeds; 90 % t intervals of the misfits, deviation pooled over batch sizes, against +-{margin:g}",
        words=_sentence(words),
    )  # fmt: skip


def claim_critical(b_star: float | None, by_seed: Mapping[int, float], words: Sequence[str], refused: str, overhead: float) -> Claim:
    """There is a B* with a linear regime below it: supported where that of the hardest target was measured, else undecided, with the reason."""
    found = log_interval(by_seed)
    return Claim(
        claim="Small batches trade steps for batch size one to one, up to a critical batch size B*.", source=f"{ZHANG}, section 2",
        verdict=SUPPORTED if b_star is not None and found.low is not None and not refused else UNDECIDED,
        estimate=b_star, low=found.low, high=found.high, unit="sequences", num_seeds=len(by_seed) or None,
        method=f"B* = {1 + overhead:g} b_opt + {overhead:g} b/a at the hardest target, interval of B* fitted seed by seed; refused where it is below 1.5 times the constant, "
        "where no batch is linear, and with fewer than two batch sizes beyond",
        words=_sentence(words),
    )  # fmt: skip


def claim_growth(growth: Mapping[int, float], words: str) -> Claim:
    """b/a at the last target over b/a at the first, by seed: b/a and not B*, which holds the constant."""
    return _grows(
        growth, "The critical batch size grows as training goes on: lower losses bear larger batches.", f"{ZHANG}, section 4; {MCCANDLISH}, section 3",
        "b/a at the last target over b/a at the first", "fitted seed by seed, t interval of the logarithm against 0", words,
    )  # fmt: skip


def claim_noise_growth(growth: Mapping[int, float]) -> Claim:
    """Noise scale of the last third of the steps over that of the first, by seed."""
    return _grows(
        growth, "The gradient noise scale grows over training.", f"{MCCANDLISH}, section 3", "noise scale in the last third of the steps over the first",
        "geometric mean over batch sizes, t interval of the logarithm over seeds against 0",
        f"from the first to the last third of the steps it changes by a factor of {log_interval(growth).mean:.2f}" if growth else "no noise scale was measured",
    )  # fmt: skip


def claim_noise_order(ratios: Mapping[int, float], words: str, limit: float) -> Claim:
    """The noise scale over b/a, by seed: inside 1 / limit to limit they are of one order of magnitude."""
    found, verdict = log_interval(ratios), UNDECIDED
    if found.low is not None:
        verdict = SUPPORTED if 1 / limit < found.low and found.high < limit else CONTRADICTED if found.low > limit or found.high < 1 / limit else UNDECIDED
    return Claim(
        claim="The gradient noise scale has the order of magnitude of b/a, the batch size at which steps have doubled over their floor.",
        source=f"{MCCANDLISH}, sections 2.2 and 3", verdict=verdict, estimate=found.mean, low=found.low, high=found.high, unit="noise scale over b/a",
        num_seeds=len(ratios) or None,
        method=f"tr(Sigma) / |G|^2 from the parts of a batch, over the steps until the hardest target, geometric mean over batch sizes; t interval over seeds against 1/{limit:g} "
        f"and {limit:g}; the gradient's own norm, although the optimizer is AdamW",
        words=_sentence([words]),
    )  # fmt: skip


def claim_published(coefficient: float, exponent: float, exponents: Sequence[float]) -> Claim:
    """The published table gives the published law; `exponents` are those under other conventions."""
    same = (f"{coefficient:.2f}", f"{exponent:.3f}") == ("93.20", "0.468")
    return Claim(
        claim="The published steps to target give B* = 93.20 N^0.468, N in millions of parameters.", source=f"{ZHANG}, section 3 and its notebook",
        verdict=SUPPORTED if same else CONTRADICTED, estimate=exponent, unit="exponent of N", method="the published steps, fitted again",
        words=f"The fit gives {coefficient:.2f} N^{exponent:.3f}; other overheads and b_opt give exponents from {min(exponents):.3f} to {max(exponents):.3f}, which the paper does not show.",
    )  # fmt: skip


def claim_theory(exponents: Mapping[tuple[float, float], tuple[float, float]], margin: float) -> Claim:
    """(a, b) -> (measured, theory)."""
    error = max(abs(measured - theory) for measured, theory in exponents.values())
    return Claim(
        claim="On Gaussian least squares B* grows as D^(1 - a / min(b, 2a + 1)) for b > a, and not at all for b <= a.", source=f"{ZHANG}, section 4",
        verdict=SUPPORTED if error <= margin else CONTRADICTED, estimate=error, unit="largest error of an exponent",
        method=f"exact risk of averaged SGD with additive noise at its best step size, B* within 5 % of the best risk, D from 1e4 to 1e7; error at most {margin:g}",
        words=_sentence([f"(a, b) = ({a:g}, {b:g}): {measured:.3f}, theory {theory:.3f}" for (a, b), (measured, theory) in exponents.items()]),
    )  # fmt: skip


def not_tested() -> list[Claim]:
    """What one small model says nothing about."""
    return [
        Claim(claim=claim, source=f"{ZHANG}, {section}", verdict=NOT_TESTED, words=words)
        for claim, section, words in (
            ("B* grows with the amount of data as about D^0.47.", "section 4", "One model on at most a few million tokens: the targets of one run are no range of D."),
            ("At a fixed amount of data B* hardly depends on the number of parameters.", "section 4", "One model size was trained."),
            ("B* does not grow with width beyond a point.", "section 3", "One width was trained, far below those of the claim."),
        )
    ]  # fmt: skip


def _grows(ratios: Mapping[int, float], claim: str, source: str, unit: str, method: str, words: str) -> Claim:
    found = log_interval(ratios)
    verdict = UNDECIDED if found.low is None or found.low <= 1 <= found.high else SUPPORTED if found.low > 1 else CONTRADICTED
    return Claim(
        claim=claim, source=source, verdict=verdict, estimate=found.mean, low=found.low, high=found.high, unit=unit, num_seeds=len(ratios) or None,
        method=method, words=_sentence([words]),
    )  # fmt: skip


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."
