"""The titles that can be searched for in the demo."""

import os
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class Item(NamedTuple):
    """An item and what people call it: its id, if it has no title."""

    item_id: str
    title: str


class Catalogue:
    """Finds items by words of their titles.

    Case, accents and punctuation do not matter. A search looks at every
    title, in the vectorised loops of Arrow.

    Args:
        item_ids: strings, the most rated item first.
        titles: strings of the same length, null where an item has none.
    """

    def __init__(self, item_ids: pa.ChunkedArray, titles: pa.ChunkedArray):
        self._item_ids = item_ids
        self._titles = pc.coalesce(titles, item_ids)
        self._folded = _fold(self._titles)
        self._title_of_id = dict(
            zip(item_ids.to_pylist(), self._titles.to_pylist(), strict=True)
        )

    def title_of(self, item_id: str) -> str:
        """Returns what to call an item, in the catalogue or not."""
        return self._title_of_id.get(item_id, item_id)

    def search(self, query: str, limit: int) -> list[Item]:
        """Finds the items whose titles hold every word of a query.

        Titles that begin with the query come first, then those where each of
        its words begins a word, then those that hold them anywhere, as titles
        without spaces do. Among equals the most rated comes first; so it does
        in the answer to a query without words, which is any item.

        Args:
            query: what a person typed, perhaps the beginning of a word.
            limit: the largest number of items.
        """
        folded_query = _fold(pa.array([query]))[0].as_py().rstrip()
        words = folded_query.split()
        places = np.arange(len(self._folded))
        for word in words:
            folded = self._folded.take(places)
            places = places[_mask(pc.match_substring(folded, word))]
        folded = self._folded.take(places)
        ranks = np.where(_mask(pc.starts_with(folded, folded_query)), 0, 1)
        for word in words:
            begins = _mask(pc.match_substring(folded, f" {word}"))
            ranks = np.where(begins, ranks, 2)
        best = places[np.argsort(ranks, kind="stable")[:limit]]
        return [
            Item(item_id, title)
            for item_id, title in zip(
                self._item_ids.take(best).to_pylist(),
                self._titles.take(best).to_pylist(),
                strict=True,
            )
        ]


def read_catalogue(job_dir: str) -> Catalogue:
    """Reads the items of a training job.

    Args:
        job_dir: its directory, which holds `vocabulary/items.parquet`.

    Raises:
        ValueError: if there is no table of items.
    """
    path = os.path.join(job_dir, "vocabulary", "items.parquet")
    try:
        table = pq.read_table(path, columns=["index", "item_id", "title"])
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} does not exist: --job_dir must be the directory of a"
            " job that python -m trainer.task has trained"
        ) from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} is no table of items: {error}") from error
    table = table.sort_by("index")
    return Catalogue(table["item_id"], table["title"])


def _fold(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Leaves words of lower-case letters and digits, a space before each."""
    folded = pc.utf8_normalize(pc.utf8_lower(texts), form="NFKD")
    # "Schindler's" is one word, and written without the apostrophe as well.
    for pattern, replacement in (
        (r"[\pM'\x{2019}]+", ""),
        (r"[^\pL\pN]+", " "),
        # So that the first word, too, begins after a space.
        (r"^ ?", " "),
    ):
        folded = pc.replace_substring_regex(
            folded, pattern=pattern, replacement=replacement
        )
    return folded


def _mask(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
