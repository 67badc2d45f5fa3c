"""Parameters that the verbs of the command line share, and what they open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from stages.core.store import Store

StoreDir = Annotated[Path, Parameter(name="--store", env_var="WINNOW_STORE", help="Directory of datasets.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON for scripts.")]


def open_store(path: Path) -> "Store":
    """Open the store at `path`; heavy modules load only now."""
    from stages.core.store import Store

    return Store(path)
