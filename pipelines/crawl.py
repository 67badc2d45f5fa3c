"""Your own crawl, curated: `winnow run crawl --set warcs.root=path/to/warcs`.

Extraction, language, Gopher's heuristics, exact and near duplicates: what the demo calls clean, on any directory of web archives.
"""

from stages.apply_verdicts import apply_verdicts
from stages.core.plan import Plan
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.extract import extract
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.sign_minhash import sign_minhash


def plan(root: str = "crawl", source: str = "crawl") -> Plan:
    """Curate every web archive below `root`; `source` begins the names of its shards."""
    warcs = list_warcs.on(root=root, source=source, name="warcs")
    pages = extract.on(warcs)
    english = filter_language.on(filter_url.on(pages))
    prose = filter_heuristic.on(english)
    distinct = apply_verdicts.on(prose, dedup_exact.on(prose), name="distinct")
    clean = apply_verdicts.on(distinct, dedup_minhash.on(distinct, sign_minhash.on(distinct)), name="clean")
    return Plan("crawl", [clean])
