"""All sources by name."""

import dataclasses

from data_prep.dataset.errors import UserError
from data_prep.readers.fetching import find_files
from data_prep.rules.columns import Columns
from data_prep.sources import tfds
from data_prep.sources.files import Files
from data_prep.sources.movielens import MOVIELENS
from data_prep.sources.source import Source

# How a separator that a shell would swallow can be written.
_DELIMITERS = {"\\t": "\t", "tab": "\t", "blank": " ", "space": " "}


def make_source(
    name: str,
    *,
    ratings: str | None = None,
    test_ratings: str | None = None,
    columns: Columns | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    fold: str | None = None,
) -> Source:
    """Creates a source by name.

    For a table in memory see `data_prep.sources.tables.make_table_source`.

    Args:
        name: `movielens-1m`, `movielens-100k`, `tfds:` followed by a MovieLens
            data set of TensorFlow Datasets, or `files`.
        ratings: for `files`, the files as `fetching.find_files` takes them.
        test_ratings: for `files`, the files published as a test set.
        columns: for `files`, the headers or positions of the columns, where
            they are not the usual ones.
        delimiter: for `files`, the separator of text, where it is not
            recognized.
        encoding: for `files`, the encoding of text that is not UTF-8.
        fold: the fold of a public data set that is its test set.

    Raises:
        UserError: for an unknown name, encoding or separator, parameters of
            another source, or a glob that matches nothing.
    """
    if fold is not None:
        _check_fold(name, fold)
    if name == "files":
        if not ratings:
            raise UserError("--source files needs --ratings, a path or glob.")
        test_paths: tuple[str, ...] = ()
        if test_ratings:
            test_paths = find_files(test_ratings, "--test-ratings")
        paths = find_files(ratings)
        return Files(
            paths,
            columns or Columns(),
            test_paths,
            _parse_delimiter(delimiter),
            _check_encoding(encoding),
        )
    if (ratings or test_ratings or delimiter or encoding) or (
        columns or Columns()
    ) != Columns():
        raise UserError(
            "--ratings and the flags of columns, separator and encoding belong"
            f" to --source files, not to --source {name}."
        )
    if name in MOVIELENS:
        return dataclasses.replace(MOVIELENS[name], fold=fold)
    if name.startswith(tfds.PREFIX):
        return tfds.Tfds(name.removeprefix(tfds.PREFIX))
    raise UserError(
        f"unknown source {name!r}. The sources are: {', '.join(MOVIELENS)},"
        f" {tfds.PREFIX}movielens/1m-ratings and its like, files."
    )


def _check_fold(name: str, fold: str) -> None:
    sources = [key for key, source in MOVIELENS.items() if fold in source.folds]
    if name not in sources:
        raise UserError(
            f"--split {fold} is a fold of --source {', '.join(sources)}, not"
            f" of {name}. For published files of your own there are --split"
            " fold and --test-ratings."
        )


def _parse_delimiter(text: str | None) -> str | None:
    if text is None:
        return None
    delimiter = _DELIMITERS.get(text, text)
    # As many bytes as DuckDB takes.
    if not 1 <= len(delimiter.encode()) <= 4 or set(delimiter) & set('"\r\n'):
        raise UserError(
            "--delimiter must be one to four characters such as ';' or '\\t',"
            f" without quotes and line ends. Received: {text!r}"
        )
    return delimiter


def _check_encoding(encoding: str | None) -> str | None:
    try:
        if encoding is not None:
            "".encode(encoding)
    except LookupError:
        raise UserError(
            f"unknown --encoding {encoding!r}. Python knows utf-8, cp1252,"
            " latin-1, utf-16, shift_jis, gb18030 and others."
        ) from None
    return encoding


def is_named_source(name: str) -> bool:
    """Tells whether `make_source` knows a data set of this name."""
    return name in MOVIELENS or name.startswith(tfds.PREFIX)
