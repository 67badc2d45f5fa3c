import math
import os
import subprocess

import pytest

from evaluation.studies.claims import (
    COLUMNS,
    CONTRADICTED,
    NOT_TESTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    Claim,
    all_above,
    all_comparable,
    analysis_times,
    by_verdict,
    claims_table,
    counted,
)
from evaluation.studies.equivalence import Contrast, against_margin


def test_table_has_the_columns_and_keeps_what_is_unknown_null():
    claims = [
        Claim(claim="a is b", source="p", verdict=SUPPORTED, words="it is", estimate=1.0, low=0.5, high=1.5, unit="nats", num_seeds=5),
        Claim(claim="c is d", source="q", verdict=NOT_TESTED, words="too small"),
    ]
    table = claims_table(claims)
    assert {field.name: field.type for field in table.schema} == COLUMNS
    assert table.column("low").to_pylist() == [0.5, None] and table.column("num_seeds").to_pylist() == [5, None]
    assert counted(claims) == "1 supported, 1 not tested here"
    assert by_verdict([*claims, claims[0]]) == "Supported (2): a is b; a is b. Not tested here: 1." and by_verdict([]) == ""
    assert claims_table([]).schema == table.schema
    gone = Claim(claim="e", source="q", verdict=SUPPORTED, words="", estimate=math.inf, low=math.inf, high=math.inf)
    assert claims_table([gone]).select(["estimate", "low", "high"]).to_pylist() == [dict.fromkeys(("estimate", "low", "high"))]


def test_wrong_claims_are_refused():
    with pytest.raises(ValueError, match="verdict is 'true' for 'x'"):
        Claim(claim="x", source="p", verdict="true", words="")
    for low, high in ((1.0, None), (2.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="give both ends in order"):
            Claim(claim="x", source="p", verdict=VERDICTS[0], words="", low=low, high=high)


def judged(*estimates, error=0.004):
    return [against_margin(Contrast(estimate, error, 30), 0.02) for estimate in estimates]


def test_all_are_comparable_only_where_each_is_shown_to_be():
    assert all_comparable(judged(0.001, -0.01, 0.0)) == SUPPORTED
    assert all_comparable(judged(0.001, 0.019, 0.0)) == UNDECIDED
    assert all_comparable(judged(0.001, 0.001, 0.05)) == CONTRADICTED
    # different on its own (p = 0.03), but not as the worst of three
    assert all_comparable(judged(0.028)) == CONTRADICTED and all_comparable(judged(0.028, 0.0, 0.0)) == UNDECIDED


def test_all_are_above_only_where_each_is_shown_to_be():
    def above(*estimates, limit=0.0):
        return all_above([Contrast(estimate, 0.01, 30) for estimate in estimates], limit)

    assert above(0.05, 0.03) == SUPPORTED and above(0.05, 0.03, limit=0.02) == UNDECIDED
    assert above(0.05, 0.015) == UNDECIDED and above(0.05, -0.05) == CONTRADICTED
    # contradicted on its own (p = 0.016), but not as the worst of three
    assert above(-0.0225) == CONTRADICTED and above(-0.0225, 0.1, 0.1) == UNDECIDED
    assert above(math.inf) == SUPPORTED


def test_the_analysis_has_a_time_only_while_it_is_what_was_committed(tmp_path):
    def git(*words, date="2026-03-01T10:00:00+01:00"):
        env = {**os.environ, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": os.devnull}
        settings = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", tmp_path, *settings, *words], check=True, capture_output=True, env=env)

    judge = tmp_path / "judge.py"
    judge.write_text("1\n")
    assert analysis_times(judge)["committed"] is None  # no checkout
    git("init")
    assert analysis_times(judge)["committed"] is None  # not committed
    git("add", "judge.py")
    git("commit", "-m", "judge")
    early, late = {"runs": [{"started": "2026-03-02T08:00:00Z"}]}, {"runs": [{"started": "2026-03-01T09:30:00Z"}, {}]}
    times = {"first_committed": "2026-03-01T10:00:00+01:00", "committed": "2026-03-01T10:00:00+01:00"}
    assert analysis_times(judge, early, late, {}) == times | {"confirmatory_started": "2026-03-01T09:30:00Z"}
    other = tmp_path / "other.py"
    other.write_text("1\n")
    assert analysis_times([judge, other])["committed"] is None
    git("add", "other.py")
    git("commit", "-m", "other", date="2026-03-01T09:30:00+00:00")
    assert analysis_times([judge, other])["committed"] == analysis_times(other)["committed"] == "2026-03-01T09:30:00+00:00"
    judge.write_text("2\n")
    assert analysis_times(judge) == {"first_committed": None, "committed": None, "confirmatory_started": None}
    git("commit", "-am", "changed", date="2026-03-03T10:00:00+00:00")
    changed = {"first_committed": "2026-03-01T10:00:00+01:00", "committed": "2026-03-03T10:00:00+00:00"}
    assert analysis_times(judge) == changed | {"confirmatory_started": None}
    assert analysis_times([judge, other])["first_committed"] == "2026-03-01T09:30:00+00:00"  # the later one: the analysis was whole from then on
