"""Rating files as people keep them: CSV, TSV, `::` and Parquet.

DuckDB reads them. Of text files all values are read as text, so the id `007`
stays what it is.
"""

import collections
import csv
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from data_prep.errors import UserError
from data_prep.files import InputFile
from data_prep.formats import Layout
from data_prep.parts import Part
from data_prep.rejects import Rejected, Rejects
from data_prep.validation import (
    MALFORMED,
    Scale,
    explain,
    find_bad_field,
    select_rows,
)

# How the errors of DuckDB's reader of text files are said here.
_QUOTING = ("UNQUOTED VALUE", "LINE SIZE OVER MAXIMUM")


def read_tables(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    layout: Layout,
    rejects: Rejects,
    scale: Scale | None,
    rows_per_part: int,
) -> Iterator[Part]:
    """Yields the ratings of files of one layout, in order.

    Args:
        connection: what reads them.
        files: the files.
        layout: where they keep what.
        rejects: takes the rows that cannot be used.
        scale: the ratings that may be, if that is known.
        rows_per_part: rows of a part, about.

    Raises:
        UserError: when a file cannot be read to its end.
    """
    reader = _Reader(files, layout, rejects, scale)
    try:
        stream = connection.sql(reader.to_query()).to_arrow_reader(
            rows_per_part // 4
        )
        for table in _regroup(stream, rows_per_part):
            # What is rejected is known once this part is worked on.
            yield functools.partial(reader.keep_good, table)
        reader.reject_malformed(connection)
    except duckdb.Error as error:
        raise reader.explain_error(error) from error


def _regroup(
    stream: Iterable[pa.RecordBatch], rows_per_part: int
) -> Iterator[pa.Table]:
    """Joins batches into tables of about the size of a part."""
    batches: list[pa.RecordBatch] = []
    for batch in stream:
        batches.append(batch)
        if sum(map(len, batches)) >= rows_per_part:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)


