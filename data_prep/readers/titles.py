"""Reads item titles from files.

Reads what ratings are read from: text with any usual separator, JSON lines and
Parquet, with a column of ids and one of titles. Also reads the files without
header of MovieLens (`movies.dat`, `u.item`) and of Netflix
(`movie_titles.txt`).
"""

import codecs
import collections
import csv
import dataclasses
import html
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.readers.columnar import check_type
from data_prep.readers.dialects import read_first_records, recognize_dialect
from data_prep.readers.fetching import InputFile, fetch_files
from data_prep.readers.formats import check_readable, damage_error
from data_prep.readers.json_lines import parse_object
from data_prep.rules.columns import ITEMS, normalize
from data_prep.rules.excerpts import excerpt, list_some
from data_prep.rules.ids import to_ids

# Usual headers, in the form that `normalize` gives them; the likeliest first.
_HEADERS = {
    "item": (
        *("itemid", "item", *(f"{name}id" for name in ITEMS), *ITEMS),
        *("iid", "isbn", "asin", "parentasin", "id"),
    ),
    "title": (
        *("title", "itemtitle", *(f"{name}title" for name in ITEMS)),
        *("name", "itemname", *(f"{name}name" for name in ITEMS)),
        "originaltitle",
    ),
    "year": ("year", "releaseyear", "yearofpublication", "publicationyear"),
}
_REQUIRED = ("item", "title")
# The titles in a zip archive of a data set, such as those of GroupLens.
_MEMBERS = (
    r"(^|/)(movies\.\w+|u\.item|movie_titles\.\w+)$",
    r"(titles|items|movies|books|products|anime|artists)[^/]*$",
)
# Netflix: id, year or NULL, and an unquoted title that may contain commas.
_NETFLIX_LINE = re.compile(r"(\d+),(\d{4}|NULL),(.*)")
# Separators of files without header; others have one.
_WITHOUT_HEADER = ("::", "|")
_NUM_HEAD_LINES = 200
_START_BYTES = 1 << 12

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_HAS_YEAR = re.compile(r"\(\d{4}\)$")


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The fields of a file of titles.

    Args:
        items: the ids.
        titles: the titles; `None` where unknown.
        years: the years, or an empty array.
        malformed: the lines without these fields.
    """

    items: pa.Array
    titles: Sequence[str | None]
    years: pa.Array
    malformed: Sequence[int] = ()


def read_titles(path: str, temp_dir: str) -> dict[str, str]:
    """Reads the titles in a file.

    A line of text is UTF-8 or, where it cannot be, cp1252. HTML entities are
    replaced, and the year follows the title unless it does already.

    Args:
        path: the file, local or remote.
        temp_dir: a local directory for the copy of a remote file.

    Returns:
        Item id -> title.

    Raises:
        UserError: if the file has no ids and titles.
    """
    (file,) = fetch_files([path], temp_dir, members=_MEMBERS)
    start = file.read_start(_START_BYTES)
    if start.startswith(b"PAR1"):
        rows = _read_parquet(file)
    else:
        check_readable(file, start)
        rows = _read_text(file)
    years: Iterable[str | None] = to_ids(rows.years).to_pylist()
    titles = {
        item_id: _add_year(_clean(title), year)
        for item_id, title, year in itertools.zip_longest(
            to_ids(rows.items).to_pylist(), rows.titles, years
        )
        if item_id is not None and title is not None and _clean(title)
    }
    num_rows = len(rows.titles) + len(rows.malformed)
    if not titles:
        raise UserError(f"{file.name} holds no titles in {num_rows:,} rows.")
    if rows.malformed:
        logging.warning(
            "%s: %d of %d rows hold no item id and title, the first in line"
            " %d.",
            file.name,
            len(rows.malformed),
            num_rows,
            rows.malformed[0],
        )
    return titles


def _read_parquet(file: InputFile) -> _Rows:
    try:
        headers = pq.read_schema(file.path).names
        positions = _find_columns(file, headers)
        names = [headers[position] for position in positions.values()]
        table = pq.read_table(file.path, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise damage_error(file, error) from error
    columns = {}
    for role, name in zip(positions, names, strict=True):
        columns[role] = table[name].combine_chunks()
        check_type(role, name, columns[role].type, file.name)
    try:
        titles = columns["title"].cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        name = headers[positions["title"]]
        raise UserError(
            f"{file.name}: the title column {name} must be UTF-8 text: {error}"
        ) from error
    return _Rows(columns["item"], titles, columns.get("year", pa.nulls(0)))


def _read_text(file: InputFile) -> _Rows:
    with file.open() as stream:
        lines = _decode(stream)
        head = list(itertools.islice(lines, _NUM_HEAD_LINES))
        records: Iterator[tuple[int, Sequence[str | None]]]
        # The fields of a record: item, title and maybe year.
        if head[0].lstrip().startswith(("{", "[")):
            records = _read_json(file, itertools.chain(head, lines))
        elif _NETFLIX_LINE.fullmatch(head[0].rstrip("\r\n")):
            records = _read_netflix(itertools.chain(head, lines))
        else:
            records = _read_delimited(file, head, lines)
        return _collect(records)


def _collect(records: Iterable[tuple[int, Sequence[str | None]]]) -> _Rows:
    fields: list[Sequence[str | None]] = []
    malformed: list[int] = []
    for line, record in records:
        if len(record) > 1 and record[0] and record[1]:
            fields.append(record)
        else:
            malformed.append(line)
    items, titles = ([record[k] for record in fields] for k in (0, 1))
    return _Rows(
        pa.array(items, pa.string()),
        titles,
        pa.array([record[2] for record in fields if len(record) > 2]),
        malformed,
    )


def _read_netflix(
    lines: Iterable[str],
) -> Iterator[tuple[int, Sequence[str | None]]]:
    for number, line in enumerate(lines, start=1):
        match = _NETFLIX_LINE.fullmatch(line.rstrip("\r\n"))
        if match:
            yield number, (match[1], match[3], match[2])
        elif line.strip():
            yield number, ()


def _read_json(
    file: InputFile, lines: Iterable[str]
) -> Iterator[tuple[int, Sequence[str | None]]]:
    keys: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        value = parse_object(line) or {}
        if not keys:
            if not value:
                raise UserError(
                    f"{file.name}:{number}: JSON must be lines with one object"
                    f" per item. Received: {excerpt(line.rstrip())}"
                )
            headers = list(value)
            positions = _find_columns(file, headers)
            keys = [headers[position] for position in positions.values()]
        found = [value.get(key) for key in keys]
        yield number, [v if isinstance(v, str) else None for v in found]


def _read_delimited(
    file: InputFile, head: Sequence[str], lines: Iterable[str]
) -> Iterator[tuple[int, Sequence[str | None]]]:
    def has_header(fields: Sequence[str]) -> bool:
        matches = _match_columns(fields)
        return all(role in matches for role in _REQUIRED)

    def looks_right(fields: Sequence[str]) -> bool:
        is_title = len(fields) > 1 and fields[0].isdecimal()
        return has_header(fields) or (is_title and not fields[1].isdecimal())

    dialect = recognize_dialect(head, looks_right, min_fields=2)
    first_records = read_first_records(dialect, head)
    if not first_records:
        raise UserError(f"{file.name}:1: the field is too long.")
    first = first_records[0]
    if has_header(first) or not (
        looks_right(first) or dialect.delimiter in _WITHOUT_HEADER
    ):
        positions = list(_find_columns(file, first).values())
        num_fields, num_skipped = len(first), 1
    else:
        positions, num_skipped = [0, 1], 0
        lengths = collections.Counter(map(len, first_records))
        num_fields = max(2, lengths.most_common(1)[0][0])
    counter = _Counter()
    records = dialect.read_records(
        map(counter.count, itertools.chain(head, lines))
    )
    number = 0
    try:
        for number, fields in itertools.islice(records, num_skipped, None):
            if fields in ([], [""]):
                continue
            if num_fields == 2 and not num_skipped:
                # Joins what a separator in a title without quotes divides.
                fields[1:] = [dialect.delimiter.join(fields[1:])]
            is_whole = len(fields) == num_fields
            yield number, [fields[k] for k in positions] if is_whole else ()
    except csv.Error as error:
        raise UserError(f"{file.name}:{counter.lines}: {error}") from error
    # The last record holds the lines after a quote that nothing closes.
    if dialect.quotes and number < counter.lines and counter.quotes % 2:
        raise UserError(
            f"{file.name}:{number}: a quote is not closed (quoting)"
        )


class _Counter:
    """Counts the lines and the quotes of a text."""

    def __init__(self) -> None:
        self.lines = 0
        self.quotes = 0

    def count(self, line: str) -> str:
        self.lines += 1
        self.quotes += line.count('"')
        return line


def _find_columns(file: InputFile, headers: Sequence[str]) -> dict[str, int]:
    """Returns the position of the columns of ids, titles and years."""
    matches = _match_columns(headers)
    missing = [role for role in _REQUIRED if role not in matches]
    if missing:
        raise UserError(
            f"{file.name} must have a column of item ids and one of titles,"
            f" such as item_id and title. It has no {' and no '.join(missing)}"
            f" column. Its columns are: {list_some(headers)}. Rename them."
        )
    return matches


def _match_columns(headers: Sequence[str]) -> dict[str, int]:
    normalized = [
        re.sub("seq$", "", normalize(header.strip())) for header in headers
    ]
    return {
        role: normalized.index(known)
        for role, names in _HEADERS.items()
        for known in [next((n for n in names if n in normalized), None)]
        if known is not None
    }


def _clean(title: str) -> str:
    """Replaces HTML entities and line ends, and removes blanks around."""
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), title)
    return re.sub(r"\s*[\r\n]\s*", " ", text.strip())


def _add_year(title: str, year: str | None) -> str:
    is_year = year is not None and re.fullmatch(r"\d{4}", year)
    if not is_year or _HAS_YEAR.search(title) or f"({year})" in title:
        return title
    return f"{title} ({year})"


def _decode(stream: Iterable[bytes]) -> Iterator[str]:
    """Decodes lines, which end in line feeds only."""
    for number, line in enumerate(stream):
        try:
            text = line.decode("utf-8" if number else "utf-8-sig")
        except UnicodeDecodeError:
            text = line.decode("cp1252", _BYTES_WITHOUT_MEANING)
        # The module csv takes other carriage returns for ends of lines.
        yield text.rstrip("\r\n").replace("\r", " ") + "\n"


def _decode_as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decodes the five bytes that mean nothing in cp1252."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


_BYTES_WITHOUT_MEANING = "data_prep.titles"
codecs.register_error(_BYTES_WITHOUT_MEANING, _decode_as_latin_1)
