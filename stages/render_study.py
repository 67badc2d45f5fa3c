"""Render the page of a study: its claims and verdicts, the figures and tables that its judge made, and how to do it again.

reads: claims (and what their judge returned as summary), the tables that the judge read   writes: index.html, study.json
cost: none.
"""

from pathlib import Path
from typing import Any

from stages.core.config import config
from stages.core.stage import Artifact, Inputs, Resources, stage


@config
class RenderStudy:
    scale: str = "tiny"
    """As the command line names it."""
    nodes: tuple[str, ...] = ()
    """Nodes of the pipeline whose rows the page shows how to ask for."""


@stage(
    version=1, kind="artifact", takes=("table", "table*"), needs={"claim", "verdict"}, reproducible="given its runs; the page names date and machine"
)  # fmt: skip
def render_study(config: RenderStudy, inputs: Inputs, resources: Resources) -> Artifact:
    """Write the page, and all that it shows as JSON. ValueError if the judge's summary lacks something, or if a figure can not be drawn."""
    import json

    from evaluation.studies.page import render_study_page

    verdicts, *tables = inputs.of("table")
    judged = verdicts.summary or {}
    missing = [name for name in ("study", "title", "paragraph", "figures", "tables", "analysis") if name not in judged]
    if missing:
        raise ValueError(f"render_study: the summary of {verdicts.name} lacks {', '.join(missing)} (has: {', '.join(judged) or 'nothing'})")
    claims = [row for shard in verdicts.shards for row in verdicts.table(shard.name).to_pylist()]
    study = {**judged, "claims": claims, "scale": config.scale, "nodes": list(config.nodes), "provenance": _provenance([verdicts, *tables])}
    out = Path(resources.scratch)
    (out / "index.html").write_text(render_study_page(study), encoding="utf-8")
    (out / "study.json").write_text(json.dumps(study, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Artifact(("index.html", "study.json"), {name: judged[name] for name in ("study", "title", "paragraph")} | {"scale": config.scale})


def _provenance(datasets: list[Any]) -> dict[str, Any]:
    """Where the rows come from: commits, machines and days, and how many runs they are."""
    made = [dataset.manifest.provenance for dataset in datasets]
    runs = {run["run"]: run for dataset in datasets for run in (dataset.summary or {}).get("runs", ())}
    facts = {"commit": "commit", "hardware": "hardware", "date": "started"}
    return {name: sorted({one[key][:10] if name == "date" else one[key] for one in made}) for name, key in facts.items()} | {
        "runs": len(runs),
        "diverged": sum((dataset.summary or {}).get("diverged", 0) for dataset in datasets),
        "train_seconds": sum(run["seconds"] or 0.0 for run in runs.values()),
    }
