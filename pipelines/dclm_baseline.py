"""DCLM-Baseline: heuristic filters, Bloom-filter deduplication and the best tenth by a fastText classifier (Li et al. 2024).

    winnow run dclm_baseline --set extract.root=path/to/warcs
    winnow run dclm_baseline --set extract.crawl=CC-MAIN-2024-10 --limit-shards 4
    winnow run dclm_baseline:published_classifier --set extract.crawl=CC-MAIN-2024-10 --limit-shards 4

Steps, their order and every number are those of dclm_baseline_refinedweb.yaml and of the documentation of mlfoundations/dclm (commit
361714b); a step whose numbers do not stand here has them as its defaults. DCLM's quirks are kept (dclm_compat), so that what is dropped
here is what DCLM drops. After the run the recipe says what is exact and what is not.
"""

from pipelines.sample import POOL, POSITIVES
from stages.apply_verdicts import apply_verdicts
from stages.core.about import About, Published, Substitute
from stages.core.chain import chain
from stages.core.plan import Node, Plan
from stages.dedup_ngrams import dedup_ngrams
from stages.edit_lines import edit_lines
from stages.edit_text import edit_text
from stages.extract import extract
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.import_fasttext import import_fasttext
from stages.list_warcs import list_warcs
from stages.remove_spans import remove_spans
from stages.score_fasttext import score_fasttext
from stages.select import select
from stages.train_fasttext import train_fasttext

PUBLISHED_MODEL = "hf://mlfoundations/fasttext-oh-eli5/openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin"


def plan(root: str = "crawl") -> Plan:
    """Curate every web archive below `root`, or a crawl of Common Crawl; the classifier is trained on embedded pages, once for all crawls."""
    good = extract.on(list_warcs.on(root=str(POSITIVES), source="positives", name="positives"), name="extract_positives")
    ordinary = extract.on(list_warcs.on(root=str(POOL), source="negatives", name="negatives"), name="extract_negatives")
    # n-grams of 2 words, as DCLM's. Its other settings, fastText's defaults (epoch 5, lr 0.1, dim 100, 2,000,000 buckets), suit its 400,000
    # pages; on these thousand they learn nothing, and every page gets the same score.
    classifier = train_fasttext.on(
        good, heuristics(ordinary, name="refined_negatives"), word_n_grams=2, epoch=25, lr=0.5, dim=32, bucket=200_000, name="classifier"
    )
    return Plan("dclm_baseline", [_best(refinedweb(root), classifier)], about=about(SCORED, TRAINED_HERE))


def published_classifier(root: str = "crawl") -> Plan:
    """The same with the classifier that DCLM published, which is read from Hugging Face."""
    classifier = import_fasttext.on(model=PUBLISHED_MODEL, name="classifier")
    return Plan("dclm_baseline", [_best(refinedweb(root), classifier)], variant="published", about=about(SCORED))


def refinedweb(root: str, curated_sources: tuple[str, ...] = ()) -> Node:
    """Everything but the classifier: DCLM's reproduction of RefinedWeb, on which DCLM-Baseline stands."""
    refined = heuristics(extract.on(list_warcs.on(root=root, name="warcs"), utf8_only=True), curated_sources)
    # dedup/bff: --min-ngram-size 13 --max-ngram-size 13 --filtering-threshold 0.8 --fp-rate 0.01 --remove-type old-both
    seen = dedup_ngrams.on(refined, min_n_gram=13, max_n_gram=13, threshold=0.8, false_positive_rate=0.01)
    return remove_spans.on(refined, seen, name="distinct")


def heuristics(pages: Node, curated_sources: tuple[str, ...] = (), name: str = "refined") -> Node:
    """RefinedWeb's heuristic filters and edits, in their order."""
    return chain(
        pages,
        filter_url.step(min_soft_words=2, curated_sources=curated_sources, dclm_compat=True),  # num_banned_substrs: 2
        edit_text.step(max_newlines=2, dclm_compat=True),  # max_consecutive: 2
        filter_language.step(language="en", min_score=0.65, dclm_compat=True),  # keep_languages: [en], threshold: 0.65
        filter_heuristic.step(),
        edit_lines.step(max_removed_words=0.05, dclm_compat=True),  # max_removed_ratio: 0.05
        name=name,
    )


def _best(documents: Node, classifier: Node) -> Node:
    scores = score_fasttext.on(documents, classifier)
    # DCLM keeps 10 % by one threshold for its pool, 0.018112; on another pool the same share is another threshold.
    return apply_verdicts.on(documents, select.on(documents, scores, by="score_fasttext", keep_fraction=0.1), name="baseline")


EXACT = ("refined.filter_url", "refined.edit_text", "refined.filter_language", "refined.filter_heuristic", "refined.edit_lines")

SUBSTITUTES = (
    Substitute("extract", "only pages of status 2xx and of HTML or plain text are read, where DCLM asks for neither"),
    Substitute("refined.filter_url", "a small list of words and domains in place of RefinedWeb's; give theirs as `lists`", unless="lists"),
    Substitute("refined.filter_language", "lid.176.ftz, quantised, in place of lid.176.bin; give its path as `model`", unless="model"),
)

ONE_FILTER = Substitute(
    "distinct", "one filter for the whole pool, where DCLM has one for each of 10 parts; fixed seeds and order, where it has random ones"
)

TRAINED_HERE = Substitute(
    "classifier",
    "trained on a thousand embedded pages, explanations against the rest, with more passes; DCLM has OpenHermes 2.5 and ELI5 against "
    "RefinedWeb, 400,000 pages: its own model runs as dclm_baseline:published_classifier",
)

SCORED = Published(("baseline",), 0.10)


def about(*more: Published | Substitute, deduplicated: bool = True) -> About:
    """What is exact, what is not, and the funnel to compare with; `more` for what a recipe adds. `deduplicated`: by DCLM's Bloom filter."""
    refined = (Published(("refined.filter_language",), 0.413), Published(("refined.filter_heuristic", "refined.edit_lines"), 0.479))
    bloom = (Published(("distinct",), 0.753),) if deduplicated else ()
    return About(
        EXACT,
        (*SUBSTITUTES, *((ONE_FILTER,) if deduplicated else ()), *[item for item in more if isinstance(item, Substitute)]),
        (*refined, *bloom, *[item for item in more if isinstance(item, Published)]),
        "a run by others on the pool of 400M-1x, 439.0 M documents (mlfoundations/dclm, discussion 120)",
    )
