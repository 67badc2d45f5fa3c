"""The claims of "Deconstructing What Makes a Good Optimizer", judged on a study's runs: who is comparable, what has to adapt, what matters.

    study = read_study(read_runs(tables))
    claims = judge(study)

Groups are named after the optimizer; what is changed stands behind a slash: "adamw/beta1=0". Runs of the tuning seed swept learning rates; those
of other seeds, at the best of these, confirm. A claim whose runs are missing is not tested.

Source: Zhao et al., arXiv 2407.07972.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.studies.claims import (
    CONTRADICTED,
    NOT_TESTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    all_above,
    all_comparable,
    estimate_fields,
    no_runs,
)
from evaluation.studies.equivalence import (
    COMPARABLE,
    DIFFERENT,
    Comparison,
    Contrast,
    arm_means,
    compare,
    contrast,
    diverged_share,
    pooled_deviation,
)
from evaluation.studies.lr_stability import Stability, decades_difference, lr_stability
from evaluation.studies.runs import SANITY, Run, check_sanity, losses_by_lr, losses_by_seed

BASE, WORST = "adamw", "sgd"
PAPER = ("adafactor", "lion", "signum", "adalayer")
"""What the paper compares with Adam, but for Sophia, which is not built here."""
OTHERS = ("muon", "soap", "shampoo")
"""Compared too, with no claim of this paper."""
ADAPTIVE, DROPPED = "sgd_adalayer", {"sgd_adalayer/last=False": "the last layer", "sgd_adalayer/norms=False": "the norms"}
STABILITY_MARGIN = 0.5
"""Decades: one step of the sweeps, which can not resolve less."""
PAPER_NAME = "Zhao et al., arXiv 2407.07972"


NO_SECOND_AVERAGE = ("lion",)
"""Their beta2 is the decay of the momentum."""

@dataclass(frozen=True)
class Study:
    """The runs by what they are for."""

    sweeps: dict[str, dict[float, float | None]]
    """group -> lr -> loss; None diverged."""
    losses: dict[str, dict[int, float | None]]
    """group -> fresh seed -> loss."""
    lrs: dict[str, float]
    """Learning rate of each group's fresh runs."""
    init: float
    """Loss at initialisation."""
    deviation: float
    """Of one run, pooled over all groups with fresh seeds."""
    df: int
    margin: float
    """Nats: final losses closer than this are comparable."""
    slack: float
    """Nats above an optimizer's best loss within which a learning rate counts as good."""

    def against_base(self, arm: str) -> Comparison:
        """An arm against BASE."""
        return compare(self.losses, arm, BASE, self.margin)

    def difference(self, arm: str, reference: str) -> Contrast:
        """Mean loss of an arm less that of another."""
        return contrast(self.losses, {arm: 1, reference: -1})

    def num_seeds(self, *arms: str) -> int:
        """Fresh seeds, the fewest of the arms."""
        return min(len(self.losses[arm]) for arm in arms)

    def line(self, option: str) -> dict[str, dict[float, str]]:
        """optimizer -> value of the option, ascending -> group, its default left out: from groups such as "adamw/beta1=0.5"."""
        found: dict[str, dict[float, str]] = {}
        for group in self.losses:
            base, _, change = group.partition("/")
            name, _, value = change.partition("=")
            if name == option and base in self.losses:
                found.setdefault(base, {})[float(value)] = group
        return {base: dict(sorted(line.items())) for base, line in found.items()}

    def stability(self, arm: str) -> Stability:
        """What the sweep of an arm says of its learning rates."""
        return lr_stability(self.sweeps[arm], self.init, self.slack)


def read_study(runs: Sequence[Run], *, tuning_seed: int = 0, margin: float = 0.02, slack: float = 0.05) -> Study:
    """Sort runs by what they are for. ValueError where a sanity arm fails or is missing, and where BASE has no fresh seeds."""
    compared = [run for run in runs if run.group not in SANITY]
    fresh = [run for run in compared if run.seed != tuning_seed]
    init, losses = check_sanity(runs), losses_by_seed(fresh)
    if BASE not in losses:
        raise ValueError(f"judge_optimizers: '{BASE}' has no run on a seed other than {tuning_seed} (groups: {', '.join(losses) or 'none'}); run it")
    deviation, df = pooled_deviation(losses)
    return Study(
        sweeps=losses_by_lr(run for run in compared if run.seed == tuning_seed), losses=losses, lrs={run.group: run.lr for run in fresh},
        init=init, deviation=deviation, df=df, margin=margin, slack=slack,
    )  # fmt: skip


