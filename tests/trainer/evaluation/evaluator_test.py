import numpy as np
import pytest
import tensorflow as tf

from trainer.evaluation.evaluator import Evaluator
from trainer.model.autoencoder import AutoEncoder

pytestmark = pytest.mark.integration

NUM_ITEMS = 4


def read_batches(num_users, batch_size):
    """Makes pairs of ratings and held-out ratings, one of each per user."""
    rng = np.random.default_rng(3)
    ratings, held_out = (
        tf.SparseTensor(
            np.stack(
                [np.arange(num_users), rng.integers(NUM_ITEMS, size=num_users)],
                axis=1,
            ),
            rng.normal(3, 1, num_users).astype(np.float32),
            [num_users, NUM_ITEMS],
        )
        for _ in range(2)
    )
    return tf.data.Dataset.from_tensor_slices((ratings, held_out)).batch(
        batch_size
    )


# Of a last batch of 1, 2 or 4 users, three replicas cannot all have some.
@pytest.mark.parametrize(
    "num_users",
    [
        7,
        *(pytest.param(n, marks=pytest.mark.extended) for n in (6, 8, 10)),
    ],
)
def test_replicas_score_the_held_out_ratings_of_all_users(
    num_users, three_replicas
):
    batches = read_batches(num_users, batch_size=6)
    one = AutoEncoder(NUM_ITEMS, (2,), dropout_rate=0)
    expected = Evaluator(one, tf.distribute.get_strategy())(batches)
    with three_replicas.scope():
        three = AutoEncoder(NUM_ITEMS, (2,), dropout_rate=0)
    three.set_weights(one.get_weights())
    metrics = Evaluator(three, three_replicas)(batches)
    assert metrics["num_ratings"] == expected["num_ratings"] == num_users
    assert metrics == pytest.approx(expected, rel=1e-6)
