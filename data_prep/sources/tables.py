"""Tables in memory as a source of ratings: pandas, polars, Arrow, DuckDB."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.interchange
import pyarrow.types as pt

from data_prep.dataset.errors import UserError
from data_prep.readers.columnar import check_type, read_batches
from data_prep.readers.reading import Part, Reading
from data_prep.rules.columns import Columns, find_columns
from data_prep.rules.ids import to_ids
from data_prep.sources.source import Source

_NAME = "table"
_ROWS_PER_DIGEST_UPDATE = 1 << 20


def make_table_source(
    table: Any,
    columns: Columns | None = None,
    titles: Mapping[Any, str] | None = None,
) -> "Table":
    """Creates a source from a table in memory.

    Args:
        table: a pandas (2.2 or later) or polars DataFrame, an Arrow table, a
            DuckDB relation, or any object with the method
            `__arrow_c_stream__` or `__dataframe__`.
        columns: the names of the columns, where they are not the usual ones.
        titles: item id -> title.

    Raises:
        UserError: if `table` is of another type, cannot be converted to
            Arrow, or does not have the columns, of types that they can have.

    Example:
        >>> ratings = pa.table({"user": [1], "item": ["a"], "rating": [4.5]})
        >>> make_table_source(ratings).estimate_rows()
        1
    """
    converted = _to_arrow(table)
    positions = find_columns(
        converted.column_names,
        columns or Columns(),
        _NAME,
        fix="{}_column=...",
    )
    headers = {
        role: converted.column_names[position] for role, position in positions
    }
    by_role = {role: converted.column(position) for role, position in positions}
    for role, column in by_role.items():
        check_type(role, headers[role], column.type, f"the {_NAME}")
    return Table(pa.table(by_role), headers, _to_titles(titles or {}))


@dataclasses.dataclass(frozen=True, eq=False)
class Table(Source):
    """An Arrow table of ratings.

    Rows are validated as those of files are. An invalid row is named by its
    number, from 1.

    Args:
        table: one column per role: `user`, `item`, `rating` and, if known,
            `timestamp`.
        headers: role -> the user's name of its column.
        titles: item id -> title.
    """

    table: pa.Table
    headers: Mapping[str, str]
    titles: Mapping[str, str]

    def describe(self) -> dict[str, Any]:
        description: dict[str, Any] = {
            "name": _NAME,
            "columns": dict(self.headers),
            "num_rows": len(self.table),
            "sha256": _digest_table(self.table),
        }
        if self.titles:
            content = json.dumps(self.titles, sort_keys=True).encode()
            description["titles"] = hashlib.sha256(content).hexdigest()
        return description

    def estimate_rows(self) -> int:
        return len(self.table)

    def read(self, reading: Reading) -> Iterator[Part]:
        batches = self.table.to_batches(max_chunksize=reading.rows_per_part)
        return read_batches([(0, _NAME, batches)], self.headers, reading)

    def explain(self, reading: Reading) -> Iterator[str]:
        columns = ", ".join(
            f"{role} in column {header}"
            for role, header in self.headers.items()
        )
        yield f"{_NAME} of {len(self.table):,} rows: {columns}"

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        return dict(self.titles)


def _to_titles(titles: Mapping[Any, str]) -> dict[str, str]:
    try:
        ids = to_ids(pa.array(list(titles)))
    except pa.ArrowException as error:
        raise UserError(
            "the item ids of the titles must be all texts or all numbers:"
            f" {error}"
        ) from error
    return {
        item_id: title
        for item_id, title in zip(ids.to_pylist(), titles.values(), strict=True)
        if item_id is not None
    }


def _to_arrow(table: Any) -> pa.Table:
    try:
        if isinstance(table, pa.Table):
            return table
        if isinstance(table, duckdb.DuckDBPyRelation):
            return table.to_arrow_table()
        if hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
        if hasattr(table, "__dataframe__"):
            return pyarrow.interchange.from_dataframe(table)
    except (pa.ArrowException, duckdb.Error) as error:
        raise UserError(
            f"the {_NAME} cannot be converted to Arrow:"
            f" {str(error).splitlines()[0]}"
        ) from error
    raise UserError(
        f"the {_NAME} must be a pandas or polars DataFrame, an Arrow table or"
        f" a DuckDB relation. Received: {type(table).__name__}"
    )


def _digest_table(table: pa.Table) -> str:
    """Returns the SHA-256 of the fields as text.

    It depends neither on chunks nor on dictionary encoding nor on the width
    of numbers.
    """
    digest = hashlib.sha256()
    for start in range(0, len(table), _ROWS_PER_DIGEST_UPDATE):
        rows = table.slice(start, _ROWS_PER_DIGEST_UPDATE)
        for name in table.column_names:
            text = _to_text(rows[name].combine_chunks())
            lengths = pc.fill_null(pc.binary_length(text), -1)
            digest.update(f"{name} {len(rows)}\n".encode())
            digest.update(lengths.to_numpy().astype("<i8"))
            # Nulls have no bytes any more, so the data are those of the text.
            _, offsets, data = pc.fill_null(text, b"").buffers()
            ends = np.frombuffer(offsets, np.int64)[: len(rows) + 1]
            digest.update(memoryview(data or b"")[ends[0] : ends[-1]])
    return digest.hexdigest()


def _to_text(column: pa.Array) -> pa.LargeBinaryArray:
    if pt.is_dictionary(column.type):
        return _to_text(column.dictionary).take(column.indices)
    if pt.is_binary_view(column.type) or pt.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    if not pt.is_binary(column.type):
        column = column.cast(pa.large_string())
    return column.cast(pa.large_binary())
