import numpy as np
import tensorflow as tf

from trainer.item_subsets import ItemSample, find_rated_items, sample_items


def test_columns_that_nobody_rated_are_dropped():
    ratings = tf.SparseTensor(
        [[0, 7], [0, 2], [1, 7], [3, 0]], [5.0, 0.0, 4.0, 3.0], [4, 9]
    )
    items, compact = find_rated_items(ratings)
    assert sorted(items.numpy()) == [0, 2, 7]
    np.testing.assert_array_equal(compact.values, ratings.values)
    np.testing.assert_array_equal(
        tf.gather(items, compact.indices[:, 1]), ratings.indices[:, 1]
    )
    np.testing.assert_array_equal(compact.dense_shape, [4, 3])


def test_the_dense_columns_are_those_of_the_dense_ratings():
    ratings = tf.SparseTensor(
        [[0, 2], [0, 7], [1, 7], [3, 0]], [5.0, 1.0, 4.0, 3.0], [4, 9]
    )
    rated = find_rated_items(ratings)
    np.testing.assert_array_equal(
        rated.to_dense(),
        tf.gather(tf.sparse.to_dense(ratings), rated.items, axis=1),
    )


def test_a_batch_without_ratings_has_no_columns():
    ratings = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0]), [4, 9])
    assert find_rated_items(ratings).to_dense().shape == (4, 0)


def test_a_sample_holds_each_item_once_and_every_rated_one():
    rated_items = np.array([3, 8])
    draws = np.array([5, 3, 5, 1])
    sample = sample_items(rated_items, draws, num_items=10)
    weights = dict(
        zip(sample.items.numpy(), sample.weights.numpy(), strict=True)
    )
    assert len(weights) == len(sample.items) == 4
    # A draw stands for 10 / 4 items, a rated item for itself.
    assert weights == {3: 1.0, 8: 1.0, 5: 5.0, 1: 2.5}


def test_a_weighted_sum_over_samples_estimates_the_sum_over_all_items():
    rng = np.random.default_rng(1)
    values = rng.normal(5, 2, 50)
    rated_items = np.array([0, 10, 20])
    estimates = []
    for _ in range(2000):
        sample = sample_items(rated_items, rng.integers(0, 50, 12), 50)
        estimates.append(np.sum(sample.weights * values[sample.items.numpy()]))
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - values.sum()) < 4 * standard_error


def test_the_whole_catalogue_weighs_nothing():
    values = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(ItemSample().weigh(values), values)
