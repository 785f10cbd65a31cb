"""The catalog of the demo: items and their titles, searched by words."""

import os
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class Item(NamedTuple):
    """An item and its title, which is the id of an item without one."""

    item_id: str
    title: str


class Catalog:
    """Finds items by words of their titles.

    Case, accents and punctuation do not matter. A search scans all titles, in
    the vectorized loops of Arrow.

    Args:
        item_ids: strings, `(num_items,)`, the most rated item first.
        titles: strings, `(num_items,)`, null for an item without one.
    """

    def __init__(self, item_ids: pa.ChunkedArray, titles: pa.ChunkedArray):
        self._item_ids = item_ids
        self._titles = pc.coalesce(titles, item_ids)
        self._folded = _fold(self._titles)
        self._title_of_id = dict(
            zip(item_ids.to_pylist(), self._titles.to_pylist(), strict=True)
        )

    def title_of(self, item_id: str) -> str:
        """Returns the title of an item, or its id if it has none."""
        return self._title_of_id.get(item_id, item_id)

    def search(self, query: str, limit: int) -> list[Item]:
        """Finds the items whose titles contain every word of a query.

        Titles that begin with the query come first, then titles in which each
        query word begins a word, then the others, such as titles without
        spaces. Ties go to the most rated item. A query without words matches
        every item. An item whose id is the query comes before all others.

        Args:
            query: the text typed so far; its last word may be incomplete.
            limit: the most items to return.
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
        same_id = _mask(pc.equal(self._item_ids, query.strip()))
        best = np.append(np.flatnonzero(same_id), best[~same_id[best]])[:limit]
        return [
            Item(item_id, title)
            for item_id, title in zip(
                self._item_ids.take(best).to_pylist(),
                self._titles.take(best).to_pylist(),
                strict=True,
            )
        ]


def read_catalog(job_dir: str) -> Catalog:
    """Reads the items of a training job.

    Args:
        job_dir: its directory, which holds `vocabulary/items.parquet`.

    Raises:
        ValueError: if there is no such table.
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
    return Catalog(table["item_id"], table["title"])


def _fold(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Normalizes texts to lower-case words, each after one space."""
    folded = pc.utf8_normalize(pc.utf8_lower(texts), form="NFKD")
    # "Schindler's" is one word, which people also type without the apostrophe.
    for pattern, replacement in (
        (r"[\pM'\x{2019}]+", ""),
        (r"[^\pL\pN]+", " "),
        # The first word, too, comes after a space.
        (r"^ ?", " "),
    ):
        folded = pc.replace_substring_regex(
            folded, pattern=pattern, replacement=replacement
        )
    return folded


def _mask(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
