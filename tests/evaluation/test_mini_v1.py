"""mini-v1: formats, balance, originality, and every rule-made answer computed a second time."""

import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from evaluation.mini_v1 import generate

SUITE = generate.SUITE_DIR
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
NUM_WORDS = 13

FOLDERS = {
    "world_knowledge": "mmlu jeopardy_all triviaqa_sm_sub bigbench_qa_wikidata arc_easy arc_challenge"
    " bigbench_misconceptions",
    "gpqa_data": "gpqa_main gpqa_diamond",
    "commonsense_reasoning": "copa siqa commonsense_qa piqa openbook_qa bigbench_novel_concepts"
    " bigbench_strange_stories bigbench_strategy_qa",
    "language_understanding": "hellaswag lambada_openai winograd_wsc winogrande bigbench_conlang_translation"
    " bigbench_language_identification bigbench_conceptual_combinations",
    "symbolic_problem_solving": "gsm8k agi_eval_sat_math aqua svamp bigbench_elementary_math_qa"
    " bigbench_dyck_languages agi_eval_lsat_ar bigbench_cs_algorithms bigbench_logical_deduction bigbench_operators"
    " bigbench_repeat_copy_logic simple_arithmetic_nospaces simple_arithmetic_withspaces math_qa logi_qa",
    "reading_comprehension": "pubmed_qa_labeled squad agi_eval_lsat_rc agi_eval_lsat_lr coqa"
    " bigbench_understanding_fables boolq agi_eval_sat_en",
    "safety": "winogender_mc_female winogender_mc_male enterprise_pii_classification bbq",
}
PATHS = {stem: f"{folder}/{stem}" for folder, stems in FOLDERS.items() for stem in stems.split()}
# Labels whose file has another name; every other label is its file's name.
RENAMED = {
    "mmlu_zeroshot": "mmlu",
    "mmlu_fewshot": "mmlu",
    "hellaswag_zeroshot": "hellaswag",
    "hellaswag": "hellaswag",
    "jeopardy": "jeopardy_all",
    "winograd": "winograd_wsc",
    "gsm8k_cot": "gsm8k",
    "agi_eval_sat_math_cot": "agi_eval_sat_math",
    "aqua_cot": "aqua",
    "svamp_cot": "svamp",
}
LABELS = RENAMED | {stem: stem for stem in PATHS if stem not in RENAMED.values()}

COT = {"gsm8k", "agi_eval_sat_math", "aqua", "svamp"}
SCHEMA = {"winograd_wsc", "winogrande"}
LANGUAGE_MODELING = set(
    "jeopardy_all bigbench_qa_wikidata lambada_openai bigbench_conlang_translation bigbench_dyck_languages"
    " bigbench_cs_algorithms bigbench_operators bigbench_repeat_copy_logic simple_arithmetic_nospaces"
    " simple_arithmetic_withspaces pubmed_qa_labeled squad coqa".split()
)
CATEGORIES = {"mmlu", "jeopardy_all", "bbq"}
FIXED_CHOICES = {
    "bigbench_misconceptions": ["T", "F"],
    "bigbench_strategy_qa": ["Yes", "No"],
    "boolq": ["no", "yes"],
    "enterprise_pii_classification": ["no", "yes"],
}
LETTERED = set(
    "mmlu siqa commonsense_qa bigbench_language_identification agi_eval_lsat_ar agi_eval_lsat_lr agi_eval_lsat_rc"
    " agi_eval_sat_en math_qa logi_qa bigbench_understanding_fables bigbench_elementary_math_qa bbq".split()
)
READING = set(FOLDERS["reading_comprehension"].split())

