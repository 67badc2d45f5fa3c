"""Four ways of curating the embedded sample: everything English, cleaned, the fastText top of the clean, and a random part of it.

The random part has the token budget of the fastText part: without it one could not tell a good choice from a small one.
Thresholds are RefinedWeb's, Gopher's and DCLM's unless a comment says otherwise.
"""

from pipelines.benchmark import Comparison, Strategy
from pipelines.sample import POOL, POSITIVES, VALIDATION
from stages.apply_verdicts import apply_verdicts
from stages.core.plan import Plan
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.extract import extract
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.score_fasttext import score_fasttext
from stages.select import select
from stages.select_matching import select_matching
from stages.sign_minhash import sign_minhash
from stages.train_fasttext import train_fasttext

KEEP_FRACTION = 0.25
"""DCLM keeps 10 % of billions of pages; of some hundred pages that would leave too little text to train on."""

BUCKETS = 50_000
"""fastText's n-gram buckets: 2,000,000 by default, an 800 MB model; a few thousand pages do not fill more than these."""


def comparison() -> Comparison:
    """The four strategies, the text of their tokenizer and the two validation texts."""
    pool = list_warcs.on(root=str(POOL), source="pool", name="pool")
    pages = extract.on(pool)
    english = filter_language.on(filter_url.on(pages))

    prose = filter_heuristic.on(english)
    distinct = apply_verdicts.on(prose, dedup_exact.on(prose), name="distinct")
    clean = apply_verdicts.on(distinct, dedup_minhash.on(distinct, sign_minhash.on(distinct)), name="clean")

    good = extract.on(list_warcs.on(root=str(POSITIVES), source="positives", name="positives"), name="extract_positives")
    # DCLM trains on 400,000 pages with fastText's defaults (epoch 5, lr 0.1, dim 100); on 1,500 pages those learn next to nothing.
    classifier = train_fasttext.on(good, english, bucket=BUCKETS, dim=32, epoch=25, lr=0.5)
    scores = score_fasttext.on(clean, classifier)
    best = apply_verdicts.on(clean, select.on(clean, scores, by="score_fasttext", keep_fraction=KEEP_FRACTION, name="choose_top"), name="fasttext_top")
    random = apply_verdicts.on(clean, select_matching.on(clean, best, name="choose_random"), name="random_part")

    texts = list_warcs.on(root=str(VALIDATION), source="validation", pattern="prose.jsonl", name="validation_prose")
    manual = list_warcs.on(root=str(VALIDATION), source="validation", pattern="reference.jsonl", name="validation_reference")
    return Comparison(
        strategies=(
            Strategy("raw", english, "Every English page, as extracted."),
            Strategy("clean", clean, "Gopher's heuristics, then exact and MinHash deduplication."),
            Strategy("fasttext", best, f"The {KEEP_FRACTION:.0%} of clean that a fastText classifier scores highest."),
            Strategy("random", random, "A random part of clean with the token budget of fasttext: the control."),
        ),
        tokenizer_text=english,
        validation=(("prose", read_texts.on(texts, name="prose")), ("reference", read_texts.on(manual, name="reference"))),
    )


def plan() -> Plan:
    """Curation alone: the four datasets and the validation texts."""
    made = comparison()
    return Plan("demo", [*[s.documents for s in made.strategies], *[documents for _, documents in made.validation]])
