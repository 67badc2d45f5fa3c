import pytest

from pipelines.study_critical_batch_size import num_steps, plan
from stages.core.plan import PlanError

POOL_TOKENS = 67_560 * 64
"""Target tokens of the embedded pool at 512 token ids: no run may use more, for none sees a token twice."""


def nodes_of(scale):
    return {node.name: node for node in plan(scale).nodes}


def test_fresh_seeds_are_fresh_and_no_run_sees_a_token_twice():
    made = nodes_of("tiny")
    sweep, confirm = made["sweep"].config.arms, made["confirm"].config.arms
    assert {arm.batch_size for arm in sweep} >= {8, 32, 128, 512} and len({arm.lr for arm in sweep}) == 3
    assert {arm.seed for arm in sweep}.isdisjoint({arm.seed for arm in confirm}) and len({arm.seed for arm in confirm}) == 5
    assert all(arm.lr is None and arm.schedule == "constant" and len(arm.ewa_decays) > 1 for arm in confirm)
    assert max(arm.num_tokens for arm in (*sweep, *confirm)) <= 3_000_000 < POOL_TOKENS


@pytest.mark.parametrize("scale", ["smoke", "tiny", "small", "medium"])
def test_runs_of_one_batch_size_differ_only_in_learning_rate_or_seed(scale):
    made = nodes_of(scale)
    assert set(made) >= {"sweep", "confirm", "verdicts", "page"}
    arms = [*made["sweep"].config.arms, *made["confirm"].config.arms]
    for group in {arm.group for arm in arms}:
        assert len({(arm.batch_size, arm.num_tokens, arm.ewa_decays, arm.num_evals, arm.measure_noise) for arm in arms if arm.group == group}) == 1
    sizes = sorted({arm.batch_size for arm in arms})
    assert all(0 < decay < 1 for arm in arms for decay in arm.ewa_decays)
    assert [num_steps(scale, size) for size in sizes] == sorted((num_steps(scale, size) for size in sizes), reverse=True)


def test_an_unknown_scale_is_refused():
    with pytest.raises(PlanError, match="did you mean 'tiny'"):
        plan("tinny")
