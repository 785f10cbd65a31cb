import numpy as np
import tensorflow as tf

from trainer.compare.user_factors import UserFactors
from trainer.teachers.training_ratings import TrainingRatings


def test_a_prediction_is_mean_plus_biases_plus_product_of_factors():
    rng = np.random.default_rng(0)
    ratings = TrainingRatings(
        starts=np.array([0, 2, 2, 3]),
        items=np.array([0, 4, 1], np.int32),
        values=np.array([3, 5, 1], np.float32),
        num_items=5,
    )
    user_biases, item_biases = rng.normal(size=3), rng.normal(size=5)
    users, items = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    answer = UserFactors(ratings, 3.5, user_biases, item_biases, users, items)
    shown = tf.sparse.from_dense(np.zeros((3, 5), np.float32))
    answers = answer(shown, tf.constant([2, 0, 1]))
    for row, user in enumerate((2, 0)):
        for item in range(5):
            np.testing.assert_allclose(
                answers.ratings[row, item],
                3.5
                + user_biases[user]
                + item_biases[item]
                + users[user] @ items[item],
                rtol=1e-5,
            )
    # User 1 has no training ratings.
    np.testing.assert_allclose(answers.ratings[2], 3.5 + item_biases, rtol=1e-5)
    np.testing.assert_array_equal(answers.scores, answers.ratings)
