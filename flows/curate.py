"""The curate flow: run a pipeline's plan, from its source to its last dataset."""

from typing import Any, Literal

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.execute import execute
from stages.core.plan import PlanRef, load_plan
from stages.core.stage import Resources
from stages.core.store import Store

MAX_NODES_AT_ONCE = 8
"""Threads that wait for nodes; the worker processes, not these, bound what is computed at once."""

KeepDroppedText = Literal["all", "sample", "none"] | None
"""Whether datasets keep the text of what was dropped; None decides by the size of the input (see Resources)."""


@flow(name="curate", task_runner=ThreadPoolTaskRunner(max_workers=MAX_NODES_AT_ONCE))
def curate(
    pipeline: str = "demo",
    overrides: dict[str, Any] | None = None,
    store: str = "store",
    workers: int = 2,
    device: str = "cpu",
    keep_dropped_text: KeepDroppedText = None,
    strict: bool = False,
    arguments: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Run `pipeline` (a recipe's name, `module:function` or `file.py:function`); return the dataset of each node.

    overrides: {"node.field": value}; arguments: those of the function that makes the plan.
    """
    plan = load_plan(PlanRef(pipeline, arguments or {}, tuple((overrides or {}).items())))
    outcomes = execute(plan, Store(store), Resources(workers=workers, device=device, keep_dropped_text=keep_dropped_text), strict)
    return {name: outcome.dataset for name, outcome in outcomes.items()}
