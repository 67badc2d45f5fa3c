"""What the reading verbs say of a store."""

import os
import socket
import subprocess
import sys

import pytest

from flows import inspect_store
from stages.core.store import RunJournal, Store


@pytest.mark.parametrize(("host", "alive", "state"), [(None, True, "running"), (None, False, "killed"), ("far", True, "running or killed on far")])
def test_a_run_without_an_end_is_running_or_was_killed(tmp_path, host, alive, state):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store = Store(tmp_path / "store")
    RunJournal(store, "demo", "default").write("run_started", host=host or socket.gethostname(), pid=os.getpid() if alive else gone.pid, nodes=[])
    (row,) = inspect_store.status(store)
    assert row["state"] == state