def judge(study: Study) -> list[Claim]:
    """Every claim of the paper, those that can not be tested here last."""
    return [*_comparable(study), *_sgd(study), *_stability(study), *_adaptivity(study), *_momentum(study), *_beta2(study), *_not_tested()]


def arm_words(study: Study, arm: str) -> str:
    """`adamw at lr 0.01: 3.310 (5 seeds)`, with the runs that diverged."""
    mean = arm_means(study.losses)[arm]
    lost = f", {mean.num_diverged} diverged" if mean.num_diverged else ""
    seen = "no finished run" if mean.mean is None else f"{mean.mean:.3f}"
    return f"{arm} at lr {study.lrs[arm]:.3g}: {seen} ({mean.num_finished + mean.num_diverged} seeds{lost})"


def _comparable(study: Study) -> Iterator[Claim]:
    margin = study.margin
    method = f"two one-sided t tests at 5 %, margin {margin:g} nats, deviation pooled over all arms; 90 % interval"
    judged = {arm: study.against_base(arm) for arm in PAPER if arm in study.losses}
    claim = "Except for SGD, the optimizers reach comparable losses when each has its best learning rate."
    if not judged:
        yield no_runs(claim, PAPER_NAME, PAPER)
        return
    worst = max(judged, key=lambda arm: abs(judged[arm].difference))
    listed = "; ".join(f"{arm} {_signed(found.difference)}, {found.verdict}" for arm, found in judged.items())
    yield Claim(
        claim=claim, source=f"{PAPER_NAME}, abstract", verdict=all_comparable([*judged.values()]), **estimate_fields(judged[worst]), unit=f"nats, {worst} - {BASE}",
        num_seeds=study.num_seeds(BASE, *judged), method=f"{method}; all must be comparable, Holm over {len(judged)} for one to contradict",
        words=f"Final loss less {BASE}'s: {listed}.",
    )  # fmt: skip
    for arm, found in judged.items():
        if arm == "signum":
            claim = "Signum, which keeps of the momentum its sign alone, recovers Adam's loss once its momentum is tuned."
            yield _recovers(study, arm, claim, f"{PAPER_NAME}, abstract", " Its momentum is the default: it was not tuned.")
            continue
        yield Claim(
            claim=f"{arm.capitalize()} reaches a loss comparable with Adam's.", source=f"{PAPER_NAME}, abstract", verdict=all_comparable([found]), **estimate_fields(found),
            unit=f"nats, {arm} - {BASE}", num_seeds=study.num_seeds(BASE, arm), method=method, words=f"{arm_words(study, arm)}, {arm_words(study, BASE)}.",
        )  # fmt: skip


def _recovers(study: Study, arm: str, claim: str, source: str, untuned: str = "") -> Claim:
    """A simplified optimizer recovers BASE's loss where it is shown to be no worse by more than the margin; it may be better.

    untuned: what the claim wants tuned and was not, in words; it can then not be contradicted.
    """
    verdict = all_above([study.difference(BASE, arm)], -study.margin, alpha=0.05)
    if verdict == CONTRADICTED and untuned:
        verdict = UNDECIDED
    if verdict == SUPPORTED and diverged_share(study.losses[arm]) > diverged_share(study.losses[BASE]):
        verdict = UNDECIDED
    return Claim(
        claim=claim, source=source, verdict=verdict, **estimate_fields(study.against_base(arm)), unit=f"nats, {arm} - {BASE}", num_seeds=study.num_seeds(arm, BASE),
        method=f"one-sided t test at 5 % that it is worse by no more than {study.margin:g} nats, deviation pooled over all arms; 90 % interval",
        words=f"{arm_words(study, arm)}, {arm_words(study, BASE)}.{untuned}",
    )  # fmt: skip


def _sgd(study: Study) -> Iterator[Claim]:
    others = [arm for arm in (BASE, *PAPER, *OTHERS) if arm in study.losses]
    claims = ("SGD is the exception: even at its best learning rate it is not comparable with Adam.", "SGD ends worst of all.")
    if WORST not in study.losses:
        yield from (no_runs(claim, PAPER_NAME, (WORST,)) for claim in claims)
        return
    found = study.against_base(WORST)
    verdict = {COMPARABLE: CONTRADICTED, DIFFERENT: SUPPORTED if found.difference > 0 else CONTRADICTED}.get(found.verdict, UNDECIDED)
    yield Claim(
        claim=claims[0], source=f"{PAPER_NAME}, abstract", verdict=verdict, **estimate_fields(found), unit=f"nats, {WORST} - {BASE}", num_seeds=study.num_seeds(BASE, WORST),
        method=f"t test at 5 % that the difference lies beyond {study.margin:g} nats, pooled deviation; 90 % interval",
        words=f"{arm_words(study, WORST)}, {arm_words(study, BASE)}.",
    )  # fmt: skip
    gaps = {arm: study.difference(WORST, arm) for arm in others}
    nearest = min(gaps, key=lambda arm: gaps[arm].estimate)
    yield Claim(
        claim=claims[1], source=f"{PAPER_NAME}, abstract", verdict=all_above([*gaps.values()]), **estimate_fields(gaps[nearest]), unit=f"nats, {WORST} - {nearest}",
        num_seeds=study.num_seeds(WORST, *others), method="one-sided t tests at 2.5 % against each, pooled deviation, Holm to contradict; 95 % interval",
        words=f"Of {len(others)} others {nearest} comes nearest: SGD is {_signed(gaps[nearest].estimate)} nats from it.",
    )  # fmt: skip


