"""Numbers the items of a source: item id -> item index."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.dataset.items import Items
from data_prep.engine.assignment import ItemCounts
from data_prep.ratings import find_places


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The items of the records, and where those of the source went.

    Args:
        items: the items, in index order.
        indices: for each item of the source its index, -1 if it has none,
            int32 `(num_source_items,)`.
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

    The most rated item comes first, so that what is touched most lies close
    together; equal counts go by id.

    Args:
        item_ids: the ids of the source's items, in order.
        item_counts: their training ratings.
        unit: what the sums of ratings are counted in.
        min_ratings: items with fewer training ratings get no index.
        old_ids: the items of an earlier vocabulary, which keep their indices
            whatever their counts; new ones follow.
    """
    counts, sums = item_counts.counts, item_counts.sums
    old = find_places(pa.array(old_ids, pa.string()), item_ids)
    is_new = counts >= max(min_ratings, 1)
    is_new[old[old >= 0]] = False
    by_count = np.lexsort((np.arange(len(counts)), -counts))
    places = np.append(old, by_count[is_new[by_count]].astype(np.int32))
    indices = np.full(len(counts), -1, np.int32)
    rated = np.flatnonzero(places >= 0)
    indices[places[rated]] = rated
    # Old items that nobody rated any more have no place in the counts.
    kept_counts = np.where(places >= 0, counts[places], 0)
    kept_sums = np.where(places >= 0, sums[places], 0)
    mean = float(kept_sums.sum() * unit / max(kept_counts.sum(), 1))
    means = np.full(len(places), mean)
    np.divide(kept_sums * unit, kept_counts, out=means, where=kept_counts > 0)
    new_ids = item_ids.take(pa.array(places[len(old) :])).to_pylist()
    return Vocabulary(
        Items(
            item_ids=[*old_ids, *new_ids],
            counts=kept_counts,
            means=means,
            titles=[None] * len(places),
        ),
        indices,
        mean,
    )
