"""Runs a plan inside a Prefect flow: one task a node, artifacts of what was dropped and of the SQL to look at it.

The engine decides what is done and does it; Prefect orders, shows and retries. Tasks exchange fingerprints, never data.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from stages.core.catalog import refresh_catalog
from stages.core.engine import Outcome, Run, RunFailed
from stages.core.plan import Node, Plan
from stages.core.stage import Resources
from stages.core.store import Store

logger = logging.getLogger(__name__)

WATCH: ContextVar[Callable[[str, str, dict[str, Any]], None] | None] = ContextVar("winnow_watch", default=None)
"""Who else wants to hear of a run's events, such as the terminal; a flow's parameters must be data."""


def execute(plan: Plan, store: Store, resources: Resources, strict: bool = False) -> dict[str, Outcome]:
    """Run every node of `plan` as a Prefect task; return the outcomes by node. RunFailed names what failed."""
    watch = WATCH.get()
    outcomes: dict[str, Outcome] = {}
    with Run(plan, store, resources, strict) as run:
        progress = _Progress(plan.name)
        run.watch = watch or run.watch
        futures: dict[str, PrefectFuture] = {}
        for node in plan.nodes:
            work = _task_of(run, node, outcomes)
            futures[node.name] = work.submit(wait_for=[futures[parent.name] for parent in node.inputs])
        errors = []
        for name, future in futures.items():
            future.wait()
            progress.update(len(outcomes) / len(plan.nodes))
            if name in outcomes and outcomes[name].state == "failed":
                errors.append(outcomes[name].error)
            elif name not in outcomes:
                outcomes[name] = Outcome(name, "skipped", run.resolved[name].where.name, error="an input failed")
                run.note(name, "node_skipped")
        refresh_catalog(store)
        if any(outcome.state in ("failed", "skipped") for outcome in outcomes.values()):
            raise RunFailed("; ".join(errors) or "some nodes did not run")
    return outcomes


def _task_of(run: Run, node: Node, outcomes: dict[str, Outcome]) -> Any:
    # No retries: the engine tries a dead worker's shard once more itself, and anything else fails the same way twice.
    @task(name=node.name, task_run_name=node.name, persist_result=False, cache_policy=NO_CACHE)
    def work() -> Any:
        try:
            outcome = run.run_node(node.name)
        except RunFailed as error:
            outcomes[node.name] = Outcome(node.name, "failed", run.resolved[node.name].where.name, error=str(error))
            return Failed(message=str(error))
        except Exception as error:  # a full disk, a bug: the node failed, and the run must say so
            words = f"{node.name}: {type(error).__name__}: {error}"
            logger.exception("%s", words)
            run.note(node.name, "node_failed", shard=None, error=words, log="")
            outcomes[node.name] = Outcome(node.name, "failed", run.resolved[node.name].where.name, error=words)
            return Failed(message=words)
        outcomes[node.name] = outcome
        if outcome.state == "reused":
            return Completed(name="Reused", message=outcome.dataset, data=run.resolved[node.name].fingerprint)
        try:
            _show(run.plan.sql_name, outcome)
        except Exception as error:  # the dataset is committed: an artifact that Prefect refuses must not undo that
            logger.warning("no artifact for %s: %s", node.name, error)
        return run.resolved[node.name].fingerprint

    return work


def _show(pipeline: str, outcome: Outcome) -> None:
    """Leave artifacts in Prefect's UI: drops per reason, and how to look at the dataset."""
    key = f"{pipeline}-{outcome.node}".replace("_", "-").lower()
    manifest = outcome.manifest
    if manifest.drops:
        rows = [{"drop_reason": reason, "documents": count} for reason, count in sorted(manifest.drops.items(), key=lambda i: -i[1])]
        create_table_artifact(table=rows, key=f"{key}-drops", description=f"What {outcome.node} dropped, by reason")
    if manifest.kind != "artifact":
        sql = f"select * from {pipeline}.{outcome.node} limit 5"
        create_markdown_artifact(
            markdown=f"**{manifest.rows_out:,}** rows in `{outcome.dataset}`, {manifest.rows_dropped:,} dropped of {manifest.rows_in:,}."
            f'\n\n```sh\nwinnow sql "{sql}"\n```\n',
            key=key,
            description=f"{outcome.node} of {pipeline}",
        )


class _Progress:
    """The progress artifact of a run: the share of nodes that are done."""

    def __init__(self, pipeline: str) -> None:
        key = f"{pipeline}-progress".replace("_", "-").lower()
        self._id = create_progress_artifact(progress=0.0, key=key, description=f"Nodes of {pipeline} that are done")

    def update(self, fraction: float) -> None:
        update_progress_artifact(artifact_id=self._id, progress=round(100 * fraction, 1))
