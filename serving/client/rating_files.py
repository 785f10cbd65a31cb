"""Reads a user's ratings from a CSV, JSON or JSON lines file."""

import codecs
import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from serving.client.ids import to_id

# What items usually are. These names and those below are the ones that
# preparation knows, without case, blanks, `_` and `-`.
_ITEMS = (
    *("item", "movie", "film", "book", "product", "anime", "artist", "song"),
    *("track", "game", "recipe", "joke", "business", "show", "restaurant"),
)
#: The usual names of columns, by what they hold.
NAMES = {
    "user": frozenset(
        ("user", "userid", "uid", "reviewerid", "customerid", "memberid")
    ),
    "item": frozenset(
        (*_ITEMS, *(f"{name}id" for name in _ITEMS), "iid", "isbn", "asin")
    ),
    "rating": frozenset(
        {
            *("rating", "ratings", "score", "stars", "overall"),
            *("userrating", "bookrating", "movierating", "reviewscore"),
        }
    ),
}
# The semicolon is tried first, as it may stand beside decimal commas.
_DELIMITERS = (";", ",", "\t", "|", "::")
# A message shows no more of a value.
_MAX_CHARACTERS = 200
# What a list or object of JSON begins with, and no title in brackets.
_JSON = re.compile(r"""\s*(\{\s*["}]|\[\s*["[{\]\d-])""")


class RatingFile(NamedTuple):
    """The ratings of a file.

    Attributes:
        ratings: pairs of item id or title and rating, in the order of the
            file.
        columns: where items and ratings were found, a phrase.
    """

    ratings: list[tuple[str, float]]
    columns: str


class _Columns(NamedTuple):
    """The positions of columns, and a phrase that says them."""

    item: int
    rating: int
    user: int | None
    phrase: str
    has_names: bool


def read_ratings(path: str) -> RatingFile:
    """Reads the ratings of a user.

    JSON is an object of ratings by item, or a list of pairs
    `["Heat (1995)", 3.5]` or objects such as `{"movieId": 6, "rating": 3.5}`,
    which may also stand on lines of their own. Any other text is CSV,
    separated by commas, tabs, semicolons, bars or `::`. Where semicolons
    separate, ratings may have decimal commas. Columns and keys have the names
    that preparation knows, or `title`. A file without names holds items and
    ratings or, if its third column is a number, users, items and ratings.

    Args:
        path: the file; `-` for the standard input.

    Returns:
        The ratings of the file.

    Raises:
        ValueError: if the file cannot be read, is empty, or holds the ratings
            of several users; the message names the line.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
        has_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        # utf-8-sig, because spreadsheets write a byte order mark.
        text = data.decode("utf-16" if has_utf16 else "utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    if _JSON.match(text):
        return _read_json(text, path)
    try:
        return _read_csv(text, path)
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV: {error}") from error


def _read_json(text: str, path: str) -> RatingFile:
    users = _Users()
    ratings = []
    for position, entry in enumerate(_parse_json(text, path), start=1):
        place = f"{path}, rating {position}"
        match entry:
            case [item, rating] | (item, rating):
                pass
            case dict():
                keys = list(entry)
                columns = _match_names(keys, place)
                item, rating = (
                    entry[keys[columns.item]],
                    entry[keys[columns.rating]],
                )
                if columns.user is not None:
                    users.add(entry[keys[columns.user]], place)
            case _:
                item = rating = None
        if isinstance(rating, bool | str):
            raise _make_error(item, rating, place)
        ratings.append(_check(item, rating, place))
    return _finish(ratings, "JSON", path)


def _parse_json(text: str, path: str) -> Sequence[Any]:
    """Returns the entries of a list, of an object, or of JSON lines."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            return [
                json.loads(line) for line in text.split("\n") if line.strip()
            ]
        except (ValueError, RecursionError):
            raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        return document
    names = list(document)
    if _find_items(names) and _find("rating", names):
        return [document]
    return list(document.items())


def _read_csv(text: str, path: str) -> RatingFile:
    delimiter, columns = _recognize(text, path)
    users = _Users()
    rows = _read_rows(text, delimiter)
    if columns.has_names:
        next(rows)
    ratings = []
    for line, row in rows:
        place = f"{path}:{line}"
        item, rating, user = (
            row[column] if column is not None and column < len(row) else None
            for column in (columns.item, columns.rating, columns.user)
        )
        if columns.user is not None:
            users.add(user, place)
        if rating is not None:
            rating = _to_point(rating, delimiter)
        ratings.append(_check(item, rating, place))
    return _finish(ratings, columns.phrase, path)


