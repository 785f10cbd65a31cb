"""Sources are read in parts, which threads may work on side by side."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

#: Returns some ratings: `user_id`, `item_id` (text, whole numbers or
#: dictionaries), `rating` and `timestamp` (float64, null where unknown). Each
#: is called once, in order, by any thread.
Part = Callable[[], pa.Table]


def join_batches(
    batches: Iterable[pa.RecordBatch], rows_per_part: int
) -> Iterator[pa.Table]:
    """Joins batches of equal columns into tables of about the size of a part.

    A batch of other columns than those before it starts a new one.
    """
    waiting: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        if waiting and (
            num_rows >= rows_per_part or batch.schema != waiting[0].schema
        ):
            yield pa.Table.from_batches(waiting)
            waiting, num_rows = [], 0
        waiting.append(batch)
        num_rows += len(batch)
    if waiting:
        yield pa.Table.from_batches(waiting)
