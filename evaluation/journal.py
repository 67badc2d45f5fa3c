"""What a scoring run has finished, batch by batch, in a file that a killed run leaves behind.

One line of JSON a batch, appended and synced before the next batch begins, so a kill costs one batch at most. The file's name
is a hash of everything that determines the results; a line that a kill has cut short is dropped. JSON keeps every float's bits.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class Journal:
    """Results of finished batches by number; `key` names the run that they belong to."""

    def __init__(self, directory: str | Path, key: str):
        self.path = Path(directory) / f"{key}.jsonl"
        self.finished: dict[int, Any] = {}
        """What an earlier attempt had recorded."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        if self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break
                self.finished[entry["batch"]] = entry["results"]
                whole += len(line)
            logger.info("going on from %s: %d batches are done", self.path, len(self.finished))
        self._file = self.path.open("ab")
        self._file.truncate(whole)

    def append(self, batch: int, results: Any) -> None:
        """Record a batch; on return it is on the disk."""
        self._file.write(json.dumps({"batch": batch, "results": results}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; it stays, for the caller to remove once the results are safe."""
        self._file.close()
