"""The board of the tiny comparison: its entries, the funnel behind them, its files, and its way into SQL."""

import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from evaluation.board import build_board
from evaluation.subset import find_suite
from stages.core import catalog
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.flag_contamination import flag_contamination
from stages.leaderboard import _contamination, _dataset_page, _entry, _items, funnel, leaderboard
from tests.stages.test_train import LIMIT, NUM_BLANK, NUM_REPEATED, NUM_TEXTS, texts_of
from tests.stages.test_train import world as world


def strict_json(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_board_holds_every_run_in_one_group(world):
    board = strict_json(Path(world["leaderboard"].file("board.json")).read_text(encoding="utf-8"))
    (group,) = board["groups"]
    assert board["title"] == "Tiny" and group["scale"] == "tiny" and group["suite"].endswith(f"-limit{LIMIT}")
    assert {row["strategy"]: row["seeds"] for row in group["strategies"]} == {"everything": [0, 1], "distinct": [0, 1]}
    assert group["primary"] == "val_bpb" and group["texts"] == ["held"]
    assert world["leaderboard"].summary["headline"] == group["headline"] == board["headline"]
    assert group["provenance"]["pipeline"] == ["tiny"] and group["provenance"]["runs"] == 4


def test_pages_are_written_beside_the_board(world):
    page = Path(world["leaderboard"].file("index.html")).read_text(encoding="utf-8")
    assert "No text twice." in page and "<title>Tiny" in page
    assert Path(world["leaderboard"].file("pair.html")).is_file()


def test_card_links_lead_from_the_pages_to_a_readme(world):
    index = Path(world["leaderboard"].file("index.html"))
    for strategy, node in (("everything", "web"), ("distinct", "distinct")):
        entry = _entry(world[f"evaluate_{strategy}_0"], strategy, "", "tiny")
        card = (index.parent / entry["card"]).resolve()
        assert card == (world[node].path / "README.md").resolve() and card.is_file()
        assert entry["fingerprint"] == world[node].fingerprint
        page = index.parent / "datasets" / f"{entry['fingerprint'][:12]}.html"
        assert f"datasets/{page.name}" in index.read_text(encoding="utf-8"), "the board links the dataset's page"
        assert f"../{entry['card']}" in page.read_text(encoding="utf-8"), "which links the card"


def test_funnel_walks_back_to_the_extraction_with_reasons(world):
    steps = funnel(world["distinct"])
    lines = NUM_TEXTS + NUM_REPEATED + NUM_BLANK
    assert [(s["node"], s["stage"], s["documents_in"], s["documents_out"], s["dropped"]) for s in steps] == [
        ("read_texts", "read_texts", lines, NUM_TEXTS + NUM_REPEATED, {"no_text": NUM_BLANK}),
        ("dedup_exact", "apply_verdicts", NUM_TEXTS + NUM_REPEATED, NUM_TEXTS, {"exact_duplicate": NUM_REPEATED}),
    ]
    assert _entry(world["evaluate_distinct_1"], "distinct", "", "tiny")["funnel"] == steps


def test_entry_counts_what_was_trained_on(world):
    entry = _entry(world["evaluate_everything_1"], "everything", "All.", "tiny")
    model = world["train_everything_1"].summary
    assert (entry["seed"], entry["scale"], entry["documents"]) == (1, "tiny", NUM_TEXTS + NUM_REPEATED)
    assert {name: entry[name] for name in ("train_tokens", "dataset_tokens", "epochs")} == {
        name: model[name] for name in ("train_tokens", "dataset_tokens", "epochs")
    }
    assert len(entry["tasks"]) == 53 and all(0 <= row["random_baseline"] < 1 for row in entry["tasks"].values())
    assert build_board([entry])["groups"], "one run alone makes a board"


def test_results_reach_sql(world):
    with catalog.connect(world.store) as db:
        rows = db.sql(
            "select strategy, seed, value from meta.results where metric = 'val_bpb/held' order by all"
        ).fetchall()
        assert rows == [
            (strategy, seed, world[f"evaluate_{strategy}_{seed}"].summary["val_bpb"]["held"])
            for strategy in ("distinct", "everything") for seed in (0, 1)
        ]  # fmt: skip
        counted = db.sql(
            "select count(*), count(distinct board) from meta.results where metric like 'accuracy/%'"
        ).fetchall()
        assert counted == [(4 * 53, 1)]
        assert db.sql("select distinct scale, suite, eval_version from meta.results").fetchall() == [
            ("tiny", world["evaluate_distinct_0"].summary["suite"], "v2")
        ]
    on_disk = json.loads(Path(world["leaderboard"].file("results.json")).read_text())
    assert on_disk == world["leaderboard"].summary["results"]


def test_a_row_says_how_many_of_its_questions_its_training_set_has(world, tmp_path):
    store = Store(shutil.copytree(world.store.root, tmp_path / "store"))
    runs = [world.plan[f"evaluate_{name}_0"] for name in ("everything", "distinct")]
    made = Plan("flagged", [leaderboard.on(*runs, flag_contamination.on(world.plan["distinct"]), strategies=("everything", "distinct"))])
    run_plan(made, store, Resources(workers=0))
    board = open_node(store, made, "leaderboard")
    rows = {row["strategy"]: row for row in json.loads(Path(board.file("board.json")).read_text())["groups"][0]["strategies"]}
    found, items = rows["distinct"]["contamination"], sum(row["num_items"] for row in world["evaluate_distinct_0"].summary["tasks"].values())
    assert rows["everything"]["contamination"] is None, "nobody looked into that dataset"
    assert found["questions"] == items and 0 < found["judged"] < items and found["contaminated"] == 0
    assert {"strategy": "distinct", "metric": "contamination/judged", "value": found["judged"]}.items() <= next(
        row for row in board.summary["results"] if row["metric"] == "contamination/judged"
    ).items()
    assert f"contamination: 0 of {found['judged']:,} questions" in Path(board.file("index.html")).read_text()


def test_of_the_questions_asked_those_in_the_text_are_counted(world, tmp_path):
    items = _items(world["evaluate_distinct_0"])
    asked = next(row for row in items.to_pylist() if row["task"] == "agi_eval_lsat_rc")
    leak = {"id": "leak", "text": f"Seen: {find_suite().rows('agi_eval_lsat_rc')[asked['row']]['query']}"}
    (tmp_path / "leak.jsonl").write_text(json.dumps(leak) + "\n")
    plan = Plan("leak", [flag_contamination.on(texts_of(tmp_path, "leak"), name="flags")])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    flags = open_node(store, plan, "flags")
    flagged = {(row["task"], row["row"]) for row in flags.table("flags").to_pylist() if row["contaminated"]}
    found = _contamination(items, flags)
    assert (asked["task"], asked["row"]) in flagged
    assert found["contaminated"] == sum((row["task"], row["row"]) in flagged for row in items.to_pylist()) < found["judged"]


def test_every_evaluation_has_a_strategy(world, tmp_path):
    config = leaderboard.config_type(strategies=("a", "b"))
    with pytest.raises(ValueError, match="2 strategies are named for 1 evaluations; name one for each"):
        leaderboard(config, Inputs((world["evaluate_distinct_0"],), ("table",)), Resources(scratch=str(tmp_path)))


def test_entry_has_the_answers_and_a_limited_run_no_core(world):
    entry = _entry(world["evaluate_distinct_0"], "distinct", "", "tiny")
    assert entry["limited"] and entry["core"] is entry["extended"] is entry["core_no_squad"] is None
    assert set(entry["items"]) == set(entry["tasks"]) and entry["fewshot_seed"] == 1234 and entry["params"] > 0
    for label, found in entry["items"].items():
        assert len(found.rows) == entry["tasks"][label]["num_items"] <= LIMIT
        assert found.accuracy == pytest.approx(entry["tasks"][label]["accuracy"])
    (group,) = build_board([entry, _entry(world["evaluate_everything_0"], "everything", "", "tiny")])["groups"]
    (pair,) = group["item_pairs"]["pairs"]
    assert pair["paired"] and len(pair["scores"]) >= 53


def test_a_dataset_page_shows_its_documents_and_its_sql_answers(world):
    page = Path(world["leaderboard"].file(f"datasets/{world['distinct'].fingerprint[:12]}.html")).read_text(encoding="utf-8")
    facts = _dataset_page(world["distinct"])
    assert facts["lengths"]["documents"] == facts["documents"] == NUM_TEXTS == sum(facts["lengths"]["counts"])
    duplicates = next(r for step in facts["steps"] for r in step["reasons"] if r["reason"] == "exact_duplicate")
    assert duplicates["documents"] == NUM_REPEATED and duplicates["samples"][0]["detail"]["kept_id"].startswith("web/")
    assert html.escape(duplicates["samples"][0]["text"]) in page and html.escape(facts["kept"][0]["text"]) in page
    assert sum(count for step in facts["funnel"] for _, count in step["dropped"]) == NUM_REPEATED + NUM_BLANK
    queries = [shlex.split(line)[2] for line in map(html.unescape, re.findall(r"winnow sql [^\n<]+", page))]
    with catalog.connect(world.store) as db:
        rows, *drops = [db.sql(query).fetchall() for query in queries]
    assert {metric for _, metric, _ in rows} >= {"val_bpb/held", "epochs"} and {seed for seed, *_ in rows} == {0, 1}
    assert drops == [[("no_text", NUM_BLANK)], [("exact_duplicate", NUM_REPEATED)]]
