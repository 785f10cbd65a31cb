"""Scores a model against held-out ratings, as every epoch does.

The figures of `metrics.json` come from `rating_errors`, `ranking` and their
neighbors.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.model.rating_model import RatingModel


class Evaluator:
    """Scores a model against held-out ratings, batch by batch.

    Keep one evaluator per model: it traces the graph once.

    Args:
        model: the model to score, created under `strategy`.
        strategy: distributes the evaluation over devices.
    """

    def __init__(
        self, model: RatingModel, strategy: tf.distribute.Strategy
    ) -> None:
        self._model = model
        self._strategy = strategy
        self._step: Any = None

    def __call__(
        self,
        batches: tf.data.Dataset,
        after_batch: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Computes the metrics over all held-out ratings.

        Reference:
            Kuchaiev and Ginsburg, 2017, section 3: the input is the user's
            training ratings, and every held-out rating weighs the same
            (https://arxiv.org/abs/1708.01715).

        Args:
            batches: pairs of training and held-out ratings, SparseTensors
                `(batch_size, num_items)`, such as
                `input_pipeline.evaluation_batches` returns.
            after_batch: called after each batch. It may raise.

        Returns:
            `rmse` and `mae`, on the scale of the ratings, and `num_ratings`,
            the number of held-out ratings.
        """
        distributed = self._strategy.experimental_distribute_dataset(
            batches.map(self._fill_up)
        )
        if self._step is None:
            self._step = self._trace(distributed.element_spec)
        self._model.reset_metrics()
        for batch in distributed:
            self._step(batch)
            after_batch()
        return {
            "rmse": float(self._model.rmse.result()),
            "mae": float(self._model.mae.result()),
            "num_ratings": int(tf.convert_to_tensor(self._model.rmse.count)),
        }

    def _fill_up(self, *batch: tf.SparseTensor) -> tuple[tf.SparseTensor, ...]:
        """Adds users without ratings, so that replicas get equally many users.

        TensorFlow may leave no row of a short batch to the last replicas, and
        fails on a SparseTensor without rows. Users without ratings have no
        errors.
        """
        num_replicas = self._strategy.num_replicas_in_sync

        def fill_up(ratings: tf.SparseTensor) -> tf.SparseTensor:
            num_users, num_items = tf.unstack(ratings.dense_shape)
            num_users += -num_users % num_replicas
            return tf.SparseTensor(
                ratings.indices, ratings.values, [num_users, num_items]
            )

        return tuple(map(fill_up, batch))

    def _trace(self, spec: Any) -> Any:
        """Makes the graph of a batch of any size."""

        @tf.function(input_signature=[spec], autograph=False)
        def step(batch: Any) -> None:
            self._strategy.run(self._model.test_step, args=(batch,))

        return step
