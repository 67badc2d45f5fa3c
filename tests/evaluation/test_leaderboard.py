"""The board says no more than the statistics do, and the page opens from disk with nothing from a network."""

import copy
import json
import math
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from evaluation.leaderboard import build_board, format_number, format_short, render, safe_href, table
from evaluation.statistics import compare_arms

CATEGORIES = (
    "world knowledge",
    "commonsense reasoning",
    "language understanding",
    "symbolic problem solving",
    "reading comprehension",
    "safety",
)
TASKS = [
    {
        "label": f"task_{i:02d}",
        "category": CATEGORIES[i % 6],
        "task_type": "multiple choice",
        "random_baseline": 0.25 if i % 3 else 0.0,
        "in_core": i < 22,
    }
    for i in range(53)
]
ARMS = {"raw": 1.40, "heuristics": 1.30, "classifier": 1.298, "color": 1.33}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}\u2028"


def run(strategy, seed, bpb, scale="nano", **changes):
    rng = random.Random(f"{strategy} {seed} {scale}")
    results = {}
    for i, task in enumerate(TASKS):
        lift = 0.2 if i % 7 == 0 else 0.0
        base = task["random_baseline"]
        correct = sum(rng.random() < base + (1 - base) * lift for _ in range(200))
        results[task["label"]] = {
            "accuracy": correct / 200,
            "num_items": 200,
            "correct": correct,
            "random_baseline": base,
            "gold_bpb": 1.5,
        }
    bpb += 0.03 * seed + rng.gauss(0, 0.002)
    entry = {
        "strategy": strategy,
        "description": f"The {strategy} recipe",
        "scale": scale,
        "seed": seed,
        "suite": "dclm",
        "eval_version": "v2",
        "pipeline": f"pipelines.{strategy}",
        "fingerprint": f"{strategy}0123456789abcdef",
        "card": f"../{strategy}/README.md",
        "documents": 1200,
        "dataset_tokens": 900_000,
        "train_tokens": 4_000_000,
        "epochs": 4.4,
        "val_bpb": {"prose": bpb + 0.1, "reference": bpb - 0.1},
        "tasks": results,
        "core": 0.02,
        "extended": 0.01,
        "core_bpb": bpb + 0.5,
        "missing": [],
        "commit": "abc1234",
        "hardware": "2 cores",
        "date": "2026-01-01",
        "train_seconds": 60.0,
        "funnel": [
            {"node": "n1", "stage": "filter", "documents_in": 10, "documents_out": 4, "dropped": {"too_short": 5}}
        ],
    }
    return entry | changes


@pytest.fixture(scope="module")
def entries():
    return [run(name, seed, bpb) for name, bpb in ARMS.items() for seed in range(3)]


@pytest.fixture(scope="module")
def board(entries):
    return build_board(entries, TASKS, "A title")


def primary(group):
    return next(m for m in group["metrics"] if m["name"] == group["primary"])