def _stability(study: Study) -> Iterator[Claim]:
    """Widths of good learning rates against BASE's: within half a decade of it, beyond it, or not known."""
    claim = "Except for SGD, the optimizers are about equally stable to the choice of the learning rate."
    arms = [arm for arm in PAPER if len(study.sweeps.get(arm, ())) > 1]
    if not arms or len(study.sweeps.get(BASE, ())) < 2:
        yield no_runs(claim, PAPER_NAME, (BASE, *PAPER))
        return
    slack, base = study.slack, study.stability(BASE)
    if 1.96 * math.sqrt(2) * study.deviation > slack:  # two runs of one setting may differ by more: a width is then an accident
        words = f"Runs differ with the seed by {study.deviation:.3f} nats, too much to see which learning rates are within {slack:g} of the best."
        method = "a seed's noise must be small against the slack, or the width of good learning rates is an accident"
        yield Claim(claim=claim, source=f"{PAPER_NAME}, abstract", verdict=UNDECIDED, words=words, num_seeds=1, method=method)
        return
    found, verdicts = {}, []
    for arm in arms:
        mine = study.stability(arm)
        estimate, drawn = decades_difference(study.sweeps[arm], study.sweeps[BASE], study.init, study.deviation, slack)
        low, high = (float(q) for q in np.quantile(drawn, (0.05, 0.95)))
        beyond = np.quantile(drawn, (0.05 / len(arms), 1 - 0.05 / len(arms)))
        # A width that reaches the end of its sweep is a lower bound: it may show that the optimizer is the wider one, nothing else.
        too_wide, too_narrow = beyond[0] > STABILITY_MARGIN and not base.at_edge, beyond[1] < -STABILITY_MARGIN and not mine.at_edge
        inside = -STABILITY_MARGIN < low and high < STABILITY_MARGIN and not (mine.at_edge or base.at_edge)
        verdicts.append(CONTRADICTED if too_wide or too_narrow else SUPPORTED if inside else UNDECIDED)
        found[arm] = (estimate, low, high, mine)
    verdict = CONTRADICTED if CONTRADICTED in verdicts else SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED
    worst = max(found, key=lambda arm: abs(found[arm][0]))
    widths = "; ".join(f"{arm} {_width_words(mine)}" for arm, (*_, mine) in found.items())
    sgd = f"; {WORST} {_width_words(study.stability(WORST))}" if len(study.sweeps.get(WORST, ())) > 1 else ""
    yield Claim(
        claim=claim, source=f"{PAPER_NAME}, abstract", verdict=verdict, estimate=found[worst][0], low=found[worst][1], high=found[worst][2],
        unit=f"decades, {worst} - {BASE}", num_seeds=1,
        method=f"decades of lr within {slack:g} nats of the sweep's best, one seed; all within {STABILITY_MARGIN:g} decades of {BASE}'s, the noise of a run drawn "
        "with the pooled deviation; Bonferroni to contradict; 90 % interval",
        words=f"Good learning rates span {_width_words(base)} for {BASE}; {widths}{sgd}.",
    )  # fmt: skip


