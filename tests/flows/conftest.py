"""One real Prefect server for the session: that of `winnow serve`, which meanwhile waits for its cron schedule to fire."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = f"{ROOT / 'tests' / 'stages' / 'core' / 'toy.py'}:plan"
START_SECONDS = 180


@dataclass(frozen=True)
class Served:
    """A running `winnow serve`."""

    store: Path
    url: str
    corpus: Path
    log: Path


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of JSON lines for the toy plan."""
    root = tmp_path_factory.mktemp("corpus")
    for s in range(2):
        rows = [{"id": f"{s}-{i}", "text": f"document {i % 9} of {s % 2}"[: 3 + i]} for i in range(20)]
        (root / f"s{s}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, toy_corpus: Path) -> Iterator[Served]:
    """Start `winnow serve` on the toy plan, every minute; yield when its server answers; stop both at the end."""
    base = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store, log = base / "store", base / "serve.log"
    command = [sys.executable, "-m", "flows.cli", "serve", TOY, "--cron", "* * * * *", "--set", f"toy_source.root={toy_corpus}",
               "--workers", "1", "--port", str(port), "--store", str(store)]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    with open(log, "wb") as file:
        # A suite that was started in the background ignores SIGINT, and so would its children.
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=file, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        )
    url = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + START_SECONDS
    while not _answers(f"{url}/health"):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    os.environ["PREFECT_API_URL"] = url
    from flows.prefect_env import prepare

    prepare(store)
    yield Served(store, url, toy_corpus, log)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"`winnow serve` did not stop at Ctrl-C:\n{log.read_text()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture
def winnow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: winnow("plan", ...) -> exit code, stdout, stderr. The store is a temporary one."""
    from flows import cli, terminal

    def call(*words: str) -> tuple[int, str, str]:
        from rich.console import Console

        monkeypatch.setenv("WINNOW_STORE", str(tmp_path / "store"))
        monkeypatch.setattr(sys, "argv", ["winnow", *words])
        monkeypatch.setattr(terminal, "console", Console(width=200))
        monkeypatch.setattr(terminal, "errors", Console(width=200, stderr=True))
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        done = capsys.readouterr()
        return code, done.out, done.err

    return call
