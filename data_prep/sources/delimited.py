"""Ratings in text files as people keep them: CSV, TSV and `::`.

DuckDB reads them, all values as text, so the id `007` stays what it is.
"""

import collections
import csv
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from data_prep.dataset.errors import UserError
from data_prep.sources.formats import Layout
from data_prep.sources.local_files import InputFile
from data_prep.sources.parts import Part, join_batches
from data_prep.sources.rejects import NUM_KEPT, Rejected, Rejects
from data_prep.sources.validation import (
    MALFORMED,
    Scale,
    explain,
    select_rows,
)

# How the errors of DuckDB's reader of text files are said here.
_QUOTING = ("UNQUOTED VALUE", "LINE SIZE OVER MAXIMUM")
# A row's position is the number of its table, and its own in these bits.
_ROW_BITS = 32


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
        for number, table in enumerate(join_batches(stream, rows_per_part)):
            # What is rejected is known once this part is worked on.
            yield functools.partial(reader.keep_good, table, number)
        reader.reject_malformed(connection)
    except duckdb.Error as error:
        raise reader.explain_error(error) from error


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
        paths = ", ".join(map(_quote, self._files))
        layout = self._layout
        types = ", ".join(
            f"c{i}: 'VARCHAR'" for i in range(len(layout.headers))
        )
        # Only in comma-separated files do quotes protect what they enclose.
        quote = '"' if layout.delimiter == "," else ""
        scan = (
            f"read_csv([{paths}], filename = true, auto_detect = false,"
            f" header = {layout.has_header}, delim = '{layout.delimiter}',"
            f" quote = '{quote}', escape = '{quote}', columns = {{{types}}},"
            f" compression = '{layout.compression or 'none'}',"
            " store_rejects = true)"
        )
        columns = {
            role: (f"c{position}", "VARCHAR")
            for role, position in layout.positions
        }
        return select_rows(columns, self._scale, "filename", scan)

    def keep_good(self, table: pa.Table, number: int) -> pa.Table:
        """Returns the rows that can be used, and rejects the others.

        Args:
            table: rows as they were read.
            number: how many tables were read before.
        """
        positions = itertools.count(number << _ROW_BITS)
        return self._rejects.sift(
            table, lambda row: self._describe(row, next(positions))
        )

    def _describe(self, row: dict[str, Any], position: int) -> Rejected:
        file = self._files[row["place"]]
        self._rejects.find_lines_with(
            file.name, functools.partial(self._find_lines, file)
        )
        return Rejected(
            file.number,
            position,
            row["reason"],
            file.name,
            self._layout.delimiter.join(text or "" for text in row["texts"]),
            explain(row, self._layout.header_of, self._scale),
        )

    def _find_lines(
        self, file: InputFile, rows: Sequence[Rejected]
    ) -> list[int]:
        """Returns the line of each row, of equal rows one after the other."""
        wanted: dict[str, collections.deque[int]] = collections.defaultdict(
            collections.deque
        )
        for number, row in enumerate(rows):
            wanted[row.text].append(number)
        lines = [0] * len(rows)
        for line, fields in self._read_records(file):
            text = self._layout.delimiter.join(
                fields[position] if position < len(fields) else ""
                for _, position in self._layout.positions
            )
            if text in wanted:
                lines[wanted[text].popleft()] = line
                if not wanted[text]:
                    del wanted[text]
                if not wanted:
                    break
        return lines

    def reject_malformed(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Rejects the lines that do not divide into the right fields."""
        # A line may have several errors.
        connection.execute(
            "CREATE TEMP VIEW malformed AS SELECT file_path, line,"
            " min(error_type) AS kind,"
            " rtrim(any_value(csv_line), chr(10) || chr(13)) AS text"
            " FROM reject_errors JOIN reject_scans USING (scan_id, file_id)"
            " GROUP BY file_path, line"
        )
        open_quote = connection.execute(
            "SELECT file_path, line FROM malformed WHERE kind IN $1"
            " AND contains(text, chr(10)) ORDER BY file_path, line LIMIT 1",
            [_QUOTING],
        ).fetchone()
        if open_quote:
            # Where the quote should have ended nobody knows.
            path, line = open_quote
            raise UserError(
                f"{self._files[path].name}:{line}: a quote is not closed"
                " (quoting)"
            )
        numbers = connection.execute(
            "SELECT file_path, count(*) FROM malformed GROUP BY file_path"
        ).fetchall()
        for path, number in numbers:
            self._rejects.count(MALFORMED, number)
            rows = connection.execute(
                "SELECT line, kind, text FROM malformed WHERE file_path = $1"
                f" ORDER BY line LIMIT {NUM_KEPT}",
                [path],
            ).fetchall()
            self._rejects.keep(
                self._describe_line(self._files[path], *row) for row in rows
            )
        for name in ("VIEW malformed", "TABLE reject_errors"):
            connection.execute(f"DROP {name}")
        connection.execute("DROP TABLE reject_scans")

    def _describe_line(
        self, file: InputFile, line: int, kind: str, text: str
    ) -> Rejected:
        headers = self._layout.headers
        if kind == "INVALID ENCODING":
            complaint = "must be UTF-8 text"
        elif kind in _QUOTING:
            complaint = "letters follow a closed quote (quoting)"
        else:
            fields = self._split(text)
            complaint = (
                f"expected {len(headers)} fields ({', '.join(headers)})."
                f" Received {len(fields)}: {fields}"
            )
        return Rejected(
            file.number, line, MALFORMED, file.name, text, complaint, line
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
