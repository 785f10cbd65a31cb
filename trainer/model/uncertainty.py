"""Standard deviations of ratings around their predictions."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.model.layers import PACKAGE, RatingCentering

#: Ratings of usual spread that every user and every item starts with.
_SPREAD_DAMPING = 20.0

#: The place of a prediction on the scale that counts as its end.
_EDGE = 0.02

#: Names of the features, in the order of their coefficients.
FEATURES = ("constant", "history", "user", "item", "place")


@keras.saving.register_keras_serializable(package=PACKAGE)
class Uncertainty(keras.Model):
    """Predicts how far ratings lie from their predictions, by any model.

    The variance of a rating around its prediction is log-linear:

        log variance = coefficients @ [
            1,
            log(1 + n),          # the user gave `n` ratings
            log(user_spread),
            log(item_spread),
            log(4 p (1 - p)),    # the prediction is at `p` of the scale
        ]

    A spread is a mean square of centered ratings, relative to that of all
    training ratings and damped: 1 is usual. That of an item is of its training
    ratings, that of a user of the ratings at hand, so users whom training
    never saw have one as well. Close to the ends of the scale, ratings can
    deviate to one side only. `fitted_uncertainty` chooses the coefficients.

    Of an item without training ratings the model knows less: the variance of
    the items' means is added, less what chance adds to means of few ratings.

    Reference:
        Aitkin, 1987, "Modelling variance heterogeneity in normal regression
        using GLIM" (https://doi.org/10.2307/2347792).

    Args:
        num_items: size of the catalog.
        rating_range: lowest and highest rating of the scale.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32, what is known
            of the users.
        predictions: `(batch_size, num_asked)`, float32.
        items: `(num_asked,)` or `(batch_size, num_asked)`, int64, the items
            that are predicted, by default the catalog in order.

    Output shape:
        `(batch_size, num_asked)`, float32, on the scale of the ratings.
    """

    def __init__(
        self, num_items: int, rating_range: tuple[float, float], **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_items = num_items
        self.rating_range = tuple(rating_range)
        self.centering = RatingCentering("user_item")
        self.centering.build((None, num_items))

        def add(name: str, *shape: int) -> Any:
            return self.add_weight(
                name=name,
                shape=shape,
                initializer="zeros",
                dtype="float32",
                trainable=False,
            )

        self.coefficients = add("coefficients", len(FEATURES))
        self.mean_square = add("mean_square")
        self.log_item_spreads = add("log_item_spreads", num_items)
        self.item_variance = add("item_variance")
        self.built = True

    def set_statistics(
        self,
        counts: npt.NDArray[np.int64],
        means: npt.NDArray[np.float64],
        squares: npt.NDArray[np.float64],
    ) -> None:
        """Sets what the features are computed with.

        Args:
            counts: `(num_items,)`, the number of training ratings of each.
            means: `(num_items,)`, their mean; not used where the count is 0.
            squares: `(num_items,)`, the sums of the squares of these ratings,
                centered by `RatingCentering("user_item")`.
        """
        self.centering.set_statistics(counts, means)
        # Ratings that the biases explain have no spread to compare with.
        mean_square = max(squares.sum() / max(counts.sum(), 1), 1e-6)
        self.mean_square.assign(mean_square)
        self.log_item_spreads.assign(
            np.log(
                (squares / mean_square + _SPREAD_DAMPING)
                / (counts + _SPREAD_DAMPING)
            )
        )
        is_rated = counts > 0
        distances = means[is_rated] - self.centering.mean.numpy()
        variances = distances**2 - mean_square / counts[is_rated]
        self.item_variance.assign(max(variances.sum() / is_rated.sum(), 0.0))

    def features(
        self,
        ratings: tf.SparseTensor,
        predictions: tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes what the variances are log-linear in.

        Args:
            ratings: as for a call.
            predictions: as for a call.
            items: as for a call.

        Returns:
            `(batch_size, num_asked, len(FEATURES))`, float32.
        """
        columns = self._list_features(
            ratings, predictions, self._log_spreads_of(items)
        )
        return tf.stack(
            [
                tf.broadcast_to(column, tf.shape(predictions))
                for column in columns
            ],
            axis=-1,
        )

    def call(
        self,
        ratings: tf.SparseTensor,
        predictions: tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        log_spreads = self._log_spreads_of(items)
        return tf.sqrt(self._variances(ratings, predictions, log_spreads))

    def of_unknown_items(
        self, ratings: tf.SparseTensor, predictions: tf.Tensor
    ) -> tf.Tensor:
        """Predicts deviations of items without training ratings.

        Args:
            ratings: as for a call.
            predictions: as for a call, of such items.

        Returns:
            As a call.
        """
        of_known = self._variances(ratings, predictions, tf.constant(0.0))
        return tf.sqrt(of_known + self.item_variance)

    def _log_spreads_of(self, items: tf.Tensor | None) -> tf.Tensor:
        log_spreads = tf.convert_to_tensor(self.log_item_spreads)
        return log_spreads if items is None else tf.gather(log_spreads, items)

    def _variances(
        self,
        ratings: tf.SparseTensor,
        predictions: tf.Tensor,
        log_item_spreads: tf.Tensor,
    ) -> tf.Tensor:
        columns = self._list_features(ratings, predictions, log_item_spreads)
        coefficients = tf.unstack(tf.convert_to_tensor(self.coefficients))
        return tf.exp(
            sum(
                coefficient * column
                for coefficient, column in zip(
                    coefficients, columns, strict=True
                )
            )
        )

    def _list_features(
        self,
        ratings: tf.SparseTensor,
        predictions: tf.Tensor,
        log_item_spreads: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Lists `FEATURES`, which broadcast to the shape of the predictions."""
        centered, _ = self.centering(ratings)
        users, batch_size = ratings.indices[:, 0], ratings.dense_shape[0]
        # (batch_size, 1)
        counts, squares = (
            tf.math.unsorted_segment_sum(values, users, batch_size)[
                :, tf.newaxis
            ]
            for values in (tf.ones_like(ratings.values), centered.values**2)
        )
        low, high = self.rating_range
        places = tf.clip_by_value(
            (predictions - low) / max(high - low, 1e-6), _EDGE, 1 - _EDGE
        )
        return [
            tf.constant(1.0),
            tf.math.log1p(counts),
            tf.math.log(
                (squares / self.mean_square + _SPREAD_DAMPING)
                / (counts + _SPREAD_DAMPING)
            ),
            log_item_spreads,
            tf.math.log(4.0 * places * (1.0 - places)),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "rating_range": self.rating_range,
        }
