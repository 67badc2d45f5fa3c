"""The benchmark flow: strategies x scales x seeds -> curate, tokenise, train, evaluate -> one leaderboard."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.curate import MAX_NODES_AT_ONCE, KeepDroppedText
from flows.execute import execute
from stages.core.plan import PlanRef, load_plan
from stages.core.stage import Resources
from stages.core.store import Store


@flow(name="benchmark", task_runner=ThreadPoolTaskRunner(max_workers=MAX_NODES_AT_ONCE))
def benchmark(
    pipeline: str = "demo",
    scales: list[str] | None = None,
    seeds: list[int] | None = None,
    evaluation: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    store: str = "store",
    workers: int = 2,
    device: str = "cpu",
    keep_dropped_text: KeepDroppedText = None,
) -> dict[str, str]:
    """Compare the strategies of `pipeline`; return the dataset of each node, `leaderboard` among them.

    evaluation: fields of the config Evaluate, such as eval_data, limit and fewshot_seed.
    """
    arguments = {"pipeline": pipeline, "evaluation": evaluation}
    arguments |= {"scales": tuple(scales)} if scales else {}
    arguments |= {"seeds": tuple(seeds)} if seeds else {}
    plan = load_plan(PlanRef("pipelines.benchmark:plan", arguments, tuple((overrides or {}).items())))
    outcomes = execute(plan, Store(store), Resources(workers=workers, device=device, keep_dropped_text=keep_dropped_text))
    return {name: outcome.dataset for name, outcome in outcomes.items()}
