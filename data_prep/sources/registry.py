"""All sources by name."""

from data_prep.dataset.errors import UserError
from data_prep.sources import tfds
from data_prep.sources.fetching import find_files
from data_prep.sources.files import Files
from data_prep.sources.formats import Columns
from data_prep.sources.movielens import MOVIELENS
from data_prep.sources.source import Source


def make_source(
    name: str,
    *,
    ratings: str | None = None,
    test_ratings: str | None = None,
    columns: Columns | None = None,
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

    Raises:
        UserError: for an unknown name, parameters of another source, or a
            glob that matches nothing.
    """
    if name == "files":
        if not ratings:
            raise UserError("--source files needs --ratings, a path or glob.")
        test_paths = find_files(test_ratings) if test_ratings else ()
        paths = find_files(ratings)
        return Files(paths, columns or Columns(), test_paths)
    if ratings or test_ratings or (columns or Columns()) != Columns():
        raise UserError(
            "--ratings and the column flags belong to --source files, not to"
            f" --source {name}."
        )
    if name in MOVIELENS:
        return MOVIELENS[name]
    if name.startswith(tfds.PREFIX):
        return tfds.Tfds(name.removeprefix(tfds.PREFIX))
    raise UserError(
        f"unknown source {name!r}. The sources are: {', '.join(MOVIELENS)},"
        f" {tfds.PREFIX}movielens/1m-ratings and its like, files."
    )


def is_named_source(name: str) -> bool:
    """Tells whether `make_source` knows a data set of this name."""
    return name in MOVIELENS or name.startswith(tfds.PREFIX)