OPTIONS = r"A\. .+\nB\. .+\nC\. .+\nD\. .+"
MARKED = r"A\.\) .+\nB\.\) .+\nC\.\) .+\nD\.\) .+"
# Layout of a prompt without its fixed instruction line; the real files are held against the same patterns.
LAYOUTS = {
    "mmlu": rf"Question: .+\nChoices:\n{OPTIONS}\n",
    "jeopardy_all": r"[A-Z ]+: .+",
    "triviaqa_sm_sub": r"Question: .+\nAnswer:",
    "arc_easy": r"Question: .+",
    "arc_challenge": r"Question: .+",
    "bigbench_misconceptions": r".+\nQ: .+\nA:",
    "copa": r".+, (because|therefore)",
    "siqa": r"Context: .+\nQuestion: .+\nChoices:\nA\. .+\nB\. .+\nAnswer:",
    "commonsense_qa": rf"Question: .+\nChoices:\n{OPTIONS}\nAnswer:",
    "piqa": r"Question: .+\n",
    "bigbench_novel_concepts": r".+\nWhat do the following have in common\? 1\) .+ 2\) .+\nA:",
    "bigbench_strange_stories": r"Context: .+\s(Q: )?.+\nAnswer: ",
    "bigbench_strategy_qa": r"Q: .+\nA:",
    "bigbench_conlang_translation": r"The following are sentences in .+\n\nNow, translate the following from"
    r" .+ to .+: \n.+\n.+:",
    "bigbench_language_identification": rf".+\nSentence: .+\n{OPTIONS}\nAnswer: ",
    "bigbench_conceptual_combinations": rf"([Cc]oncept: |The word ).+ Question: .+\n{OPTIONS}\nAnswer: ",
    "hellaswag": r".+: .+",
    "bigbench_dyck_languages": r".+ \n\nInput: [\[\](){}<> ]+\nOutput:",
    "agi_eval_lsat_ar": rf"Passage: .+\nQ: .+\nChoices:\n{MARKED}\nAnswer:",
    "agi_eval_lsat_lr": rf"Passage: .+\nQ: .+\nChoices:\n{MARKED}\nAnswer:",
    "agi_eval_lsat_rc": rf"Passage: .+\nQ: .+\nChoices:\n{MARKED}\nAnswer:",
    "agi_eval_sat_en": rf"Passage: .+\nQ: .+\nChoices:\n{MARKED}\nAnswer:",
    "agi_eval_sat_math": r"Q: .+",
    "bigbench_cs_algorithms": r".+\n\n(Sequence: .+\nValid/Invalid\?|Strings: .+ .+\nLength of longest common"
    r" subsequence:)",
    "bigbench_logical_deduction": rf".+\n\n.+\nWhich .+ above\?\n\n{OPTIONS}\nAnswer: ",
    "bigbench_operators": r".+\n.*op.+\n.*op.+ =",
    "bigbench_repeat_copy_logic": r"repeat with logic:\n\nQ: .+\nA:",
    "simple_arithmetic_nospaces": r"-?\d+([-+*]\d+)+=",
    "simple_arithmetic_withspaces": r"-?\d+( [-+*] \d+)+ =",
    "math_qa": rf"Question: .+\n{OPTIONS}\nAnswer: ",
    "logi_qa": rf"Context: .+\nQuestion: .+\nChoices: {OPTIONS}\n",
    "pubmed_qa_labeled": r"Context: [A-Z, ]+\. .+\nQuestion: .+\nA\. yes\nB\. no\nC\. maybe\nAnswer: ",
    "coqa": r".+\nStory: .+\n(Preceding questions:\nQuestion: .+\nAnswer: .+\n)?\nFinal question:\nQuestion: .+\n"
    r"Answer: ",
    "bigbench_understanding_fables": rf"Q: .+ What is the moral of this story\?\n{OPTIONS}\nAnswer: ",
    "boolq": r"Passage: .+\nQuestion: [^A-Z]+\?",
    "winogender_mc_female": r'Sentence: ".+"\nQ: Who does the pronoun "(she|her)" refer to in .+ sentence\? A:',
    "winogender_mc_male": r'Sentence: ".+"\nQ: Who does the pronoun "(he|his|him)" refer to in .+ sentence\? A:',
    "enterprise_pii_classification": r"Does the passage below contain sensitive information\?\nPassage: '''\n.+\n'''\n"
    r"Choices:\na\.\) no\nb\.\) yes\nAnswer:",
}


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def mini(stem: str) -> list[dict]:
    return read(SUITE / f"{PATHS[stem]}.jsonl")


