"""Several maps as one node that reads and writes Parquet once: each step judges what the steps before it kept.

    clean = chain(pages, filter_url.step(), filter_language.step(min_score=0.7), edit_lines.step(), name="clean")

The chain is a stage like any other. Its config has a field for each step (`--set clean.filter_language.min_score=0.8`), its
fingerprint covers the versions, identities and libraries of all, and `drop_stage` tells the steps apart. What it does not leave behind
is the dataset between two steps: leave a step out of the chain where that is wanted. The text of a dropped document is the one that
came into the chain.
"""

from typing import Any

from stages.core.config import config
from stages.core.plan import Node, PlanError
from stages.core.stage import Inputs, Resources, Stage, Step


def chain(documents: Node, *steps: Step, name: str) -> Node:
    """Place `steps`, maps over documents alone, after `documents` as one node; PlanError for another kind, or two steps of one stage."""
    for step in steps:
        if step.stage.kind != "map" or step.stage.takes != ("documents",):
            raise PlanError(f"{name}: {step.stage.name} can not be a step of a chain; only maps that take documents and nothing else can")
    names = [step.name for step in steps]
    twice = [word for word in names if names.count(word) > 1]
    if twice:
        raise PlanError(f"{name}: two steps are called '{twice[0]}'; put the second one into a node of its own")
    stages = {step.name: step.stage for step in steps}
    made = _chain_stage(stages)
    return Node(made, made.config_type(**{step.name: step.config for step in steps}), (documents,), name)


def _chain_stage(stages: dict[str, Stage]) -> Stage:
    config_type = config(type("Chain", (), {"__annotations__": {name: stage.config_type for name, stage in stages.items()}, "__module__": __name__}))

    def chained(config: Any, inputs: Inputs, resources: Resources) -> list[tuple[str, Any]]:
        """Filter and edit documents in several steps."""
        return [(name, stage(getattr(config, name), inputs, resources)) for name, stage in stages.items()]

    def needed(config: Any) -> set[str]:
        made: set[str] = set()
        wanted: set[str] = set()
        for name, stage in stages.items():
            wanted |= stage.needed(getattr(config, name)) - made
            made |= set(stage.added(getattr(config, name)))
        return wanted

    def added(config: Any) -> dict[str, Any]:
        return {column: kind for name, stage in stages.items() for column, kind in stage.added(getattr(config, name)).items()}

    def identity(config: Any) -> dict[str, Any]:
        return {
            name: {"version": stage.version, **(stage.identity(getattr(config, name)) if stage.identity else {})} for name, stage in stages.items()
        }

    return Stage(
        function=chained,
        name="chain",
        version=1,
        kind="map",
        config_type=config_type,
        takes=("documents",),
        needs=needed,
        adds=added,
        carries=False,
        uses=tuple(sorted({library for stage in stages.values() for library in stage.uses})),
        identity=identity,
        drop_band=None,
        memory_bytes=lambda config: sum(s.memory_bytes(getattr(config, n)) for n, s in stages.items() if s.memory_bytes),
        reproducible="; ".join(dict.fromkeys(stage.reproducible for stage in stages.values())),
        parts=stages,
    )
