"""A dataset in memory, for tests that call a stage without a store."""

from types import SimpleNamespace

from stages.core.dataset import Dataset


class Memory:
    """A dataset in memory, with what a stage asks of one."""

    def __init__(self, shards, name="made/0123456789ab"):
        self.name, self._tables = name, shards
        self.schema = next(iter(shards.values())).schema
        self.shards = [SimpleNamespace(name=n, rows_out=t.num_rows, text_bytes=text_bytes(t)) for n, t in shards.items()]

    def table(self, shard, columns=None):
        return self._tables[shard].select(columns) if columns else self._tables[shard]

    sequences = Dataset.sequences

    def batches(self, shard, columns=None, batch_rows=1024):
        yield from self.table(shard, columns).combine_chunks().to_batches(max_chunksize=batch_rows)


def text_bytes(table):
    return sum(len((text or "").encode()) for text in table["text"].to_pylist()) if "text" in table.column_names else 0
