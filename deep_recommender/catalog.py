"""The items that a model knows, found by id or by title."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import ItemNames, Items

# Items that a message names.
_NUM_NAMED = 5


class Catalog:
    """Finds items by id or by title, as `ItemNames` has them.

    Args:
        items: the vocabulary of a model.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self._names = ItemNames(items)
        self._title_of_id = dict(
            zip(items.item_ids, items.display_names(), strict=True)
        )

    def find(self, name: Any) -> str | None:
        """Returns the id of the item with this id or title; `None` if unknown.

        Raises:
            UserError: several items have the title.
        """
        text = str(name)
        ids = self._names.ambiguous.get(text)
        if ids:
            raise UserError(
                f"{len(ids)} items are called {text!r}: {', '.join(ids)}. Give"
                " the id of one of them."
            )
        index = self._names.index_of.get(text)
        return None if index is None else self._items.item_ids[index]

    def require(self, name: Any) -> str:
        """Returns the id of the item with this id or title.

        Raises:
            UserError: there is no such item.
        """
        item_id = self.find(name)
        if item_id is None:
            raise UserError(
                f"the model knows no item {str(name)!r}. `Recommender.items`"
                " lists the items by id and title."
            )
        return item_id

    def read_history(
        self, ratings: Mapping[Any, float] | Iterable[tuple[Any, float]]
    ) -> list[tuple[str, float]]:
        """Returns a user's ratings by item id, without unknown items.

        Says which items are unknown.

        Raises:
            UserError: no item is known.
        """
        pairs = list(
            ratings.items() if isinstance(ratings, Mapping) else ratings
        )
        found = [(self.find(name), rating) for name, rating in pairs]
        history = [(name, float(rating)) for name, rating in found if name]
        unknown = [
            str(name)
            for (name, _), (item_id, _) in zip(pairs, found, strict=True)
            if item_id is None
        ]
        if unknown:
            message = (
                f"the model does not know {len(unknown)} of {len(pairs)} rated"
                f" items: {_name_some(unknown)}"
            )
            if not history:
                raise UserError(
                    f"{message}. `Recommender.items` lists those that it knows."
                )
            logging.warning("%s. They are ignored.", message)
        return history

    def title_of(self, item_id: str) -> str:
        """Returns the title of an item; its id where it has none."""
        return self._title_of_id.get(item_id, item_id)

    def titles_of(self, item_ids: Sequence[str]) -> list[str]:
        """Returns the title of each item."""
        return [self.title_of(item_id) for item_id in item_ids]

    def to_table(self) -> pa.Table:
        """Returns all items, the most rated first."""
        items = self._items
        return pa.table(
            {
                "item_id": pa.array(items.item_ids, pa.string()),
                "title": pa.array(self.titles_of(items.item_ids), pa.string()),
                "num_ratings": pa.array(items.counts, pa.int64()),
                "mean_rating": pa.array(items.means, pa.float64()),
            }
        )


def _name_some(names: Sequence[str]) -> str:
    more = len(names) - _NUM_NAMED
    named = ", ".join(map(repr, names[:_NUM_NAMED]))
    return f"{named} and {more} more" if more > 0 else named
