"""The claims of "A New Perspective on Shampoo's Preconditioner", judged on cosines between second moments and Kronecker products.

    study = Study(rows)                          # as measure_preconditioner writes them
    study.mean("linear", GN, "shampoo2")         # seed -> mean over layers and steps
    claims = judge(study)

What is compared is a difference of cosines at the same layer, step and seed, averaged over layers and steps: one number a network and seed. Its
deviation is pooled over networks. A claim about all networks holds where it holds for each.

Source: Morwani et al., arXiv 2406.17748.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.studies.claims import NOT_TESTED, Claim, all_above, all_comparable
from evaluation.studies.equivalence import Contrast, against_margin, contrast

GN, ADAGRAD, ADAGRAD_EMA = "gn", "adagrad", "adagrad_ema"
VIEW_NAMES = {GN: "the Gauss-Newton matrix", ADAGRAD: "Adagrad's sum over training", ADAGRAD_EMA: "an exponential average over training"}
NAMES = {"shampoo": "Shampoo", "shampoo2": "Shampoo squared", "kfac": "K-FAC", "optimal": "best product"}
PAPER = "Morwani et al., arXiv 2406.17748"

Differences = dict[str, dict[int, float]]
"""network -> seed -> mean difference of cosines."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a product comes from: which matrix it is compared with, and which gradients gave its factors."""

    view: str = GN
    estimator: str = "shampoo2"
    batch: int | None = None
    """Windows in each gradient of held-out factors; None = factors of the matrix's own gradients."""
    labels: str = "sampled"
    twice: bool = False
    """With twice as many gradients (Gauss-Newton matrix only)."""


