"""The curate flow against a real server: reuse shows as a state of its own, artifacts tell what was dropped, failures are told once."""

import json
import urllib.request
from pathlib import Path

import pytest

TOY = f"{Path(__file__).resolve().parents[1] / 'stages' / 'core' / 'toy.py'}:plan"


def call(served, tmp_path, **overrides):
    from flows.prefect_env import call as call_flow

    events = []
    parameters = {"pipeline": TOY, "overrides": {"toy_source.root": str(served.corpus), **overrides}, "store": str(tmp_path / "s"), "workers": 1}
    made = call_flow("curate", parameters, lambda node, event, fields: events.append((node, event)))
    return made, events


def task_states(served, store: str) -> dict[str, str]:
    """The states of the tasks of the latest flow run over a store, as the server has them."""

    def ask(what: str, **body: object) -> list[dict]:
        request = urllib.request.Request(f"{served.url}/{what}/filter", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    done = {"state": {"type": {"any_": ["COMPLETED"]}}}  # a schedule has a hundred runs that are still to come
    runs = [run for run in ask("flow_runs", flow_runs=done) if run["parameters"].get("store") == store]
    latest = max(runs, key=lambda run: run["start_time"])
    return {task["name"]: task["state_name"] for task in ask("task_runs", flow_runs={"id": {"any_": [latest["id"]]}})}


def test_reuse_is_a_state_and_artifacts_are_there(served, tmp_path):
    made, events = call(served, tmp_path)
    assert made["toy_apply"].startswith("toy_apply/") and ("toy_filter", "node_finished") in events
    made_again, events = call(served, tmp_path)
    assert made_again == made and {event for _, event in events} == {"node_reused"}
    states = task_states(served, str(tmp_path / "s"))
    assert len(states) == 7 and set(states.values()) == {"Reused"}

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        response = client.request("POST", "/artifacts/filter", json={"limit": 200})
    kept = {artifact["key"]: artifact["data"] for artifact in response.json()}
    assert "too_short" in kept["toy-toy-filter-drops"] and "select * from toy.toy_apply" in kept["toy-toy-apply"]


def test_a_failure_names_the_shard(served, tmp_path):
    from stages.core.engine import RunFailed

    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "s0.jsonl").write_text('{"id": "a", "text": "x", "fault": "raise"}\n')
    with pytest.raises(RunFailed, match="s0.jsonl: RuntimeError"):
        call(served, tmp_path, **{"toy_source.root": str(bad)})


def test_a_full_disk_is_a_failure_too(served, tmp_path, monkeypatch):
    from stages.core import engine

    real = engine.Run._commit

    def full_disk(self, found, *args, **kwargs):
        if found.node.name == "toy_filter":
            raise OSError(28, "No space left on device")
        return real(self, found, *args, **kwargs)

    monkeypatch.setattr(engine.Run, "_commit", full_disk)
    with pytest.raises(engine.RunFailed, match="toy_filter: OSError"):
        call(served, tmp_path)
