"""RefinedWeb as DCLM reproduces it (Penedo et al. 2023; Li et al. 2024): DCLM-Baseline without its classifier and without curated sources.

    winnow run refinedweb --set extract.root=path/to/warcs

Steps and numbers are those of refinedweb.yaml of mlfoundations/dclm (commit 361714b): RefinedWeb leaves out the sites that others
mix in as curated sources, which is its one difference from the heuristics of DCLM-Baseline. In place of RefinedWeb's own deduplication
(MinHash, then exact substrings) stands DCLM's Bloom filter.
"""

from pipelines.dclm_baseline import about, refinedweb
from stages.core.plan import Plan
from stages.filter_url import CURATED_SOURCES


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl."""
    return Plan("refinedweb", [refinedweb(root, curated_sources=CURATED_SOURCES)], about=about())
