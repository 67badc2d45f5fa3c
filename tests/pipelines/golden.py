"""What the shipped recipes pin in tests/golden: of what each fingerprint is made, and what every stage makes of the embedded pages.

After a wanted change: `.venv/bin/python -m tests.pipelines.golden` writes both files anew (a minute).
"""

import json
import tempfile
from pathlib import Path
from unittest.mock import patch

from pipelines import benchmark
from pipelines.sample import POOL
from stages.core.engine import run_plan
from stages.core.fingerprint import changed_fields, library_versions
from stages.core.plan import Plan, PlanRef, load_plan
from stages.core.resolve import open_node, resolve
from stages.core.stage import Resources
from stages.core.store import Store

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COMMAND = ".venv/bin/python -m tests.pipelines.golden"
RECIPES = ("c4", "dclm_baseline", "dedup_report", "fineweb", "gopher", "refinedweb", "refinedweb:exact_substrings")
"""Recipes for one's own crawl, pinned as they curate the embedded pool."""
CURATED = ("demo", *RECIPES)


def recipe(name: str) -> Plan:
    """Load a recipe, over the embedded pool if it is one for any crawl."""
    if name == "benchmark":
        return benchmark.plan()
    return load_plan(PlanRef(name, {"root": str(POOL)} if name in RECIPES else {}))


def pinned(file: str, name: str) -> dict[str, dict]:
    """Read what is pinned of a recipe in tests/golden; nothing for a new one."""
    return json.loads((GOLDEN / f"{file}.json").read_text()).get(name, {})


def run_recipe(name: str, store: Store) -> Plan:
    """Run what is pinned of a recipe: the nodes whose content is the same everywhere."""
    plan = recipe(name)
    same = [node.name for node in plan.nodes if everywhere(plan)[node.name]]
    last = [name for name in same if not any(name in {p.name for p in plan[other].inputs} for other in same)]
    run_plan(plan.until(*last), store, Resources(workers=2))
    return plan


def everywhere(plan: Plan) -> dict[str, bool]:
    """Say of each node whether its content is the same on every machine, as is all before it."""
    found: dict[str, bool] = {}
    for node in plan.nodes:
        found[node.name] = node.stage.reproducible == "everywhere" and all(found[parent.name] for parent in node.inputs)
    return found


def contents(plan: Plan, store: Store) -> dict[str, dict]:
    """Content of every Parquet dataset that is the same everywhere."""
    found = {}
    for name, same in everywhere(plan).items():
        if same and plan[name].stage.kind != "artifact":
            manifest = open_node(store, plan, name).manifest
            found[name] = {
                "stage": manifest.stage, "version": manifest.version, "rows": manifest.rows_out, "content_hash": manifest.content_hash,
            }  # fmt: skip
    return found


def identities(plan: Plan, store: Store) -> dict[str, dict]:
    """What each node's fingerprint is made of; the builds of one library version (2.13.0+cpu) count as one here."""

    def versions(names: tuple[str, ...]) -> dict[str, str]:
        return {name: version.partition("+")[0] for name, version in library_versions(names).items()}

    with patch("stages.core.resolve.library_versions", versions):
        return {
            name: {"fingerprint": r.fingerprint, "payload": r.payload}
            for name, r in resolve(plan, store, Resources()).items()
        }


def identity_changes(old: dict[str, dict], new: dict[str, dict]) -> list[str]:
    """Name each node whose own fields changed, and count those that only follow their inputs."""
    lines, follow = [], 0
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"{name} is {'new' if name in new else 'gone'}")
            continue
        fields = [c for c in changed_fields(old[name]["payload"], new[name]["payload"]) if not c.startswith("inputs")]
        lines += [f"{name}: {field}" for field in fields]
        follow += not fields and old[name]["fingerprint"] != new[name]["fingerprint"]
    return lines + ([f"{follow} more nodes have other inputs by that"] if follow else [])


def regenerate() -> None:
    """Write both golden files anew."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        prints = {name: identities(recipe(name), store) for name in (*CURATED, "benchmark")}
        (GOLDEN / "fingerprints.json").write_text(json.dumps(prints, indent=1, sort_keys=True) + "\n")
        made = {name: contents(run_recipe(name, store), store) for name in CURATED}
        (GOLDEN / "content.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    regenerate()
