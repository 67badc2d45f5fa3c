"""Rewrite the rule-made files of mini-v1: `python -m evaluation.mini_v1.generate`.

Every file has its own random stream (seeded by the suite's and the file's name), so that a change to one rule leaves
the other files as they are. The hand-written files of the suite are their own source and are not touched.
"""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

from evaluation.mini_v1 import puzzles, sums, symbols
from evaluation.mini_v1.items import Row

logger = logging.getLogger(__name__)

SUITE_DIR = Path(__file__).resolve().parent
SYMBOLIC = "symbolic_problem_solving"
GENERATORS: dict[str, Callable[[random.Random], list[Row]]] = {
    "language_understanding/bigbench_conlang_translation": puzzles.conlang_translation,
    f"{SYMBOLIC}/agi_eval_lsat_ar": puzzles.agi_eval_lsat_ar,
    f"{SYMBOLIC}/agi_eval_sat_math": sums.agi_eval_sat_math,
    f"{SYMBOLIC}/aqua": sums.aqua,
    f"{SYMBOLIC}/bigbench_cs_algorithms": symbols.cs_algorithms,
    f"{SYMBOLIC}/bigbench_dyck_languages": symbols.dyck_languages,
    f"{SYMBOLIC}/bigbench_elementary_math_qa": sums.elementary_math_qa,
    f"{SYMBOLIC}/bigbench_logical_deduction": puzzles.logical_deduction,
    f"{SYMBOLIC}/bigbench_operators": symbols.operators,
    f"{SYMBOLIC}/bigbench_repeat_copy_logic": symbols.repeat_copy_logic,
    f"{SYMBOLIC}/math_qa": sums.math_qa,
    f"{SYMBOLIC}/simple_arithmetic_nospaces": lambda rng: sums.arithmetic(spaced=False),
    f"{SYMBOLIC}/simple_arithmetic_withspaces": lambda rng: sums.arithmetic(spaced=True),
    f"{SYMBOLIC}/svamp": sums.svamp,
}
"""File (without .jsonl, below the suite's directory) -> its rule."""


def generated_files() -> dict[str, bytes]:
    """Relative path -> the bytes of every rule-made file."""
    files = {}
    for name, generator in GENERATORS.items():
        rows = generator(random.Random(f"mini-v1 {name}"))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        files[name + ".jsonl"] = "".join(lines).encode("utf-8")
    return files


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, content in generated_files().items():
        path = SUITE_DIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        logger.info("wrote %s (%d bytes)", path, len(content))


if __name__ == "__main__":
    main()
