"""Three tasks made from their data sets' own files, for those who can not have llm-foundry's: squad, bbq, elementary_math_qa.

Each conversion gives rows in llm-foundry's columns. Its prompt texts follow what is known of the published files and are not verified
byte by byte, so what comes out counts as reconstructed and never enters the same comparison as the published files.

squad               SQuAD 1.1's dev set; "Context: ...\\nQuestion: ...\\nAnswer:" and the first accepted answer
bbq                 11 categories of BBQ; two choices of its three (DCLM's eval_meta_data.csv): the right one and the other that names a
                    person or group where there is one, in the order of the original
elementary_math_qa  BIG-bench's task; four choices of its five: the right one and the first three others, in the order of the original
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import EvalDataError

BBQ_CATEGORIES = (
    "Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance", "Race_ethnicity", "Race_x_SES",
    "Race_x_gender", "Religion", "SES", "Sexual_orientation",
)  # fmt: skip
_LETTERS = "ABCDE"


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to make one task file from files of the Hugging Face hub."""

    paths: tuple[str, ...]
    """Below the hub's address."""
    convert: Callable[[Sequence[Path]], list[dict]]
    """Downloaded files, in the order of `paths`, to rows."""


def squad_rows(files: Sequence[Path]) -> list[dict]:
    """Rows {context, continuation} from Parquet with columns context, question, answers.text."""
    return [
        {"context": f"Context: {row['context']}\nQuestion: {row['question']}\nAnswer:", "continuation": row["answers"]["text"][0]}
        for row in _parquet(files, ("context", "question", "answers"))
    ]


def bbq_rows(files: Sequence[Path]) -> list[dict]:
    """Rows {query, choices, gold, category} from BBQ's JSONL: context, question, ans0 .. ans2, answer_info, label, category."""
    rows = []
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            raw = json.loads(line)
            answers, gold = [raw[f"ans{i}"] for i in range(3)], int(raw["label"])
            unknown = [raw["answer_info"][f"ans{i}"][-1] == "unknown" for i in range(3)]
            others = sorted((i for i in range(3) if i != gold), key=lambda i: (unknown[i], i))
            kept = sorted((gold, others[0]))
            rows.append(
                {
                    "query": f"Context: {raw['context']}\nQuestion: {raw['question']}\nChoices:\n{_lettered([answers[i] for i in kept])}\nAnswer:",
                    "choices": list(_LETTERS[:2]),
                    "gold": kept.index(gold),
                    "category": raw["category"],
                }
            )
    return rows


def elementary_math_rows(files: Sequence[Path]) -> list[dict]:
    """Rows {query, choices, gold} from Parquet with columns idx, inputs, multiple_choice_targets, multiple_choice_scores."""
    columns = ("idx", "inputs", "multiple_choice_targets", "multiple_choice_scores")
    rows = []
    for raw in sorted(_parquet(files, columns), key=lambda row: row["idx"]):
        targets, gold = raw["multiple_choice_targets"], raw["multiple_choice_scores"].index(1)
        kept = sorted((gold, *[i for i in range(len(targets)) if i != gold][:3]))
        question = _bare_question(raw["inputs"])
        rows.append(
            {
                "query": f"Question: {question}\n{_lettered([targets[i] for i in kept])}\nAnswer: ",
                "choices": list(_LETTERS[: len(kept)]),
                "gold": kept.index(gold),
            }
        )
    return rows


def _bare_question(text: str) -> str:
    """The question without the letters, choices and "A:" that BIG-bench's own prompt puts around it."""
    text = re.split(r"\n\s*choice:", text)[0]
    text = re.sub(r"\s*\n\s*(A|Answer):\s*$", "", text)
    return re.sub(r"^\s*(Q|Question):\s*", "", text, flags=re.IGNORECASE).strip()


def _lettered(choices: Sequence[str]) -> str:
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=False))


def _parquet(files: Sequence[Path], columns: Sequence[str]) -> list[dict]:
    import pyarrow.parquet as pq

    rows = []
    for path in files:
        opened = pq.ParquetFile(path)
        absent = [name for name in columns if name not in opened.schema_arrow.names]
        if absent:
            raise EvalDataError(f"{path.name}: columns {', '.join(absent)} are missing (has: {', '.join(opened.schema_arrow.names)})")
        rows += opened.read(columns=list(columns)).to_pylist()
    return rows


CONVERSIONS = {
    "local_data/reading_comprehension/squad.jsonl": Conversion(
        ("datasets/rajpurkar/squad/resolve/main/plain_text/validation-00000-of-00001.parquet",), squad_rows
    ),
    "local_data/safety/bbq.jsonl": Conversion(
        tuple(f"datasets/heegyu/bbq/resolve/main/data/{name}.jsonl" for name in BBQ_CATEGORIES), bbq_rows
    ),
    "local_data/symbolic_problem_solving/bigbench_elementary_math_qa.jsonl": Conversion(
        tuple(f"datasets/tasksource/bigbench/resolve/main/elementary_math_qa/{split}-00000-of-00001.parquet" for split in ("train", "validation")),
        elementary_math_rows,
    ),
}
"""By path in llm-foundry's layout."""
