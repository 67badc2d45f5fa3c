"""Configs: frozen, keyword-only dataclasses that validate their fields and name the nearest valid one on a typo.

    @config
    class FilterLanguage:
        min_score: float = 0.65
        '''Keep documents whose top language has at least this probability.'''
"""

import ast
import dataclasses
import difflib
import inspect
import re
import textwrap
from typing import Any, dataclass_transform

import pydantic
import pydantic.dataclasses


class ConfigError(ValueError):
    """A config was given a field that it does not have, or a value that the field can not take."""


def location(default: Any = dataclasses.MISSING) -> Any:
    """Mark a field as a place (path, URL): it says where to look and never enters a fingerprint; what lies there does."""
    return dataclasses.field(default=default, metadata={"location": True})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(location, dataclasses.field))
def config(cls: type) -> type:
    """Make `cls` a frozen, slotted, keyword-only dataclass with checked types.

    Raises ConfigError on construction: unknown field (with the nearest valid name), wrong type, or a ValueError of `__post_init__`.
    """
    made = pydantic.dataclasses.dataclass(
        cls, frozen=True, kw_only=True, slots=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    )
    made.__is_winnow_config__ = True
    validated_init = made.__init__

    def __init__(self, **fields: Any) -> None:
        check_names(made, fields)
        try:
            validated_init(self, **fields)
        except pydantic.ValidationError as error:
            raise ConfigError(_explain(made, error)) from None

    made.__init__ = __init__
    return made


def is_config(value: Any) -> bool:
    """Say whether `value` is an instance or a class made by @config."""
    return getattr(value, "__is_winnow_config__", False)


def field_names(config_type: type) -> list[str]:
    """List the names of a config's fields in order of definition."""
    return [field.name for field in dataclasses.fields(config_type)]


def check_names(config_type: type, fields: dict[str, Any]) -> None:
    """Raise ConfigError for a key of `fields` that `config_type` lacks, naming the nearest one that it has."""
    valid = field_names(config_type)
    for name in fields:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{config_type.__name__}: unknown field '{name}'{hint} (fields: {', '.join(valid) or 'none'})")


def identity_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a config that bear identity: all but locations."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not f.metadata.get("location")}


def field_docs(config_type: type) -> dict[str, str]:
    """Read the string literal under each field of a config from its source: field name -> one-line text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(config_type))).body[0]
    docs, name = {}, None
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            docs[name] = " ".join(str(node.value.value).split())
            name = None
    return docs


def _explain(config_type: type, error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "config"
        if where == "config":  # raised by __post_init__: the message speaks for itself
            own_name = re.sub(r"(?<!^)(?=[A-Z])", "_", config_type.__name__).lower()
            lines.append(f"{config_type.__name__}: {problem['msg'].removeprefix('Value error, ').removeprefix(f'{own_name}: ')}")
        elif problem["type"].startswith("missing"):
            lines.append(f"{config_type.__name__}.{where} is required")
        else:
            lines.append(f"{config_type.__name__}.{where}: {problem['msg'].lower()} (got {problem['input']!r})")
    return "; ".join(lines)