def real_path(stem: str) -> Path | None:
    """The real file, exact or reconstructed, where it is at hand."""
    names = (f"{PATHS[stem]}.jsonl", f"{PATHS[stem]}.reconstructed.jsonl")
    return next((REAL / "eval" / name for name in names if (REAL / "eval" / name).exists()), None)


def prompt(row: dict) -> str:
    return row.get("query") or row.get("context") or row["context_options"][0]


def body(row: dict) -> str:
    """The prompt without its instruction line and its options."""
    return prompt(row).split("\nA. ")[0]


def gold_text(row: dict) -> str:
    """The text of the right option, read from the prompt where the choices are letters."""
    letter = "ABCD"[row["gold"]]
    return re.search(rf"^(?:Choices: )?{letter}\.\)? (.+)$", row["query"], re.MULTILINE).group(1)


def texts(row: dict) -> list[str]:
    values = [v for key, v in row.items() if key not in ("gold", "category")]
    return [text for v in values for text in (v if isinstance(v, list) else [v])]


def expected_keys(stem: str) -> set[str]:
    if stem == "triviaqa_sm_sub":
        keys = {"context", "answer", "aliases"}
    elif stem in COT:
        keys = {"context", "chain_of_thought", "answer"}
    elif stem in SCHEMA:
        keys = {"context_options", "continuation", "gold"}
    elif stem in LANGUAGE_MODELING:
        keys = {"context", "continuation"}
    else:
        keys = {"query", "choices", "gold"}
    return keys | ({"category"} if stem in CATEGORIES else set())


# --- The suite as a whole --------------------------------------------------------------------------------------------


def test_all_53_labels_have_a_file_and_there_is_no_other():
    assert len(LABELS) == 53
    assert {PATHS[stem] for stem in LABELS.values()} == set(PATHS.values())
    found = {str(path.relative_to(SUITE).with_suffix("")) for path in SUITE.rglob("*.jsonl")}
    assert found == set(PATHS.values())


def test_labels_and_files_are_those_of_the_published_task_table():
    table = REAL / "published" / "tasks.csv"
    if not table.exists():
        pytest.skip("../shared/data/published/tasks.csv is absent")
    published = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        uri = re.search(r"\b(\w+/\w+)\.jsonl", line).group(1)
        published[line.split(",")[0]] = uri
    assert {label: PATHS[stem] for label, stem in LABELS.items()} == published


def test_suite_settings():
    settings = json.loads((SUITE / "suite.json").read_text(encoding="utf-8"))
    assert {k: v for k, v in settings.items() if k != "num_fewshot"} == {"name": "mini-v1", "version": 1, "max_num_fewshot": 2}
    assert set(settings["num_fewshot"].values()) == {1}  # tasks of long questions, which two examples would push out of the context


@pytest.mark.parametrize("stem", PATHS)
def test_rows_are_valid(stem):
    rows = mini(stem)
    assert len(rows) >= 8
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == expected_keys(stem)
        assert all(isinstance(text, str) and text.strip() for text in texts(row))
        assert all(text.isprintable() for text in " ".join(texts(row)).split())
        if "gold" in row:
            options = row.get("choices") or row["context_options"]
            assert isinstance(row["gold"], int) and 0 <= row["gold"] < len(options)
            assert len(set(options)) == len(options) >= 2
        if stem in LAYOUTS:
            assert re.fullmatch(LAYOUTS[stem], prompt(row), re.DOTALL), prompt(row)
        if stem in FIXED_CHOICES:
            assert row["choices"] == FIXED_CHOICES[stem]
        if stem in LETTERED:
            assert row["choices"] == list("ABCD")[: len(row["choices"])]
            shown = re.findall(r"^(?:Choices: )?[A-D]\.\)? (.+)$", row["query"], re.MULTILINE)
            assert len(set(shown)) == len(shown) == len(row["choices"])
        if stem == "triviaqa_sm_sub":
            assert row["answer"] in row["aliases"]
        limit = 100 if stem in READING else 95
        assert len(prompt(row).split()) <= limit


