"""Held-out ratings in, metrics out."""

from typing import Any

import tensorflow as tf

from trainer.rating_model import RatingModel


class Evaluator:
    """Scores a model against held-out ratings, batch by batch.

    Keep one for a model: the graph is traced once.

    Args:
        model: what to score, made under `strategy`.
        strategy: where it runs.
    """

    def __init__(
        self, model: RatingModel, strategy: tf.distribute.Strategy
    ) -> None:
        self._model = model
        self._strategy = strategy

        @tf.function(reduce_retracing=True)
        def step(batch: Any) -> None:
            strategy.run(model.test_step, args=(batch,))

        self._step = step

    def __call__(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Computes the metrics over all held-out ratings.

        Reference:
            Kuchaiev and Ginsburg, 2017, section 3: the input is the user's
            training ratings, and every held-out rating weighs the same.

        Args:
            batches: pairs of training and held-out ratings, as
                `input_pipeline.evaluation_batches` makes them.

        Returns:
            `rmse`, `mae` and `num_ratings`.
        """
        self._model.reset_metrics()
        for batch in self._strategy.experimental_distribute_dataset(batches):
            self._step(batch)
        return {
            "rmse": float(self._model.rmse.result()),
            "mae": float(self._model.mae.result()),
            "num_ratings": int(tf.convert_to_tensor(self._model.rmse.count)),
        }
