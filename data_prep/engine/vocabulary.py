"""Builds the item vocabulary: item id -> item index, and titles."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import Items, read_items
from data_prep.engine.assignment import ItemCounts
from data_prep.options import Options
from data_prep.ratings import find_positions
from data_prep.readers.titles import read_titles
from data_prep.rules.ids import to_ids
from data_prep.sources.source import Source

# The ids that a message shows.
_NUM_SHOWN = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The items of the records, and their relation to those of the source.

    Args:
        items: the items, in index order.
        indices: for each item of the source its index, -1 for none, int32
            `(num_source_items,)`.
        rating_mean: the mean training rating.
    """

    items: Items
    indices: npt.NDArray[np.int32]
    rating_mean: float


def build_vocabulary(
    item_ids: pa.StringArray,
    item_counts: ItemCounts,
    unit: float,
    *,
    min_ratings: int = 1,
    old_ids: Sequence[str] = (),
) -> Vocabulary:
    """Gives every item with training ratings an index.

    The most rated item comes first, so that the parameters used most lie
    close together; ties are broken by id.

    Args:
        item_ids: the ids of the source's items, sorted.
        item_counts: their training ratings.
        unit: the unit of the sums of ratings.
        min_ratings: items with fewer training ratings get no index.
        old_ids: the items of an earlier vocabulary. They keep their indices,
            whatever their counts, and new items follow. They also keep their
            spelling, by which a job that is continued knows its items.
    """
    counts, sums = item_counts.counts, item_counts.sums
    old = find_positions(pa.array(_normalize(old_ids), pa.string()), item_ids)
    # Of several old spellings of an id, the first gets the ratings.
    is_first = np.zeros(len(old), np.bool_)
    is_first[np.unique(old, return_index=True)[1]] = True
    old = np.where(is_first, old, -1).astype(np.int32)
    is_new = counts >= max(min_ratings, 1)
    is_new[old[old >= 0]] = False
    by_count = np.lexsort((np.arange(len(counts)), -counts))
    positions = np.append(old, by_count[is_new[by_count]].astype(np.int32))
    is_in_source = positions >= 0
    indices = np.full(len(counts), -1, np.int32)
    indices[positions[is_in_source]] = np.flatnonzero(is_in_source)
    kept_counts = np.where(is_in_source, counts[positions], 0)
    kept_sums = np.where(is_in_source, sums[positions], 0)
    mean = float(kept_sums.sum() * unit / max(kept_counts.sum(), 1))
    means = np.full(len(positions), mean)
    np.divide(kept_sums * unit, kept_counts, out=means, where=kept_counts > 0)
    new_ids = item_ids.take(pa.array(positions[len(old) :])).to_pylist()
    return Vocabulary(
        Items(
            item_ids=[*old_ids, *new_ids],
            counts=kept_counts,
            means=means,
            titles=[None] * len(positions),
        ),
        indices,
        mean,
    )


@dataclasses.dataclass(frozen=True)
class KnownItems:
    """What is known of items before their ratings are read.

    Args:
        old_ids: the items of an earlier vocabulary.
        old_titles: their titles, item id -> title.
        titles: the titles in the file that the options name, item id ->
            title; `None` if they name none.
    """

    old_ids: list[str]
    old_titles: dict[str, str]
    titles: dict[str, str] | None


def read_known_items(options: Options, temp_dir: str) -> KnownItems:
    """Reads the earlier vocabulary and the titles that the options name.

    Reading all ratings may take long, and a mistake in these files shows at
    once.

    Args:
        options: the options.
        temp_dir: a local directory for temporary files.

    Raises:
        UserError: if the vocabulary or the titles cannot be read.
    """
    old_ids: list[str] = []
    old_titles: dict[str, str] = {}
    titles = None
    if options.vocabulary_from:
        old = read_items(options.vocabulary_from)
        old_ids = old.item_ids
        old_titles = {
            item_id: title
            for item_id, title in zip(
                _normalize(old_ids), old.titles, strict=True
            )
            if title is not None
        }
    if options.titles:
        titles = read_titles(options.titles, temp_dir)
    return KnownItems(old_ids, old_titles, titles)


def build_requested_vocabulary(
    source: Source,
    options: Options,
    known: KnownItems,
    item_ids: pa.StringArray,
    item_counts: ItemCounts,
    unit: float,
    temp_dir: str,
) -> Vocabulary:
    """Builds the vocabulary with the titles and the items known before.

    Args:
        source: the source, for titles.
        options: the options.
        known: the result of `read_known_items`.
        item_ids: the ids of the source's items, sorted.
        item_counts: their training ratings.
        unit: the unit of the sums of ratings.
        temp_dir: a local directory for temporary files.

    Raises:
        UserError: if no item has a title in the file of titles, or none is in
            the earlier vocabulary.
    """
    vocabulary = build_vocabulary(
        item_ids,
        item_counts,
        unit,
        min_ratings=options.min_item_ratings,
        old_ids=known.old_ids,
    )
    if options.vocabulary_from:
        _check_match(
            f"--vocabulary-from {options.vocabulary_from}",
            _normalize(known.old_ids),
            item_ids.to_pylist(),
        )
    ids = vocabulary.items.item_ids
    normalized = _normalize(ids)
    titles = known.titles
    if titles is None:
        titles = source.read_titles(ids, temp_dir)
    else:
        _check_match(f"--items {options.titles}", titles, normalized)
    titles = known.old_titles | titles
    items = dataclasses.replace(
        vocabulary.items,
        titles=[titles.get(item_id) for item_id in normalized],
    )
    return dataclasses.replace(vocabulary, items=items)


def _check_match(
    name: str, listed: Iterable[str], item_ids: Sequence[str]
) -> None:
    """Logs how many items are listed.

    Args:
        name: what lists them, in messages.
        listed: the ids listed.
        item_ids: the items.

    Raises:
        UserError: if there are items and none of them is listed.
    """
    listed = set(listed)
    num_listed = sum(item_id in listed for item_id in item_ids)
    if item_ids and not num_listed:
        raise UserError(
            f"{name} has none of the {len(item_ids):,} items of the ratings."
            f" Its ids are such as {_show(sorted(listed))}; those of the"
            f" ratings such as {_show(item_ids)}. Name the file or the columns"
            " that belong to these ratings."
        )
    logging.info(
        "%s has %s of the %s items of the ratings.",
        name,
        f"{num_listed:,}",
        f"{len(item_ids):,}",
    )


def _show(ids: Sequence[str]) -> str:
    return ", ".join(repr(item_id) for item_id in ids[:_NUM_SHOWN])


def _normalize(item_ids: Sequence[str]) -> list[str]:
    """Applies the rule of ids to those of data that did not go by it yet."""
    ids: list[str] = to_ids(pa.array(item_ids, pa.string())).to_pylist()
    return ids
