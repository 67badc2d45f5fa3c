"""The evaluate flow: the 53 tasks and the validation texts for one strategy's model."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.curate import MAX_NODES_AT_ONCE, KeepDroppedText
from flows.execute import execute
from stages.core.plan import PlanRef, load_plan
from stages.core.stage import Resources
from stages.core.store import Store


@flow(name="evaluate", task_runner=ThreadPoolTaskRunner(max_workers=MAX_NODES_AT_ONCE))
def evaluate(
    pipeline: str = "demo",
    strategy: str = "raw",
    scale: str = "nano",
    seed: int = 0,
    evaluation: dict[str, Any] | None = None,
    store: str = "store",
    workers: int = 2,
    device: str = "cpu",
    keep_dropped_text: KeepDroppedText = None,
) -> str:
    """Train if need be, then evaluate one model; return its dataset of per-item results (`evaluate/<fingerprint>`)."""
    arguments = {"pipeline": pipeline, "scales": (scale,), "seeds": (seed,), "evaluation": evaluation}
    node = f"evaluate_{strategy}_{scale.replace('-', '_')}_{seed}"
    plan = load_plan(PlanRef("pipelines.benchmark:plan", arguments)).until(node)
    outcomes = execute(plan, Store(store), Resources(workers=workers, device=device, keep_dropped_text=keep_dropped_text))
    return outcomes[node].dataset
