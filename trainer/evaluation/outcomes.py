"""What models answer on held-out ratings, as measures get it."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class Candidates(NamedTuple):
    """What several models say of the same users, by the models' names.

    Attributes:
        ratings: predicted ratings, `(batch_size, num_items)` each.
        scores: what ranks items, the higher the better, of the same shape.
        deviations: standard deviations of the ratings around these
            predictions, of the same shape, of models that know them.
    """

    ratings: dict[str, tf.Tensor]
    scores: dict[str, tf.Tensor]
    deviations: dict[str, tf.Tensor]


class Outcomes(NamedTuple):
    """What the models answered for a batch of users, beside the truth.

    Attributes:
        history_lengths: training ratings of each user, `(batch_size,)`.
        held_out: row in the batch and item of each held-out rating,
            `(num_held_out, 2)`.
        ratings: the held-out ratings, `(num_held_out,)`.
        predictions: the predictions of these, by the name of who predicts,
            `(num_held_out,)` each.
        ranked: unrated items, best first, by the name of who ranks,
            `(batch_size, num_ranked)` each, as `rank_unrated` returns them.
        deviations: standard deviations around the predictions, by the name of
            who knows them, `(num_held_out,)` each.
    """

    history_lengths: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float32]
    predictions: dict[str, npt.NDArray[np.float32]]
    ranked: dict[str, npt.NDArray[np.int64]]
    deviations: dict[str, npt.NDArray[np.float32]]

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """Row in the batch of each held-out rating."""
        return self.held_out[:, 0]

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """Item of each held-out rating."""
        return self.held_out[:, 1]


class Measure(Protocol):
    """Adds up a measure of all models, one batch of users after another."""

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
