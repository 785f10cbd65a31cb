"""Recognizes the format and the columns of a file from its start.

To add a format, recognize it here and read it in `data_prep.sources.files`.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.readers.archives import ZIP_MAGICS
from data_prep.readers.dialects import (
    Dialect,
    read_first_records,
    recognize_dialect,
)
from data_prep.readers.fetching import InputFile
from data_prep.rules.columns import (
    Columns,
    are_positions,
    find_columns,
    match_headers,
    to_positions,
)
from data_prep.rules.excerpts import excerpt

# Most first lines are short, and there may be many files.
_START_BYTES, _MAX_LINE_BYTES = 1 << 12, 1 << 20
# On these the separator of a text is recognized.
_HEAD_BYTES = 1 << 16
_TAR_MAGIC = slice(257, 262), b"ustar"
# Magic bytes -> what such a file is.
_UNREADABLE = {
    b"ARROW1": "an Arrow file",
    b"ORC": "an ORC file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a pickle",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    # Of what is compressed, one layer is removed before.
    **dict.fromkeys(
        (*ZIP_MAGICS, b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"),
        "compressed twice",
    ),
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML document",
}
# A comment, or the separator of the lines that follow.
_COMMENT = re.compile(r"[#%]\s|sep=.\s*$")
# Numbers per line from which a text without columns is a matrix.
_MIN_MATRIX_WIDTH = 8

_TEXT_HINT = (
    "; a file without a header must hold user, item, rating and, if known,"
    " timestamp in this order, or be given positions from 1"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The format and the columns of a file.

    Args:
        kind: `text`, `json` (an object per line), `parquet`, `netflix` (text
            with a line `item:` before the ratings of that item) or `tar` (an
            archive of such text).
        dialect: how the lines of a text divide into fields.
        num_skipped: the number of lines before the table: comments, as KONECT
            writes, or the separator that some spreadsheets write.
        has_header: whether the first line of the table names the columns.
        headers: the names of all columns, or their positions from 1.
        positions: pairs of role and position in `headers`.
        compression: `gzip`, `zstd` or `None`, for text.
    """

    kind: str
    dialect: Dialect = dataclasses.field(default_factory=Dialect)
    num_skipped: int = 0
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
        name = {"parquet": "Parquet", "json": "JSON lines"}.get(
            self.kind, str(self.dialect)
        )
        columns = ", ".join(
            f"{role} in column {header}"
            for role, header in self.headers_by_role.items()
        )
        compressed = f", {self.compression}" if self.compression else ""
        return f"{name}{compressed}: {columns}"


def recognize(
    file: InputFile, columns: Columns, delimiter: str | None = None
) -> Layout:
    """Returns the layout of a file.

    Args:
        file: the file.
        columns: its columns, where they are not the usual ones.
        delimiter: the separator of its fields, if it is known.

    Raises:
        UserError: if the file is empty or its columns are not recognized.
    """
    start = file.read_start(_START_BYTES)
    if b"\n" not in start:
        start = file.read_start(_MAX_LINE_BYTES)
    position, magic = _TAR_MAGIC
    if start[position] == magic:
        return Layout("tar")
    if start.startswith(b"PAR1"):
        return _recognize_parquet(file, columns)
    check_readable(file, start)
    first_line = start.partition(b"\n")[0]
    if re.fullmatch(rb"\d+:\r?", first_line):
        return Layout("netflix")
    lines = read_head(file)
    if lines[0].lstrip().startswith(("{", "[")):
        return _recognize_json(file, lines, columns)
    return _recognize_text(file, lines, columns, delimiter)


def check_readable(file: InputFile, start: bytes) -> None:
    """Checks that a file is not empty, and not of a known other format.

    Raises:
        UserError: that says what the file is.
    """
    first_line = start.partition(b"\n")[0]
    if not first_line.strip():
        raise UserError(f"{file.name} is empty, or starts with an empty line.")
    beginning = start[:16]
    if beginning.startswith(b"<"):
        beginning = beginning.lower()
    for magic, name in _UNREADABLE.items():
        if beginning.startswith(magic):
            raise UserError(
                f"{file.name} is {name}. Write it as CSV or Parquet."
            )
    if b"\0" in first_line:
        raise UserError(
            f"{file.name} is no text: it starts with {excerpt(start[:16])}."
            " If it is UTF-16 without a byte order mark, add --encoding"
            " utf-16-le or utf-16-be."
        )
    if b"\r" in first_line.removesuffix(b"\r"):
        raise UserError(
            f"{file.name}:1: lines must end in \\n or in \\r\\n, not in \\r"
            " alone."
        )


def read_head(file: InputFile) -> list[str]:
    """Returns the first lines of a text file, with their ends.

    Raises:
        UserError: if the first line is not UTF-8.
    """
    head = file.read_start(_HEAD_BYTES)
    if b"\n" not in head:
        head = file.read_start(_MAX_LINE_BYTES)
    is_cut = len(head) in (_HEAD_BYTES, _MAX_LINE_BYTES)
    lines = head.split(b"\n")
    last = lines.pop()
    if last and not (is_cut and lines):
        lines.append(last)
    try:
        first = lines[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{file.name}:1: must be UTF-8 text. Received:"
            f" {excerpt(lines[0])}. If it is text of another encoding, name"
            " that with --encoding, such as cp1252 or latin-1."
        ) from None
    texts = [first, *(line.decode("utf-8", "replace") for line in lines[1:])]
    return [f"{text}\n" for text in texts]


