"""Reads ids of users and items from files without ratings.

Reads what ratings are read from: text with any usual separator, JSON lines and
Parquet, by the usual headers. A text of items may also be a line per item,
without header.
"""

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.readers.columnar import check_type
from data_prep.readers.dialects import (
    Dialect,
    recognize_dialect,
    unquote,
)
from data_prep.readers.fetching import InputFile, fetch_files, find_file
from data_prep.readers.formats import check_readable, damage_error, read_head
from data_prep.readers.json_lines import parse_object
from data_prep.rules.columns import HEADERS, normalize
from data_prep.rules.excerpts import list_some
from data_prep.rules.ids import to_ids

_START_BYTES = 1 << 12
_ROWS_PER_TABLE = 1 << 16


def read_ids(
    path: str, flag: str, roles: Sequence[str], temp_dir: str
) -> Iterator[pa.Table]:
    """Yields the ids in a file, some rows at a time.

    Args:
        path: the file, local or remote.
        flag: the flag that names it, for messages.
        roles: what the columns hold: `user` and `item`, or `item` alone.
        temp_dir: a local directory for the copy of a remote file.

    Yields:
        Tables of strings with a column per role.

    Raises:
        UserError: there is no such file, it lacks a column, or a row lacks an
            id.
    """
    (file,) = fetch_files([find_file(path, flag)], temp_dir)
    start = file.read_start(_START_BYTES)
    if start.startswith(b"PAR1"):
        tables = _read_parquet(file, roles)
    else:
        check_readable(file, start)
        tables = _read_text(file, roles)
    num_rows = 0
    for table in tables:
        columns = {role: to_ids(table[role]) for role in roles}
        for role, ids in columns.items():
            if ids.null_count:
                row = num_rows + ids.is_null().index(True).as_py() + 1
                raise UserError(
                    f"{file.name}, row {row}: there is no id of the {role}."
                )
        num_rows += len(table)
        yield pa.table(columns)
    if not num_rows:
        raise UserError(f"{file.name} holds no rows.")


def _read_parquet(file: InputFile, roles: Sequence[str]) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(file.path) as content:
            schema = content.schema_arrow
            positions = _find_columns(file, schema.names, roles)
            names = {role: schema.names[positions[role]] for role in roles}
            for role, name in names.items():
                check_type(role, name, schema.field(name).type, file.name)
            for batch in content.iter_batches(
                _ROWS_PER_TABLE, columns=list(names.values())
            ):
                yield pa.table(
                    {role: batch[name] for role, name in names.items()}
                )
    except (pa.ArrowException, OSError) as error:
        raise damage_error(file, error) from error


def _read_text(file: InputFile, roles: Sequence[str]) -> Iterator[pa.Table]:
    head = read_head(file)
    is_json = head[0].lstrip().startswith("{")
    with file.open() as stream:
        lines = _decode(file, stream)
        rows = (
            _read_json(file, lines, roles)
            if is_json
            else _read_delimited(file, head, lines, roles)
        )
        while chunk := list(itertools.islice(rows, _ROWS_PER_TABLE)):
            yield pa.table(
                {
                    role: pa.array([row[k] for row in chunk], pa.string())
                    for k, role in enumerate(roles)
                }
            )


def _decode(file: InputFile, stream: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(stream):
        try:
            yield line.decode("utf-8" if number else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file.name}:{number + 1}: must be UTF-8 text."
            ) from error


def _read_json(
    file: InputFile, lines: Iterable[str], roles: Sequence[str]
) -> Iterator[Sequence[str | None]]:
    keys: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        value = parse_object(line)
        if value is None:
            raise UserError(
                f"{file.name}:{number}: JSON must be lines with one object"
                " per row."
            )
        if not keys:
            headers = list(value)
            positions = _find_columns(file, headers, roles)
            keys = [headers[positions[role]] for role in roles]
        found = [value.get(key) for key in keys]
        yield [text if isinstance(text, str) else None for text in found]


def _read_delimited(
    file: InputFile,
    head: Sequence[str],
    lines: Iterable[str],
    roles: Sequence[str],
) -> Iterator[Sequence[str | None]]:
    def has_header(fields: Sequence[str]) -> bool:
        matches = _match_headers(fields, roles)
        return all(len(positions) == 1 for positions in matches.values())

    dialect = recognize_dialect(head, has_header, min_fields=len(roles))
    if not has_header(dialect.split(head[0])):
        # A single column has no separator to recognize.
        dialect = Dialect()
    first = dialect.split(head[0])
    if list(roles) == ["item"] and not has_header(first):
        yield from ([unquote(line.strip())] for line in lines if line.strip())
        return
    positions = _find_columns(file, first, roles)
    records = (
        (number, fields)
        for number, fields in dialect.read_records(lines)
        if fields not in ([], [""])
    )
    number = 0
    try:
        for number, fields in itertools.islice(records, 1, None):
            if len(fields) != len(first):
                raise UserError(
                    f"{file.name}:{number}: expected {len(first)} fields, as in"
                    f" the header. Received: {len(fields)}"
                )
            yield [fields[positions[role]] for role in roles]
    except csv.Error as error:
        raise UserError(f"{file.name}, after line {number}: {error}") from error


def _find_columns(
    file: InputFile, headers: Sequence[str], roles: Sequence[str]
) -> dict[str, int]:
    """Returns the position of the column of each role."""
    matches = _match_headers(headers, roles)
    for role, positions in matches.items():
        if len(positions) != 1:
            number = "several columns" if positions else "no column"
            raise UserError(
                f"{file.name} has {number} of the {role}. Its columns are:"
                f" {list_some(headers)}. Call exactly one of them {role}_id."
            )
    return {role: positions[0] for role, positions in matches.items()}


def _match_headers(
    headers: Sequence[str], roles: Sequence[str]
) -> Mapping[str, list[int]]:
    normalized = [normalize(header.strip()) for header in headers]
    return {
        role: [k for k, name in enumerate(normalized) if name in HEADERS[role]]
        for role in roles
    }
