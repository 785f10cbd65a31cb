"""Errors and lists by tenths of users and of items."""

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.outcomes import Outcomes
from trainer.evaluation.ranking import RANKING_METRICS, find_hits
from trainer.evaluation.rating_errors import ErrorSums

_NUM_GROUPS = 10

#: The metric of the lists by user activity, and the cutoff of the recall by
#: item popularity.
_METRIC = "ndcg@10"
_CUTOFF = 50


class Breakdown:
    """Measures all models by user activity and by item popularity.

    The tenths of activity hold users with ever more training ratings, those of
    popularity items with ever more. Users with equally many ratings stay
    together, and so do items, so that tenths differ in size, and some may be
    missing. Sums are kept by number of ratings and by item, so memory does not
    grow with the users.

    Args:
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.
        rating_range: lowest and highest rating of the scale.
    """

    def __init__(
        self,
        item_counts: npt.NDArray[np.int64],
        liked_from: float,
        rating_range: tuple[float, float],
    ) -> None:
        self._item_counts = item_counts
        self._liked_from = liked_from
        self._rating_range = rating_range
        # A user may have rated nothing or everything.
        self._num_lengths = len(item_counts) + 1
        self._num_users = np.zeros(self._num_lengths, np.int64)
        self._num_ranked_for = np.zeros(self._num_lengths, np.int64)
        self._num_liked = np.zeros(len(item_counts), np.int64)
        self._errors_by_length: dict[str, ErrorSums] = {}
        self._errors_by_item: dict[str, ErrorSums] = {}
        self._gains_by_length: dict[str, npt.NDArray[Any]] = {}
        self._hits_by_item: dict[str, npt.NDArray[Any]] = {}

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        lengths, num_items = outcomes.history_lengths, len(self._item_counts)
        self._num_users += np.bincount(lengths, minlength=self._num_lengths)
        for name, predictions in outcomes.predictions.items():
            for sums, groups, num_groups in (
                (
                    self._errors_by_length,
                    lengths[outcomes.users],
                    self._num_lengths,
                ),
                (self._errors_by_item, outcomes.items, num_items),
            ):
                sums.setdefault(
                    name, ErrorSums(num_groups, self._rating_range)
                ).add(groups, predictions, outcomes.ratings)

        liked = outcomes.held_out[outcomes.ratings >= self._liked_from]
        self._num_liked += np.bincount(liked[:, 1], minlength=num_items)
        has_liked = np.bincount(liked[:, 0], minlength=len(lengths)) > 0
        self._num_ranked_for += np.bincount(
            lengths[has_liked], minlength=self._num_lengths
        )
        for name, ranked in outcomes.ranked.items():
            hits = find_hits(ranked, liked, num_items)
            gains = RANKING_METRICS[_METRIC](
                hits._replace(num_relevant=np.maximum(hits.num_relevant, 1))
            )
            self._gains_by_length[name] = self._gains_by_length.get(
                name, 0.0
            ) + np.bincount(lengths, gains, self._num_lengths)
            found = ranked[:, :_CUTOFF][hits.is_hit[:, :_CUTOFF]]
            self._hits_by_item[name] = self._hits_by_item.get(
                name, 0
            ) + np.bincount(found, minlength=num_items)

    def by_user_activity(self) -> list[dict[str, Any]]:
        """Computes errors and NDCG by tenths of user activity.

        Returns:
            For each tenth, the least active users first: `min_ratings` and
            `max_ratings`, the range of training ratings per user; `num_users`;
            `errors`, what `ErrorSums` computes, by the name of who predicts;
            `liked/ndcg@10` by the name of who ranks.
        """
        lengths = np.arange(self._num_lengths)
        groups = _split_into_tenths(lengths, self._num_users)
        num_ranked_for = np.bincount(groups, self._num_ranked_for, _NUM_GROUPS)
        ndcg = {
            name: np.bincount(groups, gains, _NUM_GROUPS)
            / np.maximum(num_ranked_for, 1)
            for name, gains in self._gains_by_length.items()
        }
        return [
            {
                **_range_of(lengths[(groups == tenth) & (self._num_users > 0)]),
                "num_users": int(self._num_users[groups == tenth].sum()),
                "errors": errors,
                f"liked/{_METRIC}": {
                    name: float(values[tenth]) for name, values in ndcg.items()
                },
            }
            for tenth, errors in _regroup_all(self._errors_by_length, groups)
        ]

    def by_item_popularity(self) -> list[dict[str, Any]]:
        """Computes errors and recall by tenths of item popularity.

        Returns:
            For each tenth, the least popular items first: `min_ratings` and
            `max_ratings`, the range of training ratings per item; `num_items`;
            `errors`, what `ErrorSums` computes, by the name of who predicts;
            `liked/recall@50`, the share of the liked held-out ratings of these
            items that are among the first 50 of the user's list, by the name
            of who ranks.
        """
        counts = self._item_counts
        groups = _split_into_tenths(counts, np.ones_like(counts))
        num_liked = np.bincount(groups, self._num_liked, _NUM_GROUPS)
        recall = {
            name: np.bincount(groups, hits, _NUM_GROUPS)
            / np.maximum(num_liked, 1)
            for name, hits in self._hits_by_item.items()
        }
        return [
            {
                **_range_of(counts[groups == tenth]),
                "num_items": int(np.sum(groups == tenth)),
                "errors": errors,
                f"liked/recall@{_CUTOFF}": {
                    name: float(values[tenth])
                    for name, values in recall.items()
                },
            }
            for tenth, errors in _regroup_all(self._errors_by_item, groups)
        ]


def _split_into_tenths(
    keys: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Splits into tenths of about equal size by a key, equal keys together.

    Args:
        keys: what is sorted by, `(num_keys,)`.
        sizes: how many there are of each, `(num_keys,)`.

    Returns:
        The tenth of each, `(num_keys,)`, from 0 for the lowest keys.
    """
    distinct, places = np.unique(keys, return_inverse=True)
    totals = np.bincount(places, sizes, len(distinct))
    middles = np.cumsum(totals) - totals / 2
    tenths = middles * _NUM_GROUPS / max(totals.sum(), 1)
    return np.minimum(tenths.astype(np.int64), _NUM_GROUPS - 1)[places]


def _range_of(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {"min_ratings": int(counts.min()), "max_ratings": int(counts.max())}


def _regroup_all(
    sums_by_name: dict[str, ErrorSums], groups: npt.NDArray[np.int64]
) -> list[tuple[int, dict[str, dict[str, float]]]]:
    """Computes the errors of all models by tenths that have ratings."""
    regrouped = {
        name: sums.regroup(groups, _NUM_GROUPS)
        for name, sums in sums_by_name.items()
    }
    results = {name: sums.results() for name, sums in regrouped.items()}
    num_ratings = next(iter(regrouped.values())).num_ratings
    return [
        (tenth, {name: rows[tenth] for name, rows in results.items()})
        for tenth in np.flatnonzero(num_ratings).tolist()
    ]
