import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.model.layers import CENTERINGS, RatingCentering

RATINGS = np.array(
    [
        [5.0, 0.0, 3.0, 0.0],
        [1.0, 2.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
)
# The 0 of the second user is a rating, and the third user gave none.
RATED = np.array(
    [
        [True, False, True, False],
        [True, True, False, True],
        [False, False, False, False],
    ]
)


def sparse_ratings():
    return tf.SparseTensor(
        np.argwhere(RATED), RATINGS[RATED].astype(np.float32), RATINGS.shape
    )


def centering_of(mode, **arguments):
    """A layer with the statistics of `RATINGS`."""
    layer = RatingCentering(mode, **arguments)
    layer.build((None, RATINGS.shape[1]))
    counts = RATED.sum(axis=0)
    sums = (RATINGS * RATED).sum(axis=0)
    layer.set_statistics(counts, sums / np.maximum(counts, 1))
    return layer


def baseline(mode, item_damping=10.0, user_damping=10.0):
    """What the biases predict for each user and item, in NumPy."""
    prediction = np.zeros_like(RATINGS)
    if mode == "none":
        return prediction
    prediction += RATINGS[RATED].mean()
    if mode in ("item", "user_item"):
        residuals = np.where(RATED, RATINGS - prediction, 0)
        prediction += residuals.sum(0) / (RATED.sum(0) + item_damping)
    if mode == "user_item":
        residuals = np.where(RATED, RATINGS - prediction, 0)
        offsets = residuals.sum(1) / (RATED.sum(1) + user_damping)
        prediction += offsets[:, np.newaxis]
    return prediction


@pytest.mark.parametrize("mode", CENTERINGS)
def test_centering_takes_off_what_the_biases_predict(mode):
    centered, _ = centering_of(mode)(sparse_ratings())
    np.testing.assert_allclose(
        centered.values, (RATINGS - baseline(mode))[RATED], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("mode", CENTERINGS)
def test_restoring_adds_what_the_biases_predict(mode):
    layer = centering_of(mode)
    _, user_offsets = layer(sparse_ratings())
    restored = layer.restore(tf.zeros(RATINGS.shape), user_offsets)
    np.testing.assert_allclose(restored, baseline(mode), rtol=1e-5, atol=1e-6)


def test_damping_pulls_offsets_towards_zero():
    layer = centering_of("user_item", item_damping=2.0, user_damping=3.0)
    _, user_offsets = layer(sparse_ratings())
    restored = layer.restore(tf.zeros(RATINGS.shape), user_offsets)
    np.testing.assert_allclose(
        restored, baseline("user_item", 2.0, 3.0), rtol=1e-5, atol=1e-6
    )


def test_centered_ratings_keep_the_indices_so_a_zero_stays_a_rating():
    centered, _ = centering_of("user_item")(sparse_ratings())
    np.testing.assert_array_equal(centered.indices, np.argwhere(RATED))


def test_a_user_without_ratings_has_no_offset():
    _, user_offsets = centering_of("user_item", user_damping=0.0)(
        sparse_ratings()
    )
    assert float(user_offsets[2, 0]) == 0.0
    assert np.isfinite(user_offsets.numpy()).all()


def test_statistics_are_weights_that_training_leaves_alone():
    layer = centering_of("user_item")
    assert layer.trainable_variables == []
    assert [v.name for v in layer.non_trainable_variables] == [
        "mean",
        "item_offsets",
    ]


def test_an_unknown_centering_is_refused():
    with pytest.raises(UserError, match=r"one of none, mean, .*'median'"):
        RatingCentering("median")
