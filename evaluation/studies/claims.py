"""What a study says of a paper: claims with verdicts as rows of a table, and when the analysis was fixed.

    claims = [Claim(claim="SGD is the worst", source="2407.07972, section 3", verdict=SUPPORTED, words="...")]
    table, times = claims_table(claims), analysis_times(__file__, confirm.summary)

A verdict is about the runs at hand. What a study is too small to say is a claim too, `not tested here`, so that nobody reads its absence as support.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from evaluation.statistics import holm_adjusted
from evaluation.studies.equivalence import COMPARABLE, Comparison, Contrast

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = VERDICTS = ("supported", "contradicted", "undecided", "not tested here")

COLUMNS = {
    "claim": pa.string(),
    "source": pa.string(),
    "verdict": pa.string(),
    "estimate": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "unit": pa.string(),
    "num_seeds": pa.int32(),
    "method": pa.string(),
    "words": pa.string(),
}


STATISTICS = tuple(Path(__file__).with_name(f"{name}.py") for name in ("claims", "equivalence", "runs", "loss_curve", "lr_stability"))
"""The files that judges rest on."""

@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of a paper and what became of it. Raises ValueError for a verdict that is none and for an interval that is not one."""

    claim: str
    """One sentence, as the paper means it."""
    source: str
    """Paper and section."""
    verdict: str
    """One of VERDICTS."""
    words: str
    """What was seen, one sentence with numbers; of what was not tested, why not."""
    method: str = ""
    """How the verdict is reached, fixed before the confirmatory runs."""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    """Unit of estimate, low and high."""
    num_seeds: int | None = None
    """Seeds of an arm, the fewest of those compared."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"Claim: verdict is '{self.verdict}' for '{self.claim}'; the verdicts are {', '.join(VERDICTS)}")
        if (self.low is None) != (self.high is None) or (self.low is not None and not self.low <= self.high):
            raise ValueError(f"Claim: interval [{self.low}, {self.high}] of '{self.claim}' is none; give both ends in order or neither")


def no_runs(claim: str, paper: str, groups: Iterable[str]) -> Claim:
    """A claim whose runs are missing."""
    return Claim(claim=claim, source=paper, verdict=NOT_TESTED, words=f"The runs of {', '.join(groups)} that it needs are not among these.")


def estimate_fields(found: Comparison | Contrast) -> dict[str, float]:
    """estimate, low and high as fields of a claim: the 90 % interval of a comparison, the 95 % one of a contrast."""
    if isinstance(found, Comparison):
        return {"estimate": found.difference, "low": found.low, "high": found.high}
    low, high = found.interval()
    return {"estimate": found.estimate, "low": low, "high": high}


def all_comparable(comparisons: Sequence[Comparison], alpha: float = 0.05) -> str:
    """Verdict on "they are all comparable".

    Supported where each one is shown to be (each at `alpha`: their union needs no adjustment); contradicted where at least one is shown to be
    different, Holm-adjusted over all.
    """
    if all(comparison.verdict == COMPARABLE for comparison in comparisons):
        return SUPPORTED
    return CONTRADICTED if min(holm_adjusted([comparison.p_different for comparison in comparisons])) < alpha else UNDECIDED


def all_above(contrasts: Sequence[Contrast], limit: float = 0.0, alpha: float = 0.025) -> str:
    """Verdict on "they are all above `limit`", like `all_comparable`; the one-sided `alpha` is that of a 95 % interval that excludes the limit."""
    if all(contrast.p_above(limit) < alpha for contrast in contrasts):
        return SUPPORTED
    return CONTRADICTED if min(holm_adjusted([contrast.p_below(limit) for contrast in contrasts])) < alpha else UNDECIDED


def claims_table(claims: Iterable[Claim]) -> pa.Table:
    """The claims as a table of COLUMNS, in the given order; an infinite estimate (every run diverged) and its interval are null."""
    rows = []
    for claim in claims:
        row = asdict(claim)
        rows.append({name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()})
    return pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items())))


def counted(claims: Iterable[Claim]) -> str:
    """How many claims ended how, in words: "3 supported, 1 undecided, 2 not tested here"."""
    verdicts = [claim.verdict for claim in claims]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)


def by_verdict(claims: Iterable[Claim]) -> str:
    """The claims in words, verdict by verdict: "Supported (2): a; b. Undecided (1): c." Of those not tested only how many."""
    found: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for claim in claims:
        found[claim.verdict].append(claim.claim.removesuffix("."))
    untested = len(found.pop(NOT_TESTED))
    parts = [f"{verdict.capitalize()} ({len(those)}): {'; '.join(those)}." for verdict, those in found.items() if those]
    return " ".join(parts + ([f"{NOT_TESTED.capitalize()}: {untested}."] if untested else []))


def analysis_times(sources: str | Path | Sequence[str | Path], *confirmatory: Mapping[str, Any]) -> dict[str, str | None]:
    """When the analysis was first committed whole, when it was last changed, and when the first confirmatory run started: ISO times or None.

    sources: the file of the judge, or the files that judge. Both times are None outside a git checkout and where a file differs from the last
    commit: what then judges is not what was committed. confirmatory: summaries of the manifests of the confirmatory runs,
    {"runs": [{"started": ...}]}.
    """
    times = [_committed(Path(source).resolve()) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    started = [run["started"] for summary in confirmatory for run in summary.get("runs", ()) if run.get("started")]
    first, last = (None, None) if None in times else (max(each, key=datetime.fromisoformat) for each in zip(*times, strict=True))
    return {"first_committed": first, "committed": last, "confirmatory_started": min(started, default=None)}


def _committed(path: Path) -> tuple[str, str] | None:
    """Times of the first and of the last commit of a file."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", "-C", str(path.parent), *words, "--", path.name], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commits = git("log", "--format=%cI").splitlines()
    return None if not commits or git("status", "--porcelain") else (commits[-1], commits[0])
