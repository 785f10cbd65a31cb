"""Validates record batches with typed columns, of files or from memory."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from data_prep.dataset.errors import UserError
from data_prep.readers.reading import Part, Reading, join_batches
from data_prep.rules.rejects import RejectedRow
from data_prep.rules.row_rules import explain, validate

# A row is identified by the number of its table and, in these bits, its own.
_ROW_BITS = 40

_TEXTS = (
    *(pt.is_string, pt.is_large_string, pt.is_string_view),
    *(pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary),
    *(pt.is_binary_view, pt.is_null),
)
_NUMBERS = (pt.is_integer, pt.is_floating, pt.is_decimal)
# Role -> what its column may hold, as a word and as tests of the type.
_TYPES = {
    "user": ("texts or numbers", (*_TEXTS, *_NUMBERS)),
    "item": ("texts or numbers", (*_TEXTS, *_NUMBERS)),
    "rating": ("numbers", (*_TEXTS, *_NUMBERS, pt.is_boolean)),
    "timestamp": (
        "times, dates or numbers",
        (*_TEXTS, *_NUMBERS, pt.is_timestamp, pt.is_date),
    ),
    "title": ("texts", (*_TEXTS, *_NUMBERS)),
    "year": ("numbers", (*_TEXTS, *_NUMBERS)),
}


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


def check_type(
    role: str, header: str, kind: pa.DataType, name: str
) -> pa.DataType:
    """Checks that a column may hold what its role says.

    Args:
        role: the role of the column.
        header: the user's name of it.
        kind: its type.
        name: the name of the table in messages.

    Returns:
        The type, or that of the values of a dictionary.

    Raises:
        UserError: for a type that the role cannot have, such as a list.
    """
    if pt.is_dictionary(kind):
        kind = kind.value_type
    expected, tests = _TYPES[role]
    if not any(test(kind) for test in tests):
        raise UserError(
            f"{name}: the {role} column {header} must hold {expected}, one"
            f" per row. Its type is {kind}."
        )
    return kind


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
            for original in batches:
                batch = self._convert(original, name)
                rows = pa.array(np.arange(row, row + len(batch)))
                row += len(batch)
                yield batch.append_column("row", rows)

    def _convert(self, batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
        """Returns the batch with types that DuckDB knows.

        Raises:
            UserError: as `check_type` does.
        """
        columns = {}
        for role, header in self._headers.items():
            column = batch[role]
            kind = check_type(role, header, column.type, name)
            if pt.is_float16(kind):
                column = column.cast(pa.float32())
            elif pt.is_decimal256(kind):
                column = column.cast(pa.string())
            columns[role] = column
        return pa.record_batch(columns)

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
