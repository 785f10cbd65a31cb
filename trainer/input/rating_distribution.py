"""How often each rating was given in training, and what follows from that."""

import collections
import dataclasses

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards, parse_users

#: Users parsed together.
_BATCH_SIZE = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class RatingDistribution:
    """Counts of the distinct ratings.

    Args:
        values: the distinct ratings, ascending, float32 `(num_values,)`.
        counts: how often each was given, int64 `(num_values,)`.
    """

    values: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ratings: npt.NDArray[np.float32]) -> "RatingDistribution":
        """Counts ratings in memory."""
        return cls(*np.unique(ratings, return_counts=True))

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return float(self.values[0]), float(self.values[-1])

    @property
    def liked_from(self) -> float:
        """The upper median: the lowest rating of an item that is liked.

        It is 4 on most scales from 1 to 5, and the lowest rating where all
        are equal. Ranks have no scale.
        """
        return self._at(int(self.counts.sum()) // 2)

    @property
    def disliked_below(self) -> float:
        """The lower quartile: lower ratings are of items that are disliked."""
        return self._at(int(self.counts.sum()) // 4)

    @property
    def deviation(self) -> float:
        """The standard deviation of the ratings."""
        values = self.values.astype(np.float64)
        mean = np.average(values, weights=self.counts)
        variance = np.average((values - mean) ** 2, weights=self.counts)
        return float(np.sqrt(variance))

    def _at(self, rank: int) -> float:
        """Returns the rating of a rank, counted from 0, from the lowest on."""
        place = np.searchsorted(np.cumsum(self.counts), rank, side="right")
        return float(self.values[place])


def read_rating_distribution(data_dir: str) -> RatingDistribution:
    """Counts the training ratings of prepared data, a batch at a time.

    Raises:
        UserError: when `data_dir` is not prepared data, or lost a shard.
    """
    num_items = read_manifest(data_dir).num_items
    totals: collections.Counter[float] = collections.Counter()
    batches = tf.data.TFRecordDataset(list_shards(data_dir)).batch(_BATCH_SIZE)
    parsed = batches.map(
        lambda users: parse_users(users, num_items, ["train"])["train"].values
    )
    for ratings in parsed.prefetch(2).as_numpy_iterator():
        values, counts = np.unique(ratings, return_counts=True)
        totals.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    distinct = sorted(totals)
    return RatingDistribution(
        np.array(distinct, np.float32),
        np.array([totals[value] for value in distinct], np.int64),
    )
