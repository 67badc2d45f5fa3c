import pyarrow as pa
import pytest

from evaluation.studies.runs import ASCENT, ZERO_LR, check_sanity, losses_by_lr, losses_by_seed, read_runs


def row(**changes):
    base = dict(
        run="r1", group="soap", optimizer="soap", options='{"betas": [0.9, 0.95]}', lr=0.01, num_tokens_planned=640, seed=1, step=10, num_steps=10,
        ewa_decay=None, val_loss=3.0, diverged=False,
    )  # fmt: skip
    return {**base, **changes}


def test_rows_become_runs():
    rows = [
        row(step=5, val_loss=4.0), row(step=5, val_loss=3.9, ewa_decay=0.9), row(), row(val_loss=2.9, ewa_decay=0.9),
        row(run="r2", seed=2, step=7, val_loss=None, diverged=True),
    ]  # fmt: skip
    one, two = read_runs([pa.Table.from_pylist(rows)])
    assert one.evaluations == ((5, 3.9), (10, 2.9)) and one.loss == 2.9 and one.options == {"betas": [0.9, 0.95]} and not one.diverged
    assert two.loss is None and two.diverged and two.evaluations == ()
    assert losses_by_seed([one, two]) == {"soap": {1: 2.9, 2: None}}


def test_a_run_that_diverged_late_keeps_its_evaluations_and_has_no_loss():
    (run,) = read_runs([pa.Table.from_pylist([row(step=5), row(step=8, val_loss=None, diverged=True)])])
    assert run.diverged and run.loss is None and run.evaluations == ((5, 3.0),)


def test_one_run_in_two_tables_and_two_groups():
    table = pa.Table.from_pylist([row(), row(group="soap/f=10")])
    assert [run.group for run in read_runs([table, table])] == ["soap", "soap/f=10"]


def test_what_is_not_one_setting_is_refused():
    runs = read_runs([pa.Table.from_pylist([row(), row(run="r2", lr=0.003, val_loss=3.2)])])
    assert list(losses_by_lr(runs)["soap"].items()) == [(0.003, 3.2), (0.01, 3.0)]
    with pytest.raises(ValueError, match="group 'soap' has two runs of seed 1"):
        losses_by_seed(runs)
    with pytest.raises(ValueError, match="two runs of lr 0.01"):
        losses_by_lr(read_runs([pa.Table.from_pylist([row(), row(run="r2", seed=2)])]))
    with pytest.raises(ValueError, match="ends at step 5 of 10"):
        read_runs([pa.Table.from_pylist([row(step=5)])])


def sanity(zero=((5, 6.24), (10, 6.24)), ascent=9.0, lr=0.0):
    rows = [row(run="z", group=ZERO_LR, lr=lr, step=step, val_loss=loss) for step, loss in zero]
    rows += [row(run="a", group=ASCENT, val_loss=ascent, diverged=ascent is None)]
    return read_runs([pa.Table.from_pylist([*rows, row()])])


def test_sanity_arms_tell_the_loss_at_initialisation():
    assert check_sanity(sanity()) == check_sanity(sanity(ascent=None)) == 6.24


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (sanity(zero=((5, 6.24), (10, 6.2))), "what moves at lr 0 makes every run worthless"),
        (sanity(zero=((10, 6.24),)), "what moves at lr 0"),  # a single loss shows nothing
        (sanity(lr=0.1), "at lr 0.1"),
        (sanity(ascent=5.0), "the sign of an update is wrong"),
        (sanity()[1:], "run both"),
    ],
)
def test_a_failed_sanity_arm_stops_a_study(runs, says):
    with pytest.raises(ValueError, match=says):
        check_sanity(runs)
