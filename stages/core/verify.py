"""Checking a store: are the files those that the manifests describe?"""

from collections.abc import Iterator

from stages.core.fingerprint import file_digest
from stages.core.store import Store


def verify(store: Store) -> Iterator[tuple[str, str]]:
    """Recompute the sha256 of every file of every committed dataset; yield (dataset, problem) for each that differs."""
    for where in store.dataset_dirs():
        manifest = where.manifest()
        for file in [f for shard in manifest.shards for f in shard.files] + manifest.files:
            path = where.path / file.path
            if not path.exists():
                yield where.name, f"{file.path} is missing"
            elif file_digest(path) != file.sha256:
                yield where.name, f"{file.path} has changed since it was written"
