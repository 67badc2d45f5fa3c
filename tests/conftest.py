"""Fixtures that every test may use: where the optional real data is, and a store of one's own."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("DO_NOT_TRACK", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of optional real data; skips the test where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED


@pytest.fixture
def store(tmp_path: Path):
    """An empty store."""
    from stages.core.store import Store

    return Store(tmp_path / "store")
