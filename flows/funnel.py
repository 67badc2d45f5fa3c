"""The funnel of a pipeline as a table, beside the one that was published, with what the recipe does otherwise than its source."""

from typing import Any

from flows.terminal import console, print_table
from stages.core.about import Published
from stages.core.plan import Plan
from stages.core.store import Store

Rows = list[dict[str, Any]]


def funnel(store: Store, pipeline: str) -> Rows:
    """One row for every step that may drop documents, in order."""
    from stages.core.catalog import connect

    answer = connect(store).execute("from funnel($name)", {"name": pipeline})
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def print_funnel(store: Store, pipeline: str) -> Rows:
    """Print the funnel of a pipeline's last run and return its rows."""
    rows = funnel(store, pipeline)
    print_table(rows, "funnel")
    return rows


def print_about(store: Store, plan: Plan) -> None:
    """Print a recipe's funnel beside the published one, and what it substitutes; nothing for a recipe that says nothing of itself."""
    if plan.about.exact or plan.about.substitutes or plan.about.published:
        rows = print_funnel(store, plan.sql_name)
        if plan.about.published:
            print_table([beside(rows, item) for item in plan.about.published], f"beside the published funnel: {plan.about.source}")
        else:
            console.print(f"published funnel: {plan.about.source}", markup=False, highlight=False, soft_wrap=True)
        print_exactness(plan)


def beside(rows: Rows, published: Published) -> dict[str, Any]:
    """Compare what some consecutive steps kept with what was published of them; None where they have not run, or saw nothing."""
    found = [row for row in rows if row["node"] in published.steps or f"{row['node']}.{row['stage']}" in published.steps]
    came, left = (found[0]["documents_in"], found[-1]["documents_out"]) if found else (0, 0)
    names = [step.rpartition(".")[2] for step in published.steps]
    words = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return {"steps": words, "documents_in": came, "documents_out": left, "keep_fraction": left / came if came else None,
            "published": published.keep_fraction}  # fmt: skip


def print_exactness(plan: Plan) -> None:
    """Print which steps are exact, and what stands in place of the others."""
    exact = [place for place in plan.about.exact if place not in {item.place for item in plan.substitutes()}]
    console.print(f"exact: {', '.join(place.rpartition('.')[2] for place in exact) or 'none'}", markup=False, highlight=False, soft_wrap=True)
    for item in plan.substitutes():
        console.print(f"substituted in {item.place.rpartition('.')[2]}: {item.words}", markup=False, highlight=False, soft_wrap=True)
