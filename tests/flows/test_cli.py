"""The command line: every reading verb on a real store, JSON for scripts, and errors that say what to do."""

import json
import os
import signal
from pathlib import Path

import pytest

TOY = f"{Path(__file__).resolve().parents[1] / 'stages' / 'core' / 'toy.py'}:plan"


def run_toy(winnow, corpus, *more):
    return winnow("run", TOY, "--set", f"toy_source.root={corpus}", "--no-prefect", "--workers", "0", *more)


def test_run_plan_and_reuse(winnow, toy_corpus):
    code, out, _ = winnow("plan", TOY, "--set", f"toy_source.root={toy_corpus}", "--why", "--json")
    assert code == 0 and {row["why"] for row in json.loads(out)} == {"new"}
    code, out, _ = run_toy(winnow, toy_corpus, "--json")
    assert code == 0 and {row["state"] for row in json.loads(out)} == {"ran"}
    code, out, _ = run_toy(winnow, toy_corpus, "--json")
    assert {row["state"] for row in json.loads(out)} == {"reused"}
    code, out, _ = winnow("plan", TOY, "--set", f"toy_source.root={toy_corpus}", "--set", "toy_filter.min_length=8", "--why", "--json")
    why = {row["node"]: row["why"] for row in json.loads(out) if row["state"] == "will run"}
    assert why["toy_filter"] == "config.min_length: 5 -> 8" and set(why) == {"toy_filter", "toy_dedup", "toy_apply", "toy_count"}


def test_limit_shards_is_another_dataset(winnow, toy_corpus):
    run_toy(winnow, toy_corpus)
    code, out, _ = run_toy(winnow, toy_corpus, "--limit-shards", "1", "--json")
    rows = {row["node"]: row for row in json.loads(out)}
    assert code == 0 and rows["toy_source"]["rows"] == 1 and rows["toy_extract"]["state"] == "adopted"


def test_reading_verbs(winnow, toy_corpus):
    run_toy(winnow, toy_corpus)
    run_toy(winnow, toy_corpus, "--set", "toy_filter.min_length=6")
    assert (
        json.loads(winnow("sql", "select stage, documents from meta.datasets where stage = 'toy_extract'", "--json")[1])[0]["documents"]
        == 40
    )
    assert "toy_extract" in winnow("sql", "from funnel('toy')")[1]
    shown = winnow("show", "toy.toy_filter", "--dropped", "--reason", "too_short", "-n", "2")[1]
    assert "too_short" in shown and "limit=6" in shown
    assert json.loads(winnow("show", "toy.toy_apply", "-n", "1", "--json")[1])[0]["text"].startswith("doc")
    datasets = [row["dataset"] for row in json.loads(winnow("list", "datasets", "--json")[1]) if row["dataset"].startswith("toy_filter")]
    fields = {row["field"] for row in json.loads(winnow("diff", *datasets, "--json")[1])}
    assert {"config.min_length", "content_hash"} <= fields
    assert winnow("verify")[0] == 0
    runs = json.loads(winnow("status", "--json")[1])
    assert [run["state"] for run in runs] == ["finished", "finished"]


def test_a_failed_run_is_explained(winnow, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "s0.jsonl").write_text('{"id": "a", "text": "x", "fault": "raise"}\n')
    code, _, err = run_toy(winnow, tmp_path / "in")
    assert code == 1 and "s0.jsonl: RuntimeError: the page made me do it" in err and "Traceback" not in err
    problem = json.loads(winnow("status", "--json")[1])[0]["problem"]
    assert "toy_extract/s0.jsonl: RuntimeError: the page made me do it" in problem and "s0.jsonl.log" in problem


