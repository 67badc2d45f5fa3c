"""Dataset cards: the README.md that makes a dataset directory loadable by `datasets.load_dataset` and readable by people."""

import json

from stages.core.fingerprint import SHORT
from stages.core.manifest import Manifest


def dataset_card(manifest: Manifest) -> str:
    """Write the card of a Parquet dataset: front matter with the data files, then what it is, what was dropped and where it came from."""
    name = f"{manifest.stage}/{manifest.fingerprint[:SHORT]}"
    configs = [("default", "documents/*.parquet")]
    if manifest.rows_dropped:  # `datasets` loads empty shards, but no split in which all are
        configs.append(("dropped", "dropped/*.parquet"))
    lines = ["---", f"pretty_name: {json.dumps(name)}", "configs:"]
    for config, pattern in configs:
        lines += [f"- config_name: {config}", "  data_files:", "  - split: train", f"    path: {pattern}"]
    lines += ["---", "", f"# {name}", ""]
    lines += [
        f"{manifest.rows_out:,} rows in {len(manifest.shards)} shards, made by stage `{manifest.stage}` version {manifest.version}"
        f" from {manifest.rows_in:,} rows; {manifest.rows_dropped:,} dropped.",
        "",
        "```python",
        "import datasets",
        'kept = datasets.load_dataset("path/to/this/directory", split="train")',
        "```",
        "",
    ]
    lines += [f"**Warning:** {warning}\n" for warning in manifest.warnings]
    if manifest.drops:
        lines += ["| drop_reason | documents |", "|---|---:|"]
        lines += [f"| {reason} | {count:,} |" for reason, count in sorted(manifest.drops.items(), key=lambda item: (-item[1], item[0]))]
        lines.append("")
    lines += ["## Config", "", "```json", json.dumps(manifest.config, indent=1, ensure_ascii=False), "```", ""]
    if manifest.inputs:
        lines += ["## Inputs", ""]
        lines += [f"- {item['role']}: `{item['stage']}/{item['fingerprint'][:SHORT]}`" for item in manifest.inputs]
        lines.append("")
    lines += ["## Schema", ""]
    lines += [f"- `{field.name}`: {field.type}" for field in manifest.arrow_schema]
    where = manifest.provenance
    lines += ["", f"Content hash `{manifest.content_hash[:16]}`. Made by winnow at commit {where['commit']} on {where['hardware']}.", ""]
    return "\n".join(lines)
