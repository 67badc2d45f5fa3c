"""The embedded sample: where its packed WARC files and validation texts lie (`build.py` makes them, `NOTICE` names their licences)."""

from pathlib import Path

SAMPLE = Path(__file__).parent
"""The directory that holds `manifest.json`."""

POOL = SAMPLE / "pool"
"""WARC files to curate: several languages, duplicates, reference beside prose, and records broken on purpose."""

POSITIVES = SAMPLE / "positives"
"""WARC files of explanatory English prose: the positive class of a quality classifier."""

VALIDATION = SAMPLE / "validation"
"""`prose.jsonl` and `reference.jsonl`, rows `{"id", "text"}`: texts to measure a model on, from other packages."""
