"""The train flow: one strategy's model, with everything that it needs before it."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.curate import MAX_NODES_AT_ONCE, KeepDroppedText
from flows.execute import execute
from stages.core.plan import PlanRef, load_plan
from stages.core.stage import Resources
from stages.core.store import Store


@flow(name="train", task_runner=ThreadPoolTaskRunner(max_workers=MAX_NODES_AT_ONCE))
def train(
    pipeline: str = "demo",
    strategy: str = "raw",
    scale: str = "nano",
    seed: int = 0,
    store: str = "store",
    workers: int = 2,
    device: str = "cpu",
    keep_dropped_text: KeepDroppedText = None,
) -> str:
    """Train one model; return its dataset (`train/<fingerprint>`)."""
    ref = PlanRef("pipelines.benchmark:plan", {"pipeline": pipeline, "scales": (scale,), "seeds": (seed,)})
    node = f"train_{strategy}_{scale.replace('-', '_')}_{seed}"
    outcomes = execute(
        load_plan(ref).until(node), Store(store), Resources(workers=workers, device=device, keep_dropped_text=keep_dropped_text)
    )
    return outcomes[node].dataset
