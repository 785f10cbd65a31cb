"""One bucket's assigned ratings -> its records."""

import dataclasses

import numpy as np
import numpy.typing as npt

from data_prep.dataset.schema import SUBSETS
from data_prep.engine.assignment import Assigned
from data_prep.engine.tfrecords import encode_records
from data_prep.splits.catalog import TRAIN

UNKNOWN_USER = "user_without_training_ratings"
UNKNOWN_ITEM = "item_without_training_ratings"
ITEM_BELOW_MINIMUM = "item_below_minimum"


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Records of some users, and what is in them.

    Args:
        records: the content of a TFRecord file, uint8.
        num_users: its users.
        num_ratings: its ratings, by group.
        dropped: ratings that are not in it, by reason.
        held_out_users: users who have held-out ratings.
        held_out_items: whether each item has held-out ratings, bool
            `(num_items,)`.
    """

    records: npt.NDArray[np.uint8]
    num_users: int
    num_ratings: dict[str, int]
    dropped: dict[str, int]
    held_out_users: int
    held_out_items: npt.NDArray[np.bool_]


def add_up(first: Encoded, second: Encoded) -> Encoded:
    """Returns the sum of two buckets, without their records."""
    return Encoded(
        records=np.empty(0, np.uint8),
        num_users=first.num_users + second.num_users,
        num_ratings=_add(first.num_ratings, second.num_ratings),
        dropped=_add(first.dropped, second.dropped),
        held_out_users=first.held_out_users + second.held_out_users,
        held_out_items=first.held_out_items | second.held_out_items,
    )


def encode(
    assigned: Assigned, indices: npt.NDArray[np.int32], num_items: int
) -> Encoded:
    """Encodes users, without what nothing was learned about.

    Args:
        assigned: ratings of whole users.
        indices: for each item of `assigned.items` its index in the
            vocabulary, -1 if it has none.
        num_items: the size of the vocabulary.
    """
    index = indices[assigned.items]
    is_known = index >= 0
    trains = assigned.groups == TRAIN
    num_users = len(assigned.user_ids)
    trained = np.bincount(
        assigned.users[trains & is_known], minlength=num_users
    )
    is_user = trained > 0
    reasons = {
        ITEM_BELOW_MINIMUM: trains & ~is_known,
        UNKNOWN_USER: ~trains & ~is_user[assigned.users],
        UNKNOWN_ITEM: ~trains & ~is_known & is_user[assigned.users],
    }
    kept = np.flatnonzero(is_known & is_user[assigned.users])
    places = np.cumsum(is_user) - 1
    slots = places[assigned.users[kept]] * len(SUBSETS) + assigned.groups[kept]
    order = np.argsort(slots * num_items + index[kept])
    counts = np.bincount(slots, minlength=is_user.sum() * len(SUBSETS))
    counts = counts.reshape(-1, len(SUBSETS))
    held_out_items = np.zeros(num_items, np.bool_)
    held_out_items[index[kept][assigned.groups[kept] != TRAIN]] = True
    return Encoded(
        records=encode_records(
            assigned.user_ids.filter(is_user),
            counts,
            index[kept][order].astype(np.int64),
            assigned.ratings[kept][order],
        ),
        num_users=int(is_user.sum()),
        num_ratings=dict(
            zip(SUBSETS, counts.sum(axis=0).tolist(), strict=True)
        ),
        dropped={
            reason: int(rows.sum())
            for reason, rows in reasons.items()
            if rows.any()
        },
        held_out_users=int((counts[:, 1:].sum(axis=1) > 0).sum()),
        held_out_items=held_out_items,
    )


def _add(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {
        name: first.get(name, 0) + second.get(name, 0)
        for name in {**first, **second}
    }
