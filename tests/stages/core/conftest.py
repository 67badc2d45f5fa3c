"""A small corpus of JSON lines and the reference of the toy plan over it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.plan import PlanRef

TOY = str(Path(__file__).with_name("toy.py"))
TEXTS = ["", "abc", "hello world", "hello {i}", "déjà vu {s} {i} 🙂"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three shards of forty lines: empty, short, duplicate and unique texts."""
    root = tmp_path / "corpus"
    root.mkdir()
    for s in range(3):
        write_shard(root, f"s{s}", [{"id": f"{s}-{i}", "text": TEXTS[i % 5].format(s=s, i=i % 7)} for i in range(40)])
    return root


def write_shard(root: Path, name: str, rows: list[dict]) -> None:
    """Write rows as <root>/<name>.jsonl."""
    (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def toy(corpus: Path) -> Callable[..., PlanRef]:
    """Make a reference to the toy plan over the corpus, with overrides."""

    def ref(**overrides: object) -> PlanRef:
        pairs = tuple((name.replace("__", "."), value) for name, value in overrides.items())
        return PlanRef(f"{TOY}:plan", {"root": str(corpus)}, pairs)

    return ref


@pytest.fixture
def shard_writer() -> Callable[[Path, str, list[dict]], None]:
    """The function that writes a shard of JSON lines."""
    return write_shard
