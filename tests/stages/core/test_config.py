"""Configs reject what they do not know, say what is near, and check types."""

import pytest

from stages.core.config import ConfigError, config, field_docs, field_names, identity_fields, location


@config
class Inner:
    depth: int = 1


@config
class Outer:
    min_score: float = 0.65
    """Keep at least
    this much."""
    model: str = location(default="")
    inner: Inner = Inner()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_score > 1:
            raise ValueError("min_score is a probability, at most 1")


def test_unknown_field_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown field 'min_scor'; did you mean 'min_score'"):
        Outer(min_scor=0.1)


def test_types_are_checked_and_made_canonical():
    assert Outer(min_score=1).min_score == 1.0 and isinstance(Outer(min_score=1).min_score, float)
    assert Outer(names=["a"]).names == ("a",)
    with pytest.raises(ConfigError, match=r"Outer\.min_score.*got 'high'"):
        Outer(min_score="high")
    with pytest.raises(ConfigError):
        Outer(min_score=float("nan"))


def test_post_init_speaks_for_itself():
    with pytest.raises(ConfigError, match="^Outer: min_score is a probability, at most 1$"):
        Outer(min_score=2.0)


def test_frozen_hashable_keyword_only():
    assert hash(Outer()) == hash(Outer(min_score=0.65)) and Outer() == Outer()
    with pytest.raises(Exception, match="frozen|assign"):
        Outer().min_score = 0.1
    with pytest.raises(TypeError):
        Outer(0.5)


def test_locations_bear_no_identity_and_docs_are_read():
    assert field_names(Outer) == ["min_score", "model", "inner", "names"]
    assert "model" not in identity_fields(Outer(model="/somewhere"))
    assert field_docs(Outer) == {"min_score": "Keep at least this much."}
