"""Recognises the format of a file in its first line.

CSV, TSV, `::` and Parquet; the columns in the header, or by position.
"""

import csv
import dataclasses
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.sources.local_files import InputFile
from data_prep.sources.validation import ROLES

# Headers as people write them, without case, spaces, `_`, `-` and `:type`.
_HEADERS = {
    "user": {"user", "userid", "uid"},
    "item": {"item", "itemid", "iid", "movie", "movieid"},
    "rating": {"rating", "ratings", "score", "userrating", "stars"},
    "timestamp": {"timestamp", "time", "ts", "date", "datetime"},
}
# Enough for most first lines, where files may be many; and for any.
_START_BYTES, _LONGEST_LINE = 1 << 12, 1 << 20
_TAR_MAGIC = slice(257, 262), b"ustar"


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns, `None` where the usual ones are tried.

    Each is a header, or a position from 1 in files without a header.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a file keeps what.

    Args:
        kind: `text`, `parquet`, `netflix` (lines of `item:` before the
            ratings of that item) or `tar` (of such files).
        delimiter: what separates the fields of a text file.
        has_header: whether the first line names the columns.
        headers: the columns' names, or their positions from 1.
        positions: role -> position in `headers`.
        compression: how the file is compressed.
    """

    kind: str
    delimiter: str = ""
    has_header: bool = False
    headers: tuple[str, ...] = ()
    positions: tuple[tuple[str, int], ...] = ()
    compression: str | None = None

    @property
    def header_of(self) -> dict[str, str]:
        """What the column of each role is called, as `positions` lists them."""
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
            for role, header in self.header_of.items()
        )
        compressed = f", {self.compression}" if self.compression else ""
        return f"{name}{compressed}: {columns}"


def recognise(file: InputFile, columns: Columns) -> Layout:
    """Returns the layout of a file.

    Raises:
        UserError: when it is empty, or does not show its columns.
    """
    start = file.read_start(_START_BYTES)
    if b"\n" not in start:
        start = file.read_start(_LONGEST_LINE)
    place, magic = _TAR_MAGIC
    if start[place] == magic:
        return Layout("tar")
    first_line = start.partition(b"\n")[0]
    if not first_line.strip():
        raise UserError(f"{file.name} is empty, or starts with an empty line.")
    if first_line.startswith(b"PAR1"):
        return _recognise_parquet(file, columns)
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
            _find(fields, columns, file.name)
            if has_header
            else tuple(zip(ROLES, range(len(fields)), strict=False))
        )
    elif _are_positions(columns, fields):
        positions = _place(columns)
        has_header = not _is_number(fields[dict(positions)["rating"]])
    else:
        has_header = True
        positions = _find(fields, columns, file.name)
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


def _recognise_parquet(file: InputFile, columns: Columns) -> Layout:
    try:
        headers = tuple(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError) as error:
        raise explain_damage(file, error) from error
    positions = (
        _place(columns)
        if _are_positions(columns, headers)
        else _find(headers, columns, file.name)
    )
    return Layout("parquet", "", True, headers, positions)


def explain_damage(file: InputFile, error: Exception) -> Exception:
    """Returns the error to raise where Arrow could not read a file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error  # Of the system, and not of what the file holds.
    return UserError(f"{file.name} is damaged: {error}")


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == ",":
        return next(csv.reader([line]))
    return line.split(delimiter)


def _are_positions(columns: Columns, headers: Sequence[str]) -> bool:
    """Says whether the columns are positions, and not headers like `1`."""
    given = [text for text in dataclasses.astuple(columns) if text is not None]
    return (
        None not in (columns.user, columns.item, columns.rating)
        and all(text.isdecimal() for text in given)
        and all(1 <= int(text) <= len(headers) for text in given)
        and not set(given) <= set(headers)
    )


def _place(columns: Columns) -> tuple[tuple[str, int], ...]:
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


def _find(
    headers: Sequence[str], columns: Columns, name: str
) -> tuple[tuple[str, int], ...]:
    found = []
    for role in ROLES:
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
                " order, or be given positions from 1."
            )
    return tuple(found)


def _plain(header: str) -> str:
    kept = header.partition(":")[0].lower()
    return kept.translate(str.maketrans("", "", " _-"))
