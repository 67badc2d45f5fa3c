"""The command line: every reading verb on a real store, JSON for scripts, and errors that say what to do."""

import json



from pathlib import Path

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
    assert json.loads(winnow("sql", "select stage, documents from meta.datasets where stage = 'toy_extract'", "--json")[1])[0]["documents"] == 40
    assert "toy_extract" in winnow("sql", "from funnel('toy')")[1]
    shown = winnow("show", "toy.toy_filter", "--dropped", "--reason", "too_short", "-n", "2")[1]
    assert "too_short" in shown and "limit=6.0" in shown
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
        (["run", "dem"], "no pipeline 'dem'"),
        (["run", TOY, "--set", "toy_filter.min_lenght=3"], "did you mean 'min_length'"),
        (["run", TOY, "--set", "toy_filtre.min_length=3"], "did you mean 'toy_filter'"),
        (["run", TOY, "--set", "nonsense"], "write node.field=value"),
        (["show", "toy.toy_filte"], "did you mean 'toy.toy_filter'"),
        (["show", "toy.toy_filter", "--dropped", "--reason", "why"], "reasons: too_short"),
        (["sql", "select * from toy.nothing"], "nothing"),
        (["bench", "nothing"], "there is no measurement 'nothing'"),
        (["runn"], "run"),
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
