"""Facts about remote things that never change, remembered on this machine between runs: lost, they are asked for again.

    with Remembered("https://server/:CC-MAIN-2024-10:warc:lengths") as known:
        known.value[path] = length
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class Remembered:
    """A dict in $XDG_CACHE_HOME/winnow (~/.cache/winnow), read on construction and written when the block is left, also by an error."""

    def __init__(self, name: str) -> None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._path = root / "winnow" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the first time, or a file that a full disk cut short
            found = {}
        self.value: dict[str, Any] = found if isinstance(found, dict) else {}
        self._read = dict(self.value)

    def __enter__(self) -> "Remembered":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.value == self._read:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._path.with_suffix(f".{os.getpid()}.tmp")
            aside.write_text(json.dumps(self.value), encoding="utf-8")
            os.replace(aside, self._path)
        except OSError:  # a home that can not be written to costs time, not the run
            pass
