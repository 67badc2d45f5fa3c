"""winnow: from web-archive files to a leaderboard of curation strategies.

Examples:
    winnow benchmark demo                      compare the strategies of a pipeline
    winnow plan demo --why                     what would run, and why
    winnow run demo --set filter_language.min_score=0.8
    winnow sql "from funnel('demo')"
    winnow show demo.clean --dropped -n 3      look at dropped documents
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from flows.board_verbs import leaderboard_app
from flows.errors import UserError
from flows.eval_verbs import add_item_verbs, eval_data_app
from flows.parameters import Json, StoreDir, open_store

app = App(name="winnow", help=__doc__, help_format="plaintext", version="0.1.0", suppress_keyboard_interrupt=False)
app.command(leaderboard_app)
app.command(eval_data_app)
eval_app = App(
    name="eval", help_format="plaintext",
    help="""Evaluate MODEL on the 53 tasks, or look into evaluations.

    winnow eval fasttext                            a strategy of the demo
    winnow eval model.gguf --eval-data dclm         a model on disk
    winnow eval models/mine --eval-data dclm --tasks core,mmlu_fewshot
    winnow eval models/mine --tasks my_tasks.csv    tasks of your own
""",
)  # fmt: skip
app.command(eval_app)
add_item_verbs(eval_app)

Workers = Annotated[int, Parameter(name=["--workers", "-w"], help="Worker processes; 0 = in this process.")]
Sets = Annotated[list[str] | None, Parameter(name="--set", negative=(), help="node.field=value; may be given many times.")]
Device = Annotated[str, Parameter(name="--device", help="Where models train and answer: cpu, cuda, cuda:1.")]
KeepText = Annotated[
    Literal["all", "sample", "none"] | None,
    Parameter(
        name="--keep-dropped-text",
        help="Keep the text of dropped documents; by default all below 100 GB of input, above it one in a hundred.",
    ),
]
LimitShards = Annotated[
    int | None, Parameter(name="--limit-shards", help="Only the first so many shards of every source; what trains a model stays whole.")
]
Sample = Annotated[
    float | None,
    Parameter(name="--sample", help="Only this share of every source's shards, chosen by the hash of their names; what trains a model stays whole."),
]
FEWSHOT_SEED = 1234
EvalData = Annotated[
    str, Parameter(name="--eval-data", help="Tasks: mini (embedded), dclm (those of `winnow eval-data`), or a directory in llm-foundry's layout.")
]
Tasks = Annotated[
    str, Parameter(name="--tasks", help="Only these: core (the 22), labels with commas between, or my_tasks.csv, a table of your own; ranked apart.")
]
Limit = Annotated[int | None, Parameter(name="--limit", help="At most so many questions a task: a nested subset, ranked apart.")]
FewshotSeed = Annotated[int, Parameter(name="--fewshot-seed", help="Seed of the examples before a question; llm-foundry's is 1234.")]
CORES = os.cpu_count() or 1


@app.command(name="list")
def list_(what: Literal["pipelines", "stages", "tasks", "datasets"], *, store: StoreDir = Path("store"), json: Json = False) -> None:
    """List pipelines, stages, evaluation tasks, or the datasets of a store."""
    from flows import inspect_store, terminal

    rows = {
        "pipelines": inspect_store.pipelines,
        "stages": inspect_store.stages,
        "tasks": inspect_store.tasks,
        "datasets": lambda: inspect_store.datasets(open_store(store)),
    }[what]()
    terminal.print_table(rows, what, json)


@app.command
def plan(
    pipeline: str, *, why: bool = False, set_: Sets = None, limit_shards: LimitShards = None, sample: Sample = None,
    workers: Workers = CORES, store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Print what a run would do: each node, reused or to run, and its rows, time, disk and memory by measured rates. Runs nothing.

    PIPELINE is a recipe's name, module:function or file.py:function. --why names the field that changed.
    """
    from flows import terminal
    from stages.core.engine import refuse_too_large
    from stages.core.plan import PlanError
    from stages.core.resolve import forecast, resolve
    from stages.core.stage import Resources

    made = _planned(pipeline, set_, limit_shards, sample)
    opened = open_store(store)
    rows = []
    resources = Resources(**_resources(workers, "cpu", None))
    forecasts = forecast(made, opened, resolve(made, opened, resources), resources)
    for item in forecasts:
        state = "reused" if item.reused else "will run"
        row = {
            "node": item.name,
            "stage": item.stage,
            "fingerprint": item.fingerprint,
            "state": state,
            "rows": item.rows,
            "seconds": item.seconds,
            "disk_mb": item.file_bytes / 1e6 if item.file_bytes is not None else None,
            "memory_mb": item.memory_bytes / 1e6 if item.memory_bytes is not None else None,
        }
        rows.append({**row, "why": "; ".join(item.why)} if why else row)
    terminal.print_table(rows, f"plan {made.name}", json)
    try:
        refuse_too_large(forecasts)
    except PlanError as error:
        terminal.errors.print(f"a run would refuse this: {error}", markup=False, highlight=False, soft_wrap=True)


