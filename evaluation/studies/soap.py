"""The claims of SOAP's paper, judged on a study's runs: how much data and time it saves, how rarely it may refresh, what its variants cost.

    study = read_study(read_runs(tables), step_seconds={run: seconds})
    claims = judge(study)

Groups are "soap", "adamw" and "shampoo" at equal data; "soap/data=0.5" on a fraction of it, with a cosine of its own; "soap/f=100" with bases that
are refreshed so often; "soap/one_sided" and other variants. All on fresh seeds, at the learning rate that is best at equal data. The efficiency is
the paper's: a curve a + b N^-beta through SOAP's final losses, read off where it reaches the other's final loss; see loss_curve.py for the interval.

Source: Vyas et al., arXiv 2409.11321.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.studies.claims import NOT_TESTED, UNDECIDED, Claim, all_above, all_comparable, estimate_fields, no_runs
from evaluation.studies.equivalence import Contrast, arm_means, compare, contrast, pooled_deviation
from evaluation.studies.loss_curve import LossCurve, fit_curve
from evaluation.studies.runs import SANITY, Run, check_sanity, losses_by_seed

SOAP, ADAMW, SHAMPOO = "soap", "adamw", "shampoo"
PAPER_NAME = "Vyas et al., arXiv 2409.11321"
ONE_SIDED, FACTORIZED = "soap/one_sided", "soap/factorized"
DEFAULT_FREQUENCY = 10
SAME_LR = f"all at the learning rate that is best at f = {DEFAULT_FREQUENCY}"
COUNTER_EVIDENCE = {
    "arXiv 2509.02046": "tuned alike, matrix-based optimizers are 1.4 times as fast as AdamW at 0.1B parameters and 1.1 times at 1.2B",
    "arXiv 2512.05620": "with width-aware scaling of learning rate and weight decay the gain stays as models grow",
    "arXiv 2510.25000": "of the whitening methods SOAP gains most per step, by its adaptation to variance",
    "arXiv 2509.22938": "a replication on nanoGPT finds no significant advantage",
}
"""What others measured at sizes that this study does not reach."""


@dataclass(frozen=True)
class Study:
    """Runs by group, with what all intervals share."""

    losses: dict[str, dict[int, float | None]]
    """group -> seed -> final loss; None diverged."""
    lrs: dict[str, float]
    fractions: dict[str, float]
    """group -> share of the full data."""
    step_seconds: dict[str, list[float]]
    """group -> mean seconds of a training step, of each run."""
    init: float
    deviation: float
    """Of one run, pooled over all groups."""
    df: int
    margin: float

    @property
    def points(self) -> list[tuple[float, float]]:
        """(share of the data, final loss) of SOAP's finished runs."""
        groups = [group for group in self.losses if group == SOAP or group.startswith(f"{SOAP}/data=")]
        return sorted((self.fractions[group], loss) for group in groups for loss in self.losses[group].values() if loss is not None)

    @property
    def curve(self) -> LossCurve | None:
        """SOAP's final loss over the share of the data; None for fewer than three shares or losses that do not fall."""
        try:
            return fit_curve(*zip(*self.points, strict=True))
        except ValueError:
            return None

    def difference(self, arm: str, reference: str) -> Contrast:
        """Mean loss of an arm less that of another."""
        return contrast(self.losses, {arm: 1, reference: -1})

    def num_seeds(self, *arms: str) -> int:
        """Seeds, the fewest of the arms."""
        return min(len(self.losses[arm]) for arm in arms)

    def frequencies(self, base: str) -> dict[int, str]:
        """Steps between refreshes, ascending -> group."""
        found = {int(group.partition("/f=")[2]): group for group in self.losses if group.startswith(f"{base}/f=")}
        return dict(sorted({**found, **({DEFAULT_FREQUENCY: base} if base in self.losses else {})}.items()))

    def target(self, arm: str) -> tuple[float, float]:
        """Mean final loss of an arm and its standard error; infinite where every run diverged, so that anything reaches it."""
        mean = arm_means(self.losses)[arm]
        return (math.inf, 0.0) if mean.mean is None else (mean.mean, self.deviation / math.sqrt(mean.num_finished))

    def reach(self, arm: str) -> Contrast | None:
        """Share of the data on which SOAP has the final loss of `arm` on all of it; None where its curve does not come to it."""
        loss, error = self.target(arm)
        return None if self.curve is None or loss == math.inf else self.curve.reach(loss, error, self.deviation, self.df)

    def step_ratio(self, arm: str, reference: str) -> Contrast | None:
        """Time of a step of an arm over that of another, its error from the spread between runs; None where fewer than two were timed."""
        times = [self.step_seconds.get(arm, []), self.step_seconds.get(reference, [])]
        if min(map(len, times)) < 2:
            return None
        means = [math.fsum(found) / len(found) for found in times]
        relative = [sum((t - mean) ** 2 for t in found) / (len(found) - 1) / len(found) / mean**2 for found, mean in zip(times, means, strict=True)]
        ratio = means[0] / means[1]
        return Contrast(ratio, ratio * math.sqrt(sum(relative)), min(map(len, times)) - 1)


