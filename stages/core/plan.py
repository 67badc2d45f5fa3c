"""Plans: inert graphs of stages. Building one does no I/O; checking it finds a missing column before anything runs.

    warcs   = list_warcs.on(root="crawl/", source="mine")
    pages   = extract.on(warcs)
    english = filter_language.on(pages, min_score=0.7)
    plan    = Plan("mine", [english])
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.core.about import About, Substitute
from stages.core.config import ConfigError, check_names, field_names
from stages.core.fingerprint import digest
from stages.core.schema import columns_of, schema_of
from stages.core.stage import Stage


class PlanError(ValueError):
    """A plan can not run as it is written: a wrong input, a missing column, two nodes of one name."""


@dataclass(frozen=True, eq=False)
class Node:
    """A stage at its place in a plan: its config, its inputs and a name that is unique in the plan."""

    stage: Stage
    config: Any
    inputs: tuple["Node", ...]
    name: str

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The role of each input, as the stage declares them; PlanError if number or kinds do not fit."""
        takes = [role for role in self.stage.takes if role]
        many = takes[-1].endswith("*") if takes else False
        fixed = takes[:-1] if many else takes
        if len(self.inputs) < len(fixed) or (not many and len(self.inputs) > len(fixed)):
            wants = ", ".join(takes) or "nothing"
            raise PlanError(f"{self.name}: stage {self.stage.name} takes {wants}, but {len(self.inputs)} inputs were given")
        roles = fixed + [takes[-1].rstrip("*")] * (len(self.inputs) - len(fixed)) if many else fixed
        for given, role in zip(self.inputs, roles, strict=True):
            if role not in given.gives:
                raise PlanError(f"{self.name}: input '{given.name}' gives {given.gives[0]}, but stage {self.stage.name} wants {role} there")
        return tuple(roles)

    @property
    def gives(self) -> tuple[str, ...]:
        """The roles that this node's output can play for others, the most telling first."""
        kind = self.stage.kind
        if kind in ("source", "artifact"):
            return (kind,)
        if kind in ("extract", "map") or self.stage.carries:
            return ("documents", "table")
        return ("sidecar", "table")

    def inputs_of(self, role: str) -> list["Node"]:
        """Return the inputs that play `role`."""
        return [node for node, r in zip(self.inputs, self.roles, strict=True) if r == role]

    @cached_property
    def schema(self) -> pa.Schema | None:
        """The Arrow schema of the node's Parquet output; None for a source or an artifact. Checks the columns it needs."""
        stage = self.stage
        if stage.kind in ("source", "artifact"):
            self._check_needs()
            return None
        self._check_needs()
        added = stage.added(self.config)
        if stage.kind == "score":
            return schema_of({"id": pa.string(), **added})
        if stage.kind == "map" or stage.carries:
            return schema_of({**columns_of(self.inputs_of("documents")[0].schema), **added})
        return schema_of(added)

    def _check_needs(self) -> None:
        available: dict[str, str] = {}
        for node in self.inputs:
            for column in (node.schema or pa.schema([])).names:
                available[column] = node.name
        parents = ", ".join(node.name for node in self.inputs)
        for column in sorted(self.stage.needed(self.config)):
            if column not in available:
                near = difflib.get_close_matches(column, available, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else "; put the stage that writes it before this one"
                raise PlanError(f"{self.name}: column '{column}' is missing from {parents or 'its inputs'} (has: {', '.join(available)}){hint}")

    @cached_property
    def recipe(self) -> str:
        """Hash of everything that was written down about this node and those before it: equal in two processes that loaded one plan."""
        return digest([self.name, self.stage.name, self.stage.version, self.config, [node.recipe for node in self.inputs]])


@dataclass(frozen=True)
class PlanRef:
    """How another process loads the same plan: `module:function` or `file.py:function`, its arguments and the overrides."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[tuple[str, Any], ...] = ()
    until: tuple[str, ...] = ()
    """Only what these nodes need; () = all."""


class Plan:
    """An ordered, inert graph: `nodes` in topological order, each with a name of its own."""

    def __init__(
        self, name: str, outputs: Iterable[Node], variant: str = "default", ref: PlanRef | None = None, about: About | None = None
    ) -> None:
        self.name, self.outputs, self.variant, self.ref, self.about = name, tuple(outputs), variant, ref, about or About()
        self.nodes = _topological(self.outputs)
        for word in (name, variant):
            if not word.isidentifier() or word == "meta":
                raise PlanError(f"plan '{word}': its name and variant must be letters, digits and '_', and not 'meta' (they become a SQL schema)")
        by_name: dict[str, Node] = {}
        for node in self.nodes:
            if by_name.setdefault(node.name, node) is not node:
                raise PlanError(f"plan {name}: two nodes are called '{node.name}'; give one of them a name with name=")
            if not node.name.isidentifier():
                raise PlanError(f"plan {name}: node name '{node.name}' must be letters, digits and '_' (it becomes a SQL view)")
        self._by_name = by_name
        self.check()

    def __getitem__(self, name: str) -> Node:
        """Return the node of that name; PlanError names the nearest one."""
        if name not in self._by_name:
            steps = {step: f"{node.name}.{step}" for node in reversed(self.nodes) for step in node.stage.parts}
            near = difflib.get_close_matches(name, [*self._by_name, *steps], n=1)
            guess = near[0] if near and near[0] in self else steps[near[0]] if near else ""
            hint = f"did you mean '{guess}'?" if guess else f"it has: {', '.join(self._by_name)}"
            raise PlanError(f"plan {self.name} has no node '{name}'; {hint}")
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def place(self, dotted: str) -> tuple[str, str]:
        """Say which field of which node `node.field` means.

        The node may be left out before a step of a chain (`filter_language.min_score`), and a field that a node lacks is looked for in
        the source that it reads (`extract.crawl`). ConfigError if no field is named, PlanError if there is no such node or step.
        """
        name, dot, field_name = dotted.partition(".")
        if not dot:
            raise ConfigError(f"--set {dotted}: write node.field=value, for example {self.nodes[-1].name}.field=value")
        chains = [node.name for node in self.nodes if name in node.stage.parts]
        if name not in self and len(chains) == 1:
            return chains[0], dotted
        if name not in self and chains:
            raise PlanError(f"plan {self.name} has a step '{name}' in {' and in '.join(chains)}; write {chains[0]}.{dotted}")
        node = self[name]
        if node.stage.parts:
            _check_step(node, field_name)
        sources = [parent for parent in node.inputs if parent.stage.kind == "source"]
        if field_name not in field_names(node.stage.config_type) and len(sources) == 1 and field_name in field_names(sources[0].stage.config_type):
            return sources[0].name, field_name
        return name, field_name

    def substitutes(self) -> list[Substitute]:
        """List what is substituted in this plan as it is configured now."""
        here = [item for item in self.about.substitutes if item.place.partition(".")[0] in self]
        return [item for item in here if not (item.unless and self.value(item.place, item.unless))]

    def value(self, place: str, field_name: str) -> Any:
        """Return a field of a node's config, or of a step's: value("clean.filter_language", "model")."""
        name, _, step = place.partition(".")
        config = self[name].config
        return getattr(getattr(config, step) if step else config, field_name)

    def check(self) -> None:
        """Check inputs and columns from end to end; PlanError says what to change."""
        for node in self.nodes:
            _ = node.roles, node.schema
            if "documents" in node.roles and "sidecar" in node.roles:
                _check_sidecars(node)

    def replace(self, changes: Mapping[str, Mapping[str, Any]]) -> "Plan":
        """Return the same plan with some config fields of some nodes changed: {"select": {"keep_fraction": 0.2}}.

        A field of a step of a chain is `step.field`.
        """
        for name in changes:
            _ = self[name]
        made: dict[int, Node] = {}
        for node in self.nodes:
            try:
                config = _changed(node.config, changes.get(node.name, {}))
            except ConfigError as error:
                raise ConfigError(f"{node.name}: {error}") from None
            made[id(node)] = Node(node.stage, config, tuple(made[id(parent)] for parent in node.inputs), node.name)
        pairs = tuple((f"{name}.{key}", value) for name, fields in changes.items() for key, value in fields.items())
        ref = self.ref and dataclasses.replace(self.ref, overrides=self.ref.overrides + pairs)
        return Plan(self.name, [made[id(node)] for node in self.outputs], self.variant, ref, self.about)

    def until(self, *names: str) -> "Plan":
        """Return the part of the plan that the named nodes need."""
        ref = self.ref and dataclasses.replace(self.ref, until=names)
        return Plan(self.name, [self[name] for name in names], self.variant, ref, self.about)

    @property
    def sql_name(self) -> str:
        """What SQL calls the plan: the schema of its views, and the argument of funnel()."""
        return self.name if self.variant == "default" else f"{self.name}_{self.variant}"

    @property
    def recipe(self) -> str:
        """Hash of the whole plan as written; see Node.recipe."""
        return digest([self.name, self.variant, [node.recipe for node in self.nodes]])


def load_plan(ref: PlanRef | str) -> Plan:
    """Import the function that `ref` names, call it, and apply the overrides.

    `ref` is `package.module:function`, `path/to/file.py:function`, or the bare name of a recipe in pipelines/ (its `plan`).
    Raises PlanError if there is no such module, function or node, ConfigError for a bad override.
    """
    ref = PlanRef(ref) if isinstance(ref, str) else ref
    place, _, function_name = ref.target.partition(":")
    module = import_recipe(place)
    function = getattr(module, function_name or "plan", None)
    if function is None:
        there = [name for name, value in vars(module).items() if _makes_plans(value, module)]
        raise PlanError(f"{place} has no function '{function_name or 'plan'}' that returns a plan (it has: {', '.join(there) or 'none'})")
    plan = function(**ref.arguments)
    if not isinstance(plan, Plan):
        raise PlanError(f"{ref.target} returned a {type(plan).__name__}; it must return a Plan")
    changes: dict[str, dict[str, Any]] = {}
    for dotted, value in ref.overrides:
        node, name = plan.place(dotted)
        changes.setdefault(node, {})[name] = value
    plan = plan.replace(changes) if changes else plan
    plan = plan.until(*ref.until) if ref.until else plan
    plan.ref = ref
    return plan


def import_recipe(place: str) -> Any:
    """Import `package.module`, the recipe of that name in pipelines/, or a .py file; PlanError if there is none."""
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.exists():
            raise PlanError(f"no file {place}; name a recipe of pipelines/ or a .py file with a function that returns a plan")
        name = f"_plan_{path.stem}_{digest(str(path))[:8]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(sys.modules[name])
            except BaseException as error:
                del sys.modules[name]
                if isinstance(error, (ImportError, SyntaxError, NameError)):
                    raise PlanError(f"{place} can not be loaded: {type(error).__name__}: {error}") from error
                raise
        return sys.modules[name]
    module = place if "." in place else f"pipelines.{place}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not (module == error.name or module.startswith(error.name + ".")):
            raise
        recipes = [found.name for found in pkgutil.iter_modules(importlib.import_module("pipelines").__path__)]
        near = difflib.get_close_matches(place, recipes, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise PlanError(f"there is no pipeline '{place}'{hint}; `winnow list pipelines` shows them") from None


def _makes_plans(value: Any, module: Any) -> bool:
    """Say whether something in a module is a function of its own that returns a plan, as far as it tells."""
    own = inspect.isfunction(value) and value.__module__ == module.__name__
    return own and value.__annotations__.get("return", Plan) is Plan


def _check_step(chain: Node, dotted: str) -> None:
    """Say how a field of a chain is written where `dotted` is not `step.field`."""
    step, dot, _ = dotted.partition(".")
    fields = {name: field_names(stage.config_type) for name, stage in chain.stage.parts.items()}
    if step in fields and not dot:
        raise ConfigError(f"--set {chain.name}.{step}: that is a step; write {chain.name}.{step}.field=value (fields: {', '.join(fields[step])})")
    if step not in fields:
        near = difflib.get_close_matches(step, fields, n=1)
        guess = [f"{name}.{step}" for name, names in fields.items() if step in names] or near
        hint = f"did you mean {' or '.join(f'{chain.name}.{word}' for word in guess)}?" if guess else "write the step before the field"
        raise PlanError(f"{chain.name}, a chain, has no step '{step}'; {hint} (steps: {', '.join(fields)})")


def _changed(config: Any, fields: Mapping[str, Any]) -> Any:
    """Return `config` with some fields changed; `step.field` changes the config of a step."""
    if not fields:
        return config
    own, of_steps = {}, {}
    for name, value in fields.items():
        step, dot, inner = name.partition(".")
        if dot:
            of_steps.setdefault(step, {})[inner] = value
        else:
            own[name] = value
    check_names(type(config), {**own, **of_steps})
    steps = {step: _changed(getattr(config, step), inner) for step, inner in of_steps.items()}
    kept = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return type(config)(**{**kept, **own, **steps})


def _topological(outputs: Iterable[Node]) -> tuple[Node, ...]:
    order: list[Node] = []
    seen: set[int] = set()

    def visit(node: Node) -> None:
        if id(node) not in seen:
            seen.add(id(node))
            for parent in node.inputs:
                visit(parent)
            order.append(node)

    for node in outputs:
        visit(node)
    return tuple(order)


def _check_sidecars(node: Node) -> None:
    """A sidecar fits documents if these are what it scored, or came from it through maps that left alone what it read."""
    documents = node.inputs_of("documents")[0]
    seen = {name: documents.name for name in documents.schema.names}
    for sidecar in node.inputs_of("sidecar"):
        scored = sidecar.inputs_of("documents")
        read = sidecar.stage.needed(sidecar.config)
        lineage, current = [documents], documents
        while current.stage.kind == "map" and not read & set(current.stage.added(current.config)):
            current = current.inputs_of("documents")[0]
            lineage.append(current)
        if not scored or not any(scored[0] is ancestor for ancestor in lineage):
            raise PlanError(
                f"{node.name}: sidecar '{sidecar.name}' scored '{scored[0].name if scored else 'nothing'}', which is not "
                f"'{documents.name}' or one of those it came from by dropping alone ({', '.join(a.name for a in lineage)})"
            )
        for column in sidecar.schema.names:
            if column != "id" and column in seen:
                raise PlanError(f"{node.name}: column '{column}' comes from both {seen[column]} and {sidecar.name}; leave one out")
            seen[column] = sidecar.name