@app.command
def run(
    pipeline: str,
    *,
    set_: Sets = None,
    limit_shards: LimitShards = None,
    sample: Sample = None,
    workers: Workers = CORES,
    device: Device = "cpu",
    keep_dropped_text: KeepText = None,
    executor: Literal["local"] = "local",
    prefect: bool = True,
    strict: bool = False,
    store: StoreDir = Path("store"),
    json: Json = False,
) -> None:
    """Run a pipeline. What is done already is reused; killed at any moment, the same command goes on from there.

    --no-prefect runs the same plan without a Prefect server. --strict stops at a drop rate outside a stage's band.
    """
    made = _planned(pipeline, set_, limit_shards, sample)
    parameters = {"pipeline": made.ref.target, "overrides": dict(made.ref.overrides), "strict": strict}
    view = _run(made, "curate" if prefect else "", parameters, store, _resources(workers, device, keep_dropped_text), strict, json)
    _print_outcomes(made, view, f"run {pipeline}", json)
    if not json:
        from flows.funnel import print_about

        print_about(open_store(store), made)


@app.command
def benchmark(
    pipeline: str = "demo",
    *,
    scales: list[str] | None = None,
    seeds: int = 3,
    eval_data: EvalData = "",
    limit: Limit = None,
    fewshot_seed: FewshotSeed = FEWSHOT_SEED,
    set_: Sets = None,
    workers: Workers = CORES,
    device: Device = "cpu",
    keep_dropped_text: KeepText = None,
    prefect: bool = True,
    store: StoreDir = Path("store"),
    json: Json = False,
) -> None:
    """Compare the strategies of a pipeline: curate, tokenise, train, evaluate, and print funnel, leaderboard and page.

    Without --eval-data the embedded mini-v1 suite is used.
    """
    from stages.core.plan import PlanRef, load_plan

    if seeds < 1:
        raise UserError(f"--seeds {seeds}: a comparison needs 1 seed or more")
    arguments: dict[str, Any] = {"pipeline": pipeline, "seeds": tuple(range(seeds)), **_suite(store, eval_data, limit, fewshot_seed)}
    if scales:
        arguments["scales"] = tuple(scales)
    ref = PlanRef("pipelines.benchmark:plan", arguments, _overrides(set_))
    parameters = {**arguments, "scales": scales, "seeds": list(range(seeds)), "overrides": dict(ref.overrides)}
    made = load_plan(ref)
    view = _run(made, "benchmark" if prefect else "", parameters, store, _resources(workers, device, keep_dropped_text), False, json)
    if json:
        _print_outcomes(made, view, f"benchmark {pipeline}", json)
        return
    from flows import inspect_store

    inspect_store.print_board(open_store(store), made.name)