def test_user_errors_exit_2_and_help(winnow, toy_corpus):
    run_toy(winnow, toy_corpus)
    for words, said in [
        (["run", "dem"], "no pipeline 'dem' (did you mean 'demo'?)"),
        (["run", "dclm_baseline:publshed_classifier"], "(it has: plan, published_classifier)"),
        (["run", TOY, "--set", "toy_filter.min_length=long"], "toy_filter: ToyFilter.min_length: "),
        (["run", "gopher", "--set", "filer_gopher.min_words=3"], "did you mean 'good.filter_gopher'"),
        (["run", "gopher", "--set", "good.filter_gopher=3"], "write good.filter_gopher.field=value"),
        (["run", "gopher", "--set", "good.min_score=0.7"], "did you mean good.filter_language.min_score?"),
        (["run", "gopher", "--set", "good.filter_langage.min_score=0.7"], "did you mean good.filter_language?"),
        (["run", TOY, "--set", "toy_filter.min_lenght=3"], "did you mean 'min_length'"),
        (["run", TOY, "--set", "toy_filtre.min_length=3"], "did you mean 'toy_filter'"),
        (["run", TOY, "--set", "nonsense"], "write node.field=value"),
        (["show", "toy.toy_filte"], "did you mean 'toy.toy_filter'"),
        (["show", "toy.toy_filter", "--dropped", "--reason", "why"], "reasons: too_short"),
        (["sql", "select * from toy.nothing"], "nothing"),
        (["bench", "nothing"], "there is no measurement 'nothing'"),
        (["runn"], "run"),
        (["show", "toy.toy_filter", "-n", "-1"], "-n -1: ask for 1 document or more"),
        (["sql", ""], "no statement"),
        (["sql", "select [1"], "sql: "),
        (["benchmark", "demo", "--seeds", "0"], "needs 1 seed or more"),
        (["run", TOY, "--device", "gpu"], "--device gpu: there are cpu, cuda"),
        (["run", TOY, "--workers", "-1"], "--workers -1: "),
        (["plan", TOY, "--workers", "-1"], "--workers -1: "),
        (["run", TOY, "--keep-dropped-text", "some"], "keep-dropped-text"),
        (["plan", TOY, "--sample", "0.5"], "unknown field 'sample'"),
        (["serve", "nosuch"], "no pipeline 'nosuch'"),
        (["serve", "nosuch", "--flow", "benchmark"], "no pipeline 'nosuch'"),
        (["export", "toy.toy_filter", str(toy_corpus)], "not empty"),
        (["export", "toy.nothing", "x"], "no dataset 'toy.nothing'"),
    ]:
        code, _, err = winnow(*words)
        assert code == 2 and said in err and "Traceback" not in err, (words, code, err)


def test_lists(winnow):
    assert {"demo", "benchmark"} <= {row["pipeline"] for row in json.loads(winnow("list", "pipelines", "--json")[1])}
    stages = {row["stage"]: row for row in json.loads(winnow("list", "stages", "--json")[1])}
    assert stages["extract"]["kind"] == "extract" and all(row["about"] for row in stages.values())
    assert len(json.loads(winnow("list", "tasks", "--json")[1])) == 53


def test_training_cost(winnow):
    cost = json.loads(winnow("train", "--dry-run", "--scale", "400m-1x", "--json")[1])
    assert (cost["params"], cost["tokens"], cost["steps"]) == (411_616_256, 8_232_325_120, 7_851)


def test_reason_implies_dropped(winnow, toy_corpus):
    run_toy(winnow, toy_corpus)
    rows = json.loads(winnow("show", "toy.toy_filter", "--reason", "too_short", "--json")[1])
    assert rows and {row["drop_reason"] for row in rows} == {"too_short"}
    assert "too_short" in winnow("show", "toy.toy_filter", "--reason", "too_short")[1]


def test_json_has_no_nan(winnow):
    out = winnow("sql", "select 'nan'::double as a, ['inf'::double, 1.5] as b, {'c': '-inf'::double} as d", "--json")[1]
    assert "NaN" not in out and "Infinity" not in out
    assert json.loads(out) == [{"a": None, "b": [None, 1.5], "d": {"c": None}}]


def test_brackets_are_shown_as_they_are(winnow, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "[bold]s0.jsonl").write_text(
        '{"id": "a", "text": "hello [/red] world"}\n{"id": "b", "text": "x", "fault": "raise"}\n'
    )
    code, _, err = run_toy(winnow, tmp_path / "in")
    assert code == 1 and err.count("toy_extract/[bold]s0.jsonl: RuntimeError") == 1 and "1 of 1 shards failed; [bold]s0.jsonl: " in err
    code, out, err = winnow("sql", "select '[/red] \\[x' as \"[bold]name\"")
    assert code == 0 and "[/red] \\[x" in out and "[bold]name" in out
    code, _, err = winnow("run", "[/red]no such")
    assert code == 2 and "no pipeline '[/red]no such'" in err


def test_view_escapes_what_the_engine_says(capsys, monkeypatch):
    from rich.console import Console

    from flows import terminal

    monkeypatch.setattr(terminal, "errors", Console(width=200, stderr=True))
    with terminal.RunView() as view:
        view.watch("n", "warning", {"warning": "[/dim] odd"})
        view.watch("n", "node_started", {})
        view.watch("n", "progress", {"fraction": 0.5, "words": "[/b] words"})
        view.watch("n", "node_failed", {"error": "list[int] [/x]"})
    err = capsys.readouterr().err
    assert "warning: [/dim] odd" in err and "n: list[int] [/x]" in err


