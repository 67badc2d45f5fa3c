"""Identity: canonical JSON, and sha256 over it.

fingerprint = sha256(stage name, stage version, config without locations, input fingerprints, content of the files that the
config points at, versions of the libraries that shape the output). The encoder refuses what has no single text form.
"""

import ast
import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.config import identity_fields, is_config

SHORT = 12
"""Characters of a fingerprint in paths and tables: 48 bits, so a store of a million datasets has a collision chance of 0.2 %."""


def canonical(value: Any, where: str = "value") -> Any:
    """Turn `value` into plain JSON types with one form for one meaning; TypeError names what can not be encoded."""
    if is_config(value):
        return {name: canonical(item, f"{where}.{name}") for name, item in identity_fields(value).items()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"fingerprint: {where} is {value}, which has no canonical JSON form; use None or a number")
        return value
    if isinstance(value, (list, tuple)):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"fingerprint: {where} has keys that are not strings: {sorted(map(repr, value))[:3]}")
        return {key: canonical(item, f"{where}.{key}") for key, item in sorted(value.items())}
    raise TypeError(f"fingerprint: {where} is a {type(value).__name__}, which is not encoded; use numbers, strings, tuples, dicts or configs")


def canonical_json(value: Any) -> str:
    """Encode `value` as canonical JSON text: sorted keys, no spaces, ASCII only."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a local file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Map distribution names to installed versions; a missing one is an error that names the package."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise ValueError(f"stage uses the package '{name}', which is not installed; run `make setup`") from None
    return versions


SHARED_CODE = ("stages.kernels", "stages.formats", "models", "evaluation")
"""Packages whose files count as part of the stages that import them."""


def code_hash(stage: Any) -> str:
    """Hash the code of a stage, or of all steps of a chain.

    It is evidence, not identity: a reused dataset whose code changed while the version did not is reported.
    """
    return digest([source_hash(part.function) for part in stage.parts.values()]) if stage.parts else source_hash(stage.function)


@cache
def source_hash(function: Any) -> str:
    """Hash the source of a stage's module and of all of SHARED_CODE that it imports, directly or not."""
    module = sys.modules[function.__module__]
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):  # typed into a prompt: there is no file to read
        return "unknown"
    root = Path(__file__).parents[2]
    texts, waiting = {module.__name__: source}, [source]
    while waiting:
        for name in _imported(waiting.pop()):
            path = root.joinpath(*name.split(".")).with_suffix(".py")
            if name not in texts and name.startswith(tuple(f"{place}." for place in SHARED_CODE)) and path.exists():
                texts[name] = path.read_text()
                waiting.append(texts[name])
    first = texts.pop(module.__name__)
    return hashlib.sha256("\0".join([first, *[texts[name] for name in sorted(texts)]]).encode()).hexdigest()


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # a relative import is written inside evaluation only
            base = node.module if not node.level else f"evaluation.{node.module}" if node.module else "evaluation"
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def changed_fields(old: Any, new: Any, where: str = "") -> list[str]:
    """List the leaves that differ between two canonical payloads, as `config.min_score: 0.65 -> 0.7`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for key in sorted(old.keys() | new.keys()):
            changes += changed_fields(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return changes
    return [] if old == new else [f"{where}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text[:SHORT] if len(text) == 64 else text if len(text) <= 60 else text[:57] + "..."


def as_dict(value: Any) -> dict[str, Any]:
    """Return a config as a plain dict, locations included: what a manifest and a table show."""
    return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    if is_config(value):
        return as_dict(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
