"""The studies: which there are, their plans, and how one ended."""

import difflib
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

from flows.errors import UserError
from stages.core.plan import Plan, PlanRef, load_plan
from stages.core.resolve import open_node
from stages.core.store import Store

PREFIX = "study_"


def studies() -> list[dict[str, Any]]:
    """One row a study: its name, the first line of its recipe, and what its usual scale costs on two cores."""
    import pipelines

    rows = []
    for info in pkgutil.iter_modules(pipelines.__path__, "pipelines."):
        name = info.name.removeprefix(f"pipelines.{PREFIX}")
        module = importlib.import_module(info.name) if name != info.name else None
        if hasattr(module, "plan"):
            rows.append({"study": name, "about": (module.__doc__ or "").strip().partition("\n")[0], "cost": getattr(module, "COST", "")})
    return rows


def plan_study(name: str, scale: str, overrides: tuple[tuple[str, Any], ...] = ()) -> Plan:
    """The plan of a study; UserError for a name that is none, with the nearest one."""
    names = [row["study"] for row in studies()]
    wanted = name.replace("-", "_")
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(f"there is no study '{name}'{hint} (studies: {', '.join(names)})")
    return load_plan(PlanRef(f"pipelines.{PREFIX}{wanted}:plan", {"scale": scale}, overrides))


def findings(store: Store, made: Plan) -> dict[str, Any]:
    """What a finished study says: its claims as rows, its paragraph and where its page is."""
    page, verdicts = open_node(store, made, "page"), open_node(store, made, "verdicts")
    claims = [row for shard in verdicts.shards for row in verdicts.table(shard.name).to_pylist()]
    return {**{name: page.summary[name] for name in ("study", "scale", "title", "paragraph")}, "page": page.file("index.html"), "claims": claims}


def print_findings(found: dict[str, Any]) -> None:
    """Print the claims with their verdicts, the paragraph, and the path of the page."""
    from evaluation.studies.page import format_estimate
    from flows.terminal import console, print_table

    rows = [
        {"claim": claim["claim"], "verdict": claim["verdict"], "estimate [low, high]": format_estimate(claim), "seeds": claim["num_seeds"]}
        for claim in found["claims"]
    ]
    print_table(rows, found["title"])
    console.print(found["paragraph"], highlight=False, markup=False)
    console.print(f"\npage: {found['page']}", soft_wrap=True, highlight=False, markup=False)


def put_beside(board: Path, store: Store) -> list[str]:
    """Write the pages of the store's finished studies into the site of a leaderboard, and link them from its index.html; return their names."""
    from evaluation.studies.page import link_studies, render_study_page

    links = []
    for _, _, _, where in store.refs():
        if where.name.startswith("render_study/"):
            study = json.loads((where.files / "study.json").read_text(encoding="utf-8"))
            name = f"{study['study']}-{study['scale']}.html"
            (board / "studies").mkdir(exist_ok=True)
            (board / "studies" / name).write_text(render_study_page(study, board="../index.html"), encoding="utf-8")
            links.append((f"studies/{name}", f"{study['title']} ({study['scale']})"))
    index = board / "index.html"
    index.write_text(link_studies(index.read_text(encoding="utf-8"), sorted(links)), encoding="utf-8")
    return [href for href, _ in sorted(links)]