def test_into_a_file_a_node_at_work_says_how_far_it_is(capsys, monkeypatch):
    from rich.console import Console

    from flows import terminal

    monkeypatch.setattr(terminal, "errors", Console(width=200, stderr=True))
    for seconds, quiet, said in ((3600.0, False, ""), (0.0, True, ""), (0.0, False, "n: 5 of 9 tokens")):
        monkeypatch.setattr(terminal, "LINE_SECONDS", seconds)
        with terminal.RunView(quiet=quiet) as view:
            view.watch("n", "node_started", {})
            view.watch("n", "progress", {"fraction": 0.5, "words": "5 of 9 tokens"})
        assert capsys.readouterr().err.strip() == said


def test_a_fault_of_ours_shows_its_traceback(winnow, toy_corpus, monkeypatch):
    from flows import inspect_store

    def broken(store):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(inspect_store, "status", broken)
    with pytest.raises(ValueError, match="a fault of ours"):
        winnow("status")


def test_a_source_that_finds_nothing_is_the_users(winnow, tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from stages.core.plan import Plan\nfrom stages.list_warcs import list_warcs\n"
        f"def plan():\n    return Plan('mine', [list_warcs.on(root={str(tmp_path / 'nothing')!r}, source='s')])\n"
    )
    for words in (["plan"], ["run", "--no-prefect", "--workers", "0"]):
        code, _, err = winnow(words[0], f"{recipe}:plan", *words[1:])
        assert code == 2 and "no such path" in err and "Traceback" not in err
    code, _, err = winnow("plan", f"{recipe}:plan", "--sample", "2")
    assert code == 2 and "sample is 2.0" in err


def test_a_file_that_can_not_be_read_is_the_users_and_names_its_node(winnow, tmp_path):
    warcs = f"warcs.root={Path(__file__).resolve().parents[2] / 'pipelines' / 'sample' / 'pool'}"
    for field, words in [("filter_language.model", "there is no model"), ("filter_bad_words.words", "there is no list")]:
        code, _, err = winnow("plan", "c4", "--set", warcs, "--set", f"clean.{field}={tmp_path / 'nothing'}")
        assert code == 2 and err.startswith("winnow: clean: ") and words in err and "Traceback" not in err


def test_a_plan_says_what_a_run_would_refuse(winnow, toy_corpus, monkeypatch):
    from stages.core import engine

    run_toy(winnow, toy_corpus)
    monkeypatch.setattr(engine, "machine_bytes", lambda: 1_000_000)
    changed = (TOY, "--set", f"toy_source.root={toy_corpus}", "--set", "toy_filter.min_length=8")
    code, out, err = winnow("plan", *changed, "--json")
    assert code == 0 and json.loads(out) and "a run would refuse this: toy_filter needs about" in err
    code, _, err = winnow("run", *changed, "--no-prefect")
    assert code == 2 and "toy_filter needs about" in err


def test_a_variant_shows_its_own_funnel(winnow, toy_corpus, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        f"import sys; sys.path.insert(0, {str(Path(TOY).parent)!r})\nimport toy\nfrom stages.core.about import About\nfrom stages.core.plan import Plan\n"
        "def plan(length=5, variant='default'):\n"
        f"    long = toy.toy_filter.on(toy.toy_extract.on(toy.toy_source.on(root={str(toy_corpus)!r})), min_length=length)\n"
        "    return Plan('mine', [long], variant=variant, about=About(exact=('toy_filter',)))\n"
        "def strict():\n    return plan(99, 'strict')\n"
    )
    dropped = {}
    for function in ("plan", "strict"):
        code, out, _ = winnow("run", f"{recipe}:{function}", "--no-prefect", "--workers", "0")
        line = next(line for line in out.partition("funnel")[2].splitlines() if line.split()[:1] == ["toy_filter"])
        dropped[function] = int(line.split()[4])
        assert code == 0
    assert dropped["plan"] < dropped["strict"] == 40


def test_sample_and_limit_shards_go_to_the_sources():
    from flows.cli import _planned, _sources
    from stages.core.plan import Plan

    made = _planned("demo", None, 3, 0.5)
    asked = {node.name: (node.config.limit_shards, node.config.sample) for node in made.nodes if node.stage.kind == "source"}
    whole = asked.pop("positives")
    assert whole == (None, 1.0), "they train the classifier: a share of them would be another classifier, or none"
    assert asked.keys() >= {"pool"} and set(asked.values()) == {(3, 0.5)}
    assert dict(made.ref.overrides)["pool.sample"] == 0.5
    crawl = _planned("dclm_baseline", None, None, 0.01)
    assert {node.name: node.config.sample for node in crawl.nodes if node.stage.kind == "source"} == {"warcs": 0.01, "positives": 1.0, "negatives": 1.0}
    trained = Plan("trained", [crawl["classifier"]])
    assert _sources(trained) == ["positives", "negatives"], "all, where nothing else is there"