@pytest.mark.parametrize("stem", PATHS)
def test_gold_positions_are_balanced(stem):
    rows = mini(stem)
    if "gold" not in rows[0]:
        return
    counts = Counter(row["gold"] for row in rows)
    options = len(rows[0].get("choices") or rows[0]["context_options"])
    assert len(counts) == options
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("stem", sorted(CATEGORIES))
def test_categories_hold_four_items_or_more(stem):
    counts = Counter(row["category"] for row in mini(stem))
    assert len(counts) >= 4 and min(counts.values()) >= 4


def test_diamond_is_a_part_of_main():
    assert all(row in mini("gpqa_main") for row in mini("gpqa_diamond"))


def test_twins_differ_in_one_place_only():
    for stem in SCHEMA:
        rows = mini(stem)
        for first, second in zip(rows[::2], rows[1::2], strict=True):
            assert first["context_options"] == second["context_options"]
            assert (first["gold"], second["gold"]) == (0, 1)
    swap = {"she": "he", "her": "his"}
    female = [re.sub(r"\b(she|her)\b", lambda m: swap[m[0]], json.dumps(row)) for row in mini("winogender_mc_female")]
    assert female == [json.dumps(row) for row in mini("winogender_mc_male")]


def test_answers_of_reading_tasks_stand_in_the_text():
    for row in mini("squad"):
        assert row["continuation"] in row["context"].split("\nQuestion:")[0]
    for row in mini("lambada_openai"):
        assert re.search(rf"\b{row['continuation']}\b", row["context"])
        assert row["context"][-1] not in ".!?"
    assert {row["continuation"] for row in mini("pubmed_qa_labeled")} == {"yes", "no", "maybe"}


