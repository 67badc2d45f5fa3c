"""Gopher's MassiveWeb rules (Rae et al. 2021, appendix A.1.1), as datatrove carries them out.

    winnow run gopher --set extract.root=path/to/warcs

Every limit of filter_gopher is the paper's: the rules of quality stand in A.1.1, those of repetition in table A1.
"""

from stages.apply_verdicts import apply_verdicts
from stages.core.about import About, Substitute
from stages.core.chain import chain
from stages.core.plan import Plan
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.extract import extract
from stages.filter_gopher import filter_gopher
from stages.filter_language import filter_language
from stages.list_warcs import list_warcs
from stages.sign_minhash import sign_minhash


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl."""
    pages = extract.on(list_warcs.on(root=root, name="warcs"))
    good = chain(pages, filter_language.step(language="en", min_score=0.65), filter_gopher.step(), name="good")
    distinct = apply_verdicts.on(good, dedup_exact.on(good), name="distinct")
    # 5-grams in 14 buckets of 8 hashes: FineWeb (Penedo et al. 2024)
    signed = sign_minhash.on(distinct, n_grams=5, num_buckets=14, hashes_per_bucket=8)
    clean = apply_verdicts.on(distinct, dedup_minhash.on(distinct, signed), name="clean")
    return Plan("gopher", [clean], about=ABOUT)


ABOUT = About(
    exact=("good.filter_gopher",),
    substitutes=(
        Substitute("extract", "resiliparse in place of Google's own extraction"),
        Substitute("good.filter_language", "fastText's language model and RefinedWeb's limit; SafeSearch, with which Gopher begins, is not to be had"),
        Substitute("clean", "FineWeb's parameters of MinHash; documents that overlap with test sets stay"),
    ),
    source="none that could be checked",
)
