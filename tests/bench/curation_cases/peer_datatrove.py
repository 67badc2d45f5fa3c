"""datatrove as a peer: its Gopher filters, as shipped (spaCy's words) or with words of ours, and its four stages of MinHash."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from loguru import logger


def gopher(texts: list[str]) -> list[str]:
    """Judge texts with its quality filter and, where that passes, its repetition filter; "" or the reason of the drop."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    filters = GopherQualityFilter(), GopherRepetitionFilter()
    reasons = []
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        verdicts = (each.filter(document) for each in filters)
        reasons.append(next((verdict[1] for verdict in verdicts if verdict is not True), ""))
    return reasons


@contextlib.contextmanager
def words_given(words: dict[str, list[str]]) -> Iterator[None]:
    """Let its filters find the words of each text in `words`, ready-made: their arithmetic alone is timed."""
    from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter

    modules = gopher_quality_filter, gopher_repetition_filter
    own: list[Callable] = [module.split_into_words for module in modules]
    for module in modules:
        module.split_into_words = lambda text, language: words[text]
    try:
        yield
    finally:
        for module, function in zip(modules, own, strict=True):
            module.split_into_words = function


def minhash_kept(texts: list[str], n_grams: int, num_buckets: int, hashes_per_bucket: int) -> list[int]:
    """Run signatures, buckets, clusters and filter over the texts, one task each (a bucket for the second); return the places that stay."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    config = MinhashConfig(n_grams=n_grams, num_buckets=num_buckets, hashes_per_bucket=hashes_per_bucket)

    def documents() -> Iterator[Document]:
        return (Document(text=text, id=str(number)) for number, text in enumerate(texts))

    logger.disable("datatrove")
    try:
        with tempfile.TemporaryDirectory(prefix="winnow-bench-") as name, contextlib.redirect_stderr(io.StringIO()):
            signatures, pairs, clusters = (str(Path(name, part)) for part in ("signatures", "pairs", "clusters"))
            MinhashDedupSignature(signatures, config).run(documents())
            for bucket in range(num_buckets):
                MinhashDedupBuckets(signatures, pairs, config=config).run(None, bucket, num_buckets)
            MinhashDedupCluster(pairs, clusters, config).run(None, 0, 1)
            return [int(document.id) for document in MinhashDedupFilter(clusters).run(documents())]
    finally:
        logger.enable("datatrove")
