"""C4 (Raffel et al. 2020, section 2.2), with the line rules as datatrove carries them out.

    winnow run c4 --set extract.root=path/to/wet --set clean.filter_bad_words.words=path/to/list

C4 was made from the April 2019 crawl's WET files: `--set extract.crawl=CC-MAIN-2019-18 --set warcs.kind=wet` reads those.
"""

from stages.apply_verdicts import apply_verdicts
from stages.core.about import About, Substitute
from stages.core.chain import chain
from stages.core.plan import Plan
from stages.dedup_exact import dedup_exact
from stages.extract import extract
from stages.filter_bad_words import filter_bad_words
from stages.filter_c4 import filter_c4
from stages.filter_language import filter_language
from stages.list_warcs import list_warcs


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl."""
    pages = extract.on(list_warcs.on(root=root, name="warcs"))
    clean = chain(
        pages,
        filter_c4.step(),
        filter_bad_words.step(),
        filter_language.step(language="en", min_score=0.65),  # RefinedWeb's limit; see ABOUT
        name="clean",
    )
    distinct = apply_verdicts.on(clean, dedup_exact.on(clean, key="normalised_text"), name="distinct")
    return Plan("c4", [distinct], about=ABOUT)


ABOUT = About(
    exact=("clean.filter_c4",),
    substitutes=(
        Substitute("clean.filter_bad_words", "a small list of words in place of LDNOOBW's; give theirs as `words`", unless="words"),
        Substitute("clean.filter_language", "fastText's language model in place of langdetect, and 0.65 in place of 0.99, which it hardly ever says"),
        Substitute("distinct", "whole documents, in lower case and without regard to white space, where C4 drops repeated spans of three sentences"),
    ),
    source="none that could be checked",
)
