"""A crawl that grows every night: each directory is judged against all that came before, and nothing before it is computed again.

    # nights.py; tomorrow's directory goes to the end, then `winnow run nights.py`
    from pipelines import nightly
    def plan():
        return nightly.plan(roots=("crawls/2024-05-01", "crawls/2024-05-02", "crawls/2024-05-03"))

A night's nodes depend on the nights before it and on none after: every node of the earlier nights is reused. Of these the signatures,
the hashes and the verdicts are read again, never the texts. What was kept stays kept; the summary of near_N says how many old documents
a deduplication of all nights at once would now drop (full_run_would_drop), which is when one may want to start over.
"""

from stages.apply_verdicts import apply_verdicts
from stages.core.chain import chain
from stages.core.plan import Node, Plan, PlanError
from stages.dedup_exact import dedup_exact
from stages.dedup_minhash import dedup_minhash
from stages.extract import extract
from stages.filter_heuristic import filter_heuristic
from stages.filter_language import filter_language
from stages.filter_url import filter_url
from stages.list_warcs import list_warcs
from stages.sign_minhash import sign_minhash


def plan(roots: tuple[str, ...] = ("crawl-1", "crawl-2")) -> Plan:
    """Curate one directory after the other, in order; the name of each begins the names of its shards, so no two may bear the same."""
    sources = [root.rstrip("/").rpartition("/")[2] for root in roots]
    if len(set(sources)) < len(sources) or not sources:
        raise PlanError(f"nightly: roots end in {', '.join(sources) or 'nothing'}; give one directory or more, each with a name of its own")
    exact: list[Node] = []  # the verdicts of each night
    near: list[Node] = []  # the bands of each night and the verdicts on them
    clean: list[Node] = []
    for night, (root, source) in enumerate(zip(roots, sources, strict=True), start=1):
        warcs = list_warcs.on(root=root, source=source, name=f"warcs_{night}")
        pages = extract.on(warcs, name=f"pages_{night}")
        prose = chain(pages, filter_url.step(), filter_language.step(), filter_heuristic.step(), name=f"prose_{night}")
        exact.append(dedup_exact.on(prose, *exact, name=f"exact_{night}"))
        distinct = apply_verdicts.on(prose, exact[-1], name=f"distinct_{night}")
        bands = sign_minhash.on(distinct, name=f"bands_{night}")
        near += [bands, dedup_minhash.on(distinct, bands, *near, name=f"near_{night}")]
        clean.append(apply_verdicts.on(distinct, near[-1], name=f"clean_{night}"))
    return Plan("nightly", clean)
