"""The interface of a source of ratings."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any

from data_prep.readers.reading import Part, Reading


class Source(abc.ABC):
    """A source of ratings."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns the name and what identifies the content."""

    @abc.abstractmethod
    def estimate_rows(self) -> int:
        """Estimates the number of ratings."""

    @abc.abstractmethod
    def read(self, reading: Reading) -> Iterator[Part]:
        """Yields the valid ratings, part by part.

        Ids are not empty, ratings are finite, and timestamps are seconds
        since 1970 (UTC), or null where unknown. Invalid rows go to
        `reading.rejects`.

        Raises:
            UserError: if the ratings cannot be fetched or read.
        """

    def has_test_ratings(self) -> bool:
        """Returns whether some of the ratings are published as a test set."""
        return False

    def divide(self) -> "list[Source]":
        """Divides the source into smaller ones, in order."""
        return [self]

    def explain(self, reading: Reading) -> Iterator[str]:
        """Yields lines that describe how the source will be read."""
        yield f"Source: {self.describe()}"

    def read_titles(
        self, item_ids: Sequence[str], temp_dir: str
    ) -> dict[str, str]:
        """Returns the titles of items, as far as the source knows them.

        Args:
            item_ids: the items of the vocabulary.
            temp_dir: a local directory for temporary files.

        Returns:
            Item id -> title, of these and possibly of other items.
        """
        return {}