def read_study(runs: Sequence[Run], step_seconds: Mapping[str, float], *, tuning_seed: int = 0, margin: float = 0.02) -> Study:
    """Sort the runs of fresh seeds; `step_seconds` by digest of the run. ValueError where a sanity arm fails and where SOAP or ADAMW has no fresh run."""
    init = check_sanity(runs)
    fresh = [run for run in runs if run.group not in SANITY and run.seed != tuning_seed]
    losses = losses_by_seed(fresh)
    for group in (SOAP, ADAMW):
        if group not in losses:
            raise ValueError(f"judge_soap: '{group}' has no run on a seed other than {tuning_seed} (groups: {', '.join(losses) or 'none'}); run it")
    full = max(run.num_tokens for run in fresh)
    times: dict[str, list[float]] = {}
    for run in fresh:
        if step_seconds.get(run.run):
            times.setdefault(run.group, []).append(step_seconds[run.run])
    deviation, df = pooled_deviation(losses)
    return Study(
        losses=losses, lrs={run.group: run.lr for run in fresh}, fractions={run.group: run.num_tokens / full for run in fresh}, step_seconds=times,
        init=init, deviation=deviation, df=df, margin=margin,
    )  # fmt: skip


def judge(study: Study) -> list[Claim]:
    """Every claim of the paper, those that can not be tested here last."""
    return [*_efficiency(study), *_frequency(study), *_variants(study), *_not_tested()]


