"""What filters by rules have in common: the first rule that each document of a batch breaks, with the value and the limit."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from stages.core.schema import detail_array
from stages.core.stage import Verdict


class Rules:
    """Rules put to a batch of `docs` documents one after another; a document that breaks one is not asked about the next."""

    def __init__(self, docs: int) -> None:
        self.names: list[str] = []
        self.broken = np.full(docs, -1, np.int32)
        self.values, self.limits = np.zeros(docs), np.zeros(docs)

    @property
    def passed(self) -> np.ndarray:
        """bool[docs]: the documents that have broken no rule so far."""
        return self.broken < 0

    def at_least(self, name: str, values: np.ndarray, low: float | None) -> None:
        """Drop the documents whose value is below `low`; None is no rule."""
        if low is not None:
            self.drop(name, values < low, values, low)

    def at_most(self, name: str, values: np.ndarray, high: float | None) -> None:
        """Drop the documents whose value is above `high`; None is no rule."""
        if high is not None:
            self.drop(name, values > high, values, high)

    def drop(self, name: str, breaks: np.ndarray, values: np.ndarray, limit: float) -> None:
        """Drop the documents where `breaks` (bool[docs]) holds, unless an earlier rule has."""
        self.names.append(name)
        rows = np.flatnonzero(self.passed & breaks)
        self.broken[rows], self.values[rows], self.limits[rows] = len(self.names) - 1, values[rows], limit

    def verdict(self, columns: Mapping[str, pa.Array] | None = None, counters: Mapping[str, int] | None = None) -> Verdict:
        """Turn what was recorded into a verdict; reason, value and limit are null for documents that stay."""
        kept = self.passed
        names = pa.array(self.names, pa.string())
        reason = pa.DictionaryArray.from_arrays(pa.array(self.broken, pa.int32(), mask=kept), names)
        detail = detail_array(
            len(kept), value=pa.array(self.values, pa.float64(), mask=kept), limit=pa.array(self.limits, pa.float64(), mask=kept)
        )
        return Verdict(keep=pa.array(kept), reason=reason, detail=detail, columns=columns or {}, counters=counters or {})


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide two counts of every document, float64[docs]; nothing out of nothing is 0."""
    return part / np.maximum(whole, 1)
