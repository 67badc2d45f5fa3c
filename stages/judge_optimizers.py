"""Judge the claims of "Deconstructing What Makes a Good Optimizer" on a study's runs, and draw what they are judged on.

reads: runs of train_arms. Those of `tuning_seed` swept learning rates; those of other seeds, at the best of these, confirm
writes: one row for each claim, with its verdict; paragraph, figures and tables in the summary
cost: none.

The claims and their tests: evaluation/studies/optimizers.py. Source: Zhao et al., arXiv 2407.07972.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from evaluation.studies.claims import Claim
    from evaluation.studies.optimizers import Study

Figure = dict[str, Any]

SHOWN_ABOVE = 0.6
"""Nats above the worst optimizer's optimum where the plot of the sweeps ends."""


@config
class JudgeOptimizers:
    margin: float = 0.02
    """Nats: final losses closer than this are comparable."""
    slack: float = 0.05
    """Nats above an optimizer's best loss within which a learning rate counts as good."""
    tuning_seed: int = 0
    """Seed of the sweeps; runs of all other seeds confirm."""


def _claim_columns(config: Any) -> Mapping[str, pa.DataType]:
    from evaluation.studies.claims import COLUMNS

    return COLUMNS


def _run_columns(config: Any) -> set[str]:
    from evaluation.studies.runs import COLUMNS

    return set(COLUMNS)


