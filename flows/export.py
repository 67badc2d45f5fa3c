"""`winnow export DATASET TO`: a dataset as a directory of its own, which `datasets.load_dataset` or an upload takes as it is."""

import os
import shutil
from pathlib import Path
from typing import Any

from flows.errors import UserError
from flows.inspect_store import find_dataset
from stages.core.fingerprint import file_digest
from stages.core.store import Store, temporary_name


def export(store: Store, name: str, to: Path) -> dict[str, Any]:
    """Copy a dataset's data files and its card to the directory `to`, which appears whole or not at all; return what was copied.

    UserError if `to` has something in it, or if a file is not what was written.
    """
    where = find_dataset(store, name)
    to = to.absolute()
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UserError(f"{to} is there already and not empty; name a new or an empty directory")
    manifest = where.manifest()
    records = [file for shard in manifest.shards for file in shard.files] + manifest.files
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_name(to)
    try:
        for record in records:
            copy = aside / record.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(where.path / record.path, copy)
            if file_digest(copy) != record.sha256:
                raise UserError(f"{where.name}/{record.path} has changed since it was written (see `winnow verify`); nothing was exported")
        card = where.path / "README.md"
        if card.exists():  # an artifact has none
            shutil.copyfile(card, aside / card.name)
        os.replace(aside, to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return {"dataset": where.name, "to": str(to), "files": len(records), "megabytes": sum(record.size_bytes for record in records) / 1e6}
