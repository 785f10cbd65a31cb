"""Reads ratings from lines of text: of fields with separators, or of JSON.

DuckDB reads all fields as text, so that the id `007` stays what it is. What it
cannot read, such as fields between several blanks, is first written anew.
"""

import collections
import csv
import dataclasses
import functools
import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from data_prep.dataset.errors import UserError
from data_prep.readers.dialects import Dialect
from data_prep.readers.fetching import InputFile
from data_prep.readers.formats import Layout
from data_prep.readers.json_lines import parse_object, to_text
from data_prep.readers.reading import Part, Reading, join_batches
from data_prep.rules.excerpts import excerpt, list_some
from data_prep.rules.rejects import NUM_KEPT, RejectedRow
from data_prep.rules.row_rules import MALFORMED, explain, select_rows

# DuckDB's error types that concern quotes.
_QUOTING = ("UNQUOTED VALUE", "LINE SIZE OVER MAXIMUM")
# Separates no fields: a line of JSON is one.
_NO_DELIMITER = "\x01"
# Removes the quotes around a field, as `dialects.unquote` does.
_UNQUOTED = """CASE
    WHEN prefix({0}, '"') AND regexp_full_match({0}, '"(?:[^"]|"")*"')
    THEN replace({0}[2:-2], '""', '"')
    ELSE {0}
END"""
# A row's position is the number of its table and, in these bits, its own.
_ROW_BITS = 32


def read_delimited(
    files: Sequence[InputFile], layout: Layout, reading: Reading
) -> Iterator[Part]:
    """Yields the valid ratings of delimited text files, in order.

    Args:
        files: files of one layout.
        layout: the layout.
        reading: the context of reading.

    Raises:
        UserError: if a file cannot be read to its end.
    """
    dialect = layout.dialect
    if dialect.skips_blanks or dialect.delimiter == " ":
        files = [_write_anew(file, dialect, reading.temp_dir) for file in files]
        layout = dataclasses.replace(
            layout, dialect=Dialect(), compression=None
        )
    reader = _Reader(files, layout, reading)
    rows_per_part = reading.rows_per_part
    with reading.connect() as connection:
        try:
            stream = connection.sql(reader.query).to_arrow_reader(
                rows_per_part // 4
            )
            tables = join_batches(stream, rows_per_part)
            for number, table in enumerate(tables):
                yield functools.partial(reader.keep_valid, table, number)
            reader.reject_malformed(connection)
        except duckdb.Error as error:
            raise reader.explain_error(error) from error