def _recognize_text(
    file: InputFile,
    lines: Sequence[str],
    columns: Columns,
    delimiter: str | None,
) -> Layout:
    def is_header(fields: Sequence[str]) -> bool:
        matches = match_headers(_strip(fields), columns)
        return all(matches[role] for role in ("user", "item", "rating"))

    def looks_right(fields: Sequence[str]) -> bool:
        return _has_positions(columns, fields) or is_header(fields)

    def is_before_table(line: str) -> bool:
        is_comment = _COMMENT.match(line)
        if not is_comment and not line.startswith(("#", "%")):
            return False
        fields = recognize_dialect([line], looks_right).split(line)
        # Ids may begin with the sign of a comment, too.
        return not (is_header if is_comment else looks_right)(fields)

    num_skipped = sum(1 for _ in itertools.takewhile(is_before_table, lines))
    if num_skipped == len(lines):
        num_skipped = 0
    lines = lines[num_skipped:]
    dialect = recognize_dialect(lines, looks_right, delimiter=delimiter)
    first, *others = read_first_records(dialect, lines)
    fields = _strip(first)
    positions = _to_positions(columns, fields)
    if _has_positions(columns, fields):
        has_header = not _is_number(fields[dict(positions)["rating"]])
    else:
        _check_no_matrix(file, fields, others[0] if others else [], columns)
        has_header = True
        hint = _TEXT_HINT
        if len(fields) == 1 and delimiter is None:
            hint += "; another separator of fields is named by --delimiter"
        positions = find_columns(fields, columns, file.name, hint=hint)
    if has_header:
        headers = fields
    else:
        headers = tuple(str(i + 1) for i in range(len(fields)))
    return Layout(
        kind="text",
        dialect=dialect,
        num_skipped=num_skipped,
        has_header=has_header,
        headers=headers,
        positions=positions,
        compression=file.compression,
    )


def _strip(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(field.strip() for field in fields)


def _has_positions(columns: Columns, fields: Sequence[str]) -> bool:
    """Returns whether the columns are known without a header."""
    if columns == Columns():
        return len(fields) in (3, 4) and _is_number(fields[2])
    return are_positions(columns, fields)


def _to_positions(
    columns: Columns, fields: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    if columns == Columns():
        roles = (field.name for field in dataclasses.fields(Columns))
        # Nothing may follow a last separator.
        num_fields = len(fields) - (not fields[-1])
        return tuple(zip(roles, range(num_fields), strict=False))
    return to_positions(columns) if are_positions(columns, fields) else ()


def _check_no_matrix(
    file: InputFile,
    fields: Sequence[str],
    following: Sequence[str],
    columns: Columns,
) -> None:
    """Checks that a text is not a matrix of users by items.

    Args:
        file: the file.
        fields: the fields of the first line, maybe ids of items.
        following: the fields of the second line.
        columns: the columns that the user named.
    """
    matches = match_headers(fields, columns)
    is_matrix = (
        columns == Columns()
        and len(fields) == len(following) >= _MIN_MATRIX_WIDTH
        and not matches["item"]
        and not matches["rating"]
        and all(not text or _is_number(text) for text in following[1:])
    )
    if is_matrix:
        raise UserError(
            f"{file.name} is a matrix with {len(fields)} numbers per line, not"
            " a table with one rating per line. Write it as lines of user,"
            " item, rating without the value that stands for a missing"
            " rating, for example by the method melt of a DataFrame. If it is"
            " a table, name its columns with --user-column, --item-column and"
            " --rating-column, by header or by position from 1."
        )


def _recognize_json(
    file: InputFile, lines: Sequence[str], columns: Columns
) -> Layout:
    headers: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            headers |= value
        elif number == 1:
            raise UserError(
                f"{file.name}:1: JSON must be lines with one object per"
                f" rating. Received: {excerpt(line.rstrip())}"
            )
    names = tuple(headers)
    positions = find_columns(names, columns, file.name)
    for role, position in positions:
        if isinstance(headers[names[position]], dict | list):
            raise UserError(
                f"{file.name}: the {role} column {names[position]} must hold a"
                " text or a number. It holds"
                f" {excerpt(json.dumps(headers[names[position]]))}."
            )
    return Layout(
        "json",
        headers=names,
        positions=positions,
        compression=file.compression,
    )


def _recognize_parquet(file: InputFile, columns: Columns) -> Layout:
    if file.compression:
        raise UserError(
            f"{file.name} is Parquet in {file.compression}. Decompress it:"
            " Parquet is compressed in itself."
        )
    try:
        headers = tuple(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError) as error:
        raise damage_error(file, error) from error
    positions = find_columns(headers, columns, file.name)
    return Layout("parquet", headers=headers, positions=positions)


def damage_error(file: InputFile, error: Exception) -> Exception:
    """Returns the error to raise if Arrow cannot read a file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error  # An error of the system, not of the content.
    return UserError(f"{file.name} is damaged: {error}")


def _is_number(text: str) -> bool:
    try:
        # Texts with semicolons may have decimal commas.
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True
