"""Prefect's surroundings: its home below the store, patience at start-up, no telemetry, no noise at exit.

Call `prepare` before anything imports prefect.
"""

import importlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOISY = ("prefect", "EventsWorker", "APILogWorkerThread", "websockets", "asyncio")
"""Loggers that report, at exit, what Prefect's temporary server cancels: nothing that a user could act on."""


def prepare(store: str | Path) -> None:
    """Set the environment that Prefect reads at import; what the user has set stays."""
    defaults = {
        "PREFECT_HOME": str(Path(store).absolute() / "_prefect"),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        # A fresh database is migrated first: 17 s on an idle machine, over a minute on a busy one; Prefect's own limit is 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # failures are told once, by whoever called
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def call(flow: str, parameters: dict[str, Any], watch: Callable[[str, str, dict[str, Any]], None]) -> Any:
    """Call the flow `flows.<flow>.<flow>` in this process, telling `watch` of its events; raises what the flow raises."""
    from flows.execute import WATCH

    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    token = WATCH.set(watch)
    try:
        return getattr(importlib.import_module(f"flows.{flow}"), flow)(**parameters)
    finally:
        WATCH.reset(token)
