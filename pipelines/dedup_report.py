"""What would each deduplication drop from a crawl, alone and that no other finds? `winnow run dedup_report --set warcs.root=path/to/warcs`.

Nothing is dropped: five methods judge the same documents, and `compare` reports on their verdicts (of n_grams on whole documents only):

    winnow sql "select * from dedup_report.compare"
"""

from stages.compare_dedup import compare_dedup
from stages.core.chain import chain
from stages.core.plan import Plan
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.dedup_ngrams import dedup_ngrams
from stages.extract import extract
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.sign_minhash import sign_minhash


def plan(root: str = "crawl", source: str = "crawl") -> Plan:
    """Compare the verdicts of exact, near and n-gram deduplication on what the filters leave of the web archives below `root`."""
    warcs = list_warcs.on(root=root, source=source, name="warcs")
    prose = chain(extract.on(warcs), filter_url.step(), filter_language.step(), filter_heuristic.step(), name="prose")
    verdicts = {
        "url": dedup_exact.on(prose, key="url", name="same_url"),
        "text": dedup_exact.on(prose, key="text", name="same_text"),
        "normalised_text": dedup_exact.on(prose, key="normalised_text", name="same_normalised_text"),
        "minhash": dedup_minhash.on(prose, sign_minhash.on(prose), name="near"),
        "n_grams": dedup_ngrams.on(prose, name="seen_n_grams"),
    }
    return Plan("dedup_report", [compare_dedup.on(*verdicts.values(), methods=tuple(verdicts), name="compare")])
