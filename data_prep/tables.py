"""Rating files as people keep them: CSV, TSV, `::` and Parquet.

The format is recognised in the first line of each file, the columns in its
header. All values are read as text, so the id `007` stays what it is.
"""

import csv
import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence

import duckdb
import tensorflow as tf

from data_prep.errors import UserError

_ROLES = ("user", "item", "rating", "timestamp")

# Headers as people write them, without case, spaces, `_`, `-` and `:type`.
_HEADERS = {
    "user": {"user", "userid", "uid"},
    "item": {"item", "itemid", "iid", "movie", "movieid"},
    "rating": {"rating", "ratings", "score", "userrating", "stars"},
    "timestamp": {"timestamp", "time", "ts", "date", "datetime"},
}

# A valid rating fits float32, as which it is stored. NaN compares greater.
_RATING = """CASE
    WHEN abs(TRY_CAST({0} AS DOUBLE)) <= 3.4e38
    THEN TRY_CAST({0} AS DOUBLE) + 0.0
END"""
# Seconds since 1970 from seconds, milliseconds (1e11 seconds would be the
# year 5138) or an ISO date, which is UTC unless it says otherwise.
_TIMESTAMP = """CASE
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e11 THEN TRY_CAST({0} AS DOUBLE)
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e14
    THEN TRY_CAST({0} AS DOUBLE) / 1000
    WHEN isfinite(TRY_CAST({0} AS TIMESTAMPTZ))
    THEN epoch(TRY_CAST({0} AS TIMESTAMPTZ))
END"""
_VALUES = {
    "user": "nullif({0}, '')",
    "item": "nullif({0}, '')",
    "rating": _RATING,
    "timestamp": _TIMESTAMP,
}
_EXPECTED = {
    "user": "must not be empty",
    "item": "must not be empty",
    "rating": "must be a finite number",
    "timestamp": (
        "must be Unix seconds, Unix milliseconds or an ISO date such as"
        " 2005-12-01"
    ),
}


@dataclasses.dataclass(frozen=True)
class Columns:
    """The headers of the columns, `None` where the usual ones are tried."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where a file keeps what.

    Args:
        delimiter: what separates the fields of a text file; `None` for
            Parquet.
        has_header: whether the first line names the columns.
        headers: the columns' names, or their positions from 1.
        positions: role -> position in `headers`.
    """

    delimiter: str | None
    has_header: bool
    headers: tuple[str, ...]
    positions: tuple[tuple[str, int], ...]


def load_tables(
    connection: duckdb.DuckDBPyConnection,
    paths: Sequence[str],
    columns: Columns,
    temp_dir: str,
) -> None:
    """Creates `source_ratings(user_id, item_id, rating, timestamp)`.

    Args:
        connection: where the table is created.
        paths: the files, local or remote; they may differ in format.
        columns: the headers to look for.
        temp_dir: a local directory that remote files are copied to.

    Raises:
        UserError: for the first file, column or row that cannot be read,
            naming the place, the value and what was expected.
    """
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE source_ratings (user_id VARCHAR, item_id VARCHAR,"
        " rating DOUBLE, timestamp DOUBLE)"
    )
    # Local path -> the name that the user knows.
    names = {_fetch(path, temp_dir): path for path in paths}
    layouts = {
        path: _recognise(connection, path, name, columns)
        for path, name in names.items()
    }
    for layout, group in itertools.groupby(names, key=layouts.__getitem__):
        _load(connection, list(group), layout, names)


def _fetch(path: str, temp_dir: str) -> str:
    if tf.io.gfile.isdir(path):
        raise UserError(
            f"{path} is a directory. Name its files, such as {path}/*.csv."
        )
    if "://" not in path:
        return path
    number = len(os.listdir(temp_dir))
    local = os.path.join(temp_dir, f"{number}-{os.path.basename(path)}")
    with tf.io.gfile.GFile(path, "rb") as remote, open(local, "wb") as copy:
        shutil.copyfileobj(remote, copy, 1 << 24)
    return local


