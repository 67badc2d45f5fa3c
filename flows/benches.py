"""`winnow bench NAME`: runs a measurement of tests/bench and says on what machine."""

import importlib.util
import json
import time
from pathlib import Path

from flows.errors import UserError
from stages.core.manifest import hardware, provenance

COLUMNS = ("case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "equal")
"""What the table shows; a row may hold more, which goes into the JSON."""
BENCHES = Path(__file__).resolve().parents[1] / "tests" / "bench"


def run(name: str, quick: bool, to: Path | None) -> dict:
    """Run tests/bench/<name>.py's `run(quick)`; print its rows as a table and, if asked, write everything as JSON to `to`."""
    from flows.terminal import console, print_table

    path = BENCHES / f"{name}.py"
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in BENCHES.glob("*.py") if not p.stem.startswith(("test_", "peers_"))))
        raise UserError(f"there is no measurement '{name}' (there are: {have})")
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = {
        "name": name,
        "commit": provenance()["commit"],
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        **module.run(quick=quick),
    }
    if to:
        to.write_text(json.dumps(result, indent=1) + "\n")
    print_table(result["rows"], f"bench {name}", columns=COLUMNS)
    console.print(f"{result['hardware']}; commit {result['commit']}; {result['date']}", highlight=False)
    return result