@app.command
def status(*, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Tell how the last runs ended, and for a failed one which shard failed and why."""
    from flows import inspect_store, terminal

    terminal.print_table(inspect_store.status(open_store(store)), "runs, latest first", json)


@app.command
def show(
    dataset: str, *, dropped: bool = False, reason: str | None = None, n: Annotated[int, Parameter(name=["-n", "--number"])] = 5,
    store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Show documents of PIPELINE.NODE or STAGE/FINGERPRINT; --dropped shows what was dropped there, with the kept duplicate.

    --reason R shows only what was dropped for R.
    """
    from flows import inspect_store, terminal

    rows = inspect_store.documents(open_store(store), dataset, dropped, reason, n)
    if json:
        terminal.print_table(rows, as_json=True)
        return
    inspect_store.print_documents(rows, dataset, dropped or bool(reason))


@app.command
def sql(query: str, *, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Ask with SQL: views PIPELINE.NODE and PIPELINE.NODE_dropped, tables meta.*, macros funnel, why_dropped, tokens_by_source."""
    import duckdb

    from flows import terminal
    from stages.core.catalog import connect

    try:
        answer = connect(open_store(store)).execute(query)
        if answer is None or answer.description is None:
            raise UserError('sql: there is no statement in that query; try "from meta.datasets"')
        names = [column[0] for column in answer.description]
        terminal.print_table([dict(zip(names, row, strict=True)) for row in answer.fetchall()], "", json, names)
    except duckdb.Error as error:
        raise UserError(f"sql: {error}") from None


@app.command
def diff(a: str, b: str, *, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Compare two datasets: what differs in their configs and inputs, and in their counts."""
    from flows import inspect_store, terminal

    terminal.print_table(inspect_store.diff(open_store(store), a, b), f"{a} against {b}", json)


@app.command
def verify(*, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Recompute the hash of every file of every dataset; exit 1 if one differs."""
    from flows import terminal
    from stages.core.verify import verify as check

    opened = open_store(store)
    problems = [{"dataset": name, "problem": problem} for name, problem in check(opened)]
    if problems:
        terminal.print_table(problems, "verify", json)
        sys.exit(1)
    count = sum(1 for _ in opened.dataset_dirs())
    terminal.print_table([{"datasets": count, "problems": 0}], "verify", json)


@app.command
def gc(
    *, dry_run: bool = False, unfinished: Annotated[bool, Parameter(help="Also what killed runs left, from which a rerun would go on.")] = False,
    store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Delete datasets that no pipeline's last run needs: those that no ref reaches. --dry-run only lists them. Refused during a run."""
    from flows import terminal
    from stages.core.catalog import refresh_catalog
    from stages.core.gc import collect

    opened = open_store(store)
    went = collect(opened, dry_run, unfinished)
    if went and not dry_run:
        refresh_catalog(opened)
    rows = [{"dataset": item.dataset, "rows": item.rows, "megabytes": item.freed_bytes / 1e6} for item in went]
    freed = sum(row["megabytes"] for row in rows)
    words = f"gc: {len(rows)} datasets {'would go' if dry_run else 'deleted'}, {freed:,.1f} MB {'would come free' if dry_run else 'freed'}"
    terminal.print_table(rows, words, json)


@app.command
def export(dataset: str, to: Path, *, store: StoreDir = Path("store"), json: Json = False) -> None:
    """Copy a dataset's data files and card to the new or empty directory TO, where datasets.load_dataset(TO) finds them."""
    from flows import terminal
    from flows.export import export as copy

    done = copy(open_store(store), dataset, to)
    terminal.print_json(done) if json else terminal.print_table([done], f"export {dataset}")


@app.command
def serve(
    pipeline: str = "demo", *, cron: str = "0 3 * * *", flow: Literal["curate", "benchmark"] = "curate", set_: Sets = None,
    workers: Workers = CORES, device: Device = "cpu", keep_dropped_text: KeepText = None, port: int = 4200, store: StoreDir = Path("store"),
) -> None:  # fmt: skip
    """Run a flow on a cron schedule until stopped (Ctrl-C), with a Prefect server on loopback that is started if there is none."""
    from flows import prefect_env, terminal
    from flows.serve import serve_flow, server, sigterm_stops
    from stages.core.plan import PlanRef, load_plan

    overrides, resources = _overrides(set_), _resources(workers, device, keep_dropped_text)
    # What can not run is found now, not every night.
    load_plan(
        PlanRef(pipeline, {}, overrides) if flow == "curate" else PlanRef("pipelines.benchmark:plan", {"pipeline": pipeline}, overrides)
    )
    prefect_env.prepare(store)
    parameters = {"pipeline": pipeline, "overrides": dict(overrides), "store": str(store.absolute()), **resources}
    terminal.console.print(f"starting Prefect for {pipeline} on '{cron}' ...", markup=False)
    with sigterm_stops(), server(port, store / "_prefect" / "server.log") as url:
        os.environ["PREFECT_API_URL"] = url
        terminal.console.print(
            f"serving {flow} of {pipeline} on '{cron}'; UI at {url.removesuffix('/api')}; stop with Ctrl-C", markup=False
        )
        serve_flow(flow, cron, parameters, name=f"{flow}-{Path(pipeline.partition(':')[0]).stem}")


@app.command
def train(
    strategy: str = "", *, pipeline: str = "demo", scale: str = "nano", seed: int = 0, dry_run: bool = False, workers: Workers = CORES,
    device: Device = "cpu", keep_dropped_text: KeepText = None, store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Train one strategy's model (and make what it needs); --dry-run prints parameters, tokens, steps and FLOPs of a scale."""
    from flows import inspect_store, terminal

    if dry_run:
        cost = inspect_store.training_cost(scale)
        terminal.print_json(cost) if json else terminal.print_table([cost], f"train {scale}")
        return
    dataset = _one_node("train", strategy, pipeline, scale, seed, {}, _resources(workers, device, keep_dropped_text), store, json)
    if json:
        terminal.print_json({"dataset": dataset, **inspect_store.find_dataset(open_store(store), dataset).manifest().summary})


@eval_app.default
def eval_(
    model: str = "", *, pipeline: str = "demo", scale: str = "nano", seed: int = 0, eval_data: EvalData = "", tasks: Tasks = "",
    limit: Limit = None, fewshot_seed: FewshotSeed = FEWSHOT_SEED, workers: Workers = CORES,
    device: Device = "cpu", keep_dropped_text: KeepText = None, store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Evaluate MODEL on the 53 tasks: a strategy of the pipeline, trained if need be, or a model on disk.

    A model on disk is a directory that transformers saved, or a GGUF file. A strategy's model is also asked for bits per byte of the
    validation texts. Killed and run again, it goes on where it was.
    """
    from flows import inspect_store

    resources = _resources(workers, device, keep_dropped_text)
    suite = _suite(store, eval_data, limit, fewshot_seed, tasks)
    if "/" in model or model.endswith(".gguf"):
        dataset = _evaluate_model(model, suite, resources, store, json)
    else:
        dataset = _one_node("evaluate", model, pipeline, scale, seed, suite, resources, store, json)
    inspect_store.print_scores(open_store(store), dataset, json)


@app.command
def study(
    name: str = "", *, scale: str = "tiny", set_: Sets = None, workers: Workers = CORES, device: Device = "cpu", prefect: bool = True,
    store: StoreDir = Path("store"), json: Json = False,
) -> None:  # fmt: skip
    """Run the study NAME and print its claims with their verdicts; without NAME, list the studies.

    What is finished is reused; killed at any moment, the same command goes on from the finished runs. --scale smoke is a first look in a
    minute, small and medium are for a GPU and need more text: --set pool.root=DIRECTORY of WARC files.
    """
    from flows import studies, terminal

    if not name:
        terminal.print_table(studies.studies(), "studies", json)
        return
    overrides = _overrides(set_)
    made = studies.plan_study(name, scale, overrides)
    parameters = {"name": name, "scale": scale, "overrides": dict(overrides)}
    _run(made, "study" if prefect else "", parameters, store, _resources(workers, device, None), False, json)
    found = studies.findings(open_store(store), made)
    terminal.print_json(found) if json else studies.print_findings(found)


@app.command
def bench(
    name: str,
    *,
    quick: bool = False,
    json: Annotated[Path | None, Parameter(name="--json", help="Also write the result to this file.")] = None,
) -> None:
    """Measure something beside a peer or a limit, in one run: extract, curation, kill. The result says what the machine was."""
    from flows import benches

    benches.run(name, quick, json)


def _overrides(sets: list[str] | None) -> tuple[tuple[str, Any], ...]:
    import json as json_module

    pairs = []
    for text in sets or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write node.field=value")
        try:
            pairs.append((name, json_module.loads(value)))
        except json_module.JSONDecodeError:
            pairs.append((name, value))
    return tuple(pairs)


def _planned(pipeline: str, sets: list[str] | None, limit_shards: int | None, sample: float | None) -> Any:
    """Load a plan with its overrides; --limit-shards and --sample go to its sources."""
    from stages.core.plan import PlanRef, load_plan

    made = load_plan(PlanRef(pipeline, {}, _overrides(sets)))
    fields = {name: value for name, value in (("limit_shards", limit_shards), ("sample", sample)) if value is not None}
    if not fields:
        return made
    return made.replace(dict.fromkeys(_sources(made), fields))


def _sources(made: Any) -> list[str]:
    """The sources whose documents a plan ends with, and not those that merely train one of its models; all where every one does."""
    found, waiting = set(), list(made.outputs)
    while waiting:
        node = waiting.pop()
        if node.name not in found and node.stage.kind != "artifact":
            found.add(node.name)
            waiting += node.inputs
    every = [node.name for node in made.nodes if node.stage.kind == "source"]
    return [name for name in every if name in found] or every


def _resources(workers: int, device: str, keep_dropped_text: str | None) -> dict[str, Any]:
    """Check what a run may use: fields of Resources, and parameters of every flow."""
    import re

    if workers < 0:
        raise UserError(f"--workers {workers}: give a number of processes, or 0 for none but this one")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise UserError(f"--device {device}: there are cpu, cuda, cuda:1 (and so on) and mps")
    return {"workers": workers, "device": device, "keep_dropped_text": keep_dropped_text}


def _run(made: Any, flow: str, parameters: dict[str, Any], store: Path, resources: dict[str, Any], strict: bool, json: bool) -> Any:
    """Run a plan, inside one of our flows or (flow = "") without Prefect; return the view, which knows every node's outcome."""
    from flows import terminal

    with terminal.RunView(quiet=json) as view:
        if flow:
            from flows import prefect_env

            prefect_env.prepare(store)
            view.say("[dim]starting Prefect (the first start in a store takes up to a minute) ...")
            prefect_env.call(flow, {**parameters, "store": str(store), **resources}, view.watch)
        else:
            from stages.core.catalog import refresh_catalog
            from stages.core.engine import run_plan
            from stages.core.stage import Resources

            run_plan(made, open_store(store), Resources(**resources), strict=strict, watch=view.watch)
            refresh_catalog(open_store(store))
    return view


def _print_outcomes(made: Any, view: Any, title: str, json: bool) -> None:
    from flows import terminal

    terminal.print_table([view.rows[node.name] for node in made.nodes if node.name in view.rows], f"{title}: {view.seconds:.1f} s", json)


def _suite(store: Path, eval_data: str, limit: int | None, fewshot_seed: int, tasks: str = "") -> dict[str, Any]:
    """Which questions are asked, as fields of Evaluate: only those that differ from its defaults, so that a flow's parameters stay readable."""
    from flows.eval_data import questions

    fields = {**questions(store, eval_data, tasks), "limit": limit, "fewshot_seed": fewshot_seed}
    return {"evaluation": {name: value for name, value in fields.items() if value not in (None, FEWSHOT_SEED)}}


def _evaluate_model(model: str, suite: dict[str, Any], resources: dict[str, Any], store: Path, json: bool) -> str:
    """Evaluate a model on disk; return the name of the dataset of its items."""
    from stages.core.plan import PlanRef, load_plan
    from stages.core.resolve import open_node

    made = load_plan(PlanRef("pipelines.evaluate_model:plan", {"model": str(Path(model).absolute()), **suite}))
    _run(made, "", {}, store, resources, False, json)
    return open_node(open_store(store), made, "items").name


def _one_node(
    kind: str, strategy: str, pipeline: str, scale: str, seed: int, suite: dict[str, Any], resources: dict[str, Any], store: Path, json: bool
) -> str:
    """Run the train or the evaluate flow for one strategy; return the name of the dataset that it made. With `json` the caller prints."""
    from stages.core.plan import PlanRef, load_plan
    from stages.core.resolve import open_node

    made = load_plan(
        PlanRef("pipelines.benchmark:plan", {"pipeline": pipeline, "scales": (scale,), "seeds": (seed,), **suite})
    )
    if not strategy:
        names = [n.name.removeprefix("tokens_") for n in made.nodes if n.name.startswith("tokens_")]
        raise UserError(f"which strategy of {pipeline}? One of: {', '.join(names)}")
    node = f"{kind}_{strategy}_{scale.replace('-', '_')}_{seed}"
    made = made.until(node)
    parameters = {"pipeline": pipeline, "strategy": strategy, "scale": scale, "seed": seed}
    parameters |= suite
    view = _run(made, kind, parameters, store, resources, False, json)
    if not json:
        _print_outcomes(made, view, f"{kind} {strategy}", json)
    return open_node(open_store(store), made, node).name


def main() -> None:
    """Console entry point. Exit codes: 0 done, 1 something failed, 2 the command asks for what can not be."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _leave(2, str(error))
    except KeyboardInterrupt:
        _leave(130, "stopped; the same command goes on from here")
    except Exception as error:
        code = _blame(error)
        if code is None or os.environ.get("WINNOW_DEBUG"):
            raise
        _leave(code, str(error) if code == 2 else f"{error}\n`winnow status` tells more; the same command goes on from here.")


def _blame(error: Exception) -> int | None:
    """Return the exit code of an error that its message explains, or None for a fault of ours, which shows its traceback (exit code 1)."""
    from stages.core.config import ConfigError
    from stages.core.engine import RunFailed
    from stages.core.manifest import LayoutError
    from stages.core.plan import PlanError
    from stages.core.store import StoreError

    if isinstance(error, RunFailed):
        return 1
    return 2 if isinstance(error, (UserError, ConfigError, PlanError, StoreError, LayoutError, FileNotFoundError)) else None


def _leave(code: int, message: str) -> None:
    from rich.text import Text

    from flows.terminal import errors

    errors.print(Text.assemble(("winnow:", "" if code == 130 else "bold red"), f" {message}"), soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
