"""Optional settings of a preparation."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_file
from data_prep.dataset.items import FILE_NAME as ITEMS_FILE
from data_prep.dataset.manifest import read_manifest
from data_prep.readers.archives import split_member
from data_prep.rules.row_rules import Scale


@dataclasses.dataclass(frozen=True)
class Options:
    """Optional settings of a preparation.

    Args:
        rating_scale: the valid ratings; others are invalid rows.
        missing_values: ratings that mean "not rated". Their rows are dropped.
        max_bad_rows: the fraction of rows that may be invalid.
        min_user_ratings: users with fewer training ratings are left out.
        min_item_ratings: items with fewer training ratings are left out.
            They are counted after those users have been left out.
        titles: a file of item titles, see `data_prep.readers.titles`.
        vocabulary_from: a directory of prepared data. Its items keep their
            indices, and new items follow.

    Raises:
        UserError: for a value out of range.
    """

    rating_scale: Scale | None = None
    missing_values: tuple[float, ...] = ()
    max_bad_rows: float = 0.001
    min_user_ratings: int = 1
    min_item_ratings: int = 1
    titles: str | None = None
    vocabulary_from: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_rows < 1:
            raise UserError(
                "--max-bad-rows must be a fraction, at least 0 and less than"
                f" 1. Received: {self.max_bad_rows}"
            )
        for value in self.missing_values:
            if not math.isfinite(value):
                raise _missing_value_error(value)

    @property
    def scale(self) -> Scale | None:
        """The valid ratings, which spares the missing values."""
        return self.rating_scale and dataclasses.replace(
            self.rating_scale, missing_values=self.missing_values
        )

    def describe(self) -> dict[str, Any]:
        """Returns the settings that change the result and are not default."""
        described: dict[str, Any] = {}
        if self.rating_scale:
            described["rating_scale"] = str(self.rating_scale)
        if self.missing_values:
            described["missing_values"] = sorted(set(self.missing_values))
        for name in ("min_user_ratings", "min_item_ratings"):
            if getattr(self, name) > 1:
                described[name] = getattr(self, name)
        if self.titles:
            described["titles"] = digest_file(split_member(self.titles)[0])
        if self.vocabulary_from:
            old = read_manifest(self.vocabulary_from)
            described["vocabulary_from"] = old.digests[ITEMS_FILE]
        return described


def parse_missing_values(texts: Sequence[str]) -> tuple[float, ...]:
    """Parses the values of `--missing-value`.

    Raises:
        UserError: if one is not a number.
    """
    values = []
    for text in texts:
        try:
            values.append(float(text))
        except ValueError:
            raise _missing_value_error(text) from None
    return tuple(values)


def _missing_value_error(value: object) -> UserError:
    return UserError(
        "--missing-value must be a number such as 99, or several separated by"
        f" commas. Received: {value}"
    )
