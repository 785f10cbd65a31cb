"""Titles of items, from the files they are published in or any table.

Known by their form: MovieLens `movies.dat` and `movies.csv`, ML-100K
`u.item`, Netflix `movie_titles.txt`, atomic files such as `ml-100k.item`,
Parquet, CSV and TSV with a column of ids and one of titles.
"""

import csv
import re
from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.sources.local_files import InputFile, fetch_files

_ID_HEADERS = {"item", "itemid", "movie", "movieid", "id"}
_TITLE_HEADERS = {"title", "movietitle", "name", "itemname"}
_YEAR_HEADERS = {"year", "releaseyear"}

# Netflix: id, year or NULL, and a title that may hold commas, unquoted.
_NETFLIX_LINE = re.compile(r"(\d+),(\d{4}|NULL),(.*)")


def read_titles(path: str, temp_dir: str) -> dict[str, str]:
    """Returns item id -> title.

    Args:
        path: the file, local or remote.
        temp_dir: a local directory that a remote file is copied to.

    Raises:
        UserError: when it shows no ids and titles.
    """
    (file,) = fetch_files([path], temp_dir)
    if file.read_start(4) == b"PAR1":
        table = pq.read_table(file.path)
        texts = [
            ["" if v is None else str(v) for v in column.to_pylist()]
            for column in table.columns
        ]
        return _read_named(file, table.column_names, zip(*texts, strict=True))
    lines = _read_lines(file)
    if not lines:
        raise UserError(f"{path} is empty.")
    if _NETFLIX_LINE.fullmatch(lines[0]):
        matches = [_NETFLIX_LINE.fullmatch(line) for line in lines]
        return {m[1]: _add_year(m[3], m[2]) for m in matches if m}
    delimiter = next((d for d in ("\t", "::", "|", ",") if d in lines[0]), ",")
    rows = (
        csv.reader(lines)
        if delimiter == ","
        else iter([line.split(delimiter) for line in lines])
    )
    if delimiter in ("::", "|"):
        return {row[0]: row[1] for row in rows if len(row) > 1}
    return _read_named(file, next(rows), rows)


def _read_named(
    file: InputFile, headers: Sequence[str], rows: Iterator[Sequence[str]]
) -> dict[str, str]:
    plain = [re.sub("[ _-]|:.*|seq$", "", header.lower()) for header in headers]
    ids, titles, years = (
        next((k for k, name in enumerate(plain) if name in wanted), None)
        for wanted in (_ID_HEADERS, _TITLE_HEADERS, _YEAR_HEADERS)
    )
    if ids is None or titles is None:
        raise UserError(
            f"{file.name} must have a column of item ids and one of titles,"
            f" such as item_id and title. Its columns are:"
            f" {', '.join(headers)}."
        )
    return {
        row[ids]: _add_year(row[titles], row[years] if years else "")
        for row in rows
        if len(row) == len(headers) and row[titles]
    }


def _add_year(title: str, year: str) -> str:
    return f"{title} ({year})" if year.isdecimal() else title


def _read_lines(file: InputFile) -> list[str]:
    with file.open() as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # GroupLens' and Netflix' older files.
        text = data.decode("latin-1")
    return text.splitlines()
