"""The context in which a source is read, and the parts that come of it."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator

import duckdb
import pyarrow as pa

from data_prep.rules.rejects import Rejects
from data_prep.rules.row_rules import Scale

#: Loads one part of a source: a table with `user_id` and `item_id` (strings,
#: integers or dictionaries), `rating` and `timestamp` (float64, null where
#: unknown), and `is_test` (bool) if the part comes from a test file. Each
#: part is called once, by any thread.
Part = Callable[[], pa.Table]


@dataclasses.dataclass(frozen=True)
class Reading:
    """The context in which a source is read.

    Args:
        temp_dir: a local directory for temporary files.
        rejects: collects invalid rows.
        scale: the valid ratings, `None` for all finite numbers.
        memory_limit: bytes that DuckDB may take.
        rows_per_part: approximate number of rows per part of a table.
    """

    temp_dir: str
    rejects: Rejects
    scale: Scale | None = None
    memory_limit: int = 1 << 29
    rows_per_part: int = 1 << 20

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Opens a DuckDB database within the memory limit."""
        connection = duckdb.connect(
            config={
                "memory_limit": f"{self.memory_limit >> 20}MiB",
                "temp_directory": os.path.join(self.temp_dir, "duckdb"),
            }
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection


def join_batches(
    batches: Iterable[pa.RecordBatch], rows_per_part: int
) -> Iterator[pa.Table]:
    """Joins record batches into tables of about `rows_per_part` rows.

    A batch whose schema differs from the previous one starts a new table.
    """
    pending: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        if pending and (
            num_rows >= rows_per_part or batch.schema != pending[0].schema
        ):
            yield pa.Table.from_batches(pending)
            pending, num_rows = [], 0
        pending.append(batch)
        num_rows += len(batch)
    if pending:
        yield pa.Table.from_batches(pending)
