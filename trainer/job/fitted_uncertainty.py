"""Fits the uncertainty of a trained model to its errors on validation."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.records import parse_users
from trainer.evaluation.cold_start import show_part
from trainer.input.job_data import JobData
from trainer.model.item_subsets import find_rated_items
from trainer.model.layers import RatingCentering
from trainer.model.rating_model import RatingModel
from trainer.model.uncertainty import FEATURES, Uncertainty

#: Users whose validation ratings are predicted, at most. Records are in the
#: order of hashed user ids, so the first are a random sample.
_MAX_USERS = 2048

#: Numbers of ratings that are shown of each history. `None` shows all.
_NUM_SHOWN = (0, 5, None)

#: Users parsed together.
_BATCH_SIZE = 2048

#: The least error that counts, as a share of the scale: nobody is certain.
_LEAST_ERROR = 1e-3

_MAX_STEPS = 100


def fit_uncertainty(model: RatingModel, data: JobData) -> Uncertainty | None:
    """Fits the uncertainty of a trained model.

    Validation ratings are predicted from the whole history, from some ratings
    of it and from none, so that the deviations also hold for users of whom
    less is known. That all users have each length keeps apart what is owed to
    the length and what to those who rate little.

    Args:
        model: the model, as it will be served.
        data: its data. Test ratings are not read.

    Returns:
        The uncertainty; `None` if there are no validation ratings.
    """
    manifest = data.manifest
    uncertainty = Uncertainty(
        data.num_items, (manifest.rating_min, manifest.rating_max)
    )
    _set_statistics(uncertainty, data)
    batches = data.held_out("validation").take(
        -(-_MAX_USERS // data.batch_size)
    )

    @tf.function(input_signature=batches.element_spec, autograph=False)
    def compare(
        ratings: tf.SparseTensor, held_out: tf.SparseTensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns features and errors of the held-out ratings."""
        rated, items = find_rated_items(held_out)
        predictions = model(ratings, items, training=False)
        features = uncertainty.features(ratings, predictions, items)
        errors = tf.gather_nd(predictions, rated.indices) - rated.values
        return tf.gather_nd(features, rated.indices), errors

    rows = [
        [
            tensor.numpy()
            for tensor in compare(show_part(ratings, num_shown), held_out)
        ]
        for ratings, held_out in batches
        for num_shown in _NUM_SHOWN
    ]
    if not rows:
        return None
    features, errors = map(np.concatenate, zip(*rows, strict=True))
    least = _LEAST_ERROR * max(manifest.rating_max - manifest.rating_min, 1e-3)
    coefficients = fit_log_variance(features, errors**2 + least**2)
    uncertainty.coefficients.assign(coefficients)
    logging.info(
        "The logarithm of the variance around a prediction is %s.",
        " + ".join(
            f"{value:.2f} {name}"
            for name, value in zip(FEATURES, coefficients, strict=True)
        ),
    )
    return uncertainty


def fit_log_variance(
    features: npt.NDArray[np.floating], squares: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Finds the log-linear variance under which errors are most likely.

    With variances `v = exp(features @ coefficients)` it minimizes the convex

        mean(log v + squares / v)

    which is twice the Gaussian negative log-likelihood, and leaves the mean of
    `squares / v` at 1. Each step of Fisher's scoring is a least-squares
    regression of `squares / v - 1` on the features.

    Args:
        features: `(num_errors, num_features)`, the first of them 1.
        squares: `(num_errors,)`, squared errors above 0.

    Returns:
        `(num_features,)`. Of features that say the same, all coefficients are
        small rather than large ones of opposite signs.
    """
    # The features are float32: what is smaller in them is rounding.
    inverse = np.linalg.pinv(features.astype(np.float64), rcond=1e-7)
    coefficients = np.zeros(features.shape[1])
    coefficients[0] = np.log(squares.mean(dtype=np.float64))
    for _ in range(_MAX_STEPS):
        ratios = squares * np.exp(-(features @ coefficients))
        step = inverse @ (ratios - 1)
        coefficients += step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _set_statistics(uncertainty: Uncertainty, data: JobData) -> None:
    """Sums up the squares of the centered training ratings of each item."""
    items, num_items = data.items, data.num_items
    centering = RatingCentering.from_statistics(
        "user_item", items.counts, items.means
    )

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    def add_up(users: tf.Tensor) -> tf.Tensor:
        ratings = parse_users(users, num_items, ["train"])["train"]
        centered, _ = centering(ratings)
        return tf.math.unsorted_segment_sum(
            centered.values**2, centered.indices[:, 1], num_items
        )

    squares = np.zeros(num_items)
    for users in tf.data.TFRecordDataset(data.shards).batch(_BATCH_SIZE):
        squares += add_up(users).numpy()
    uncertainty.set_statistics(items.counts, items.means, squares)
