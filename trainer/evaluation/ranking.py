"""Ranking metrics: ranked lists against held-out ratings."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

#: Cutoffs of the metrics.
NDCG_CUTOFFS = (10, 100)
RECALL_CUTOFFS = (10, 50)

#: Length of the lists that `RankingMetrics` wants.
NUM_RANKED = max(NDCG_CUTOFFS + RECALL_CUTOFFS)

# Length of the lists of which coverage and popularity are counted.
_LIST_LENGTH = 10


def rank_unrated(
    scores: tf.Tensor, ratings: tf.SparseTensor, num_ranked: int = NUM_RANKED
) -> tf.Tensor:
    """Ranks the items that each user did not rate.

    Args:
        scores: `(batch_size, num_items)`, the higher the better, finite.
        ratings: SparseTensor `(batch_size, num_items)`, what the users rated.
        num_ranked: length of the lists; a smaller catalog gives shorter ones.

    Returns:
        Item indices `(batch_size, num_ranked)`, int64, best first, the lower
        index first among equals; -1 where a user has no items left.
    """
    unrated = tf.tensor_scatter_nd_update(
        scores,
        ratings.indices,
        tf.fill(tf.shape(ratings.values), -float("inf")),
    )
    best, items = tf.math.top_k(
        unrated, tf.minimum(num_ranked, tf.shape(scores)[1])
    )
    return tf.where(tf.math.is_finite(best), tf.cast(items, tf.int64), -1)


class RankingMetrics:
    """Sums the worth of ranked lists over the users of all batches.

    A held-out item is relevant if it was rated ("all"), or if it was rated
    `liked_from` or higher ("liked"). Users with a relevant item weigh the
    same, those without one do not count:

        ndcg@k    sum over hits at rank r <= k of 1/log2(r + 1), over the same
                  sum for the best list possible
        recall@k  hits among the first k, over the number of relevant items

    Reference:
        Järvelin and Kekäläinen, 2002, "Cumulated gain-based evaluation of IR
        techniques" (https://doi.org/10.1145/582415.582418).

    Args:
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.
    """

    def __init__(
        self, item_counts: npt.NDArray[np.int64], liked_from: float
    ) -> None:
        self._item_counts = item_counts
        self._liked_from = liked_from
        self._num_users = {"all": 0, "liked": 0}
        self._sums = {
            f"{relevant}/{metric}": 0.0
            for relevant in self._num_users
            for metric in (
                *(f"ndcg@{k}" for k in NDCG_CUTOFFS),
                *(f"recall@{k}" for k in RECALL_CUTOFFS),
            )
        }
        self._num_lists = 0
        self._times_listed = np.zeros(len(item_counts), np.int64)

    def update(
        self,
        ranked: npt.NDArray[np.int64],
        held_out_indices: npt.NDArray[np.int64],
        held_out_ratings: npt.NDArray[np.float32],
    ) -> None:
        """Adds a batch of users.

        Args:
            ranked: item indices `(batch_size, num_ranked)`, as `rank_unrated`
                returns them.
            held_out_indices: `(num_held_out, 2)`, row and item of each
                held-out rating.
            held_out_ratings: `(num_held_out,)`.
        """
        is_liked = held_out_ratings >= self._liked_from
        self._add("all", ranked, held_out_indices)
        self._add("liked", ranked, held_out_indices[is_liked])
        listed = ranked[:, :_LIST_LENGTH]
        self._num_lists += len(ranked)
        self._times_listed += np.bincount(
            listed[listed >= 0], minlength=len(self._item_counts)
        )

    def _add(
        self,
        name: str,
        ranked: npt.NDArray[np.int64],
        relevant: npt.NDArray[np.int64],
    ) -> None:
        """Adds the users who have items that are relevant in one sense."""
        num_items = len(self._item_counts)
        rows = np.arange(len(ranked))[:, np.newaxis]
        is_hit = (ranked >= 0) & np.isin(
            rows * num_items + ranked,
            relevant[:, 0] * num_items + relevant[:, 1],
        )
        num_relevant = np.bincount(relevant[:, 0], minlength=len(ranked))
        has_relevant = num_relevant > 0
        is_hit, num_relevant = is_hit[has_relevant], num_relevant[has_relevant]
        self._num_users[name] += len(is_hit)
        discounts = 1 / np.log2(np.arange(2, NUM_RANKED + 2))
        ideal = np.cumsum(discounts)
        for k in NDCG_CUTOFFS:
            found = is_hit[:, :k]
            gains = found @ discounts[: found.shape[1]]
            self._sums[f"{name}/ndcg@{k}"] += float(
                np.sum(gains / ideal[np.minimum(num_relevant, k) - 1])
            )
        for k in RECALL_CUTOFFS:
            self._sums[f"{name}/recall@{k}"] += float(
                np.sum(is_hit[:, :k].sum(axis=1) / num_relevant)
            )

    def result(self) -> dict[str, float]:
        """Computes the metrics over all users so far.

        Returns:
            `all/ndcg@10` and its like, and of the lists of ten of all users:
            `coverage`, the share of the catalog that is in one of them,
            `top_share`, the share of lists that hold the most frequent item,
            and `mean_popularity`, the training ratings of a listed item.
        """
        means = {
            name: total / max(self._num_users[name.partition("/")[0]], 1)
            for name, total in self._sums.items()
        }
        listed = self._times_listed
        return {
            **means,
            "coverage": float(np.mean(listed > 0)),
            "top_share": float(listed.max() / max(self._num_lists, 1)),
            "mean_popularity": float(
                listed @ self._item_counts / max(listed.sum(), 1)
            ),
        }
