"""prefect.yaml names flows that exist, with parameters that they take."""

import importlib
from pathlib import Path

import yaml


def test_entry_points_and_parameters(tmp_path):
    from flows.prefect_env import prepare

    prepare(tmp_path)
    text = (Path(__file__).resolve().parents[2] / "prefect.yaml").read_text()
    for deployment in yaml.safe_load(text)["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        flow.validate_parameters(deployment["parameters"])
        assert deployment["concurrency_limit"] == 1
