"""MovieLens data sets of TensorFlow Datasets."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from data_prep.dataset.errors import UserError
from data_prep.readers.reading import Part, Reading
from data_prep.sources.source import Source

#: What the names of these sources start with.
PREFIX = "tfds:"

_RATINGS = {
    "user_id": pa.string(),
    "movie_id": pa.string(),
    "user_rating": pa.float64(),
    "timestamp": pa.float64(),
}
_NAMES = ["user_id", "item_id", "rating", "timestamp"]
_TITLES = {"movie_id": pa.string(), "movie_title": pa.string()}
# The number of ratings by configuration, known before the download.
_NUM_RATINGS = {
    "latest-small": 100_836,
    "100k": 100_000,
    "1m": 1_000_209,
    "20m": 20_000_263,
    "25m": 25_000_095,
}
_LARGEST = 30_000_000
_BATCH_SIZE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Tfds(Source):
    """A MovieLens data set of TensorFlow Datasets.

    Args:
        dataset: its name and configuration, such as movielens/1m-ratings.
    """

    dataset: str

    def describe(self) -> dict[str, Any]:
        return {
            "name": PREFIX + self.dataset,
            "version": str(self._create_builder().version),
        }

    def estimate_rows(self) -> int:
        config = self.dataset.partition("/")[2]
        return _NUM_RATINGS.get(config.removesuffix("-ratings"), _LARGEST)

    def read(self, reading: Reading) -> Iterator[Part]:
        for table in self._read_columns(_RATINGS):
            yield functools.partial(table.rename_columns, _NAMES)

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        titles: dict[str, str] = {}
        for table in self._read_columns(_TITLES):
            titles |= zip(
                *(column.to_pylist() for column in table.columns), strict=True
            )
        return titles

    def _read_columns(
        self, columns: dict[str, pa.DataType]
    ) -> Iterator[pa.Table]:
        builder = self._create_builder()
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
        for batch in rows.batch(_BATCH_SIZE).as_numpy_iterator():
            yield pa.table(
                {
                    name: pa.array(batch[name].tolist(), kind)
                    for name, kind in columns.items()
                }
            )

    def _create_builder(self) -> Any:
        # Imported late: it takes a second, and no other source needs it.
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.dataset)
        except ValueError as error:
            raise UserError(
                f"TensorFlow Datasets has no {self.dataset}"
                f" ({_first_line(error)})."
            ) from error
        missing = (_RATINGS | _TITLES).keys() - builder.info.features.keys()
        if missing:
            raise UserError(
                f"{self.dataset} holds no ratings: it lacks"
                f" {', '.join(sorted(missing))}. Name a data set such as"
                " tfds:movielens/1m-ratings."
            )
        return builder


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
