import numpy as np
import pytest
import tensorflow as tf

from trainer.compare.nearest_items import NearestItems

NUM_ITEMS = 30


@pytest.mark.parametrize("num_neighbors", [1, 3, 7, 50])
def test_predictions_are_those_of_sorted_neighbors(num_neighbors):
    rng = np.random.default_rng(0)
    biases = rng.normal(size=NUM_ITEMS)
    similarities = rng.uniform(-0.5, 1, (NUM_ITEMS, NUM_ITEMS))
    # An item that is like no other keeps its baseline.
    similarities[4] = -1
    dense = rng.integers(1, 6, (9, NUM_ITEMS)).astype(np.float32)
    is_rated = rng.random(dense.shape) < 0.4
    is_rated[8] = False
    ratings = tf.SparseTensor(
        np.argwhere(is_rated), dense[is_rated], dense.shape
    )
    model = NearestItems(3.0, biases, 15.0, similarities, num_neighbors)
    predicted = model(ratings, tf.range(9)).ratings.numpy()
    for user in range(9):
        rated = np.flatnonzero(is_rated[user])
        residuals = dense[user, rated] - 3 - biases[rated]
        bias = residuals.sum() / (len(rated) + 15)
        for item in range(NUM_ITEMS):
            near = sorted(
                zip(similarities[item, rated], residuals - bias, strict=True),
                reverse=True,
            )[:num_neighbors]
            near = [(s, r) for s, r in near if s > 0]
            expected = 3 + biases[item] + bias
            if near:
                expected += sum(s * r for s, r in near) / sum(
                    s for s, _ in near
                )
            assert predicted[user, item] == pytest.approx(expected, abs=1e-4)
