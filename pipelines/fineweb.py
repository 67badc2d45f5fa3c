"""FineWeb (Penedo et al. 2024), with the filters of datatrove's published pipeline in its order.

    winnow run fineweb --set extract.root=path/to/warcs

Numbers without another source beside them are defaults of the stages, which name the section of the paper.
"""

from stages.apply_verdicts import apply_verdicts
from stages.core.about import About, Substitute
from stages.core.chain import chain
from stages.core.plan import Plan
from stages.dedup_minhash import dedup_minhash
from stages.extract import extract
from stages.filter_c4 import filter_c4
from stages.filter_fineweb import filter_fineweb
from stages.filter_gopher import filter_gopher
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.run_datatrove_block import run_datatrove_block
from stages.sign_minhash import sign_minhash


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl (FineWeb deduplicates each crawl by itself)."""
    pages = extract.on(list_warcs.on(root=root, name="warcs"))
    good = chain(
        pages,
        filter_url.step(),
        filter_language.step(language="en", min_score=0.65),  # section 3.3
        filter_gopher.step(),
        filter_c4.step(terminal_punctuation=False),  # section 3.5: all of C4's rules but this one
        filter_fineweb.step(),
        name="good",
    )
    # section 3.4: 5-grams, 112 hash functions in 14 buckets of 8
    signed = sign_minhash.on(good, n_grams=5, num_buckets=14, hashes_per_bucket=8)
    distinct = apply_verdicts.on(good, dedup_minhash.on(good, signed), name="distinct")
    private = run_datatrove_block.on(distinct, block="datatrove.pipeline.formatters:PIIFormatter", arguments=ONE_ADDRESS, name="anonymous")
    return Plan("fineweb", [private], about=ABOUT)


ONE_ADDRESS = '{"email_replacement": "email@example.com", "ip_replacement": "192.0.2.1"}'
"""datatrove takes several in turn, and which one comes next depends on what the process saw before."""

ABOUT = About(
    exact=("good.filter_gopher", "good.filter_c4", "good.filter_fineweb"),
    substitutes=(
        Substitute("extract", "resiliparse in place of trafilatura"),
        Substitute("good.filter_url", "a small list of words and domains in place of datatrove's block lists; give your own as `lists`", unless="lists"),
        Substitute("good.filter_language", "lid.176.ftz, quantised, in place of lid.176.bin; give its path as `model`", unless="model"),
        Substitute("good.filter_gopher", "UAX#29 words in place of spaCy's; quality comes before repetition, so that a drop may bear another reason"),
        Substitute("anonymous", "one address in place of every other, where datatrove takes several in turn"),
        Substitute("distinct", "the earliest document of a cluster stays, where datatrove keeps one without an order of time"),
    ),
    source="none that could be checked",
)
