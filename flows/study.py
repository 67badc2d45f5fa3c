"""The study flow: the runs of one study, its verdicts and its page."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.curate import MAX_NODES_AT_ONCE, KeepDroppedText
from flows.execute import execute
from flows.studies import plan_study
from stages.core.stage import Resources
from stages.core.store import Store


@flow(name="study", task_runner=ThreadPoolTaskRunner(max_workers=MAX_NODES_AT_ONCE))
def study(
    name: str = "optimizers",
    scale: str = "tiny",
    overrides: dict[str, Any] | None = None,
    store: str = "store",
    workers: int = 2,
    device: str = "cpu",
    keep_dropped_text: KeepDroppedText = None,
) -> dict[str, str]:
    """Run a study; return the dataset of each node, `verdicts` and `page` among them."""
    plan = plan_study(name, scale, tuple((overrides or {}).items()))
    outcomes = execute(plan, Store(store), Resources(workers=workers, device=device, keep_dropped_text=keep_dropped_text))
    return {node: outcome.dataset for node, outcome in outcomes.items()}
