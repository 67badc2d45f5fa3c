"""Judge the claims of SOAP's paper on a study's runs: data and time saved, rare refreshes, variants; and draw what they are judged on.

reads: runs of train_arms, those of seeds other than `tuning_seed`, and from their manifests the time of a step
writes: one row for each claim, with its verdict; paragraph, figures and tables in the summary
cost: none.

The claims and their tests: evaluation/studies/soap.py. Verdicts on time hold for the machine that trained: they are not the same everywhere.
Source: Vyas et al., arXiv 2409.11321.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from evaluation.studies.claims import Claim
    from evaluation.studies.soap import Study

Figure = dict[str, Any]

CURVE_POINTS = 60


@config
class JudgeSoap:
    margin: float = 0.02
    """Nats: final losses closer than this are comparable."""
    tuning_seed: int = 0
    """Seed on which learning rates were chosen; runs of all other seeds count."""


def _claim_columns(config: Any) -> Mapping[str, pa.DataType]:
    from evaluation.studies.claims import COLUMNS

    return COLUMNS


def _run_columns(config: Any) -> set[str]:
    from evaluation.studies.runs import COLUMNS

    return set(COLUMNS)


@stage(
    version=2, kind="reduce", takes=("table*",), needs=_run_columns, adds=_claim_columns, uses=("scipy",), reproducible="given the step times of its runs"
)  # fmt: skip
def judge_soap(config: JudgeSoap, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every claim. ValueError where a sanity arm fails: lr 0 must change nothing, and climbing the gradient must not train."""
    from evaluation.studies import soap as soap_claims
    from evaluation.studies.claims import STATISTICS, analysis_times, claims_table
    from evaluation.studies.runs import read_runs

    tables = inputs.of("table")
    runs = [read_runs(table.table(shard.name) for shard in table.shards) for table in tables]
    times = {run["run"]: run["step_seconds"] for table in tables for run in table.summary["runs"] if run["step_seconds"]}
    study = soap_claims.read_study([run for of_table in runs for run in of_table], times, tuning_seed=config.tuning_seed, margin=config.margin)
    claims = soap_claims.judge(study)
    yield "claims", claims_table(claims)
    confirm = [table.summary for table, of_table in zip(tables, runs, strict=True) if any(run.seed != config.tuning_seed for run in of_table)]
    return {
        "study": "soap",
        "title": "SOAP: how much data and time it saves",
        "paragraph": _paragraph(study, claims),
        "figures": [_efficiency(study), *_frequencies(study), *_variants(study)],
        "tables": [
            {"title": "Arms on fresh seeds", "rows": _arm_rows(study)},
            {"title": "What others found at other sizes", "rows": [{"paper": paper, "finding": words} for paper, words in soap_claims.COUNTER_EVIDENCE.items()]},
        ],
        "analysis": analysis_times([__file__, soap_claims.__file__, *STATISTICS], *confirm),
    }  # fmt: skip


def _efficiency(study: "Study") -> Figure:
    """The paper's plot: SOAP's final losses over shares of the data, the curve through them, and what the others reach on all of it."""
    from evaluation.studies.equivalence import arm_means
    from evaluation.studies.soap import ADAMW, SHAMPOO, SOAP

    means = arm_means(study.losses)
    shares, losses = zip(*study.points, strict=True)
    series = [{"name": SOAP, "x": [*shares], "y": [*losses], "marks": "dots"}]
    if study.curve is not None:
        low, high = min(shares), max(shares)
        xs = [low + (high - low) * i / (CURVE_POINTS - 1) for i in range(CURVE_POINTS)]
        series.append({"name": "a + b N^-beta", "x": xs, "y": [study.curve.loss(x) for x in xs], "marks": "line"})
    lines: list[dict[str, Any]] = []
    for target, name in ((ADAMW, "AdamW"), (SHAMPOO, "Shampoo")):
        if target in means and means[target].mean is not None:
            lines.append({"y": means[target].mean, "label": f"{name} on all of it"})
            reach = study.reach(target)
            if reach is not None and min(shares) <= reach.estimate <= max(shares):
                lines.append({"x": reach.estimate, "label": f"as {name}: {reach.estimate:.2f}"})
    return {
        "title": "SOAP on a part of the data against others on all of it",
        "caption": "Each dot is a run, a seed and a share of the data, with its own warm-up and cosine. Where the curve crosses a level, SOAP has that optimizer's final loss.",
        "x": {"label": "share of the data", "log": False},
        "y": {"label": "final validation loss, nats per token", "log": False},
        "series": series,
        "lines": lines,
    }  # fmt: skip


