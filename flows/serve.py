"""Schedules: `winnow serve` starts a Prefect server if there is none, and serves the flows on cron until it is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.errors import UserError

START_SECONDS = 180
"""A fresh database is migrated at the first start; see prefect_env."""


@contextlib.contextmanager
def server(port: int, log: Path) -> Iterator[str]:
    """Run a Prefect server on loopback for the time of the block; yield its API URL. One that is there already is used as it is."""
    url = os.environ.get("PREFECT_API_URL") or f"http://127.0.0.1:{port}/api"
    if _healthy(url):
        yield url
        return
    if os.environ.get("PREFECT_API_URL"):
        raise UserError(f"no Prefect server answers at PREFECT_API_URL={url}; start it, or unset the variable to have one started here")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the Prefect server did not start on port {port}; see {log}, or choose another --port")
            time.sleep(0.5)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def sigterm_stops() -> Iterator[None]:
    """Let SIGTERM, which is how services are stopped, end the block as Ctrl-C does: what it started is stopped with it."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def serve_flow(flow_name: str, cron: str, parameters: dict[str, Any], name: str) -> None:
    """Serve one of our flows on a cron schedule until interrupted; two runs of it never overlap.

    The parameters are validated here: Prefect itself does not look at a deployment's defaults.
    """
    import importlib

    from prefect import serve
    from prefect.deployments.runner import EntrypointType

    flow = getattr(importlib.import_module(f"flows.{flow_name}"), flow_name)
    flow.validate_parameters(parameters)
    # A file entry point would put flows/ first on sys.path; a module path imports what everybody else imports.
    deployment = flow.to_deployment(
        name=name, cron=cron, parameters=parameters, concurrency_limit=1, entrypoint_type=EntrypointType.MODULE_PATH
    )
    serve(deployment, print_starting_message=False)