class Study:
    """Rows of cosines by network, source, seed, layer and step. ValueError for rows that no claim can be judged on."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.cosines: dict[tuple[str, Source], dict[tuple[int, str, int], float]] = {}
        self.ranks: dict[tuple[str, str, int], list[float]] = {}
        """(network, layer, step) -> effective rank of the Gauss-Newton matrix, seed by seed."""
        self.losses: dict[tuple[str, int], dict[int, float]] = {}
        """(network, step) -> seed -> loss in nats."""
        rows = list(rows)
        own = [row for row in rows if row["view"] == GN and not row["held_out"]]
        self.num_samples = {
            network: min(r["num_samples"] for r in own if r["network"] == network) for network in dict.fromkeys(r["network"] for r in own)
        }
        """network -> gradients of its Gauss-Newton matrix."""
        for row in rows:
            network, is_own = row["network"], not row["held_out"]
            twice = row["view"] == GN and is_own and row["num_samples"] > self.num_samples[network]
            labels = row["labels"] if row["held_out"] else "sampled"
            source = Source(row["view"], row["estimator"], None if is_own else row["batch"], labels, twice)
            self.cosines.setdefault((network, source), {})[row["seed"], row["layer"], row["step"]] = row["cosine"]
            self.losses.setdefault((network, row["step"]), {})[row["seed"]] = row["loss"]
            if source == Source():
                self.ranks.setdefault((network, row["layer"], row["step"]), []).append(row["effective_rank"])
        self.networks = tuple(self.num_samples)
        self.seeds = tuple(sorted({row["seed"] for row in rows}))
        self.batches = tuple(sorted({row["batch"] for row in rows if row["held_out"]}))
        if len(self.seeds) < 2 or not self.batches or not any(row["step"] for row in rows):
            raise ValueError(
                f"Study: {len(self.seeds)} seeds, batches {self.batches} and steps {sorted({row['step'] for row in rows})} were measured; "
                "intervals need two seeds, and the claims held-out factors and a step after the first"
            )

    def steps(self, network: str, source: Source) -> tuple[int, ...]:
        """Steps at which a source was measured."""
        return tuple(sorted({step for _, _, step in self.cosines[network, source]}))

    def layers(self, network: str) -> tuple[str, ...]:
        """Layers in the order of the rows."""
        return tuple(dict.fromkeys(layer for _, layer, _ in self.cosines[network, Source()]))

    def mean(self, network: str, source: Source, *, step: int | None = None, layer: str | None = None) -> dict[int, float]:
        """seed -> mean cosine over layers and steps, or over those of one step or layer."""
        chosen = {
            key: cosine for key, cosine in self.cosines[network, source].items() if step in (None, key[2]) and layer in (None, key[1])
        }  # fmt: skip
        return {seed: _mean(cosine for key, cosine in chosen.items() if key[0] == seed) for seed in self.seeds}

    def difference(self, more: Source, less: Source) -> Differences:
        """network -> seed -> mean of cosine(more) - cosine(less) over layers and steps."""
        found = {}
        for network in self.networks:
            a, b = self.mean(network, more), self.mean(network, less)
            found[network] = {seed: a[seed] - b[seed] for seed in self.seeds}
        return found

    def advantage(self, view: str, network: str) -> tuple[int, int]:
        """Cells (seed, layer, step) in which Shampoo squared is closer to the matrix than Shampoo, and all cells."""
        squared, plain = (self.cosines[network, Source(view, name)] for name in ("shampoo2", "shampoo"))
        return sum(squared[cell] > plain[cell] for cell in squared), len(squared)


def judge(study: Study, near_margin: float = 0.05, equal_margin: float = 0.02) -> list[Claim]:
    """Every claim. Shampoo squared is near the best product within `near_margin`; cosines closer than `equal_margin` are as good as equal."""
    one, many = study.batches[0], study.batches[-1]
    return [
        *[_closer(study, view) for view in (GN, ADAGRAD, ADAGRAD_EMA)],
        *[_near_the_best(study, view, near_margin) for view in (GN, ADAGRAD)],
        _above(
            study, Source(), Source(estimator="kfac"), -equal_margin,
            claim="K-FAC is no closer to the Gauss-Newton matrix than Shampoo squared, on every network",
            source=f"{PAPER}, figure 1", method=f"difference of cosines above -{equal_margin}",
        ),
        _above(
            study, Source(batch=many), Source(batch=one), -equal_margin,
            claim=f"With labels drawn from the model, batches of {many} give factors as good as batches of {one} do: batching is free up to scale",
            source=f"{PAPER}, on batch gradients",
            method=f"difference of Shampoo squared's cosines with the Gauss-Newton matrix, from equally many gradients, above -{equal_margin}",
            also=f" (in favour of batches, which have seen {many // one} times as many windows)",
        ),
        _above(
            study, Source(batch=one, labels="real"), Source(batch=many, labels="real"), 0.0,
            claim=f"With real labels the factors get worse, on average over training, as the batch grows from {one} to {many}, on every network",
            source=f"{PAPER}, on the empirical Fisher", method="difference of Shampoo squared's cosines with the Gauss-Newton matrix above 0",
        ),
        _above(
            study, Source(batch=many), Source(batch=many, labels="real"), 0.0,
            claim=f"From batches of {many}, factors by real labels are worse, on average over training, than by drawn labels, on every network",
            source=f"{PAPER}, on the empirical Fisher", method="difference of Shampoo squared's cosines with the Gauss-Newton matrix above 0",
        ),
        _same_with_twice(study, equal_margin),
        *_not_tested(),
    ]  # fmt: skip


def _closer(study: Study, view: str) -> Claim:
    cells = {network: study.advantage(view, network) for network in study.networks}
    return _above(
        study, Source(view, "shampoo2"), Source(view, "shampoo"), 0.0,
        claim=f"Shampoo squared is closer to {VIEW_NAMES[view]} than Shampoo, on every network",
        source=f"{PAPER}, figure 1", method="difference of cosines above 0",
        also="; closer in " + ", ".join(f"{won} of {of} cells of {network}" for network, (won, of) in cells.items()),
    )  # fmt: skip


def _near_the_best(study: Study, view: str, margin: float) -> Claim:
    return _above(
        study, Source(view, "shampoo2"), Source(view, "optimal"), -margin,
        claim=f"Shampoo squared is within {margin} of the best Kronecker product for {VIEW_NAMES[view]}, on every network",
        source=f"{PAPER}, figure 1", method=f"difference of cosines above -{margin}",
    )  # fmt: skip


def _above(study: Study, closer: Source, less: Source, limit: float, *, claim: str, source: str, method: str, also: str = "") -> Claim:
    """A claim that one source's cosines exceed another's by more than `limit` on every network; the estimate is the network's that has least."""
    found = study.difference(closer, less)
    contrasts = {network: contrast(found, {network: 1.0}) for network in found}
    lowest = min(contrasts, key=lambda network: contrasts[network].estimate)
    low, high = contrasts[lowest].interval()
    return Claim(
        claim=claim,
        source=source,
        verdict=all_above(list(contrasts.values()), limit),
        words=f"the mean difference is {_intervals(contrasts)}; at the last step it is {_at_the_end(study, closer, less)}{also}.",
        method=f"{method} at every network's 95 % t interval, deviation pooled over networks",
        estimate=contrasts[lowest].estimate,
        low=low,
        high=high,
        unit=f"cosine, {lowest}",
        num_seeds=len(study.seeds),
    )


