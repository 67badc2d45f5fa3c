"""Judge the claims about Shampoo's preconditioner on measured cosines, and draw them over training.

reads: cosines of measure_preconditioner   writes: one row for each claim, with its verdict; paragraph, figures and tables in the summary
cost: seconds.

The claims and their tests: evaluation/studies/preconditioner.py. Source: Morwani et al., arXiv 2406.17748.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from evaluation.studies.claims import Claim
    from evaluation.studies.preconditioner import Source, Study

Figure = dict[str, Any]
Rows = list[dict[str, Any]]

COLUMNS = (
    "network", "layer", "step", "view", "held_out", "labels", "batch", "num_samples", "seed", "estimator", "cosine", "effective_rank", "loss",
)  # fmt: skip


@config
class JudgePreconditioner:
    near_margin: float = 0.05
    """Shampoo squared tracks the best product if its cosine is within this of the best one."""
    equal_margin: float = 0.02
    """Cosines closer than this are as good as equal."""


def _claim_columns(config: Any) -> Mapping[str, pa.DataType]:
    from evaluation.studies.claims import COLUMNS

    return COLUMNS


@stage(version=1, kind="reduce", takes=("table*",), needs=set(COLUMNS), adds=_claim_columns, uses=("scipy",))
def judge_preconditioner(config: JudgePreconditioner, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every claim. ValueError for fewer than two seeds."""
    from evaluation.studies import preconditioner as claims_of
    from evaluation.studies.claims import STATISTICS, analysis_times, claims_table

    tables = inputs.of("table")
    study = claims_of.Study(row for table in tables for shard in table.shards for row in table.table(shard.name, list(COLUMNS)).to_pylist())
    claims = claims_of.judge(study, config.near_margin, config.equal_margin)
    yield "claims", claims_table(claims)
    return {
        "study": "preconditioner",
        "title": "How good Shampoo's Kronecker products are",
        "paragraph": _paragraph(study, claims),
        "figures": [
            *[_over_training(study, network, claims_of.GN) for network in study.networks],
            *[_over_training(study, network, claims_of.ADAGRAD) for network in study.networks],
            *[_over_batches(study, network) for network in study.networks],
        ],
        "tables": [
            {"title": "Cosines with the Gauss-Newton matrix layer by layer, means over steps and seeds", "rows": _layer_rows(study)},
            {"title": "The same with twice as many gradients, means over layers and seeds", "rows": _twice_rows(study)},
            {"title": "Factors from other windows, batches and labels, means over layers and seeds", "rows": _batch_rows(study)},
            {"title": "Loss of the networks in nats a letter, means over seeds", "rows": _loss_rows(study)},
        ],
        "analysis": analysis_times([__file__, claims_of.__file__, *STATISTICS], *[table.summary or {} for table in tables]),
    }


def _over_training(study: "Study", network: str, view: str) -> Figure:
    """The paper's plot: the four products over training."""
    from evaluation.studies.preconditioner import GN, NAMES, VIEW_NAMES, Source

    sources = {NAMES[name]: Source(view, name) for name in NAMES if (network, Source(view, name)) in study.cosines}
    steps = study.steps(network, Source(view))
    gradients = f"{study.num_samples[network]:,} samples, labels drawn from the model" if view == GN else "all gradients of training so far"
    lines = [_series(study, network, name, source, steps, range(len(steps)), by="step") for name, source in sources.items()]
    return {
        "title": f"{network}: cosine with {VIEW_NAMES[view]}",
        "caption": f"Mean over layers; line: mean over seeds with its 95 % t interval, dots: seeds. The matrix is that of {gradients}.",
        "x": {"label": "steps of training", "log": False, "categories": [str(step) for step in steps]},
        "y": {"label": "cosine", "log": False, "max": 1.0},
        "series": [series for pair in lines for series in pair],
    }


def _over_batches(study: "Study", network: str) -> Figure:
    """Factors from batches, by drawn and by real labels."""
    from evaluation.studies.preconditioner import NAMES, Source

    lines = []
    for labels in ("sampled", "real"):
        for estimator in ("shampoo2", "shampoo"):
            name = f"{NAMES[estimator]}, {'drawn' if labels == 'sampled' else 'real'} labels"
            lines.append(
                _series(study, network, name, Source(estimator=estimator, labels=labels), study.batches, study.batches, by="batch")
            )
    return {
        "title": f"{network}: factors from batches, by drawn and by real labels",
        "caption": "Cosine with the Gauss-Newton matrix of products whose factors come from equally many gradients of batches of other windows; "
        "mean over layers and steps; line: mean over seeds with its 95 % t interval, dots: seeds.",
        "x": {"label": "windows in a batch", "log": True},
        "y": {"label": "cosine", "log": False, "max": 1.0},
        "series": [series for pair in lines for series in pair],
    }


