"""The measurement on a made text: which rows there are, the same from processes and after a kill, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models

from models.small_networks import NETWORKS, WINDOW
from stages.core.content_hash import content_hash
from stages.core.stage import Inputs, Resources
from stages.measure_preconditioner import COSINES, ESTIMATORS, MeasurePreconditioner, measure_preconditioner, measure_run
from tests.stages.memory_dataset import Memory

CHARACTERS = "abcdefghij ,7é"
SMALL = dict(seeds=(1, 2), checkpoints=(0, 2, 5), num_outer_products=24, num_samples=8, batch_sizes=(1, 4))


class Artifact:
    def __init__(self, path):
        self._path = path

    def file(self, name):
        return str(self._path / name)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Sequences of a tokenizer whose tokens are single characters, some of them of no letter."""
    where = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(CHARACTERS)}, merges=[]))
    tokenizer.save(str(where / "tokenizer.json"))
    weights = np.r_[np.ones(len(CHARACTERS) - 1), 0.02]
    tokens = np.random.default_rng(0).choice(len(CHARACTERS), size=(600, 2 * WINDOW + 5), p=weights / weights.sum()).astype(np.uint16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), tokens.shape[1])
    return Inputs((Memory({"00000": pa.table({"tokens": column})}), Artifact(where)), ("table", "artifact"))


def run(inputs, scratch, workers=0, **fields):
    made = measure_preconditioner(MeasurePreconditioner(**{**SMALL, **fields}), inputs, Resources(scratch=str(scratch), workers=workers))
    name, table = next(made)
    with pytest.raises(StopIteration) as end:
        next(made)
    assert name == "cosines"
    return table, end.value.value


@pytest.fixture(scope="module")
def measured(inputs, tmp_path_factory):
    return run(inputs, tmp_path_factory.mktemp("scratch"))


def test_rows_of_every_network_step_layer_view_and_estimator(measured):
    table, summary = measured
    assert {field.name: field.type for field in table.schema} == COSINES
    rows = table.to_pylist()
    for name, network in NETWORKS.items():
        of_seed = [row for row in rows if row["network"] == name and row["seed"] == 1]
        assert {row["layer"] for row in of_seed} == set(network.layers)
        count = 24 if network.one_position else 8
        for layer in network.layers:
            for step in (0, 2, 5):
                cells = [row for row in of_seed if (row["layer"], row["step"]) == (layer, step)]
                own = [row for row in cells if row["view"] == "gn" and not row["held_out"]]
                assert sorted((row["num_samples"], row["estimator"]) for row in own) == sorted(
                    (n, e) for n in (count, 2 * count) for e in ESTIMATORS
                )
                held_out = [(r["labels"], r["batch"], r["num_samples"], r["estimator"]) for r in cells if r["held_out"]]
                expected = [(words, b, 8, e) for words in ("sampled", "real") for b in (1, 4) for e in ("shampoo", "shampoo2")]
                assert sorted(held_out) == sorted(expected)
                for view in ("adagrad", "adagrad_ema"):  # no gradient of training yet at step 0
                    found = [row for row in cells if row["view"] == view]
                    assert [row["estimator"] for row in found] == (["shampoo", "shampoo2", "optimal"] if step else [])
                    assert all((row["num_samples"], row["batch"], row["labels"]) == (step, network.batch_size, "real") for row in found)
    assert [one["run"] for one in summary["runs"]] == [f"{name}/{seed}" for name in NETWORKS for seed in (1, 2)]
    assert all(one["started"].endswith("Z") and one["seconds"] > 0 for one in summary["runs"])


def test_the_best_product_is_the_best_of_its_matrix(measured):
    rows = [row for row in measured[0].to_pylist() if not row["held_out"]]
    best = {
        tuple(v for k, v in row.items() if k not in ("estimator", "cosine")): row["cosine"] for row in rows if row["estimator"] == "optimal"
    }
    assert all(row["cosine"] <= best[tuple(v for k, v in row.items() if k not in ("estimator", "cosine"))] + 1e-6 for row in rows)
    assert all(0 <= row["cosine"] <= 1 and row["effective_rank"] <= row["num_samples"] + 1e-6 for row in rows)


def test_seeds_differ_and_training_shows(measured):
    rows = measured[0].to_pylist()
    for name in NETWORKS:
        losses = {(row["seed"], row["step"]): row["loss"] for row in rows if row["network"] == name}
        assert losses[1, 0] != losses[2, 0] and losses[1, 5] < losses[1, 0]


def test_processes_give_the_same_content(inputs, measured, tmp_path):
    table, _ = run(inputs, tmp_path, workers=2)
    assert content_hash(table) == content_hash(measured[0])


def test_finished_runs_outlive_a_kill(inputs, measured, tmp_path, monkeypatch):
    calls = []

    def killed_in_the_third(task, progress):
        calls.append(task[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure_run(task, progress)

    monkeypatch.setattr("stages.measure_preconditioner.measure_run", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(inputs, tmp_path)
    calls.append("resumed")
    table, summary = run(inputs, tmp_path)
    resumed = calls[calls.index("resumed") + 1 :]
    assert len(resumed) == len(summary["runs"]) - 2 and not set(calls[:2]) & set(resumed)
    assert content_hash(table) == content_hash(measured[0])


def test_what_can_not_be_measured_is_refused(inputs, tmp_path):
    with pytest.raises(ValueError, match="no network 'mpl'"):
        run(inputs, tmp_path / "a", networks=("mpl",))
    with pytest.raises(ValueError, match="takes 64,080 windows of the text, which has"):
        run(inputs, tmp_path / "b", networks=("linear",), checkpoints=(0, 1000))
    with pytest.raises(ValueError, match="ascending"):
        MeasurePreconditioner(checkpoints=(5, 2))


def test_a_journal_is_json(inputs, tmp_path):
    run(inputs, tmp_path, networks=("linear",), seeds=(3,))
    (line,) = (tmp_path / "finished.jsonl").read_text().splitlines()
    assert {row["seed"] for row in json.loads(line)["results"]["rows"]} == {3}
