import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.model.taught_autoencoder_test import to_sparse
from trainer.evaluation.cold_start import SHOWN, measure_cold_start, show_part
from trainer.evaluation.outcomes import Candidates


@pytest.fixture
def ratings():
    rng = np.random.default_rng(0)
    rated = rng.random((50, 30)) < 0.4
    rated[7] = False
    return to_sparse(rng.integers(1, 6, rated.shape).astype("f"), rated)


def entries(ratings):
    return set(
        zip(
            map(tuple, ratings.indices.numpy()),
            ratings.values.numpy(),
            strict=True,
        )
    )


@pytest.mark.parametrize("num_shown", [0, 1, 5, 100])
def test_each_user_shows_so_many_of_their_ratings(ratings, num_shown):
    part = show_part(ratings, num_shown)
    counts = np.bincount(ratings.indices.numpy()[:, 0], minlength=50)
    shown = np.bincount(part.indices.numpy()[:, 0], minlength=50)
    np.testing.assert_array_equal(shown, np.minimum(counts, num_shown))
    assert entries(part) <= entries(ratings)


def test_more_shown_ratings_include_the_fewer(ratings):
    parts = [entries(show_part(ratings, n)) for n in (1, 2, 5)]
    assert parts[0] < parts[1] < parts[2]


def test_all_ratings_are_equally_likely_to_be_shown(ratings):
    places = []
    indices = ratings.indices.numpy()
    for user, item in show_part(ratings, 1).indices.numpy():
        items = indices[indices[:, 0] == user, 1]
        places.append(np.searchsorted(items, item) / (len(items) - 1))
    # The mean of 49 uniform draws has a deviation of 0.04.
    assert np.mean(places) == pytest.approx(0.5, abs=0.13)


def test_the_curve_measures_what_is_answered_to_each_part(ratings):
    """The model predicts how many ratings it is shown."""

    def count_ratings(shown):
        counts = tf.math.bincount(
            tf.cast(shown.indices[:, 0], tf.int32),
            minlength=tf.cast(shown.dense_shape[0], tf.int32),
            dtype=tf.float32,
        )
        predictions = tf.tile(counts[:, tf.newaxis], [1, 30])
        return Candidates(
            {"counter": predictions},
            {"counter": predictions},
            {"counter": tf.ones_like(predictions)},
        )

    held_out = to_sparse(
        np.zeros((50, 30), np.float32), np.arange(30) == np.full((50, 1), 3)
    )
    curve = measure_cold_start(
        count_ratings,
        tf.data.Dataset.from_tensors((ratings, held_out)),
        np.ones(30, np.int64),
        liked_from=0,
        rating_range=(0, 5),
    )
    assert [row["num_shown"] for row in curve] == list(SHOWN)
    counts = np.bincount(ratings.indices.numpy()[:, 0], minlength=50)
    for row in curve:
        shown = counts if row["num_shown"] is None else row["num_shown"]
        assert row["errors"]["counter"]["mae"] == pytest.approx(
            np.minimum(counts, shown).mean()
        )
        # Training ratings are never listed, shown or not.
        assert (
            row["ranking"]["counter"].keys()
            == curve[0]["ranking"]["counter"].keys()
        )