class _Reader:
    """Reads files of one layout."""

    def __init__(
        self, files: Sequence[InputFile], layout: Layout, reading: Reading
    ) -> None:
        self._files = {file.path: file for file in files}
        self._layout = layout
        self._scale = reading.scale
        self._rejects = reading.rejects

    @property
    def query(self) -> str:
        """The SQL query that reads and validates the rows."""
        # DuckDB takes paths for globs.
        paths = ", ".join(_quote(glob.escape(path)) for path in self._files)
        layout, dialect = self._layout, self._layout.dialect
        is_json = layout.kind == "json"
        num_columns = 1 if is_json else len(layout.headers)
        types = ", ".join(f"c{i}: 'VARCHAR'" for i in range(num_columns))
        delimiter = _NO_DELIMITER if is_json else dialect.delimiter
        quote = '"' if dialect.quotes and not is_json else ""
        scan = (
            f"read_csv([{paths}], filename = true, auto_detect = false,"
            f" skip = {layout.num_skipped}, header = {layout.has_header},"
            f" delim = {_quote(delimiter)},"
            f" quote = '{quote}', escape = '{quote}', columns = {{{types}}},"
            f" compression = '{layout.compression or 'none'}',"
            " store_rejects = true)"
        )
        if is_json:
            keys = ", ".join(
                _quote(_to_pointer(header))
                for header in layout.headers_by_role.values()
            )
            scan = (
                f"(SELECT TRY(json_extract(c0, [{keys}])) AS fields,"
                f" filename FROM {scan} WHERE trim(c0) != '')"
            )
        columns = {
            role: (f"fields[{number}]", "JSON")
            if is_json
            else (self._to_field(role, f"c{position}"), "VARCHAR")
            for number, (role, position) in enumerate(layout.positions, start=1)
        }
        return select_rows(columns, self._scale, "filename", scan)

    def _to_field(self, role: str, column: str) -> str:
        dialect = self._layout.dialect
        if not dialect.quotes:
            return _UNQUOTED.format(column)
        if dialect.delimiter == ";" and role == "rating":
            # Where semicolons separate fields, commas are decimal points.
            return f"replace({column}, ',', '.')"
        return column

    def keep_valid(self, table: pa.Table, number: int) -> pa.Table:
        """Returns the valid rows, and rejects the others.

        Args:
            table: the result of the query for some rows.
            number: the number of tables before this one.
        """
        positions = itertools.count(number << _ROW_BITS)
        return self._rejects.sift(
            table, lambda row: self._describe(row, next(positions))
        )

    def _describe(self, row: dict[str, Any], position: int) -> RejectedRow:
        file = self._files[row["origin"]]
        self._rejects.find_lines_with(
            file.name, functools.partial(self._find_lines, file)
        )
        return RejectedRow(
            file.number,
            position,
            row["reason"],
            file.name,
            self._join(row["fields"]),
            explain(row, self._layout.headers_by_role, self._scale),
        )

    def _find_lines(
        self, file: InputFile, rows: Sequence[RejectedRow]
    ) -> list[int]:
        """Returns the line of each row; equal rows get successive lines."""
        remaining: dict[str, collections.deque[int]] = collections.defaultdict(
            collections.deque
        )
        for number, row in enumerate(rows):
            remaining[row.text].append(number)
        lines = [0] * len(rows)
        for line, fields in self._read_records(file):
            text = self._join(
                fields[position] if position < len(fields) else ""
                for _, position in self._layout.positions
            )
            if text in remaining:
                lines[remaining[text].popleft()] = line
                if not remaining[text]:
                    del remaining[text]
                if not remaining:
                    break
        return lines

    def _join(self, fields: Iterable[str | None]) -> str:
        return self._layout.dialect.delimiter.join(f or "" for f in fields)

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
            # All lines after it may be part of the quoted field.
            path, line = open_quote
            raise UserError(
                f"{self._files[path].name}:{line}: a quote is not closed"
                " (quoting)"
            )
        counts = connection.execute(
            "SELECT file_path, count(*) FROM malformed GROUP BY file_path"
        ).fetchall()
        for path, count in counts:
            self._rejects.count(MALFORMED, count)
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
    ) -> RejectedRow:
        headers = self._layout.headers
        if kind == "INVALID ENCODING":
            problem = (
                "must be UTF-8 text, or of the encoding that --encoding names"
            )
        elif kind in _QUOTING:
            problem = "letters follow a closed quote (quoting)"
        else:
            fields = self._layout.dialect.split(text)
            problem = (
                f"expected {len(headers)} fields ({list_some(headers)})."
                f" Received {len(fields)}: {excerpt(fields)}"
            )
        return RejectedRow(
            file.number, line, MALFORMED, file.name, text, problem, line
        )

    def explain_error(self, error: duckdb.Error) -> Exception:
        """Returns the error to raise: a `UserError` if the user can fix it."""
        if self._layout.compression is None:
            for file in self._files.values():
                _check_line_ends(file)
        message = str(error).partition("\n")[0]
        for path, file in self._files.items():
            message = message.replace(path, file.name)
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
            names = [file.name for file in self._files.values()]
            is_named = any(name in message for name in names)
            return UserError(message if is_named else f"{names[0]}: {message}")
        return error

    def _read_records(self, file: InputFile) -> Iterator[tuple[int, list[str]]]:
        """Yields the line number and the fields of each record."""
        with file.open() as stream:
            lines = _decode(stream, "replace")
            if self._layout.kind == "json":
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield number, self._read_object(line)
                return
            num_skipped = self._layout.num_skipped
            records = self._layout.dialect.read_records(
                itertools.islice(lines, num_skipped, None)
            )
            for number, fields in records:
                is_header = self._layout.has_header and number == 1
                if not is_header and fields not in ([], [""]):
                    yield num_skipped + number, fields

    def _read_object(self, line: str) -> list[str]:
        """Returns the values of a line of JSON, as DuckDB writes them."""
        values = parse_object(line) or {}
        found = (values.get(header) for header in self._layout.headers)
        return ["" if value is None else to_text(value) for value in found]


def _write_anew(file: InputFile, dialect: Dialect, temp_dir: str) -> InputFile:
    """Returns a copy of a text as CSV with the same lines."""
    path = os.path.join(temp_dir, f"{file.number}.csv")
    with (
        file.open() as stream,
        open(
            path, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as copy,
    ):
        lines = _decode(stream, "surrogateescape")
        csv.writer(copy, lineterminator="\n").writerows(
            fields for _, fields in dialect.read_records(lines)
        )
    return dataclasses.replace(file, path=path, compression=None)


def _decode(stream: Iterable[bytes], errors: str) -> Iterator[str]:
    for number, line in enumerate(stream):
        yield line.decode("utf-8" if number else "utf-8-sig", errors)


def _to_pointer(key: str) -> str:
    """Returns the JSON pointer of a key of an object."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_line_ends(file: InputFile) -> None:
    """Checks that all lines end alike, with or without a carriage return."""
    with file.open() as stream:
        first_has_return = stream.readline().endswith(b"\r\n")
        for number, line in enumerate(stream, start=2):
            if line.endswith(b"\r\n") != first_has_return:
                raise UserError(
                    f"{file.name}:{number}: lines must all end alike, in \\n"
                    f" or in \\r\\n. Received: {excerpt(line)}"
                )
