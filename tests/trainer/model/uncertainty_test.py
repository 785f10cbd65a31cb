import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.uncertainty import Uncertainty

NUM_ITEMS = 6
COUNTS = np.array([3, 9, 0, 20, 5, 1])
MEANS = np.array([3.0, 4.5, 0.0, 2.5, 3.5, 5.0])
SQUARES = np.array([2.0, 12.0, 0.0, 9.0, 7.0, 0.5])
COEFFICIENTS = [0.3, -0.2, 0.8, 0.6, 0.4]
LOW, HIGH = 1.0, 5.0

#: User 1 gave no rating.
RATED = [(0, 1, 5.0), (0, 3, 1.0), (0, 4, 2.0), (2, 0, 3.0)]
PREDICTIONS = np.random.default_rng(0).uniform(0.5, 5.5, (3, NUM_ITEMS))


@pytest.fixture(scope="module")
def uncertainty():
    uncertainty = Uncertainty(NUM_ITEMS, (LOW, HIGH))
    uncertainty.set_statistics(COUNTS, MEANS, SQUARES)
    uncertainty.coefficients.assign(COEFFICIENTS)
    return uncertainty


@pytest.fixture(scope="module")
def ratings():
    return tf.SparseTensor(
        np.array([(user, item) for user, item, _ in RATED], np.int64),
        np.array([rating for *_, rating in RATED], np.float32),
        (3, NUM_ITEMS),
    )


def item_offsets():
    sums = np.where(COUNTS > 0, COUNTS * MEANS, 0)
    mean = sums.sum() / COUNTS.sum()
    return mean, (sums - COUNTS * mean) / (COUNTS + 10)


def expected_variances(user, predictions, item_spreads):
    """Computes one user's variances as the docstring has them."""
    mean, offsets = item_offsets()
    own = [(item, rating) for row, item, rating in RATED if row == user]
    residuals = np.array(
        [rating - mean - offsets[item] for item, rating in own]
    )
    residuals = residuals - residuals.sum() / (len(own) + 10)
    mean_square = SQUARES.sum() / COUNTS.sum()
    user_spread = (np.sum(residuals**2) / mean_square + 20) / (len(own) + 20)
    places = np.clip((predictions - LOW) / (HIGH - LOW), 0.02, 0.98)
    constant, history, of_user, of_item, place = COEFFICIENTS
    return np.exp(
        constant
        + history * np.log(1 + len(own))
        + of_user * np.log(user_spread)
        + of_item * np.log(item_spreads)
        + place * np.log(4 * places * (1 - places))
    )


def test_deviations_are_those_of_numpy(uncertainty, ratings):
    deviations = uncertainty(ratings, tf.constant(PREDICTIONS, tf.float32))
    mean_square = SQUARES.sum() / COUNTS.sum()
    spreads = (SQUARES / mean_square + 20) / (COUNTS + 20)
    for user in range(3):
        np.testing.assert_allclose(
            deviations[user],
            np.sqrt(expected_variances(user, PREDICTIONS[user], spreads)),
            rtol=1e-5,
        )


def test_an_unknown_item_has_usual_spread_and_the_variance_of_item_means(
    uncertainty, ratings
):
    deviations = uncertainty.of_unknown_items(
        ratings, tf.constant(PREDICTIONS[:, :1], tf.float32)
    )
    mean, _ = item_offsets()
    mean_square = SQUARES.sum() / COUNTS.sum()
    of_items = np.mean(
        [
            (item_mean - mean) ** 2 - mean_square / count
            for count, item_mean in zip(COUNTS, MEANS, strict=True)
            if count
        ]
    )
    assert of_items > 0
    for user in range(3):
        variance = expected_variances(user, PREDICTIONS[user, 0], 1.0)
        assert deviations[user, 0].numpy() == pytest.approx(
            np.sqrt(variance + of_items), rel=1e-5
        )


def test_some_items_have_the_deviations_of_the_catalog(uncertainty, ratings):
    predictions = tf.constant(PREDICTIONS, tf.float32)
    everything = uncertainty(ratings, predictions).numpy()
    items = np.array([5, 0, 2])
    np.testing.assert_array_equal(
        uncertainty(ratings, tf.gather(predictions, items, axis=1), items),
        everything[:, items],
    )
    # Each user may be asked about items of their own.
    own = np.array([[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(
        uncertainty(ratings, tf.gather(predictions, own, batch_dims=1), own),
        np.take_along_axis(everything, own, axis=1),
    )


def test_users_do_not_depend_on_each_other(uncertainty, ratings):
    predictions = tf.constant(PREDICTIONS, tf.float32)
    alone = uncertainty(
        tf.sparse.slice(ratings, [2, 0], [1, NUM_ITEMS]), predictions[2:]
    )
    np.testing.assert_allclose(
        alone, uncertainty(ratings, predictions)[2:], rtol=1e-6
    )


def test_equal_ratings_in_training_give_finite_deviations(ratings):
    uncertainty = Uncertainty(NUM_ITEMS, (3.0, 3.0))
    uncertainty.set_statistics(
        COUNTS, np.full(NUM_ITEMS, 3.0), np.zeros(NUM_ITEMS)
    )
    deviations = uncertainty(ratings, tf.fill((3, NUM_ITEMS), 3.0))
    assert np.isfinite(deviations).all()


def test_a_file_gives_the_uncertainty_back(uncertainty, ratings, tmp_path):
    path = str(tmp_path / "uncertainty.keras")
    uncertainty.save(path)
    predictions = tf.constant(PREDICTIONS, tf.float32)
    np.testing.assert_array_equal(
        keras.saving.load_model(path)(ratings, predictions),
        uncertainty(ratings, predictions),
    )