def _efficiency(study: Study) -> Iterator[Claim]:
    source, curve = f"{PAPER_NAME}, efficiency benefit", study.curve
    for arm, name in ((ADAMW, "AdamW"), (SHAMPOO, "Shampoo")):
        steps, time = f"SOAP reaches {name}'s loss in fewer steps.", f"SOAP reaches {name}'s loss in less time."
        if arm not in study.losses or len({share for share, _ in study.points}) < 3:
            yield from (no_runs(claim, PAPER_NAME, (arm, "soap on three shares of the data")) for claim in (steps, time))
            continue
        if curve is None:
            words = "SOAP's final losses do not fall with the share of the data, so no curve can be read."
            yield from (Claim(claim=claim, source=source, verdict=UNDECIDED, words=words) for claim in (steps, time))
            continue
        reach, ratio, (loss, error) = study.reach(arm), study.step_ratio(SOAP, arm), study.target(arm)
        seeds, gain = study.num_seeds(SOAP, arm), study.difference(arm, SOAP).estimate
        far = "" if reach is None or curve.lowest <= reach.estimate <= curve.highest else ", outside the shares that were run and so extrapolated"
        needs = f"SOAP's curve does not come to {arm}'s loss" if reach is None else f"SOAP needs {reach.estimate:.2f} of the steps{far}"
        missed = f" (the curve bends as little as it may and ends {curve.loss(1.0) - study.target(SOAP)[0]:+.3f} from the runs on all data)" if curve.at_bound else ""
        yield Claim(
            claim=steps, source=source, verdict=all_above([curve.below(loss, 1.0, error, study.deviation, study.df)]), **_saving(reach),
            unit="% of the steps saved", num_seeds=seeds,
            method="curve a + b N^-beta through SOAP's final losses on shares of the data: t test at 2.5 % that on all of it the curve lies below the other's final loss; "
            "saving read off where they meet, delta method, 95 %; noise of a run pooled over all arms",
            words=f"{needs}{missed}; at equal data {SOAP} ends {abs(gain):.3f} nats {'below' if gain > 0 else 'above'} {arm}.",
        )  # fmt: skip
        if ratio is None:
            yield no_runs(time, PAPER_NAME, (f"two timed runs each of {SOAP} and {arm}",))
            continue
        r, same_time = ratio.estimate, 1 / ratio.estimate  # on that share of the steps SOAP takes as long as the other does on all
        margin = curve.below(loss, same_time, error, study.deviation, study.df)
        timed = math.hypot(margin.error, curve.slope(same_time) * ratio.error / r**2)
        spent = None if reach is None else Contrast(reach.estimate * r, math.hypot(r * reach.error, reach.estimate * ratio.error), ratio.df)
        yield Claim(
            claim=time, source=source, verdict=all_above([Contrast(margin.estimate, timed, ratio.df)]), **_saving(spent), unit="% of the time saved on this machine", num_seeds=seeds,
            method="as the steps, at the share of the steps that takes as long: by the ratio of the mean step times of these runs, whose error is that between runs",
            words=f"A step of SOAP takes {r:.2f} times one of {arm} here" + ("." if spent is None else f", so that it needs {spent.estimate:.2f} of the time."),
        )  # fmt: skip


def _saving(share: Contrast | None) -> dict[str, float | None]:
    """A share that is needed, as percents saved."""
    if share is None:
        return {}
    low, high = share.interval()
    return {"estimate": 100 * (1 - share.estimate), "low": 100 * (1 - high), "high": 100 * (1 - low)}


def _frequency(study: Study) -> Iterator[Claim]:
    source = f"{PAPER_NAME}, frequency of preconditioning"
    soap, shampoo = study.frequencies(SOAP), study.frequencies(SHAMPOO)
    better = "SOAP beats AdamW however rarely, from 1 to 100 steps, its bases are refreshed."
    if len(soap) < 2:
        yield no_runs(better, PAPER_NAME, ("soap/f=...",))
    else:
        gains = {f: study.difference(ADAMW, arm) for f, arm in soap.items()}
        least = min(gains, key=lambda f: gains[f].estimate)
        yield Claim(
            claim=better, source=source, verdict=all_above([*gains.values()]), **estimate_fields(gains[least]), unit=f"nats, {ADAMW} - soap at f = {least}",
            num_seeds=study.num_seeds(ADAMW, *soap.values()), method=f"one-sided t tests at 2.5 % for each frequency, {SAME_LR}, pooled deviation, Holm to contradict; 95 % interval",
            words=f"Loss below {ADAMW}'s: " + "; ".join(f"f = {f} {gain.estimate:+.3f}" for f, gain in gains.items()) + " nats.",
        )  # fmt: skip
    slower, equal = "SOAP loses less than Shampoo where refreshes get rare.", "With a refresh at every step SOAP and Shampoo are comparable."
    if not (1 in soap and 1 in shampoo and max(soap) == max(shampoo) > 1):
        yield from (no_runs(claim, PAPER_NAME, ("soap and shampoo at f = 1 and at the same rarest f",)) for claim in (slower, equal))
        return
    rare = max(soap)
    less = contrast(study.losses, {shampoo[rare]: 1, shampoo[1]: -1, soap[rare]: -1, soap[1]: 1})
    rises = {SOAP: study.difference(soap[rare], soap[1]), SHAMPOO: study.difference(shampoo[rare], shampoo[1])}
    yield Claim(
        claim=slower, source=source, verdict=all_above([less]), **estimate_fields(less), unit="nats, Shampoo's rise - SOAP's", num_seeds=study.num_seeds(soap[rare], soap[1], shampoo[rare], shampoo[1]),
        method=f"t test at 2.5 % of the difference of both rises from f = 1 to f = {rare}, {SAME_LR}, pooled deviation; 95 % interval",
        words=f"From f = 1 to f = {rare} SOAP's loss rises by {rises[SOAP].estimate:+.3f} nats, Shampoo's by {rises[SHAMPOO].estimate:+.3f}.",
    )  # fmt: skip
    found = compare(study.losses, soap[1], shampoo[1], study.margin)
    yield Claim(
        claim=equal, source=source, verdict=all_comparable([found]), **estimate_fields(found), unit="nats, SOAP - Shampoo",
        num_seeds=study.num_seeds(soap[1], shampoo[1]), method=f"two one-sided t tests at 5 %, margin {study.margin:g} nats, {SAME_LR}, pooled deviation; 90 % interval",
        words=f"At f = 1 SOAP ends {found.difference:+.3f} nats from Shampoo ({found.verdict}).",
    )  # fmt: skip


