"""Ranking metrics: ranked lists against held-out ratings."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.outcomes import Outcomes

#: Length of the lists that are measured.
NUM_RANKED = 100

#: Length of the lists of which coverage and popularity are counted.
LIST_LENGTH = 10


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


class Hits(NamedTuple):
    """Which items of ranked lists are relevant.

    Attributes:
        is_hit: whether the item at a rank is relevant, bool `(num_users,
            num_ranked)`, best rank first.
        num_relevant: number of relevant items of each user, listed or not,
            `(num_users,)`.
    """

    is_hit: npt.NDArray[np.bool_]
    num_relevant: npt.NDArray[np.int64]


def find_hits(
    ranked: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    num_items: int,
) -> Hits:
    """Finds the relevant items in the lists of a batch of users.

    Args:
        ranked: item indices `(batch_size, num_ranked)`, as `rank_unrated`
            returns them.
        relevant: row and item of each relevant item, `(num_relevant, 2)`.
        num_items: size of the catalog.
    """
    rows = np.arange(len(ranked))[:, np.newaxis]
    is_hit = (ranked >= 0) & np.isin(
        rows * num_items + ranked,
        relevant[:, 0] * num_items + relevant[:, 1],
    )
    return Hits(is_hit, np.bincount(relevant[:, 0], minlength=len(ranked)))


_DISCOUNTS = 1 / np.log2(np.arange(2, NUM_RANKED + 2))
_IDEAL_GAINS = np.cumsum(_DISCOUNTS)


def _ndcg(hits: Hits, cutoff: int) -> npt.NDArray[np.float64]:
    is_hit = hits.is_hit[:, :cutoff]
    discounts = _DISCOUNTS[: is_hit.shape[1]]
    gains = is_hit @ discounts
    return gains / _IDEAL_GAINS[np.minimum(hits.num_relevant, cutoff) - 1]


def _recall(hits: Hits, cutoff: int) -> npt.NDArray[np.float64]:
    return np.divide(hits.is_hit[:, :cutoff].sum(axis=1), hits.num_relevant)


def _hit_rate(hits: Hits, cutoff: int) -> npt.NDArray[np.float64]:
    return np.asarray(hits.is_hit[:, :cutoff].any(axis=1), np.float64)


def _reciprocal_rank(hits: Hits, cutoff: int) -> npt.NDArray[np.float64]:
    is_hit = hits.is_hit[:, :cutoff]
    return is_hit.any(axis=1) / (is_hit.argmax(axis=1) + 1)


def _average_precision(hits: Hits, cutoff: int) -> npt.NDArray[np.float64]:
    is_hit = hits.is_hit[:, :cutoff]
    ranks = np.arange(1, is_hit.shape[1] + 1)
    precisions = np.cumsum(is_hit, axis=1) / ranks
    return (precisions * is_hit).sum(axis=1) / hits.num_relevant


#: Name of each ranking metric -> its function of the hits of users who have a
#: relevant item each, of which it returns the metric, `(num_users,)`.
RANKING_METRICS: dict[str, Callable[[Hits], npt.NDArray[np.float64]]] = {
    f"{name}@{cutoff}": functools.partial(metric, cutoff=cutoff)
    for name, metric, cutoffs in (
        ("ndcg", _ndcg, (10, 100)),
        ("recall", _recall, (10, 50)),
        ("hit_rate", _hit_rate, (10,)),
        ("mrr", _reciprocal_rank, (10,)),
        ("map", _average_precision, (10,)),
    )
    for cutoff in cutoffs
}


class RankingMetrics:
    """Sums the worth of ranked lists over the users of all batches.

    A held-out item is relevant if it was rated ("all"), or if it was rated
    `liked_from` or higher ("liked"). Users with a relevant item weigh the
    same, those without one do not count:

        ndcg@k      sum over hits at rank r <= k of 1/log2(r + 1), over the
                    same sum for the best list possible
        recall@k    hits among the first k, over the number of relevant items
        hit_rate@k  1 if there is a hit among the first k
        mrr@k       1/r of the first hit at rank r <= k, else 0
        map@k       sum over hits at rank r <= k of (hits up to r)/r, over the
                    number of relevant items

    Of the lists of ten of all users, where `c(i)` of `n` lists hold item `i`:

        coverage         share of the catalog that is in one of them
        top_share        share of the lists that hold the most frequent item
        mean_popularity  training ratings of a listed item
        novelty          mean of -log2 of the item's share of all training
                         ratings: bits
        gini             Gini coefficient of `c` over the catalog: 0 if all
                         items are listed equally often, near 1 if few items
                         take all places
        overlap          expected share of items that the lists of two users
                         have in common, sum c(i) (c(i) - 1) / (10 n (n - 1))

    Reference:
        Järvelin and Kekäläinen, 2002, "Cumulated gain-based evaluation of IR
        techniques" (https://doi.org/10.1145/582415.582418). Vargas and
        Castells, 2011, "Rank and relevance in novelty and diversity metrics
        for recommender systems" (https://doi.org/10.1145/2043932.2043955):
        novelty as expected free discovery. Zhou et al., 2010, "Solving the
        apparent diversity-accuracy dilemma of recommender systems"
        (https://doi.org/10.1073/pnas.1000488107): 1 - overlap is their
        personalization.

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
            for metric in RANKING_METRICS
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
        listed = ranked[:, :LIST_LENGTH]
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
        hits = find_hits(ranked, relevant, len(self._item_counts))
        has_relevant = hits.num_relevant > 0
        hits = Hits(hits.is_hit[has_relevant], hits.num_relevant[has_relevant])
        self._num_users[name] += len(hits.num_relevant)
        for metric, compute in RANKING_METRICS.items():
            self._sums[f"{name}/{metric}"] += float(compute(hits).sum())

    def result(self) -> dict[str, float]:
        """Computes the metrics over all users so far.

        Returns:
            `all/ndcg@10`, `liked/ndcg@10` and their like, `coverage`,
            `top_share`, `mean_popularity`, `novelty`, `gini` and `overlap`;
            0 where no user counts.
        """
        means = {
            name: total / max(self._num_users[name.partition("/")[0]], 1)
            for name, total in self._sums.items()
        }
        listed, num_lists = self._times_listed, self._num_lists
        num_listed = max(listed.sum(), 1)
        counts = self._item_counts
        information = -np.log2(np.maximum(counts, 1) / max(counts.sum(), 1))
        num_pairs = num_lists * (num_lists - 1)
        return {
            **means,
            "coverage": float(np.mean(listed > 0)),
            "top_share": float(listed.max() / max(num_lists, 1)),
            "mean_popularity": float(listed @ counts / num_listed),
            "novelty": float(listed @ information / num_listed),
            "gini": _gini(listed),
            "overlap": float(
                listed @ (listed - 1) / max(LIST_LENGTH * num_pairs, 1)
            ),
        }


def _gini(counts: npt.NDArray[np.int64]) -> float:
    """Computes the Gini coefficient of counts; 0 if all are 0."""
    total = counts.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, len(counts) + 1)
    weights = 2 * ranks - len(counts) - 1
    return float(weights @ np.sort(counts) / (len(counts) * total))


class Rankings:
    """Measures the lists of all models.

    Args:
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.
    """

    def __init__(
        self, item_counts: npt.NDArray[np.int64], liked_from: float
    ) -> None:
        self._arguments = (item_counts, liked_from)
        self._metrics: dict[str, RankingMetrics] = {}

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        for name, ranked in outcomes.ranked.items():
            self._metrics.setdefault(
                name, RankingMetrics(*self._arguments)
            ).update(ranked, outcomes.held_out, outcomes.ratings)

    def result(self) -> dict[str, dict[str, float]]:
        """Computes what `RankingMetrics` does, by the name of who ranks."""
        return {
            name: metrics.result() for name, metrics in self._metrics.items()
        }
