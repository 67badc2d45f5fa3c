"""Keep and drop documents by the verdicts of a reduce, such as `dedup_exact` or `dedup_minhash`.

Reads the sidecar's keep, drop_reason, kept_id, value, limit, adds nothing; what was found goes into the detail of each drop.
"""

from collections.abc import Callable

import pyarrow as pa

from stages.core.config import config
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class ApplyVerdicts:
    """Nothing to choose: the verdicts say it all."""


@stage(
    version=1,
    kind="map",
    takes=("documents", "sidecar"),
    needs={"id", "keep", "drop_reason", "kept_id", "value", "limit"},
)
def apply_verdicts(config: ApplyVerdicts, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop the documents whose verdict says so; ValueError for a verdict that is null."""

    def judge(batch: pa.RecordBatch) -> Verdict:
        keep = batch.column("keep")
        if keep.null_count:
            bad = batch.column("id").filter(keep.is_null())[0].as_py()
            raise ValueError(f"apply_verdicts: the verdict on document {bad} is null; run the stage that judges again")
        detail = detail_array(len(keep), **{name: batch.column(name) for name in ("kept_id", "value", "limit")})
        return Verdict(keep=keep, reason=batch.column("drop_reason"), detail=detail)

    return judge
