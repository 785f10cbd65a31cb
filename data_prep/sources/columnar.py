"""Validates record batches with typed columns, of files or from memory."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.sources.rejects import RejectedRow
from data_prep.sources.row_rules import explain, validate
from data_prep.sources.source import Part, Reading, join_batches

# A row is identified by the number of its table and, in these bits, its own.
_ROW_BITS = 40


def read_batches(
    tables: Iterable[tuple[int, str, Iterable[pa.RecordBatch]]],
    headers: Mapping[str, str],
    reading: Reading,
) -> Iterator[Part]:
    """Yields the valid ratings of record batches, in order.

    Args:
        tables: for each table its number among the files of the source, its
            name in messages, and its batches, whose columns are named by
            role.
        headers: role -> the user's name of its column.
        reading: the context of reading.
    """
    validator = _Validator(headers, reading)
    batches = validator.number_rows(tables)
    for table in join_batches(batches, reading.rows_per_part):
        yield functools.partial(validator.keep_valid, table)


class _Validator:
    """Validates the rows of several tables with the same columns."""

    def __init__(self, headers: Mapping[str, str], reading: Reading) -> None:
        self._headers = dict(headers)
        self._reading = reading
        self._tables: list[tuple[int, str]] = []

    def number_rows(
        self, tables: Iterable[tuple[int, str, Iterable[pa.RecordBatch]]]
    ) -> Iterator[pa.RecordBatch]:
        """Yields the batches with a column `row` that identifies each row."""
        for index, (number, name, batches) in enumerate(tables):
            self._tables.append((number, name))
            # Rows are counted from 1.
            row = (index << _ROW_BITS) + 1
            for batch in batches:
                rows = pa.array(np.arange(row, row + len(batch)))
                row += len(batch)
                yield batch.append_column("row", rows)

    def keep_valid(self, table: pa.Table) -> pa.Table:
        """Returns the valid rows, and rejects the others."""
        columns = {role: role for role in self._headers}
        rows = validate(table, columns, self._reading.scale, "row")
        return self._reading.rejects.sift(rows, self._describe)

    def _describe(self, row: dict[str, Any]) -> RejectedRow:
        index, line = divmod(row["origin"], 1 << _ROW_BITS)
        number, name = self._tables[index]
        return RejectedRow(
            number,
            line,
            row["reason"],
            name,
            ",".join(text or "" for text in row["fields"]),
            explain(row, self._headers, self._reading.scale),
            line,
            line_prefix=", row ",
        )