@stage(version=2, kind="reduce", takes=("table*",), needs=_run_columns, adds=_claim_columns, uses=("scipy",))
def judge_optimizers(config: JudgeOptimizers, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every claim. ValueError where a sanity arm fails: lr 0 must change nothing, and climbing the gradient must not train."""
    from evaluation.studies import optimizers as optimizer_claims
    from evaluation.studies.claims import STATISTICS, analysis_times, claims_table
    from evaluation.studies.runs import read_runs

    tables = inputs.of("table")
    runs = [read_runs(table.table(shard.name) for shard in table.shards) for table in tables]
    study = optimizer_claims.read_study(
        [run for of_table in runs for run in of_table], tuning_seed=config.tuning_seed, margin=config.margin, slack=config.slack
    )
    claims = optimizer_claims.judge(study)
    yield "claims", claims_table(claims)
    confirm = [table.summary for table, of_table in zip(tables, runs, strict=True) if any(run.seed != config.tuning_seed for run in of_table)]
    return {
        "study": "optimizers",
        "title": "What makes a good optimizer, and what in it has to adapt",
        "paragraph": _paragraph(study, claims),
        "figures": [_sweeps(study), _best_settings(study), *_adaptivity(study), *_lines(study)],
        "tables": [
            {"title": "Best settings on fresh seeds", "rows": _arm_rows(study)},
            {"title": "Learning-rate sweeps", "rows": _sweep_rows(study)},
        ],
        "analysis": analysis_times([__file__, optimizer_claims.__file__, *STATISTICS], *confirm),
    }


def _optimizers(study: "Study") -> list[str]:
    """Groups that are an optimizer as it is, best first."""
    from evaluation.studies.equivalence import arm_means

    means = {arm: mean.mean for arm, mean in arm_means(study.losses).items() if "/" not in arm}
    return sorted(means, key=lambda arm: math.inf if means[arm] is None else means[arm])


def _sweeps(study: "Study") -> Figure:
    order = [arm for arm in _optimizers(study) if arm in study.sweeps]
    best = [min(found) for arm in order if (found := [loss for loss in study.sweeps[arm].values() if loss is not None])]
    top = min(study.init, max(best) + SHOWN_ABOVE)
    return {
        "title": "Final validation loss over the learning rate",
        "caption": f"One run a point, all on one seed. Losses above {top:.1f} are cut off; a cross is a run that diverged. At initialisation the loss is {study.init:.2f}.",
        "x": {"label": "peak learning rate", "log": True},
        "y": {"label": "validation loss, nats per token", "log": False, "max": top},
        "series": [{"name": arm, "x": [*study.sweeps[arm]], "y": [*study.sweeps[arm].values()], "marks": "both"} for arm in order],
    }


def _best_settings(study: "Study") -> Figure:
    from evaluation.studies.arm_series import seeds_and_means

    order = _optimizers(study)
    return {
        "title": "Each optimizer at its best learning rate, on fresh seeds",
        "caption": f"Every seed a dot; bars are 95 % t intervals of the mean with the deviation pooled over all arms, {study.deviation:.4f} nats ({study.df} degrees of freedom).",
        "x": {"label": "", "log": False, "categories": order},
        "y": {"label": "validation loss, nats per token", "log": False},
        "series": seeds_and_means(study.losses, dict(enumerate(order)), jitter=0.06),
    }  # fmt: skip


def _adaptivity(study: "Study") -> Iterator[Figure]:
    from evaluation.studies.arm_series import seeds_and_means
    from evaluation.studies.optimizers import ADAPTIVE, BASE, DROPPED, WORST

    names = {BASE: "AdamW", ADAPTIVE: "SGD + Adalayer", WORST: "SGD"} | {arm: f"without {part}" for arm, part in DROPPED.items()}
    order = [arm for arm in (BASE, ADAPTIVE, *DROPPED, WORST) if arm in study.losses]
    if ADAPTIVE in order:
        yield {
            "title": "What has to adapt",
            "caption": "SGD with Adalayer in the last layer and the norms, with one of the two left to SGD, and with neither; AdamW for comparison. Fresh seeds, 95 % t intervals.",
            "x": {"label": "", "log": False, "categories": [names[arm] for arm in order]},
            "y": {"label": "validation loss, nats per token", "log": False},
            "series": seeds_and_means(study.losses, dict(enumerate(order)), jitter=0.06),
        }  # fmt: skip


DEFAULTS = {"adamw": {"beta1": 0.9, "beta2": 0.95}, "lion": {"beta1": 0.9, "beta2": 0.95}}
"""Where the optimizer as it is lies on its lines (a test holds this against the optimizers)."""


def _lines(study: "Study") -> Iterator[Figure]:
    from evaluation.studies.arm_series import seeds_and_means

    for option, title in (("beta1", "Momentum, beta1"), ("beta2", "beta2: decay of AdamW's second average, of Lion's momentum")):
        series = []
        for base, line in study.line(option).items():
            at = dict(sorted({**line, DEFAULTS[base][option]: base}.items()))
            series += seeds_and_means(study.losses, at, name=base)
        if series:
            yield {
                "title": title,
                "caption": "At the learning rate that is best for the default; everything else as it is. Every fresh seed a dot, 95 % t intervals.",
                "x": {"label": option, "log": False},
                "y": {"label": "validation loss, nats per token", "log": False},
                "series": series,
            }


def _arm_rows(study: "Study") -> list[dict[str, Any]]:
    """One row for each arm with fresh seeds, best optimizers first, then what was changed."""
    from evaluation.statistics import pooled_deviation
    from evaluation.studies.equivalence import arm_means
    from evaluation.studies.optimizers import BASE

    means, rows = arm_means(study.losses), []
    for arm in [*_optimizers(study), *sorted(arm for arm in study.losses if "/" in arm)]:
        mean = means[arm]
        finished = {seed: loss for seed, loss in study.losses[arm].items() if loss is not None}
        row = {
            "arm": arm,
            "lr": study.lrs[arm],
            "loss": mean.mean,
            "low": mean.low,
            "high": mean.high,
            "seeds": mean.num_finished + mean.num_diverged,
        }
        row |= {"diverged": mean.num_diverged, "own deviation": pooled_deviation({arm: finished})[0]}
        if arm != BASE and None not in (mean.mean, means[BASE].mean):
            judged = study.against_base(arm)
            row |= {f"less {BASE}": judged.difference, "low (90 %)": judged.low, "high (90 %)": judged.high, "verdict": judged.verdict}
        rows.append(row)
    return rows


def _sweep_rows(study: "Study") -> list[dict[str, Any]]:
    rows = []
    for arm in sorted(arm for arm, losses in study.sweeps.items() if len(losses) > 1 and any(loss is not None for loss in losses.values())):
        found = study.stability(arm)
        rows.append(
            {"group": arm, "best lr": found.best_lr, "best loss": found.best_loss, f"decades within {study.slack:g}": found.decades,
             "reaches an end of the sweep": found.at_edge, "lr sensitivity": found.sensitivity, "learning rates": found.num_lrs, "diverged": found.num_diverged}
        )  # fmt: skip
    return rows


def _paragraph(study: "Study", claims: "list[Claim]") -> str:
    """What was found and what was not, in the numbers of the runs."""
    from evaluation.studies.claims import by_verdict
    from evaluation.studies.optimizers import BASE, arm_words

    diverged = sum(loss is None for losses in study.losses.values() for loss in losses.values())
    swept = [loss for losses in study.sweeps.values() for loss in losses.values()]
    blown = sum(loss is not None and loss > study.init for loss in swept)
    against = {arm: study.against_base(arm) for arm in _optimizers(study) if arm != BASE}
    half = min(((found.high - found.low) / 2 for found in against.values()), default=0.0)
    blind = f", which is wider than the margin: with so few seeds none could have been shown to be comparable to {BASE}" if half > study.margin else ""
    return (
        f"Each optimizer swept its learning rate on one seed and ran at the best one on fresh seeds. {arm_words(study, BASE)}. Less that: "
        + ", ".join(f"{arm} {found.difference:+.3f} ({found.verdict})" for arm, found in against.items())
        + f". Comparable means shown to lie within {study.margin:g} nats, different shown to lie beyond; a difference is known to within {half:.3f} (90 %){blind}. {by_verdict(claims)} "
        f"Two runs of one setting differ by the seed with a deviation of {study.deviation:.4f} nats (pooled over {len(study.losses)} arms). Diverged, and counted: "
        f"{swept.count(None)} runs of the sweeps, {diverged} on fresh seeds; {blown} of the sweeps ended finite, above the loss at initialisation. Only the learning rate was tuned, all else changed one at a time, and one model of this size says nothing "
        "about larger ones."
    )  # fmt: skip
