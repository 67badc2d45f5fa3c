"""A cron schedule fires: `winnow serve` runs the flow by itself, in a real server, and the run is in the store's journal."""

import time

from stages.core.store import Store, read_journals

FIRE_SECONDS = 180
"""Cron fires on the minute; a busy machine needs another minute for the flow's own process."""


def test_the_schedule_fires(served):
    deadline = time.monotonic() + FIRE_SECONDS
    finished = []
    while not finished and time.monotonic() < deadline:
        time.sleep(1)
        finished = [e for e in read_journals(Store(served.store)) if e["event"] == "run_finished"]
    assert finished, served.log.read_text()
    assert "serving curate of" in served.log.read_text()


def test_parameters_are_validated_before_anything_is_served(tmp_path):
    import pytest

    from flows.prefect_env import prepare

    prepare(tmp_path)
    from prefect.exceptions import ParameterTypeError

    from flows.curate import curate

    with pytest.raises(ParameterTypeError):
        curate.validate_parameters({"workers": "many"})