def _variants(study: Study) -> Iterator[Claim]:
    source = f"{PAPER_NAME}, section 7"
    claim = "The factorized second moment costs a negligible loss."
    if FACTORIZED not in study.losses:
        yield no_runs(claim, PAPER_NAME, (FACTORIZED,))
    else:
        found = compare(study.losses, FACTORIZED, SOAP, study.margin)
        yield Claim(
            claim=claim, source=source, verdict=all_above([study.difference(SOAP, FACTORIZED)], -study.margin, alpha=0.05),
            **estimate_fields(found), unit="nats", num_seeds=study.num_seeds(FACTORIZED, SOAP),
            method=f"one-sided t test at 5 % that it costs no more than {study.margin:g} nats, pooled deviation; 90 % interval",
            words=f"Factorized SOAP ends {found.difference:+.3f} nats from SOAP.",
        )  # fmt: skip
    claims = ("Rotating the smaller side alone costs more than SOAP.", "With the smaller side rotated alone, SOAP still beats AdamW.")
    if ONE_SIDED not in study.losses:
        yield from (no_runs(claim, PAPER_NAME, (ONE_SIDED,)) for claim in claims)
        return
    for claim, gain, other in zip(claims, (study.difference(ONE_SIDED, SOAP), study.difference(ADAMW, ONE_SIDED)), (SOAP, ADAMW), strict=True):
        yield Claim(
            claim=claim, source=source, verdict=all_above([gain]), **estimate_fields(gain), unit=f"nats, {'one-sided - soap' if other == SOAP else f'{ADAMW} - one-sided'}",
            num_seeds=study.num_seeds(ONE_SIDED, other), method="t test at 2.5 %, pooled deviation; 95 % interval",
            words=f"One-sided SOAP ends {study.difference(ONE_SIDED, other).estimate:+.3f} nats from {other}.",
        )  # fmt: skip


def _not_tested() -> Iterator[Claim]:
    reasons = {
        "With batches of 2M tokens SOAP saves at least 40 % of AdamW's iterations at 360M and 660M parameters, and about 20 % of Shampoo's.": "Model and batch are far smaller here, "
        "and the saving depends on both.",
        "It saves at least 35 % of AdamW's wall clock on an H100.": "Step times were measured on the machine named on this page, at another size.",
        "With batches of 256K tokens it saves at least 25 % of the iterations.": "One batch size was run.",
        "SOAP raises the critical batch size.": "One batch size was run.",
        "The advantage is kept on 100 tokens a parameter and more.": "Far fewer were trained on.",
    }  # fmt: skip
    for claim, why in reasons.items():
        yield Claim(claim=claim, source=f"{PAPER_NAME}, experiments", verdict=NOT_TESTED, words=why)