def _recognise(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    name: str,
    columns: Columns,
) -> _Layout:
    with open(path, "rb") as file:
        first_line = file.readline()
    if not first_line.strip():
        raise UserError(f"{name} is empty, or starts with an empty line.")
    if first_line.startswith(b"PAR1"):
        try:
            relation = connection.read_parquet(path)
        except duckdb.Error as error:
            raise UserError(f"{name}: {_first_line(error)}") from error
        headers = tuple(relation.columns)
        return _Layout(None, True, headers, _find(headers, columns, name))
    text = next(_decode([first_line], name)).rstrip("\r\n")
    delimiter = next((d for d in ("\t", "::", ",") if d in text), ",")
    fields = tuple(_split(text, delimiter))
    is_named = dataclasses.astuple(columns) != (None,) * len(_ROLES)
    if not is_named and len(fields) in (3, 4) and _is_number(fields[2]):
        headers = tuple(str(i + 1) for i in range(len(fields)))
        positions = tuple(zip(_ROLES, range(len(fields)), strict=False))
        return _Layout(delimiter, False, headers, positions)
    return _Layout(delimiter, True, fields, _find(fields, columns, name))


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == ",":
        return next(csv.reader([line]))
    return line.split(delimiter)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find(
    headers: Sequence[str], columns: Columns, name: str
) -> tuple[tuple[str, int], ...]:
    found = []
    for role in _ROLES:
        wanted = getattr(columns, role)
        if wanted is None:
            matches = [
                i for i, h in enumerate(headers) if _plain(h) in _HEADERS[role]
            ]
        else:
            matches = [i for i, h in enumerate(headers) if h == wanted]
        if len(matches) == 1:
            found.append((role, matches[0]))
        elif len(matches) > 1:
            raise UserError(
                f"{name} has several {role} columns:"
                f" {', '.join(headers[i] for i in matches)}. Choose one with"
                f" --{role}-column, or rename the others."
            )
        elif wanted is not None or role != "timestamp":
            raise UserError(
                f"{name} has no {role} column"
                + (f" {wanted!r}" if wanted is not None else "")
                + f". Its columns are: {', '.join(headers)}. Name the right"
                f" one with --{role}-column; a file without a header must"
                " hold user, item, rating and, if known, timestamp in this"
                " order."
            )
    return tuple(found)


def _plain(header: str) -> str:
    kept = header.partition(":")[0].lower()
    return kept.translate(str.maketrans("", "", " _-"))


def _load(
    connection: duckdb.DuckDBPyConnection,
    paths: list[str],
    layout: _Layout,
    names: dict[str, str],
) -> None:
    scan = _to_scan(paths, layout)
    values = {
        role: _VALUES[role].format(_to_text(layout, position))
        for role, position in layout.positions
    }
    try:
        connection.execute(
            "INSERT INTO source_ratings SELECT"
            f" {', '.join(values.get(role, 'NULL') for role in _ROLES)}"
            f" FROM {scan}"
        )
    except duckdb.InvalidInputException as error:
        if layout.delimiter is not None:
            for path in paths:
                _raise_malformed(path, names[path], layout)
                _raise_mixed_line_ends(path, names[path])
        raise UserError(
            f"{', '.join(names[path] for path in paths)}: {_first_line(error)}"
        ) from error
    (has_nulls,) = connection.execute(
        "SELECT count(*) > 0 FROM source_ratings WHERE user_id IS NULL OR"
        " item_id IS NULL OR rating IS NULL OR timestamp IS NULL"
    ).fetchall()[0]
    if has_nulls:
        _raise_first_bad_row(connection, scan, layout, values, names)


