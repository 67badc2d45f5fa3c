"""Plans of plans.py through the real engine in this process: Parquet in, Parquet out, a fresh store each time."""

import json
from collections.abc import Iterable
from pathlib import Path

from stages.core.engine import run_plan
from stages.core.plan import Plan, PlanRef, load_plan
from stages.core.resolve import open_node
from stages.core.stage import Resources
from stages.core.store import Store

PLANS = Path(__file__).with_name("plans.py")
IN_PROCESS = Resources(workers=0)


def write_texts(texts: Iterable[tuple[str, str]], root: Path) -> Path:
    """Write (id, text) pairs as one shard of JSON lines below `root`, a new directory; return it."""
    root.mkdir(parents=True)
    with (root / "texts.jsonl").open("w") as file:
        for identity, text in texts:
            file.write(json.dumps({"id": identity, "text": text}) + "\n")
    return root


def plan_over(name: str, root: Path, **arguments: int) -> Plan:
    """Load the plan `name` of plans.py over the texts in `root`."""
    return load_plan(PlanRef(f"{PLANS}:{name}", {"root": str(root), **arguments}))


def read_in(plan: Plan, store: Path) -> Store:
    """Read the texts into a new store, so that what is run next there is the stages behind."""
    made = Store(store)
    run_plan(plan.until("read_texts"), made, IN_PROCESS)
    return made


def column(plan: Plan, store: Store, node: str, name: str) -> list:
    """One column of a node's dataset, over all shards."""
    found = open_node(store, plan, node)
    return [value for shard in found.shards for value in found.table(shard.name, columns=[name]).column(name).to_pylist()]
