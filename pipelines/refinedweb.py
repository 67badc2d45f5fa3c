"""RefinedWeb as DCLM reproduces it (Penedo et al. 2023; Li et al. 2024): DCLM-Baseline without its classifier and without curated sources.

    winnow run refinedweb --set extract.root=path/to/warcs
    winnow run refinedweb:exact_substrings --set extract.root=path/to/warcs

Steps and numbers are those of refinedweb.yaml of mlfoundations/dclm (commit 361714b): RefinedWeb leaves out the sites that others
mix in as curated sources, which is its one difference from the heuristics of DCLM-Baseline. In place of RefinedWeb's own deduplication
stands DCLM's Bloom filter; `exact_substrings` has MinHash and exact substrings, as RefinedWeb.
"""

from pipelines.dclm_baseline import about, heuristics, refinedweb
from stages.apply_verdicts import apply_verdicts
from stages.core.about import Substitute
from stages.core.plan import Plan
from stages.dedup_minhash import dedup_minhash
from stages.dedup_substrings import dedup_substrings
from stages.extract import extract
from stages.filter_url import CURATED_SOURCES
from stages.list_warcs import list_warcs
from stages.remove_spans import remove_spans
from stages.sign_minhash import sign_minhash


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl."""
    return Plan("refinedweb", [refinedweb(root, curated_sources=CURATED_SOURCES)], about=about())


def exact_substrings(root: str = "crawl") -> Plan:
    """The same pages deduplicated as RefinedWeb does: MinHash, then every stretch of 50 tokens that stands more than once."""
    refined = heuristics(extract.on(list_warcs.on(root=root, name="warcs"), utf8_only=True), CURATED_SOURCES)
    # DCLM's ablation of deduplication: 15 buckets of 93 hashes, then a suffix array
    signed = sign_minhash.on(refined, n_grams=5, num_buckets=15, hashes_per_bucket=93)
    distinct = apply_verdicts.on(refined, dedup_minhash.on(refined, signed), name="distinct")
    clean = remove_spans.on(distinct, dedup_substrings.on(distinct, min_tokens=50), name="clean")
    return Plan("refinedweb", [clean], variant="exact_substrings", about=about(WINDOWS, deduplicated=False))


WINDOWS = Substitute(
    "clean", "the first copy of a repeated stretch stays; stretches are of UAX#29 tokens, found by hashes of 88 bits in place of a suffix array"
)
