"""Reads item titles from files.

Recognizes MovieLens `movies.dat` and `movies.csv`, ML-100K `u.item`, Netflix
`movie_titles.txt`, RecBole atomic files such as `ml-100k.item`, and Parquet,
CSV and TSV with a column of ids and one of titles.
"""

import csv
import re
from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

from data_prep.dataset.errors import UserError
from data_prep.sources.fetching import InputFile, fetch_files

_ID_HEADERS = {"item", "itemid", "movie", "movieid", "id"}
_TITLE_HEADERS = {"title", "movietitle", "name", "itemname"}
_YEAR_HEADERS = {"year", "releaseyear"}

# Netflix: id, year or NULL, and an unquoted title that may contain commas.
_NETFLIX_LINE = re.compile(r"(\d+),(\d{4}|NULL),(.*)")


def read_titles(path: str, temp_dir: str) -> dict[str, str]:
    """Reads the titles in a file.

    Args:
        path: the file, local or remote.
        temp_dir: a local directory for the copy of a remote file.

    Returns:
        Item id -> title.

    Raises:
        UserError: if the file has no ids and titles.
    """
    (file,) = fetch_files([path], temp_dir)
    if file.read_start(4) == b"PAR1":
        table = pq.read_table(file.path)
        columns = [
            ["" if v is None else str(v) for v in column.to_pylist()]
            for column in table.columns
        ]
        rows = zip(*columns, strict=True)
        return _read_by_header(file, table.column_names, rows)
    lines = _read_lines(file)
    if not lines:
        raise UserError(f"{path} is empty.")
    if _NETFLIX_LINE.fullmatch(lines[0]):
        matches = [_NETFLIX_LINE.fullmatch(line) for line in lines]
        return {m[1]: _add_year(m[3], m[2]) for m in matches if m}
    delimiter = next((d for d in ("\t", "::", "|", ",") if d in lines[0]), ",")
    if delimiter in ("::", "|"):
        fields = [line.split(delimiter) for line in lines]
        return {row[0]: row[1] for row in fields if len(row) > 1}
    header, *records = (
        csv.reader(lines)
        if delimiter == ","
        else [line.split(delimiter) for line in lines]
    )
    return _read_by_header(file, header, records)


def _read_by_header(
    file: InputFile, headers: Sequence[str], rows: Iterable[Sequence[str]]
) -> dict[str, str]:
    normalized = [
        re.sub("[ _-]|:.*|seq$", "", header.lower()) for header in headers
    ]
    ids, titles, years = (
        next((k for k, name in enumerate(normalized) if name in known), None)
        for known in (_ID_HEADERS, _TITLE_HEADERS, _YEAR_HEADERS)
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
        # Older files of GroupLens and Netflix.
        text = data.decode("latin-1")
    return text.splitlines()
