"""What a recipe says of itself: where it is not exact, and what its funnel may be compared with. Neither is part of any identity."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """The share of documents that others saw some consecutive steps keep."""

    steps: tuple[str, ...]
    """Nodes, or node.step of a chain, in order."""
    keep_fraction: float


@dataclass(frozen=True)
class Substitute:
    """Where a recipe does something else than what it is named after."""

    place: str
    """Node, or node.step of a chain."""
    words: str
    """What stands there, in place of what."""
    unless: str = ""
    """Field of that place's config: once it is set, nothing is substituted."""


@dataclass(frozen=True)
class About:
    """A recipe's word on how exact it is, step by step."""

    exact: tuple[str, ...] = ()
    """Nodes and steps that do what the source does, to the letter."""
    substitutes: tuple[Substitute, ...] = ()
    published: tuple[Published, ...] = ()
    source: str = ""
    """Where the published funnel stands, or that none is known."""
