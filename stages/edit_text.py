"""Take URLs and IP addresses out of the text, and shorten long runs of line breaks (RefinedWeb, Penedo et al. 2023; as DCLM runs it).

Reads text, replaces text. A URL is a name with a known top-level domain, an address four numbers; up to ten blanks before either, a
scheme and everything that can follow in a URL go with it. Then three line breaks and more become two. A document of which nothing is
left is dropped (`no_text`). Counters: urls_removed, addresses_removed, newlines_removed, characters_removed. Cost: 300 MB/s a core or
more; a batch in which nothing is found keeps its buffers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from stages.core.config import config, location
from stages.core.fingerprint import digest
from stages.core.stage import Inputs, Resources, Verdict, stage


@config
class EditText:
    urls: bool = True
    """Take out URLs."""
    addresses: bool = True
    """Take out IPv4 addresses, with or without a scheme."""
    top_level_domains: str | None = location(None)
    """File with one top-level domain a line, lower case; None takes the list of IANA's root zone database shipped here."""
    max_newlines: int | None = 2
    """Line breaks left of a longer run of them; None leaves all."""
    dclm_compat: bool = False
    """True: URLs (not addresses) are looked for only in documents whose very first characters spell a top-level domain in any case, such
    as "Visit" (vi) but not "Hello"; and top-level domains of Arabic and Hebrew script must be followed by U+200E, as in DCLM's list.
    False: URLs go wherever they are."""

    def __post_init__(self) -> None:
        if self.max_newlines is not None and self.max_newlines < 1:
            raise ValueError(f"max_newlines is {self.max_newlines}; give 1 or more, or None to leave line breaks alone")


def resolve_domains(config: EditText) -> list[str]:
    """Return the top-level domains that `config` means, sorted; ValueError for a file without any."""
    if config.top_level_domains is None:
        from stages.kernels.tlds import RIGHT_TO_LEFT, TOP_LEVEL_DOMAINS

        return sorted((*TOP_LEVEL_DOMAINS, *(name + "\u200e" * config.dclm_compat for name in RIGHT_TO_LEFT)))
    import fsspec

    with fsspec.open(config.top_level_domains, "rt", encoding="utf-8") as lines:
        domains = sorted({line.strip() for line in lines} - {""})
    if not domains:
        raise ValueError(f"edit_text: {config.top_level_domains} holds no top-level domain; give a file with one a line or leave it out")
    return domains


def _identity(config: EditText) -> dict[str, Any]:
    return {"top_level_domains": digest(resolve_domains(config))} if config.top_level_domains else {}


@stage(version=1, kind="map", needs={"text"}, adds={"text": pa.string()}, drop_band=(0.0, 0.05), identity=_identity)
def edit_text(config: EditText, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Take URLs, IP addresses and surplus line breaks out of the text."""
    from stages.kernels.cut import count_characters, cut, text_column
    from stages.kernels.ignore_case import ignore_case
    from stages.kernels.text_view import text_view
    from stages.kernels.trie import build_trie
    from stages.kernels.urls_in_text import begins_with_any, find_addresses, find_surplus_newlines, find_urls

    names = resolve_domains(config) if config.urls else []
    table = ignore_case()
    domains = build_trie(names)
    openings = build_trie("".join(chr(table[ord(c)]) for c in name) for name in names)

    def judge(batch: pa.RecordBatch) -> Verdict:
        text = before = text_view(batch.column("text"))
        counters = dict.fromkeys(("urls_removed", "addresses_removed", "newlines_removed", "characters_removed"), 0)
        if config.urls:
            found = find_urls(text, domains, begins_with_any(text, openings, table) if config.dclm_compat else None)
            counters["urls_removed"] = len(found.starts)
            counters["characters_removed"] += count_characters(text, found)
            text = cut(text, found)
        if config.addresses:
            found = find_addresses(text)
            counters["addresses_removed"] = len(found.starts)
            counters["characters_removed"] += count_characters(text, found)
            text = cut(text, found)
        if config.max_newlines is not None:
            found = find_surplus_newlines(text, config.max_newlines)
            counters["newlines_removed"] = count_characters(text, found)
            counters["characters_removed"] += counters["newlines_removed"]
            text = cut(text, found)
        return Verdict(
            keep=pa.array(np.diff(text.offsets) > 0),
            reason=pa.DictionaryArray.from_arrays(np.zeros(len(text), np.int32), pa.array(["no_text"])),
            columns={} if text is before else {"text": text_column(text, batch.column("text").type)},
            counters=counters,
        )

    return judge