def _frequencies(study: "Study") -> Iterator[Figure]:
    from evaluation.studies.arm_series import seeds_and_means
    from evaluation.studies.equivalence import arm_means
    from evaluation.studies.soap import ADAMW, SHAMPOO, SOAP

    at = {base: study.frequencies(base) for base in (SOAP, SHAMPOO) if len(study.frequencies(base)) > 1}
    if at:
        adamw = arm_means(study.losses)[ADAMW].mean
        yield {
            "title": "How rarely bases may be refreshed",
            "caption": "Every seed a dot; means with 95 % t intervals, the deviation pooled over all arms. All at the learning rate that is best for a refresh every 10 steps.",
            "x": {"label": "steps between refreshes", "log": True},
            "y": {"label": "final validation loss, nats per token", "log": False},
            "series": [one for base, line in at.items() for one in seeds_and_means(study.losses, line, name=base)],
            "lines": [] if adamw is None else [{"y": adamw, "label": "AdamW"}],
        }  # fmt: skip


def _variants(study: "Study") -> Iterator[Figure]:
    from evaluation.studies.arm_series import seeds_and_means
    from evaluation.studies.soap import ADAMW, SHAMPOO, SOAP

    changed = [group for group in study.losses if group.startswith(f"{SOAP}/") and "data=" not in group and "f=" not in group]
    if changed:
        order = [arm for arm in (ADAMW, SHAMPOO, SOAP, *changed) if arm in study.losses]
        yield {
            "title": "Variants of SOAP",
            "caption": "Every seed a dot; bars are 95 % t intervals of the mean with the deviation pooled over all arms.",
            "x": {"label": "", "log": False, "categories": order},
            "y": {"label": "final validation loss, nats per token", "log": False},
            "series": seeds_and_means(study.losses, dict(enumerate(order)), jitter=0.06),
        }


def _arm_rows(study: "Study") -> list[dict[str, Any]]:
    from evaluation.studies.equivalence import arm_means
    from evaluation.studies.soap import ADAMW, SOAP

    means, rows = arm_means(study.losses), []
    for arm, mean in means.items():
        times = study.step_seconds.get(arm, [])
        row = {"arm": arm, "lr": study.lrs[arm], "share of the data": study.fractions[arm], "loss": mean.mean, "low": mean.low, "high": mean.high}
        row |= {"seeds": mean.num_finished + mean.num_diverged, "diverged": mean.num_diverged}
        row |= {"step, ms": 1000 * sum(times) / len(times) if times else None}
        for other in (ADAMW, SOAP):
            both = arm != other and None not in (mean.mean, means[other].mean)
            row[f"less {other}"] = mean.mean - means[other].mean if both else None
        rows.append(row)
    return rows


def _paragraph(study: "Study", claims: "list[Claim]") -> str:
    """What was found and what was not, in the numbers of the runs, with what others found at other sizes."""
    from evaluation.studies.claims import NOT_TESTED, by_verdict
    from evaluation.studies.soap import COUNTER_EVIDENCE

    seen = " ".join(claim.words for claim in claims if claim.verdict != NOT_TESTED)
    against = "; ".join(f"{paper}: {words}" for paper, words in COUNTER_EVIDENCE.items())
    diverged = sum(loss is None for losses in study.losses.values() for loss in losses.values())
    return (
        f"{seen} {by_verdict(claims)} Runs differ with the seed by {study.deviation:.4f} nats (pooled over {len(study.losses)} arms); "
        f"{diverged} diverged, which are counted. What SOAP saves depends on size, batch and data, and others do not agree on how: {against}. "
        "The percentages of the paper, at batches of 2M tokens and on a GPU, were not tested here."
    )