class _Reader:
    """Reads files of one layout."""

    def __init__(
        self,
        files: Sequence[InputFile],
        layout: Layout,
        rejects: Rejects,
        scale: Scale | None,
    ) -> None:
        self._files = {file.path: file for file in files}
        self._layout = layout
        self._rejects = rejects
        self._scale = scale

    def to_query(self) -> str:
        layout = self._layout
        columns = {}
        for role, position in layout.positions:
            header = layout.headers[position].replace('"', '""')
            field = (
                f'"{header}"' if layout.kind == "parquet" else f"c{position}"
            )
            columns[role] = field, layout.types[position]
        row = "file_row_number" if layout.kind == "parquet" else "NULL"
        place = f"{{'path': filename, 'row': {row} + 1}}"
        return select_rows(columns, self._scale, place, self._to_scan())

    def _to_scan(self) -> str:
        paths = ", ".join(map(_quote, self._files))
        layout = self._layout
        if layout.kind == "parquet":
            return (
                f"read_parquet([{paths}], filename = true,"
                " file_row_number = true)"
            )
        types = ", ".join(
            f"c{i}: 'VARCHAR'" for i in range(len(layout.headers))
        )
        # Only in comma-separated files do quotes protect what they enclose.
        quote = '"' if layout.delimiter == "," else ""
        return (
            f"read_csv([{paths}], filename = true, auto_detect = false,"
            f" header = {layout.has_header}, delim = '{layout.delimiter}',"
            f" quote = '{quote}', escape = '{quote}', columns = {{{types}}},"
            f" compression = '{layout.compression or 'none'}',"
            " store_rejects = true)"
        )

    def keep_good(self, table: pa.Table) -> pa.Table:
        """Returns the rows that can be used, and rejects the others."""
        if table["reason"].null_count < len(table):
            self._reject(table.filter(table["reason"].is_valid()))
            table = table.filter(table["reason"].is_null())
        return table.select(["user_id", "item_id", "rating", "timestamp"])

    def _reject(self, rows: pa.Table) -> None:
        wanted = collections.defaultdict(list)
        for row in rows.select(["reason", "texts", "place"]).to_pylist():
            self._rejects.count(row["reason"])
            file = self._files[row["place"]["path"]]
            if self._rejects.may_keep(row["reason"], file.number):
                wanted[file].append(row)
        for file, bad in wanted.items():
            lines = self._find_lines(file, bad)
            self._rejects.keep(
                self._describe(file, line, row)
                for line, row in zip(lines, bad, strict=True)
            )

    def _describe(
        self, file: InputFile, line: int, row: dict[str, Any]
    ) -> Rejected:
        reason = row["reason"]
        texts = [text or "" for text in row["texts"]]
        roles = [role for role, _ in self._layout.positions]
        bad = roles.index(find_bad_field(reason))
        header = self._layout.headers[self._layout.positions[bad][1]]
        separator = ", row " if self._layout.kind == "parquet" else ":"
        place = f"{file.name}{separator}{line}" if line else file.name
        return Rejected(
            file.number,
            line,
            reason,
            file.name,
            (self._layout.delimiter or ",").join(texts),
            f"{place}: {explain(reason, header, texts[bad], self._scale)}",
        )

    def _find_lines(
        self, file: InputFile, rows: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Returns the line of each row, of equal rows one after the other."""
        if self._layout.kind == "parquet":
            return [row["place"]["row"] for row in rows]
        wanted: dict[tuple[str, ...], collections.deque[int]] = (
            collections.defaultdict(collections.deque)
        )
        for number, row in enumerate(rows):
            wanted[tuple(text or "" for text in row["texts"])].append(number)
        lines = [0] * len(rows)
        for line, fields in self._read_records(file):
            texts = tuple(
                fields[position] if position < len(fields) else ""
                for _, position in self._layout.positions
            )
            if texts in wanted:
                lines[wanted[texts].popleft()] = line
                if not wanted[texts]:
                    del wanted[texts]
                if not wanted:
                    break
        return lines

    def reject_malformed(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Rejects the lines that do not divide into the right fields."""
        if self._layout.kind == "parquet":
            return
        rows = connection.execute(
            "SELECT file_path, line, min(error_type),"
            " rtrim(any_value(csv_line), chr(10) || chr(13))"
            " FROM reject_errors JOIN reject_scans USING (scan_id, file_id)"
            " GROUP BY file_path, line ORDER BY file_path, line"
        ).fetchall()
        connection.execute("DROP TABLE reject_errors")
        connection.execute("DROP TABLE reject_scans")
        for path, line, kind, text in rows:
            file = self._files[path]
            if kind in _QUOTING and "\n" in text:
                # Where the quote should have ended nobody knows.
                raise UserError(
                    f"{file.name}:{line}: a quote is not closed (quoting)"
                )
            self._rejects.count(MALFORMED)
            if self._rejects.may_keep(MALFORMED, file.number):
                self._rejects.keep(
                    [self._describe_line(file, line, kind, text)]
                )

    def _describe_line(
        self, file: InputFile, line: int, kind: str, text: str
    ) -> Rejected:
        headers = self._layout.headers
        if kind == "INVALID ENCODING":
            message = "must be UTF-8 text"
        elif kind in _QUOTING:
            message = "letters follow a closed quote (quoting)"
        else:
            fields = self._split(text)
            message = (
                f"expected {len(headers)} fields ({', '.join(headers)})."
                f" Received {len(fields)}: {fields}"
            )
        return Rejected(
            file.number,
            line,
            MALFORMED,
            file.name,
            text,
            f"{file.name}:{line}: {message}",
        )

    def explain_error(self, error: duckdb.Error) -> Exception:
        """Returns the error that the user can mend."""
        if self._layout.kind == "text" and self._layout.compression is None:
            for file in self._files.values():
                _raise_mixed_line_ends(file)
        message = str(error).partition("\n")[0]
        for path, file in self._files.items():
            message = message.replace(path, file.name)
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
            names = [file.name for file in self._files.values()]
            known = any(name in message for name in names)
            return UserError(message if known else f"{names[0]}: {message}")
        return error

    def _split(self, text: str) -> list[str]:
        if self._layout.delimiter == ",":
            return next(csv.reader([text]), [])
        return text.split(self._layout.delimiter)

    def _read_records(self, file: InputFile) -> Iterator[tuple[int, list[str]]]:
        """Yields line number and fields of each record, header apart."""
        with file.open() as stream:
            lines = (
                line.decode("utf-8-sig" if k == 0 else "utf-8", "replace")
                for k, line in enumerate(stream)
            )
            if self._layout.delimiter == ",":
                records = _read_quoted(lines)
            else:
                records = (
                    (number, self._split(line.rstrip("\r\n")))
                    for number, line in enumerate(lines, start=1)
                )
            for number, fields in records:
                is_header = self._layout.has_header and number == 1
                if not is_header and fields not in ([], [""]):
                    yield number, fields


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _raise_mixed_line_ends(file: InputFile) -> None:
    with file.open() as stream:
        first_has_return = stream.readline().endswith(b"\r\n")
        for number, line in enumerate(stream, start=2):
            if line.endswith(b"\r\n") != first_has_return:
                raise UserError(
                    f"{file.name}:{number}: lines must all end alike, in \\n"
                    f" or in \\r\\n. Received: {line!r}"
                )


def _read_quoted(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines)
    number = 1
    for fields in reader:
        yield number, fields
        number = reader.line_num + 1
