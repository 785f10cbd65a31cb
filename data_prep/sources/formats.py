"""Recognizes the format and the columns of a file from its first line.

To add a format, recognize it here and read it in `data_prep.sources.files`.
"""

import csv
import dataclasses
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.sources.fetching import InputFile
from data_prep.sources.row_rules import ROLES

# Usual headers, in the form that `_normalize` gives them.
_HEADERS = {
    "user": {"user", "userid", "uid"},
    "item": {"item", "itemid", "iid", "movie", "movieid"},
    "rating": {"rating", "ratings", "score", "userrating", "stars"},
    "timestamp": {"timestamp", "time", "ts", "date", "datetime"},
}
# Most first lines are short, and there may be many files.
_START_BYTES, _MAX_LINE_BYTES = 1 << 12, 1 << 20
_TAR_MAGIC = slice(257, 262), b"ustar"

_TEXT_HINT = (
    "; a file without a header must hold user, item, rating and, if known,"
    " timestamp in this order, or be given positions from 1"
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table: headers, or positions from 1.

    `None` stands for the usual headers, such as `user_id` or `movieId`, and
    for the usual order user, item, rating, timestamp without a header.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """The format and the columns of a file.

    Args:
        kind: `text`, `parquet`, `netflix` (text with a line `item:` before
            the ratings of that item) or `tar` (an archive of such text).
        delimiter: the separator of the fields of a text file.
        has_header: whether the first line names the columns.
        headers: the names of all columns, or their positions from 1.
        positions: pairs of role and position in `headers`.
        compression: `gzip`, `zstd` or `None`, for text.
    """

    kind: str
    delimiter: str = ""
    has_header: bool = False
    headers: tuple[str, ...] = ()
    positions: tuple[tuple[str, int], ...] = ()
    compression: str | None = None

    @property
    def headers_by_role(self) -> dict[str, str]:
        """Role -> header of its column, in the order of `positions`."""
        return {
            role: self.headers[position] for role, position in self.positions
        }

    def __str__(self) -> str:
        if self.kind == "netflix":
            return "Netflix Prize text"
        if self.kind == "tar":
            return "tar archive of Netflix Prize text"
        name = {
            "": "Parquet",
            ",": "comma-separated",
            "\t": "tab-separated",
            "::": "'::'-separated",
        }[self.delimiter]
        columns = ", ".join(
            f"{role} in column {header}"
            for role, header in self.headers_by_role.items()
        )
        compressed = f", {self.compression}" if self.compression else ""
        return f"{name}{compressed}: {columns}"


def recognize(file: InputFile, columns: Columns) -> Layout:
    """Returns the layout of a file.

    Args:
        file: the file.
        columns: its columns, where they are not the usual ones.

    Raises:
        UserError: if the file is empty or its columns are not recognized.
    """
    start = file.read_start(_START_BYTES)
    if b"\n" not in start:
        start = file.read_start(_MAX_LINE_BYTES)
    position, magic = _TAR_MAGIC
    if start[position] == magic:
        return Layout("tar")
    first_line = start.partition(b"\n")[0]
    if not first_line.strip():
        raise UserError(f"{file.name} is empty, or starts with an empty line.")
    if first_line.startswith(b"PAR1"):
        return _recognize_parquet(file, columns)
    if re.fullmatch(rb"\d+:\r?", first_line):
        return Layout("netflix")
    try:
        text = first_line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise UserError(
            f"{file.name}:1: must be UTF-8 text. Received: {first_line!r}"
        ) from None
    if "\r" in text:
        raise UserError(
            f"{file.name}:1: lines must end in \\n or in \\r\\n, not in \\r"
            " alone."
        )
    delimiter = next((d for d in ("\t", "::", ",") if d in text), ",")
    fields = tuple(_split(text, delimiter))
    given = dataclasses.astuple(columns)
    if given == (None,) * len(ROLES):
        has_header = len(fields) not in (3, 4) or not _is_number(fields[2])
        positions = (
            _find_by_header(fields, columns, file.name, hint=_TEXT_HINT)
            if has_header
            else tuple(zip(ROLES, range(len(fields)), strict=False))
        )
    elif _are_positions(columns, fields):
        positions = _to_positions(columns)
        has_header = not _is_number(fields[dict(positions)["rating"]])
    else:
        has_header = True
        positions = _find_by_header(fields, columns, file.name, hint=_TEXT_HINT)
    if has_header:
        headers = fields
    else:
        headers = tuple(str(i + 1) for i in range(len(fields)))
    return Layout(
        kind="text",
        delimiter=delimiter,
        has_header=has_header,
        headers=headers,
        positions=positions,
        compression=file.compression,
    )


def _recognize_parquet(file: InputFile, columns: Columns) -> Layout:
    try:
        headers = tuple(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError) as error:
        raise damage_error(file, error) from error
    positions = find_columns(headers, columns, file.name)
    return Layout("parquet", "", True, headers, positions)


def find_columns(
    headers: Sequence[str],
    columns: Columns,
    name: str,
    *,
    fix: str = "--{}-column",
) -> tuple[tuple[str, int], ...]:
    """Finds the columns of a table whose headers are known.

    Args:
        headers: the headers of the table.
        columns: the columns, where they are not the usual ones.
        name: the name of the table in messages.
        fix: how the user names a column, with `{}` for its role.

    Returns:
        Pairs of role and position in `headers`.

    Raises:
        UserError: if a column is missing or ambiguous.
    """
    if _are_positions(columns, headers):
        return _to_positions(columns)
    return _find_by_header(headers, columns, name, fix=fix)


def damage_error(file: InputFile, error: Exception) -> Exception:
    """Returns the error to raise if Arrow cannot read a file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error  # An error of the system, not of the content.
    return UserError(f"{file.name} is damaged: {error}")


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == ",":
        return next(csv.reader([line]))
    return line.split(delimiter)


def _are_positions(columns: Columns, headers: Sequence[str]) -> bool:
    """Returns whether the columns are positions, not headers like `1`."""
    given = [text for text in dataclasses.astuple(columns) if text is not None]
    return (
        None not in (columns.user, columns.item, columns.rating)
        and all(text.isdecimal() for text in given)
        and all(1 <= int(text) <= len(headers) for text in given)
        and not set(given) <= set(headers)
    )


def _to_positions(columns: Columns) -> tuple[tuple[str, int], ...]:
    return tuple(
        (role, int(text) - 1)
        for role in ROLES
        if (text := getattr(columns, role)) is not None
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_by_header(
    headers: Sequence[str],
    columns: Columns,
    name: str,
    *,
    fix: str = "--{}-column",
    hint: str = "",
) -> tuple[tuple[str, int], ...]:
    found = []
    for role in ROLES:
        given = getattr(columns, role)
        if given is None:
            matches = [
                i
                for i, header in enumerate(headers)
                if _normalize(header) in _HEADERS[role]
            ]
        else:
            matches = [i for i, h in enumerate(headers) if h == given]
        if len(matches) == 1:
            found.append((role, matches[0]))
        elif len(matches) > 1:
            raise UserError(
                f"{name} has several {role} columns:"
                f" {', '.join(headers[i] for i in matches)}. Choose one with"
                f" {fix.format(role)}, or rename the others."
            )
        elif given is not None or role != "timestamp":
            raise UserError(
                f"{name} has no {role} column"
                + (f" {given!r}" if given is not None else "")
                + f". Its columns are: {', '.join(headers)}. Name the right"
                f" one with {fix.format(role)}{hint}."
            )
    return tuple(found)


def _normalize(header: str) -> str:
    """Removes case, spaces, `_`, `-` and the type after a colon."""
    name = header.partition(":")[0].lower()
    return name.translate(str.maketrans("", "", " _-"))