# --- Against the real files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", PATHS)
def test_keys_and_layout_equal_those_of_the_real_file(stem):
    path = real_path(stem)
    if path is None:
        pytest.skip(f"no real file for {stem} in ../shared/data/eval")
    rows = read(path)
    assert set(rows[0]) == set(mini(stem)[0])
    assert "choices" not in rows[0] or len(rows[0]["choices"]) == len(mini(stem)[0]["choices"])
    if stem in LAYOUTS:
        sample = rows[:: max(1, len(rows) // 200)]
        fitting = sum(bool(re.fullmatch(LAYOUTS[stem], prompt(row), re.DOTALL)) for row in sample)
        assert fitting >= 0.9 * len(sample), (stem, fitting, len(sample))


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_no_run_of_13_words_is_shared_with_the_real_files():
    paths = {stem: path for stem in PATHS if (path := real_path(stem)) is not None}
    if not paths:
        pytest.skip("../shared/data/eval is absent")
    ours: set[tuple[str, ...]] = set()
    for stem in PATHS:
        for row in mini(stem):
            for text in texts(row):
                words = words_of(text)
                ours.update(tuple(words[i : i + NUM_WORDS]) for i in range(len(words) - NUM_WORDS + 1))
    assert len(ours) > 5_000
    # A run of 13 words holds ten starts of four words, so every tenth start of the real text is enough to find it.
    step = NUM_WORDS - 3
    seeds = {run[i : i + 4] for run in ours for i in range(step)}
    shared = []
    for stem, path in paths.items():
        seen = set()
        for row in read(path):
            for text in texts(row):
                if len(text) < 40 or text in seen:
                    continue
                seen.add(text)
                words = words_of(text)
                for i in range(0, len(words), step):
                    if tuple(words[i : i + 4]) in seeds:
                        near = range(max(0, i - step), i + 1)
                        shared += [(stem, run) for j in near if (run := tuple(words[j : j + NUM_WORDS])) in ours]
    assert not shared, shared[:3]


@pytest.mark.parametrize("stem", PATHS)
def test_no_prompt_is_one_of_the_real_prompts(stem):
    path = real_path(stem)
    if path is None:
        pytest.skip(f"no real file for {stem} in ../shared/data/eval")
    real = {" ".join(prompt(row).lower().split()) for row in read(path)}
    assert not [row for row in mini(stem) if " ".join(prompt(row).lower().split()) in real]


# --- Rule-made files: reproduced, and answered a second time from the text -------------------------------------------


def test_generator_reproduces_its_files():
    files = generate.generated_files()
    assert len(files) == 14
    for name, content in files.items():
        assert (SUITE / name).read_bytes() == content, f"{name} differs: run python -m evaluation.mini_v1.generate"


def calculate(text: str) -> int:
    """The value of a sum or product of whole numbers, left to right within one kind of sign."""
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    if "*" in text:
        return math.prod(numbers)
    if "/" in text:
        assert numbers[0] % numbers[1] == 0
        return numbers[0] // numbers[1]
    signs = [1] + [1 if sign == "+" else -1 for sign in re.findall(r"[-+]", text)]
    return sum(s * n for s, n in zip(signs, numbers, strict=True))


def test_arithmetic():
    bare, spaced = mini("simple_arithmetic_nospaces"), mini("simple_arithmetic_withspaces")
    for row, twin in zip(bare, spaced, strict=True):
        assert int(row["continuation"]) == calculate(row["context"])
        assert twin["context"].replace(" ", "") == row["context"]
        assert twin["continuation"] == " " + row["continuation"]


def numbers_in(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def test_elementary_math_qa():
    for row in mini("bigbench_elementary_math_qa"):
        total, second, third = numbers_in(body(row))
        total += second if ", add" in body(row) else -second
        total = total * third if "multiply" in body(row) else total + third
        assert int(gold_text(row)) == total


SOLUTIONS = {
    "a car travels": lambda speed, hours: speed * hours,
    "percent of": lambda part, whole: part * whole / 100,
    "average of": lambda *n: sum(n) / len(n),
    "a room is": lambda length, width: length * width,
    "workers finish": lambda workers, days, one: workers * days,
    "a pen costs": lambda pen, book, pens, one: pen * pens + book,
    "A train goes": lambda km, hours, longer: km * longer / hours,
    "A coat costs": lambda price, cut: price * (100 - cut) / 100,
    "side of a square": lambda side: 4 * side,
    "For every red ball": lambda blue, red: blue * red,
    "The sum of two": lambda total, one: total - one,
    "how many plums": lambda a, b: a + b,
    "flew away": lambda a, b: a - b,
    "A shelf has": lambda a, b: a + b,
    "boats carries": lambda a, b: a * b,
    "How many more coins": lambda a, b: a - b,
    "A cook bakes": lambda a, b: a * b,
    "what is the value of $x$ ?": lambda a, b, c: (c - b) / a,
    "If $x-": lambda b, x, a: a * (x + b),
    "If $f(x)=": lambda a, b, x: a * x + b,
    "If $x+y=": lambda total, gap: (total + gap) / 2,
    "A triangle has": lambda base, height: base * height / 2,
}


@pytest.mark.parametrize("stem", ["math_qa", "aqua", "svamp", "agi_eval_sat_math"])
def test_word_problems(stem):
    for row in mini(stem):
        text = body(row)
        keys = [key for key in SOLUTIONS if key.lower() in text.lower()]
        key = "If $x+y=" if "If $x+y=" in keys else keys[0]
        answer = gold_text(row) if stem == "math_qa" else row["answer"]
        assert float(answer.strip("$")) == SOLUTIONS[key](*numbers_in(text)), text
        if stem == "svamp":
            assert calculate(row["chain_of_thought"].replace(".0", "")) == int(row["answer"])
        elif stem != "math_qa":
            assert numbers_in(row["chain_of_thought"])[-1] == int(answer.strip("$"))


def test_chains_of_thought_of_gsm8k_and_aqua_calculate_correctly():
    for row in mini("gsm8k"):
        steps = re.findall(r"([\d +\-*/]+)= <<([^=]+)=(\d+)>>(\d+)", row["chain_of_thought"])
        assert len(steps) == row["chain_of_thought"].count("<<")
        for shown, written, result, repeated in steps:
            assert shown.replace(" ", "") == written
            assert calculate(written) == int(result) == int(repeated)
        assert steps[-1][2] == row["answer"]
    for row in mini("aqua"):
        for left, right in re.findall(r"(\d+ [-*] \d+) = (\d+)", row["chain_of_thought"]):
            assert calculate(left) == int(right)


def reduced(brackets: str) -> str:
    """What is left when matching neighbours are removed again and again."""
    while (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", brackets)) != brackets:
        brackets = shorter
    return brackets


def test_brackets():
    for row in mini("bigbench_dyck_languages"):
        given = re.search(r"Input: (.+)\n", row["context"])[1].replace(" ", "")
        closing = row["continuation"].replace(" ", "")
        assert reduced(given + closing) == "" and len(closing) == len(reduced(given)) > 0
    verdicts = Counter()
    for row in mini("bigbench_cs_algorithms")[::2]:
        given = re.search(r"Sequence: (.+)\n", row["context"])[1].replace(" ", "")
        assert row["continuation"] == ("Invalid" if reduced(given) else "Valid")
        verdicts[row["continuation"]] += 1
    assert verdicts == {"Valid": 3, "Invalid": 3}


def test_longest_common_subsequences():
    for row in mini("bigbench_cs_algorithms")[1::2]:
        one, two = re.search(r"Strings: (\w+) (\w+)", row["context"]).groups()
        parts = [{c for n in range(len(s) + 1) for c in itertools.combinations(s, n)} for s in (one, two)]
        assert int(row["continuation"]) == max(map(len, parts[0] & parts[1]))


OPERATORS = {
    "plus twice j": lambda i, j: i + j + j,
    "ten more": lambda i: 10 + i,
    "adds the first and the last": lambda a, b, c, d: a + d,
    "smaller of i and j.": lambda i, j: i if i < j else j,
    "last digit": lambda i: int(str(i)[-1]),
    "counts the even": lambda *n: len([k for k in n if str(k)[-1] in "02468"]),
    "product of i and j, plus one": lambda i, j: sum([i] * j) + 1,
    "i plus one when i is odd": lambda i: ((i - 1) ^ 1) + 1,
    "largest listed number minus": lambda *n: sorted(n)[-1] - sorted(n)[0],
    "larger of i and j minus": lambda i, j: max(i - j, j - i),
    "sum of the digits": lambda i: i // 10 + i % 10,
    "second listed": lambda a, b, c, d: b,
}


def test_operators():
    for row, (key, function) in zip(mini("bigbench_operators"), OPERATORS.items(), strict=True):
        _, definition, call = row["context"].split("\n")
        assert key in definition
        assert int(row["continuation"]) == function(*numbers_in(call))


COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5}


def said(text: str) -> str:
    """What an obedient reader says."""
    if m := re.fullmatch(r"say (\w+ \w+) (\w+) times", text):
        return " ".join([m[1]] * COUNTS[m[2]])
    if m := re.fullmatch(r"say (\w+) twice and (\w+) once, and then do all of this (\w+) times", text):
        return " ".join([f"{m[1]} {m[1]} {m[2]}"] * COUNTS[m[3]])
    if m := re.fullmatch(r"say (\w+) (\w+) times, and at the end say (\w+)", text):
        return f"{m[1]} " * COUNTS[m[2]] + m[3]
    if m := re.fullmatch(r"say the words (\w+) (\w+) (\w+) in reverse order", text):
        return f"{m[3]} {m[2]} {m[1]}"
    m = re.fullmatch(r"count from 1 to (\d), and after each number say (\w+)", text)
    return " ".join(f"{n} {m[2]}" for n in range(1, int(m[1]) + 1))


def test_repeat_copy_logic():
    for row in mini("bigbench_repeat_copy_logic"):
        assert row["continuation"] == said(re.search(r"Q: (.+)\nA:", row["context"])[1])


PLACES = {
    "is the leftmost|is the tallest|finished first": 0,
    "is second from the left|is the second tallest|finished second": 1,
    "is second from the right|is the second shortest|finished third": 2,
    "is the rightmost|is the shortest|finished last": 3,
}
RELATION = r"(?:The )?(\w+) (?:is to the left of|is taller than the|finished before) (\w+)\."


def holds(statement: str, order: tuple[str, ...]) -> bool:
    if m := re.fullmatch(RELATION, statement):
        return order.index(m[1]) < order.index(m[2])
    for pattern, place in PLACES.items():
        if m := re.fullmatch(rf"(?:The )?(\w+) (?:{pattern})\.", statement):
            return order[place] == m[1]
    raise AssertionError(f"unknown statement: {statement}")


def test_logical_deduction():
    for row in mini("bigbench_logical_deduction"):
        story = row["query"].split("\n\n")[1].split("\nWhich")[0]
        scene, *clues = re.findall(r"[^.]+\.", story)
        names = re.findall(r"\w+", re.sub(r"\b(an|a|and)\b", "", scene.split(":")[1]))
        orders = [o for o in itertools.permutations(names) if all(holds(c.strip(), o) for c in clues)]
        assert len(orders) == 1
        assert [holds(choice, orders[0]) for choice in row["choices"]].index(True) == row["gold"]
        assert sum(holds(choice, orders[0]) for choice in row["choices"]) == 1
        assert re.findall(r"^[A-D]\. (.+)$", row["query"], re.MULTILINE) == row["choices"]
        assert row["choices"][row["gold"]] not in story


SPOTS = {"first": 0, "second": 1, "third": 2, "last": 3}


def obeys(rule: str, order: tuple[str, ...]) -> bool:
    if m := re.fullmatch(r"(\w+) speaks before (\w+)", rule):
        return order.index(m[1]) < order.index(m[2])
    if m := re.fullmatch(r"(\w+) speaks right after (\w+)", rule):
        return order.index(m[1]) - order.index(m[2]) == 1
    if m := re.fullmatch(r"(\w+) does not speak (\w+)", rule):
        return order[SPOTS[m[2]]] != m[1]
    m = re.fullmatch(r"(\w+) speaks (\w+)", rule)
    return order[SPOTS[m[2]]] == m[1]


def test_lsat_ordering_games():
    kinds = Counter()
    for row in mini("agi_eval_lsat_ar"):
        passage, question = re.search(r"another\. (.+)\nQ: (.+)\nChoices", row["query"]).groups()
        rules = passage.rstrip(".").split(". ")
        orders = [o for o in itertools.permutations(("Kim", "Lou", "Max", "Nan")) if all(obeys(r, o) for r in rules)]
        options = re.findall(r"^[A-D]\.\) (.+)$", row["query"], re.MULTILINE)
        if "must be true" in question:
            right = [all(obeys(option, o) for o in orders) for option in options]
        else:
            right = [tuple(option.split(", ")) in orders for option in options]
        assert sum(right) == 1 and right[row["gold"]]
        kinds["must" in question] += 1
    assert kinds == {True: 6, False: 6}


def test_conlang_translations_follow_from_the_examples():
    directions = Counter()
    for row in mini("bigbench_conlang_translation"):
        examples, task = row["context"].split("\n\n\n")
        pairs = re.findall(r"[A-Z]+: (.+)\.\nENGLISH TRANSLATION: The (.+)\.", examples)
        foreign = [f.lower().split() for f, _ in pairs]
        english = [e.split() for _, e in pairs]
        order = [(2, 1, 0), (1, 0, 2)]["Tarin" in task]  # each swaps two places, so it serves both directions
        asked = re.search(r"\n[A-Z]+: (.+)\.\n", task)[1].lower().split()
        to_english = "to English" in task
        source, target, words = (foreign, english, asked) if to_english else (english, foreign, asked[1:])
        meant = []
        for word in words:
            pattern = [word in sentence for sentence in source]
            meanings = {w for s in target for w in s if [w in t for t in target] == pattern}
            assert len(meanings) == 1 and not all(pattern)
            meant += meanings
        answer = " ".join(meant[k] for k in order)
        assert row["continuation"] == (f"The {answer}." if to_english else f"{answer.capitalize()}.")
        assert row["continuation"] not in examples
        directions[to_english] += 1
    assert min(directions.values()) >= 4
