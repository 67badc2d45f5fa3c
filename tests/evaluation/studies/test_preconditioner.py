"""Claims about Shampoo's preconditioner on made cosines whose differences are known: verdicts, intervals, and what is read from which row."""

import numpy as np
import pytest
from scipy import stats

from evaluation.studies.preconditioner import ADAGRAD, ADAGRAD_EMA, GN, Source, Study, judge

BASE = {"shampoo": 0.6, "shampoo2": 0.8, "kfac": 0.79, "optimal": 0.82}
HELD_OUT = {("sampled", 1): 0.76, ("sampled", 64): 0.78, ("real", 1): 0.7, ("real", 64): 0.5}
NETWORKS, SEEDS, STEPS, LAYERS = ("linear", "mlp"), (1, 2, 3), (0, 10), ("a", "b")


def rows(changes=None, seeds=SEEDS, spread=0.004):
    """Rows as the measurement writes them; changes: (network, view or labels and batch, estimator) -> another mean."""
    changes, rng, found = changes or {}, np.random.default_rng(0), []

    def add(network, layer, step, seed, what, estimator, mean, **fields):
        mean = changes.get((network, what, estimator), mean)
        same = {
            "network": network,
            "layer": layer,
            "step": step,
            "seed": seed,
            "estimator": estimator,
            "loss": 3.0 - step / 20,
            "effective_rank": 50.0,
        }
        found.append({**same, "cosine": mean + spread * rng.normal(), **fields})

    for network in NETWORKS:
        for seed in seeds:
            for layer in LAYERS:
                for step in STEPS:
                    where = (network, layer, step, seed)
                    for estimator, mean in BASE.items():
                        for count, what in ((100, GN), (200, "twice")):
                            add(
                                *where,
                                what,
                                estimator,
                                mean + 0.05 * (count > 100),
                                view=GN,
                                held_out=False,
                                labels="sampled",
                                batch=1,
                                num_samples=count,
                            )
                        for view in (ADAGRAD, ADAGRAD_EMA) if step and estimator != "kfac" else ():
                            add(*where, view, estimator, mean, view=view, held_out=False, labels="real", batch=16, num_samples=step)
                    for (labels, batch), mean in HELD_OUT.items():
                        for estimator in ("shampoo", "shampoo2"):
                            fields = {"view": GN, "held_out": True, "labels": labels, "batch": batch, "num_samples": 100}
                            add(*where, (labels, batch), estimator, mean - 0.1 * (estimator == "shampoo"), **fields)
    return found


def verdicts(changes=None, **given):
    claims = judge(Study(rows(changes, **given)))
    return {claim.claim: claim.verdict for claim in claims}, claims


def starting(found, words):
    (match,) = [verdict for claim, verdict in found.items() if claim.startswith(words)]
    return match


def test_all_that_was_built_in_is_supported():
    found, claims = verdicts()
    assert list(found.values()) == ["supported"] * 10 + ["not tested here"] * 3
    closer = claims[0]
    assert closer.estimate == pytest.approx(0.2, abs=0.01) and closer.low < 0.2 < closer.high and closer.num_seeds == 3
    assert "at the last step it is +0.20" in closer.words or "at the last step it is +0.19" in closer.words
    assert "12 of 12 cells of linear, 12 of 12 cells of mlp" in closer.words


@pytest.mark.parametrize(
    "changes, words, verdict",
    [
        ({("mlp", GN, "shampoo"): 0.85}, "Shampoo squared is closer to the Gauss-Newton", "contradicted"),
        ({("mlp", GN, "shampoo"): 0.8}, "Shampoo squared is closer to the Gauss-Newton", "undecided"),
        ({("mlp", ADAGRAD, "shampoo"): 0.85}, "Shampoo squared is closer to Adagrad's sum", "contradicted"),
        ({("linear", ADAGRAD_EMA, "shampoo"): 0.85}, "Shampoo squared is closer to an exponential average", "contradicted"),
        ({("mlp", GN, "optimal"): 0.9}, "Shampoo squared is within 0.05 of the best Kronecker product for the Gauss", "contradicted"),
        ({("mlp", ADAGRAD, "optimal"): 0.85}, "Shampoo squared is within 0.05 of the best Kronecker product for Adagrad", "undecided"),
        ({("mlp", GN, "kfac"): 0.806}, "K-FAC is no closer", "supported"),
        ({("mlp", GN, "kfac"): 0.85}, "K-FAC is no closer", "contradicted"),
        ({("mlp", ("sampled", 64), "shampoo2"): 0.7}, "With labels drawn from the model", "contradicted"),
        ({("mlp", ("real", 64), "shampoo2"): 0.75}, "With real labels the factors get worse", "contradicted"),
        ({("mlp", ("real", 64), "shampoo2"): 0.9}, "From batches of 64, factors by real labels", "contradicted"),
        ({("mlp", "twice", "shampoo"): 0.55}, "Shampoo squared's advantage over Shampoo is the same", "contradicted"),
    ],
)  # fmt: skip
def test_one_network_is_enough_to_change_a_verdict(changes, words, verdict):
    found, _ = verdicts(changes)
    assert starting(found, words) == verdict
    others = [v for claim, v in found.items() if not claim.startswith(words) and v != "not tested here"]
    assert others.count("supported") >= 7


def test_intervals_are_t_intervals_with_the_deviation_pooled_over_networks():
    study = Study(rows())
    difference = study.difference(Source(), Source(estimator="shampoo"))
    by_hand = {
        network: {
            seed: study.mean(network, Source())[seed] - study.mean(network, Source(estimator="shampoo"))[seed] for seed in SEEDS
        } for network in NETWORKS
    }  # fmt: skip
    assert difference == by_hand
    values = {network: np.array(list(runs.values())) for network, runs in difference.items()}
    pooled = np.sqrt(np.mean([of.var(ddof=1) for of in values.values()]))
    lowest = min(values, key=lambda network: values[network].mean())
    half = stats.t.ppf(0.975, 4) * pooled / np.sqrt(3)
    claim = judge(study)[0]
    assert (claim.low, claim.high) == pytest.approx((values[lowest].mean() - half, values[lowest].mean() + half))
    assert claim.unit == f"cosine, {lowest}"


def test_a_mean_is_over_the_cells_asked_for():
    measured = rows(spread=0.0)
    for row in measured:
        row["cosine"] += (0.1 if row["layer"] == "b" else 0.0) + (0.02 if row["step"] else 0.0)
    study = Study(measured)
    assert study.mean("mlp", Source())[2] == pytest.approx(0.8 + 0.05 + 0.01)
    assert study.mean("mlp", Source(), layer="b", step=10)[1] == pytest.approx(0.92)
    assert study.mean("mlp", Source(twice=True), layer="a", step=0)[1] == pytest.approx(0.85)
    assert study.steps("mlp", Source()) == STEPS and study.steps("mlp", Source(ADAGRAD)) == (10,)
    assert study.layers("mlp") == LAYERS and study.batches == (1, 64) and study.num_samples == {"linear": 100, "mlp": 100}


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="1 seeds"):
        Study(rows(seeds=(1,)))
    with pytest.raises(ValueError, match="steps \\[0\\]"):
        Study(row for row in rows() if row["step"] == 0)