def _adaptivity(study: Study) -> Iterator[Claim]:
    source = f"{PAPER_NAME}, abstract and section 4"
    near = "SGD that adapts in the last layer and the norms alone recovers Adam's loss."
    most = "Adapting in the last layer and the norms alone recovers most of what SGD lacks to Adam."
    if ADAPTIVE not in study.losses or WORST not in study.losses:
        yield from (no_runs(claim, PAPER_NAME, (ADAPTIVE, WORST)) for claim in (near, most))
    else:
        yield _recovers(study, ADAPTIVE, near, source)
        # (sgd + adam) / 2 - adaptive is above 0 where more than half of the gap is closed: linear, so no ratio of noisy numbers is judged
        half = contrast(study.losses, {WORST: 0.5, BASE: 0.5, ADAPTIVE: -1})
        gap, closed = study.difference(WORST, BASE).estimate, study.difference(WORST, ADAPTIVE).estimate
        share = f"{closed / gap:.0%} of it" if gap > 0 else "which is no gap"
        yield Claim(
            claim=most, source=source, verdict=all_above([half]), **estimate_fields(half), unit="nats below the middle of the gap", num_seeds=study.num_seeds(ADAPTIVE, BASE, WORST),
            method="t test at 2.5 % that it ends below the middle between SGD and Adam, pooled deviation; 95 % interval",
            words=f"SGD lacks {gap:.3f} nats to {BASE}; adapting in the last layer and the norms wins {closed:.3f}, {share}.",
        )  # fmt: skip
    for arm, part in DROPPED.items():
        claim = f"Leaving {part} to SGD hurts."
        if arm not in study.losses or ADAPTIVE not in study.losses:
            yield no_runs(claim, PAPER_NAME, (arm, ADAPTIVE))
            continue
        harm = study.difference(arm, ADAPTIVE)
        yield Claim(
            claim=claim, source=source, verdict=all_above([harm]), **estimate_fields(harm), unit="nats", num_seeds=study.num_seeds(arm, ADAPTIVE),
            method="t test at 2.5 % that the loss is higher, pooled deviation; 95 % interval", words=f"{arm_words(study, arm)}, {arm_words(study, ADAPTIVE)}.",
        )  # fmt: skip


def _momentum(study: Study) -> Iterator[Claim]:
    claim = "Momentum matters: without it the loss is clearly worse."
    without = {base: line[0.0] for base, line in study.line("beta1").items() if 0.0 in line}
    if not without:
        yield no_runs(claim, PAPER_NAME, (f"{BASE}/beta1=0",))
        return
    harm = {base: study.difference(arm, base) for base, arm in without.items()}
    least = min(harm, key=lambda base: harm[base].estimate)
    yield Claim(
        claim=claim, source=f"{PAPER_NAME}, section 3", verdict=all_above([*harm.values()], study.margin), **estimate_fields(harm[least]),
        unit=f"nats, {least} without - with momentum", num_seeds=study.num_seeds(*without.values()),
        method=f"one-sided t tests at 2.5 % that it costs more than {study.margin:g} nats, for each optimizer, pooled deviation, Holm to contradict; 95 % interval",
        words="Without momentum at the same learning rate: " + "; ".join(f"{base} {_signed(found.estimate)}" for base, found in harm.items()) + " nats.",
    )  # fmt: skip


def _beta2(study: Study) -> Iterator[Claim]:
    claim = "The decay of the second average, beta2, matters little."
    lines = {base: line for base, line in study.line("beta2").items() if base not in NO_SECOND_AVERAGE}
    if not lines:
        yield no_runs(claim, PAPER_NAME, (f"{BASE}/beta2=...",))
        return
    found = {arm: compare(study.losses, arm, base, study.margin) for base, line in lines.items() for _, arm in sorted(line.items())}
    worst = max(found, key=lambda arm: abs(found[arm].difference))
    yield Claim(
        claim=claim, source=f"{PAPER_NAME}, section 3", verdict=all_comparable([*found.values()]), **estimate_fields(found[worst]), unit=f"nats, {worst} less its default",
        num_seeds=study.num_seeds(*found), method=f"two one-sided t tests at 5 % against the default, margin {study.margin:g} nats, pooled deviation, Holm to contradict; 90 % interval",
        words="Against the default at the same learning rate: " + "; ".join(f"{arm} {_signed(one.difference)}" for arm, one in found.items()) + " nats.",
    )  # fmt: skip


def _not_tested() -> Iterator[Claim]:
    reasons = {
        "All of this holds from 150M to 1.2B parameters.": "One size of model was trained, far below these.",
        "Adaptivity is needed in the last layer because vocabularies are large and their tokens unevenly frequent.": "The vocabulary is far below the paper's 32,000 entries.",
        "The comparison does not depend on QK-norm and z-loss.": "Both are always on here.",
        "Weight decay, epsilon, warm-up and batch size matter little.": "Each is held at one value here.",
    }  # fmt: skip
    for claim, why in reasons.items():
        yield Claim(claim=claim, source=f"{PAPER_NAME}, section 3", verdict=NOT_TESTED, words=why)


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _width_words(stability: Stability) -> str:
    lost = f", {stability.num_diverged} of {stability.num_lrs} diverged" if stability.num_diverged else ""
    return f"{'at least ' if stability.at_edge else ''}{stability.decades:.2f} decades (sensitivity {stability.sensitivity:.3f}{lost})"
