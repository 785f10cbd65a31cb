"""Reads a user's ratings from a CSV or JSON file."""

import csv
import io
import json
import math
import sys
from typing import Any

# Columns of a CSV file and keys of JSON objects.
_ITEM_ID, _RATING = "item_id", "rating"


def read_ratings(path: str) -> list[tuple[str, float]]:
    """Reads the ratings of a user.

    JSON is an object of ratings by item id, or a list of pairs
    `["Heat (1995)", 3.5]` or objects `{"item_id": ..., "rating": ...}`; any
    other text is CSV. If its first line names the columns `item_id` and
    `rating`, these are read, otherwise the first two columns.

    Args:
        path: the file; `-` for the standard input.

    Returns:
        Pairs of item id and rating, in the order of the file.

    Raises:
        ValueError: if the file cannot be read; the message names the line.
    """
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            # utf-8-sig, because spreadsheets write a byte order mark.
            with open(path, encoding="utf-8-sig", newline="") as file:
                text = file.read()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    if text.lstrip().startswith(("{", "[")):
        return _read_json(text, path)
    return _read_csv(text, path)


def _read_json(text: str, path: str) -> list[tuple[str, float]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if isinstance(document, dict):
        document = list(document.items())
    ratings = []
    for position, entry in enumerate(document, start=1):
        match entry:
            case [item_id, rating] | (item_id, rating):
                pass
            case {"item_id": item_id, "rating": rating}:
                pass
            case _:
                item_id = rating = None
        if isinstance(rating, bool | str):
            rating = None
        ratings.append(_check(item_id, rating, f"{path}, rating {position}"))
    return ratings


def _read_csv(text: str, path: str) -> list[tuple[str, float]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    item_column, rating_column = 0, 1
    ratings = []
    for row in reader:
        if reader.line_num == 1 and _RATING in row and _ITEM_ID in row:
            item_column, rating_column = row.index(_ITEM_ID), row.index(_RATING)
        elif row:
            item_id, rating = (
                row[column] if column < len(row) else None
                for column in (item_column, rating_column)
            )
            ratings.append(_check(item_id, rating, f"{path}:{reader.line_num}"))
    return ratings


def _check(item_id: Any, rating: Any, place: str) -> tuple[str, float]:
    try:
        number = float(rating)
    except (TypeError, ValueError):
        number = math.nan
    if not isinstance(item_id, str) or not item_id or not math.isfinite(number):
        raise ValueError(
            f"{place}: expected an item id and a finite number. Received:"
            f" {item_id!r} and {rating!r}"
        )
    return item_id, number
