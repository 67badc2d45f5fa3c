"""The evaluation engine beside ways without its savings: tokens fed, padding, time against token count, against the bare forward pass, compiling.

A nano model of random weights scores a mix of all tasks at hand (eval_cases/mix.py) on one thread. Targets are shares: of the token ratio
that the same run measured, and of the speed of a forward pass that only computes hidden states. What this machine lacks is listed with
the reason. The cases are files of eval_cases/.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))  # `winnow bench` loads this file by its path

from curation_cases.measure import one_core  # noqa: E402
from eval_cases import compile as compiling  # noqa: E402
from eval_cases import scoring  # noqa: E402


def run(quick: bool = False) -> dict[str, Any]:
    """Measure every case; quick takes one question a task and single rounds: a minute, and no figures to quote."""
    with one_core():
        rows = scoring.rows(quick)
    return {"name": "eval", "rows": rows + compiling.rows(quick)}
