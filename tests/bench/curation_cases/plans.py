"""The plans that cases run through the real engine, loaded by file: JSON-lines of texts in `root`, then the stages in question."""

from stages.apply_verdicts import apply_verdicts
from stages.core.plan import Node, Plan
from stages.dedup_minhash import dedup_minhash
from stages.filter_heuristic import filter_heuristic
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.sign_minhash import sign_minhash


def heuristic(root: str) -> Plan:
    """Read texts, then filter_heuristic."""
    return Plan("bench_heuristic", [filter_heuristic.on(_texts(root))])


def minhash(root: str, **fields: int) -> Plan:
    """Read texts, then keep one document of every cluster of near-duplicates; `fields` are those of sign_minhash."""
    texts = _texts(root)
    return Plan("bench_minhash", [apply_verdicts.on(texts, dedup_minhash.on(texts, sign_minhash.on(texts, **fields)), name="kept")])


def _texts(root: str) -> Node:
    return read_texts.on(list_warcs.on(root=root, source="bench", pattern=r"\.jsonl$"))