def _finish(
    ratings: list[tuple[str, float]], columns: str, path: str
) -> RatingFile:
    if not ratings:
        raise ValueError(f"{path} holds no ratings.")
    return RatingFile(ratings, columns)


def _read_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number of the last line and the fields of each row."""
    file = io.StringIO(text, newline="")
    if len(delimiter) > 1:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n").split(delimiter)
        return
    # A quote may follow a blank after a separator.
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        if row:
            yield reader.line_num, row


def _recognize(text: str, path: str) -> tuple[str, _Columns]:
    """Finds the separator and the columns by the first line.

    The separator is the first of the usual ones that divides the line into
    names of columns, or into fields of which one is a number where the rating
    belongs.
    """
    first_rows = {
        delimiter: next(_read_rows(text, delimiter), (0, []))[1]
        for delimiter in _DELIMITERS
    }
    for delimiter, row in first_rows.items():
        if len(row) > 1 and _find("rating", row):
            return delimiter, _match_names(row, path)
    for delimiter, row in first_rows.items():
        fields = [_to_point(field, delimiter) for field in row]
        columns = _match_positions(fields)
        if len(fields) > columns.rating and _is_number(fields[columns.rating]):
            return delimiter, columns
    return ",", _match_positions(first_rows[","])


def _to_point(number: str, delimiter: str) -> str:
    """Replaces a decimal comma, if semicolons separate."""
    return number.replace(",", ".") if delimiter == ";" else number


def _match_names(names: Sequence[str], place: str) -> _Columns:
    """Finds columns by their names.

    Raises:
        ValueError: if there is no item or rating, or several.
    """
    found = {role: _find(role, names) for role in NAMES}
    found["item"] = _find_items(names)
    for role in ("item", "rating"):
        if len(found[role]) != 1:
            number = "several" if found[role] else "no"
            raise ValueError(
                f"{place}: {number} columns of the {role} among"
                f" {', '.join(names)[:200]}. Call exactly one of them"
                f" {role!r}."
            )
    (item,), (rating,) = found["item"], found["rating"]
    return _Columns(
        item,
        rating,
        found["user"][0] if found["user"] else None,
        f"items from {names[item]!r}, ratings from {names[rating]!r}",
        has_names=True,
    )


def _match_positions(row: Sequence[str]) -> _Columns:
    has_user = len(row) > 2 and _is_number(row[2])
    item = int(has_user)
    return _Columns(
        item,
        item + 1,
        0 if has_user else None,
        f"items from column {item + 1}, ratings from column {item + 2}",
        has_names=False,
    )


def _find(role: str, names: Sequence[str]) -> list[int]:
    return [
        k for k, name in enumerate(names) if _normalize(name) in NAMES[role]
    ]


def _find_items(names: Sequence[str]) -> list[int]:
    """Returns the positions of items or, where there are none, of titles."""
    titles = (k for k, name in enumerate(names) if _normalize(name) == "title")
    return _find("item", names) or list(titles)


def _normalize(name: str) -> str:
    """Removes case, blanks, `_`, `-`, `#`, `%` and the type after a colon."""
    text = name.partition(":")[0].lower()
    return "".join(text.split()).translate(str.maketrans("", "", "_-#%"))


def _is_number(text: Any) -> bool:
    try:
        return math.isfinite(float(text))
    except (OverflowError, TypeError, ValueError):
        return False


class _Users:
    """Checks that all ratings are of one user."""

    def __init__(self) -> None:
        self._first: str | None = None

    def add(self, user: Any, place: str) -> None:
        """Raises a ValueError at the second user."""
        user_id = to_id(user)
        if self._first is None:
            self._first = user_id
        elif user_id != self._first:
            raise ValueError(
                f"{place}: the ratings of a second user, {user!r}, after those"
                f" of {self._first!r}. Give the ratings of one user. A title"
                " that holds a comma needs quotes."
            )


def _check(item: Any, rating: Any, place: str) -> tuple[str, float]:
    name = to_id(item)
    if name is None or not _is_number(rating):
        raise _make_error(item, rating, place)
    return name, float(rating)


def _make_error(item: Any, rating: Any, place: str) -> ValueError:
    return ValueError(
        f"{place}: expected an item id and a finite number. Received:"
        f" {_excerpt(item)} and {_excerpt(rating)}"
    )


def _excerpt(value: Any) -> str:
    """Returns the literal of a value, or of its start."""
    text = repr(value)
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[:_MAX_CHARACTERS]} ..."