def test_text_of_the_dropped_is_kept_as_asked(winnow, toy_corpus, tmp_path):
    run_toy(winnow, toy_corpus, "--keep-dropped-text", "none")
    policies = {json.loads(path.read_text())["keep_dropped_text"] for path in (tmp_path / "store").glob("toy_filter/*/manifest.json")}
    assert policies == {"none"}


def test_flows_take_every_resource():
    from inspect import signature

    from flows.benchmark import benchmark
    from flows.cli import _resources
    from flows.curate import curate
    from flows.evaluate import evaluate
    from flows.train import train

    for flow in (curate, benchmark, train, evaluate):
        assert set(_resources(1, "cpu", None)) <= set(signature(flow.fn).parameters), flow.name
        flow.validate_parameters(_resources(1, "cuda:0", "none"))


def test_one_json_document_per_answer(winnow, monkeypatch):
    from flows import cli, inspect_store, terminal

    class Made:
        name = "evaluate/abc"

        def manifest(self):
            return type("M", (), {"summary": {"suite": "s", "score": float("nan")}})

    view = terminal.RunView(quiet=True)
    monkeypatch.setattr(cli, "_run", lambda *words: view)
    monkeypatch.setattr("stages.core.resolve.open_node", lambda *words: Made())
    monkeypatch.setattr(inspect_store, "find_dataset", lambda *words: Made())
    assert json.loads(winnow("eval", "raw", "--json")[1]) == {"suite": "s", "score": None}
    assert json.loads(winnow("train", "raw", "--json")[1]) == {"dataset": "evaluate/abc", "suite": "s", "score": None}


def test_status_says_why_a_run_failed_without_a_failed_shard(winnow, toy_corpus):
    code, _, err = run_toy(winnow, toy_corpus, "--set", "toy_filter.min_length=99", "--strict")
    assert code == 1 and "dropped all of 40 documents" in err
    row = json.loads(winnow("status", "--json")[1])[0]
    assert row["state"] == "failed" and "dropped all of 40 documents" in row["problem"]


def test_gc(winnow, toy_corpus):
    run_toy(winnow, toy_corpus)
    run_toy(winnow, toy_corpus, "--set", "toy_filter.min_length=6")
    before = len(json.loads(winnow("list", "datasets", "--json")[1]))
    planned = json.loads(winnow("gc", "--dry-run", "--json")[1])
    assert {row["dataset"].partition("/")[0] for row in planned} == {"toy_filter", "toy_dedup", "toy_apply", "toy_count"}
    assert len(json.loads(winnow("list", "datasets", "--json")[1])) == before
    code, out, _ = winnow("gc")
    assert code == 0 and "gc: 4 datasets deleted" in out and "MB freed" in out
    assert len(json.loads(winnow("list", "datasets", "--json")[1])) == before - 4 and winnow("verify")[0] == 0
    assert "nothing to show" in winnow("gc")[1]


def test_export(winnow, toy_corpus, tmp_path):
    run_toy(winnow, toy_corpus)
    to = tmp_path / "out" / "there"
    done = json.loads(winnow("export", "toy.toy_filter", str(to), "--json")[1])
    assert done["files"] == 4 and sorted(p.name for p in to.iterdir()) == ["README.md", "documents", "dropped"]
    assert sorted(p.name for p in to.parent.iterdir()) == ["there"]
    datasets = pytest.importorskip("datasets")
    shown = json.loads(winnow("sql", "select count(*) as n from toy.toy_filter", "--json")[1])
    assert datasets.load_dataset(str(to), split="train", cache_dir=str(tmp_path / "cache")).num_rows == shown[0]["n"]
    assert winnow("export", "toy.toy_filter", str(to))[0] == 2


def test_export_refuses_a_changed_file_and_leaves_nothing(winnow, toy_corpus, tmp_path):
    run_toy(winnow, toy_corpus)
    path = next((tmp_path / "store").glob("toy_count/*/files/count.txt"))
    path.chmod(0o644)
    path.write_text("other")
    code, _, err = winnow("export", "toy.toy_count", str(tmp_path / "out"))
    assert code == 2 and "has changed since it was written" in err and not (tmp_path / "out").exists()


def test_sigterm_stops_like_ctrl_c():
    from flows.serve import sigterm_stops

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_stops():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_says_that_nothing_is_lost(winnow, monkeypatch):
    from flows import inspect_store

    def interrupted(store):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect_store, "status", interrupted)
    code, _, err = winnow("status")
    assert code == 130 and "the same command goes on from here" in err
