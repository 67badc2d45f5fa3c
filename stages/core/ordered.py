"""Work ahead in threads and take what is done in order: for a reduce whose heavy part does not depend on what came before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from stages.core.dataset import Dataset


def shard_batches(documents: Dataset, columns: list[str], batch_rows: int) -> Iterator[tuple[str, pa.RecordBatch | None]]:
    """Yield (shard, batch) in order, and (shard, None) at the end of each shard."""
    for shard in documents.shards:
        for batch in documents.batches(shard.name, columns=columns, batch_rows=batch_rows):
            yield shard.name, batch
        yield shard.name, None


def in_order(work: Callable[[Any], Any], items: Iterable[tuple[str, Any]], threads: int) -> Iterator[tuple[str, Any]]:
    """Yield (shard, work(item)) in order, None for None; several threads work ahead, on two items each, while the caller uses what is done."""
    if threads <= 1:
        yield from ((shard, None if item is None else work(item)) for shard, item in items)
        return
    ahead: deque = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="winnow-ahead") as pool:
        for shard, item in items:
            ahead.append((shard, None if item is None else pool.submit(work, item)))
            while len(ahead) > 2 * threads:
                shard, future = ahead.popleft()
                yield shard, future and future.result()
        for shard, future in ahead:
            yield shard, future and future.result()
