"""Ratings as a notebook has them -> prepared data."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import Manifest, is_prepared, read_manifest
from data_prep.options import Options
from data_prep.prepare import prepare as prepare_source
from data_prep.rules.columns import Columns
from data_prep.sources.registry import is_named_source, make_source
from data_prep.sources.source import Source
from data_prep.sources.tables import make_table_source
from data_prep.splits.registry import make_split


def prepare(
    ratings: Any,
    output_dir: str | os.PathLike[str],
    *,
    items: str | os.PathLike[str] | Mapping[str, str] | None = None,
    split: str = "user-time",
    seed: int = 0,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    timestamp_column: str | None = None,
    missing_values: Sequence[float] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Manifest:
    """Prepares ratings for training, as `python -m data_prep.task` does.

    Args:
        ratings: a DataFrame of pandas or polars, an Arrow table, a path or
            glob of files, or the name of a public data set such as
            `movielens-1m`. Columns are recognized by their usual names.
        output_dir: the directory of the prepared data. One that was prepared
            with the same arguments is left as it is.
        items: item titles: the path of a file or, if `ratings` is a
            table, a mapping from item id to title.
        split: how ratings are held out, one of `data_prep.splits`.
        seed: the seed of the split.
        user_column: the column of the user ids, if not a usual name.
        item_column: the column of the item ids, if not a usual name.
        rating_column: the column of the ratings, if not a usual name.
        timestamp_column: the column of the timestamps, if not a usual name.
        missing_values: ratings that mean "not rated", such as 99. Their rows
            are left out.
        delimiter: the separator of files of text, if it is not recognized.
        encoding: the encoding of files of text, if not UTF-8.

    Returns:
        What was prepared: counts, rating scale, rows rejected by reason.

    Raises:
        UserError: the ratings cannot be read or do not fill every part of the
            split, or `output_dir` holds other prepared data.
    """
    columns = Columns(user_column, item_column, rating_column, timestamp_column)
    titles, titles_file = None, None
    if isinstance(items, Mapping):
        titles = items
    elif items is not None:
        titles_file = os.fspath(items)
    chosen = make_split(split)
    return prepare_source(
        _make_source(
            ratings, columns, titles, delimiter, encoding, chosen.source_fold
        ),
        chosen,
        os.fspath(output_dir),
        seed=seed,
        options=Options(
            titles=titles_file, missing_values=tuple(missing_values)
        ),
    )


def prepared_directory(ratings: Any) -> str | None:
    """Returns the directory if `ratings` names prepared data, else `None`."""
    if not isinstance(ratings, str | os.PathLike):
        return None
    path = os.fspath(ratings)
    if not is_prepared(path):
        return None
    read_manifest(path)
    return path


def _make_source(
    ratings: Any,
    columns: Columns,
    titles: Mapping[str, str] | None,
    delimiter: str | None,
    encoding: str | None,
    fold: str | None,
) -> Source:
    if not isinstance(ratings, str | os.PathLike):
        if delimiter or encoding:
            raise UserError(
                "`delimiter` and `encoding` are for files, not for ratings in"
                " a table."
            )
        return make_table_source(ratings, columns, titles)
    if titles is not None:
        raise UserError(
            "`items` may be a mapping for ratings in a table. For"
            f" {os.fspath(ratings)} it must be a file of titles."
        )
    name = os.fspath(ratings)
    is_named = is_named_source(name)
    return make_source(
        name if is_named else "files",
        ratings=None if is_named else name,
        columns=columns,
        delimiter=delimiter,
        encoding=encoding,
        fold=fold,
    )