def _same_with_twice(study: Study, margin: float) -> Claim:
    """The check of this study on itself: cosines with the matrix of a sample are too low, differences of them should not be wrong for it."""
    base = study.difference(Source(), Source(estimator="shampoo"))
    doubled = study.difference(Source(twice=True), Source(estimator="shampoo", twice=True))
    change = {network: {seed: doubled[network][seed] - base[network][seed] for seed in study.seeds} for network in study.networks}
    contrasts = {network: contrast(change, {network: 1.0}) for network in change}
    largest = max(contrasts, key=lambda network: abs(contrasts[network].estimate))
    compared = {network: against_margin(found, margin) for network, found in contrasts.items()}
    return Claim(
        claim="Shampoo squared's advantage over Shampoo is the same with twice as many gradients, on every network",
        source="a check of this study on itself",
        verdict=all_comparable(list(compared.values())),
        words=f"it changes by {_intervals(contrasts)}.",
        method=f"two one-sided tests at 5 % that the change is within {margin}, deviation pooled over networks",
        estimate=contrasts[largest].estimate,
        low=compared[largest].low,
        high=compared[largest].high,
        unit=f"cosine, {largest}",
        num_seeds=len(study.seeds),
    )


def _not_tested() -> list[Claim]:
    missing = {
        "The same holds for ResNet-18 and ConvNeXt-T on CIFAR-5M and ImageNet, and for a linear model on two digits of MNIST": (
            "The networks here are three small ones on letters of text; images and their networks are not at hand."
        ),
        "Vision transformers have a wider gap between Shampoo squared and the best product": (
            "The transformer here is one block on text; its attention layers' gap is in the table of layers."
        ),
        "Powers of -1/2 train better than powers of -1/4": "Cosines say nothing of losses; nothing was trained with either.",
    }
    return [Claim(claim=claim, source=PAPER, verdict=NOT_TESTED, words=words) for claim, words in missing.items()]


def _intervals(contrasts: Mapping[str, Contrast]) -> str:
    """ "+0.101 [+0.099, +0.103] on linear, ..."."""
    parts = []
    for network, found in contrasts.items():
        low, high = found.interval()
        parts.append(f"{found.estimate:+.3f} [{low:+.3f}, {high:+.3f}] on {network}")
    return ", ".join(parts)


def _at_the_end(study: Study, more: Source, less: Source) -> str:
    """The mean difference at the last step: what training has made of it."""
    parts = []
    for network in study.networks:
        last = study.steps(network, more)[-1]
        a, b = (_mean(study.mean(network, source, step=last).values()) for source in (more, less))
        parts.append(f"{a - b:+.3f} on {network}")
    return ", ".join(parts)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
