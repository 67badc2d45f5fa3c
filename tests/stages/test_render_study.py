"""The page of a study as a stage: from claims and runs to index.html and study.json."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from evaluation.studies.claims import Claim, claims_table
from stages.core.stage import Inputs, Resources
from stages.render_study import RenderStudy, render_study
from tests.evaluation.test_figure import SOAP, figure
from tests.stages.memory_dataset import Memory

CLAIMS = claims_table(
    [
        Claim(claim="SOAP needs fewer steps", source="2409.11321, section 5", verdict="undecided", words="It needs 3 fewer."),
        Claim(claim="It is faster on a GPU", source="2409.11321, section 6", verdict="not tested here", words="There is none."),
    ]
)
JUDGED = {
    "study": "soap", "title": "Does SOAP need fewer steps?", "paragraph": "A few.", "figures": [figure(SOAP)], "tables": [],
    "analysis": {"first_committed": None, "committed": None, "confirmatory_started": "2026-11-25T11:00:00Z"},
}  # fmt: skip


def opened(table: pa.Table, summary: dict, started: str, commit: str = "abc"):
    """A dataset with its manifest."""
    dataset = Memory({"only": table})
    dataset.summary = summary
    dataset.manifest = SimpleNamespace(provenance={"commit": commit, "hardware": "a CPU", "started": started})
    return dataset


def runs(*seconds: float, diverged: int = 0):
    facts = [{"run": f"r{i}", "seconds": value} for i, value in enumerate(seconds)]
    return opened(pa.table({"x": [1]}), {"runs": facts, "diverged": diverged}, "2026-11-24T11:00:00Z")


def render(scratch: Path, *datasets, **fields):
    return render_study(RenderStudy(**fields), Inputs(datasets, ("table",) * len(datasets)), Resources(scratch=str(scratch)))


def test_page_and_data(tmp_path):
    verdicts = opened(CLAIMS, JUDGED, "2026-11-25T12:00:00Z", "def+")
    made = render(tmp_path, verdicts, runs(10.0, None, diverged=1), runs(10.0, None, 5.5), scale="smoke", nodes=("sweep",))
    assert made.files == ("index.html", "study.json")
    assert made.summary == {"study": "soap", "title": JUDGED["title"], "paragraph": "A few.", "scale": "smoke"}
    study = json.loads((tmp_path / "study.json").read_text())
    assert study["claims"] == CLAIMS.to_pylist()
    assert study["provenance"] == {
        "commit": ["abc", "def+"], "hardware": ["a CPU"], "date": ["2026-11-24", "2026-11-25"],
        "runs": 3, "diverged": 1, "train_seconds": 15.5,
    }, "a run that two tables hold is one run"  # fmt: skip
    html = (tmp_path / "index.html").read_text()
    assert "SOAP needs fewer steps" in html and "<svg" in html and "study_soap_smoke.sweep" in html


def test_a_study_without_runs_of_its_own(tmp_path):
    render(tmp_path, opened(CLAIMS, JUDGED, "2026-11-25T12:00:00Z"))
    assert json.loads((tmp_path / "study.json").read_text())["provenance"]["runs"] == 0
    assert "of which" not in (tmp_path / "index.html").read_text()


def test_a_judge_that_leaves_something_out_is_told(tmp_path):
    lacking = {name: value for name, value in JUDGED.items() if name not in ("figures", "title")}
    with pytest.raises(ValueError, match=r"the summary of made/0123456789ab lacks title, figures \(has: study, paragraph, tables, analysis\)"):
        render(tmp_path, opened(CLAIMS, lacking, "2026-11-25T12:00:00Z"))
    with pytest.raises(ValueError, match="marks is 'bars'"):
        render(tmp_path, opened(CLAIMS, JUDGED | {"figures": [figure(SOAP | {"marks": "bars"})]}, "2026-11-25T12:00:00Z"))