class Page(HTMLParser):
    """Collects what a browser would load, and checks that every element is closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.ids = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert len(found) == len(attributes), f"repeated attribute in {tag}"
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [
            (tag, name, found[name]) for name in ("src", "href", "action", "data", "srcset") if name in found
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"


def test_the_board_says_what_the_statistics_say(entries, board):
    (group,) = board["groups"]
    metric = primary(group)
    assert metric["name"] == "val_bpb"
    scores = {name: {} for name in ARMS}
    for entry in entries:
        scores[entry["strategy"]][entry["seed"]] = sum(entry["val_bpb"].values()) / 2
    oracle = compare_arms(scores, lower_is_better=True)
    assert {a["strategy"]: a["rank"] for a in metric["arms"]} == oracle.ranks
    assert (metric["best"], metric["top"]) == (oracle.best, list(oracle.top))
    assert [p["decisive"] for p in metric["pairs"]] == [p.decisive for p in oracle.pairs]


def test_tie_is_called_a_tie(board):
    metric = primary(board["groups"][0])
    status = {a["strategy"]: (a["status"], a["mark"]) for a in metric["arms"]}
    assert status["classifier"] == status["heuristics"] == ("tied", "1=")
    assert status["raw"] == ("behind", "4")
    assert re.match(
        r"(classifier and heuristics|heuristics and classifier) can not be told apart \(", board["headline"]
    )
    assert "color and raw are really worse than" in board["headline"]


def test_winner_is_named_with_the_gap_to_the_next():
    arms = {"raw": 1.4, "classifier": 1.2, "color": 1.3}
    board = build_board([run(name, seed, bpb) for name, bpb in arms.items() for seed in range(3)], TASKS)
    assert re.match(r"classifier is best by 0\.\d+ bits per byte \[0\.\d+, 0\.\d+\] over color", board["headline"])
    assert [row["mark"] for row in table(board)] == ["1", "2", "3"]
    assert table(board)[0]["status"] == "winner"


def test_one_run_each_names_nobody():
    board = build_board([run(name, 0, bpb) for name, bpb in ARMS.items()], TASKS)
    assert board["headline"].startswith("No winner can be named (one run, training variance unknown). Lowest: ")
    assert {row["mark"] for row in table(board)} == {"\N{EN DASH}"}
    assert all(row["low"] is None for row in table(board))
    assert "training variance unknown" in render(board)


def test_lone_run_is_shown_but_not_compared(entries):
    board = build_board([*entries, run("late", 0, 0.5)], TASKS)
    assert "Not compared: late." in board["headline"] and not board["headline"].startswith("late")
    assert table(board)[-1]["strategy"] == "late"


def test_diverged_run_keeps_its_strategy_out_and_the_json_strict(entries):
    broken = [*entries, *(run("hot", seed, math.nan if seed == 1 else 1.0) for seed in range(3))]
    board = build_board(broken, TASKS)
    json.loads(json.dumps(board, allow_nan=False))
    row = table(board)[-1]
    assert row["strategy"] == "hot" and row["reason"] == "seed 1 is not finite: the run diverged"
    render(board)


@pytest.mark.parametrize(
    "field,value", [("suite", "mini-v1"), ("scale", "1b-1x"), ("eval_version", "v1"), ("pool", "p2")]
)
def test_groups_are_never_mixed(entries, field, value):
    others = [
        copy.deepcopy(entry) | {field: value, "strategy": "zz_other"} for entry in entries if entry["strategy"] == "raw"
    ]
    board = build_board([*entries, *others], TASKS)
    assert [len(group["strategies"]) for group in board["groups"]] == [4, 1]
    for group in board["groups"]:
        names = {row["strategy"] for row in group["strategies"]}
        for metric in group["metrics"]:
            assert {a["strategy"] for a in metric["arms"]} == names
            assert {n for p in metric["pairs"] for n in (p["better"], p["worse"])} <= names
    assert board["headline"] == build_board(entries, TASKS)["headline"]


def test_scale_decides_the_metric_and_its_direction():
    entries = [
        run(n, s, b, scale="1b-1x", core=c + s / 1000)
        for n, b, c in (("a", 1.2, 0.1), ("b", 1.4, 0.2))
        for s in (0, 1, 2)
    ]
    for entry in entries:
        entry["core"] += random.Random(f"{entry['strategy']}{entry['seed']}").gauss(0, 0.001)
    board = build_board(entries, TASKS)
    assert board["groups"][0]["primary"] == "core"
    assert re.match(r"b is best by \d+\.\d+ CORE points", board["headline"])


def test_chance_marks(board):
    cells = [
        (task, cell)
        for category in board["groups"][0]["heat_map"]["categories"]
        for task in category["tasks"]
        for cell in task["cells"]
    ]
    assert len(cells) == 53 * 4
    lifted = {f"task_{i:02d}" for i in range(0, 53, 7)}
    assert all(not cell["at_chance"] for task, cell in cells if task["label"] in lifted)
    quiet = [cell["at_chance"] for task, cell in cells if task["label"] not in lifted]
    assert sum(quiet) / len(quiet) > 0.9
    low = [run("flat", seed, 1.0) for seed in range(2)]
    for entry in low:
        for result in entry["tasks"].values():
            result["correct"] = round(200 * result["random_baseline"])
            result["accuracy"] = result["correct"] / 200
    core = build_board(low, TASKS)["groups"][0]["strategies"][0]["core"]
    assert core["at_chance"] and core["above"] == 0 and core["num_tasks"] == 22
    assert "at chance" in render(build_board(low, TASKS))


def test_same_input_in_any_order_gives_the_same_bytes(entries, board):
    shuffled = random.Random(0).sample(entries, len(entries))
    again = build_board(shuffled, TASKS[::-1], "A title")
    assert json.dumps(again) == json.dumps(board)
    assert render(json.loads(json.dumps(board))) == render(again)


def test_page_is_well_formed_and_loads_nothing(board):
    html = render(board)
    page = Page(html)
    assert not page.open and len(page.ids) == len(set(page.ids))
    for tag, name, value in page.links:
        assert tag == "a" or (tag, name, value) == ("link", "href", "data:,")
    assert not any(tag in {"img", "iframe", "object", "embed"} or "src" in found for tag, found in page.tags)
    assert "@import" not in html and "url(" not in html and "fetch(" not in html
    assert sum("data-task" in found for _, found in page.tags) == 53
    assert sum(found.get("scope") == "rowgroup" for tag, found in page.tags if tag == "th") == 6
    assert all("aria-label" in found for tag, found in page.tags if found.get("role") == "img")
    assert all("href" in found for tag, found in page.tags if tag == "a")
    assert "without a reason" in html  # 10 - 4 documents lost, 5 with a reason


def test_a_seed_keeps_its_lane_in_every_row(entries):
    html = render(build_board([*entries, run("late", 2, 1.3)], TASKS))
    lanes = set(re.findall(r'cy="([\d.]+)" r="4"><title>seed 2:', html))
    assert len(lanes) == 1


def test_data_in_the_page_is_the_board(board):
    found = re.search(r'<script type="application/json" id="board">(.*?)</script>', render(board), re.S)
    assert json.loads(found.group(1)) == board


def test_hostile_strings_are_escaped():
    fields = (
        "strategy",
        "description",
        "pipeline",
        "fingerprint",
        "card",
        "commit",
        "hardware",
        "date",
        "suite",
        "eval_version",
    )
    entry = run("x", 0, 1.0) | dict.fromkeys(fields, HOSTILE)
    entry["funnel"] = [
        {"node": HOSTILE, "stage": "s" + HOSTILE, "documents_in": 3, "documents_out": 1, "dropped": {HOSTILE: 2}}
    ]
    entry["val_bpb"] = {HOSTILE: 1.0, "b": 1.1}
    entry["tasks"] = {HOSTILE: next(iter(entry["tasks"].values()))}
    entry["missing"] = [HOSTILE]
    task = TASKS[0] | {"label": HOSTILE, "category": HOSTILE, "task_type": HOSTILE}
    html = render(build_board([entry, entry | {"seed": 1}], [task], HOSTILE))
    page = Page(html)
    assert "<img" not in html and "{{ 7*7 }}" in html
    assert html.count("<script") == html.count("</script>") == 2
    assert not any("onerror" in found for _, found in page.tags)
    assert not any(tag == "a" and HOSTILE in found["href"] for tag, found in page.tags)


@pytest.mark.parametrize(
    "link,good",
    [
        ("../a/README.md", True),
        ("https://example.org/a", True),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org/x", False),
        ('a" onclick="x', False),
        (None, False),
    ],
)
def test_links(link, good):
    assert safe_href(link) == (link if good else None)


def test_bad_runs_are_refused(entries):
    with pytest.raises(ValueError, match="'raw' has 2 runs with seed 0"):
        build_board([*entries, entries[0]], TASKS)
    with pytest.raises(ValueError, match="has no 'suite'"):
        build_board([entries[0] | {"suite": None}], TASKS)
    with pytest.raises(ValueError, match="nothing to rank"):
        build_board([entries[0] | {"val_bpb": {}, "core": None, "core_bpb": None, "extended": None}], TASKS)
    percent = copy.deepcopy(entries[0])
    percent["tasks"]["task_01"]["random_baseline"] = 25
    with pytest.raises(ValueError, match="divide percents by 100"):
        build_board([percent], TASKS)


def test_notes_tell_what_could_mislead(entries):
    changed = copy.deepcopy(entries)
    for entry in changed:
        if entry["strategy"] == "color":
            entry |= {"train_tokens": 8_000_000, "fingerprint": f"f{entry['seed']}", "commit": "def"}
    changed.append(run("raw", 9, 1.4))
    notes = " ".join(build_board(changed, TASKS)["groups"][0]["notes"])
    assert "Token budgets differ (4,000,000 and 8,000,000)" in notes
    assert "The seeds of color were trained on 3 different datasets" in notes
    assert "Seeds of raw that others lack are left out of the paired comparison: 9." in notes
    assert "different values of commit" in notes


def test_runs_without_tasks_or_funnel_still_make_a_page():
    bare = [
        {
            "strategy": s,
            "scale": "nano",
            "seed": i,
            "suite": "m",
            "eval_version": "v2",
            "val_bpb": {"t": 1 + i / 50 + len(s) / 9 + i * len(s) / 999},
        }
        for s in ("a", "bb")
        for i in range(3)
    ]
    Page(render(build_board(bare)))
    assert build_board([])["headline"] == "No runs yet."
    Page(render(build_board([])))


def test_numbers():
    assert format_number(-0.0004, 3) == "0.000" and format_number(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert format_number(None, 3) == "\N{EN DASH}" and format_number(0.1234, 1, 100) == "12.3"
    assert [format_short(v) for v in (0, 999, 999.9, 1234, 45_600_000, 999_999, 7.8e9)] == [
        "0", "999", "1.00K", "1.23K", "45.6M", "1.00M", "7.80B",
    ]  # fmt: skip


def test_a_browser_shows_every_task_and_switches_the_metric(board, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    page = tmp_path / "board.html"
    # The picker is used before the document is dumped, and what the script did is seen in the dump.
    use = "<script>const s=document.querySelector('select');s.value='core_bpb';s.dispatchEvent(new Event('change'))</script>"
    page.write_text(render(board).replace("</body>", use + "</body>"))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --dump-dom"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert dom.count("data-task=") == 53 and dom.count('class="strategy"') == 4
    shown = [found for _, found in Page(dom).tags if "data-metric" in found and "hidden" not in found]
    assert shown and {found["data-metric"] for found in shown} == {"core_bpb"}