def _to_scan(paths: list[str], layout: _Layout) -> str:
    files = ", ".join(_quote(path) for path in paths)
    if layout.delimiter is None:
        return (
            f"read_parquet([{files}], filename = true, file_row_number = true)"
        )
    types = ", ".join(f"c{i}: 'VARCHAR'" for i in range(len(layout.headers)))
    # Only in comma-separated files do quotes protect what they enclose.
    quote = '"' if layout.delimiter == "," else ""
    return (
        f"read_csv([{files}], filename = true, auto_detect = false,"
        f" header = {layout.has_header}, delim = '{layout.delimiter}',"
        f" quote = '{quote}', escape = '{quote}', columns = {{{types}}})"
    )


def _to_text(layout: _Layout, position: int) -> str:
    if layout.delimiter is not None:
        return f"c{position}"
    header = layout.headers[position].replace('"', '""')
    return f'CAST("{header}" AS VARCHAR)'


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _raise_first_bad_row(
    connection: duckdb.DuckDBPyConnection,
    scan: str,
    layout: _Layout,
    values: dict[str, str],
    names: dict[str, str],
) -> None:
    """Raises for the first row that has a value of no use, if there is one."""
    row_number = "NULL" if layout.delimiter else "file_row_number + 1"
    texts = [_to_text(layout, position) for _, position in layout.positions]
    rows = connection.execute(
        f"SELECT filename, {row_number}, [{', '.join(texts)}],"
        f" [{', '.join(f'{value} IS NULL' for value in values.values())}]"
        f" AS is_bad FROM {scan} WHERE list_contains(is_bad, true) LIMIT 1"
    ).fetchall()
    for path, row, fields, is_bad in rows:
        bad = is_bad.index(True)
        role, position = layout.positions[bad]
        place = f", row {row}" if row else _find_line(path, layout, fields)
        raise UserError(
            f"{names[path]}{place}: the {role} (column"
            f" {layout.headers[position]}) {_EXPECTED[role]}. Received:"
            f" {fields[bad] or ''!r}"
        )


def _find_line(path: str, layout: _Layout, wanted: list[str | None]) -> str:
    """Returns `:LINE` of the first record with these fields."""
    texts = [text or "" for text in wanted]
    for line, fields in _read_records(path, path, layout):
        if [fields[position] for _, position in layout.positions] == texts:
            return f":{line}"
    return ""


def _raise_malformed(path: str, name: str, layout: _Layout) -> None:
    """Raises for the first line that does not divide into its columns."""
    num_columns = len(layout.headers)
    for line, fields in _read_records(path, name, layout):
        if len(fields) != num_columns:
            raise UserError(
                f"{name}:{line}: expected {num_columns} fields"
                f" ({', '.join(layout.headers)}). Received {len(fields)}:"
                f" {fields}"
            )


def _raise_mixed_line_ends(path: str, name: str) -> None:
    with open(path, "rb") as file:
        first_has_return = file.readline().endswith(b"\r\n")
        for number, line in enumerate(file, start=2):
            if line.endswith(b"\r\n") != first_has_return:
                raise UserError(
                    f"{name}:{number}: lines must all end alike, in \\n or in"
                    f" \\r\\n. Received: {line!r}"
                )


def _read_records(
    path: str, name: str, layout: _Layout
) -> Iterator[tuple[int, list[str]]]:
    """Yields the line number and the fields of each record, header apart."""
    with open(path, "rb") as file:
        lines = _decode(file, name)
        if layout.delimiter == ",":
            records = _read_quoted(lines, name)
        else:
            records = (
                (number, line.rstrip("\r\n").split(str(layout.delimiter)))
                for number, line in enumerate(lines, start=1)
            )
        for number, fields in records:
            is_header = layout.has_header and number == 1
            if not is_header and fields not in ([], [""]):
                yield number, fields


def _read_quoted(
    lines: Iterator[str], name: str
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    number = 1
    try:
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{name}:{number}: {error} (quoting)") from error


def _decode(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(
                f"{name}:{number}: must be UTF-8 text. Received: {line!r}"
            ) from None


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
