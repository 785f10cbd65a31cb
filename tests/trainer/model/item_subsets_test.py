import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.item_subsets import find_rated_items, sample_items


def test_columns_that_nobody_rated_are_dropped():
    ratings = tf.SparseTensor(
        [[0, 7], [0, 2], [1, 7], [3, 0]], [5.0, 0.0, 4.0, 3.0], [4, 9]
    )
    compact, items = find_rated_items(ratings)
    assert sorted(items.numpy()) == [0, 2, 7]
    np.testing.assert_array_equal(compact.values, ratings.values)
    np.testing.assert_array_equal(
        tf.gather(items, compact.indices[:, 1]), ratings.indices[:, 1]
    )
    np.testing.assert_array_equal(compact.dense_shape, [4, 3])


def test_a_batch_without_ratings_has_no_columns():
    ratings = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0]), [4, 9])
    compact, items = find_rated_items(ratings)
    np.testing.assert_array_equal(compact.dense_shape, [4, 0])
    assert items.shape == (0,)


def test_a_sample_has_an_item_of_each_stratum_of_the_catalogue():
    seed = keras.random.SeedGenerator(1)
    for _ in range(50):
        items = sample_items(4, 20, seed).numpy()
        np.testing.assert_array_equal(items // 5, [0, 1, 2, 3])


@pytest.mark.slow
def test_every_item_is_drawn_as_often_as_any_other():
    seed, draws = keras.random.SeedGenerator(2), 4000
    # Strata of 10 / 7 items: most end within an item.
    items = [sample_items(7, 10, seed).numpy() for _ in range(draws)]
    share = np.bincount(np.concatenate(items), minlength=10) / draws
    np.testing.assert_allclose(share, 0.7, atol=4 * np.sqrt(0.25 / draws))


def test_a_sample_of_every_item_is_the_catalogue_in_order():
    items = sample_items(30, 30, keras.random.SeedGenerator(3))
    np.testing.assert_array_equal(items, np.arange(30))