def _series(study: "Study", network: str, name: str, source: "Source", values: Any, places: Any, by: str) -> list[dict[str, Any]]:
    """A line of means over the steps or the batches with intervals, and a dot for every seed."""
    from dataclasses import replace

    from evaluation.studies.equivalence import arm_means

    cells = {
        place: study.mean(network, source, step=value) if by == "step" else study.mean(network, replace(source, batch=value))
        for value, place in zip(values, places, strict=True)
    }
    means = arm_means({str(place): cosines for place, cosines in cells.items()})
    line = {"name": name, "x": list(cells), "marks": "line", "dashed": name.startswith("Shampoo,") or name == "Shampoo"}
    line |= {
        "y": [one.mean for one in means.values()],
        "low": [one.low for one in means.values()],
        "high": [one.high for one in means.values()],
    }
    dots = [(place, cosine) for place, cosines in cells.items() for cosine in cosines.values()]
    return [line, {"name": name, "x": [x for x, _ in dots], "y": [y for _, y in dots], "marks": "dots"}]


def _layer_rows(study: "Study") -> Rows:
    from evaluation.studies.preconditioner import NAMES, Source

    rows = []
    for network in study.networks:
        for layer in study.layers(network):
            ranks = [rank for (of, where, _), found in study.ranks.items() if (of, where) == (network, layer) for rank in found]
            cosines = {word: _rounded(study.mean(network, Source(estimator=name), layer=layer).values()) for name, word in NAMES.items()}
            rows.append(
                {
                    "network": network,
                    "layer": layer,
                    **cosines,
                    "gradients": study.num_samples[network],
                    "effective rank": _rounded(ranks, 0),
                }
            )
    return rows


def _twice_rows(study: "Study") -> Rows:
    """Every network and step once with N gradients and once with 2 N."""
    from evaluation.studies.preconditioner import NAMES, Source

    return [
        {"network": network, "step": step, "gradients": study.num_samples[network] * (2 if twice else 1)}
        | {word: _rounded(study.mean(network, Source(estimator=name, twice=twice), step=step).values()) for name, word in NAMES.items()}
        for network in study.networks
        for step in study.steps(network, Source())
        for twice in (False, True)
    ]


def _batch_rows(study: "Study") -> Rows:
    from evaluation.studies.preconditioner import NAMES, Source

    rows = []
    for network in study.networks:
        for step in study.steps(network, Source()):
            for estimator in ("shampoo", "shampoo2"):
                row: dict[str, Any] = {"network": network, "step": step, "product": NAMES[estimator]}
                for labels, word in (("sampled", "drawn"), ("real", "real")):
                    for batch in study.batches:
                        cosines = study.mean(network, Source(estimator=estimator, batch=batch, labels=labels), step=step)
                        row[f"{word}, batch {batch}"] = _rounded(cosines.values())
                rows.append(row)
    return rows


def _loss_rows(study: "Study") -> Rows:
    return [
        {"network": network, **{f"step {step}": _rounded(losses.values()) for (of, step), losses in study.losses.items() if of == network}}
        for network in study.networks
    ]


def _rounded(values: Any, digits: int = 3) -> float:
    found = list(values)
    return round(sum(found) / len(found), digits)


def _paragraph(study: "Study", claims: "list[Claim]") -> str:
    """What was found and what was not, from the numbers."""
    from evaluation.studies.claims import by_verdict
    from evaluation.studies.preconditioner import ADAGRAD, GN, NAMES, Source

    def cosines(view: str, names: tuple[str, ...]) -> str:
        means = {network: [_rounded(study.mean(network, Source(view, name)).values()) for name in names] for network in study.networks}
        return "; ".join(f"{network} {' / '.join(f'{mean:.3f}' for mean in found)}" for network, found in means.items())

    all_names, adagrad_names = tuple(NAMES), ("shampoo", "shampoo2", "optimal")
    last = study.batches[-1]
    flips = [
        f"{network} at step {step}"
        for network in study.networks
        for step in study.steps(network, Source())
        if _rounded(study.mean(network, Source(estimator="shampoo", batch=last, labels="real"), step=step).values())
        > _rounded(study.mean(network, Source(batch=last, labels="real"), step=step).values())
    ]
    flipped = (
        f"From real labels and batches of {last} squaring does harm: Shampoo is then closer to the Gauss-Newton matrix than its square for "
        f"{', '.join(flips)}. "
        if flips
        else f"Also from real labels and batches of {last} the square is the closer one at every step. "
    )
    return (
        f"On {len(study.seeds)} seeds, the mean cosines with the Gauss-Newton matrix over layers and training are "
        f"({' / '.join(NAMES[name] for name in all_names)}): {cosines(GN, all_names)}. With Adagrad's sum "
        f"({' / '.join(NAMES[name] for name in adagrad_names)}): {cosines(ADAGRAD, adagrad_names)}. {by_verdict(claims)} {flipped}"
        "All cosines are with matrices of a sample and grow with its size; those of the averages over training suffer most, which "
        "have few gradients. Nothing here says which power trains better."
    )
