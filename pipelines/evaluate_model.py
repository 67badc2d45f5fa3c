"""A published model on the 53 tasks: `winnow eval path/to/model --eval-data dclm` (a directory of transformers, or a GGUF file)."""

from collections.abc import Mapping
from typing import Any

from stages.core.plan import Plan
from stages.evaluate import evaluate
from stages.import_language_model import import_language_model


def plan(model: str = "model", evaluation: Mapping[str, Any] | None = None) -> Plan:
    """Evaluate one model; `evaluation` are fields of Evaluate."""
    imported = import_language_model.on(model=model, name="model")
    return Plan("evaluate_model", [evaluate.on(imported, imported, validation=(), name="items", **(evaluation or {}))])
