import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.items import Items
from tests.data_prep.helpers import serialize_user
from trainer.evaluation.cold_ratings import include_cold_ratings
from trainer.input.input_pipeline import cold_rating_batches

ITEMS = Items(
    item_ids=["a", "b"],
    counts=np.array([30, 10]),
    means=np.array([4.0, 2.0]),
    titles=[None, None],
)
# Training ratings by item, and ratings of cold items.
USERS = [
    ({0: 5.0, 1: 4.0}, [5.0, 3.0]),
    ({0: 1.0}, []),
    ({1: 1.0}, [1.0]),
]
NONE = ((), ())


@pytest.fixture
def shard(tmp_path):
    path = str(tmp_path / "users.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number, (ratings, cold) in enumerate(USERS):
            subsets = {
                "train": (list(ratings), list(ratings.values())),
                "validation": NONE,
                "test": NONE,
            }
            writer.write(
                serialize_user(f"u{number}", subsets, [("test", cold)])
            )
    return path


def cold_errors():
    """The errors of the mean rating plus the users' damped offsets."""
    mean = 3.5
    # Deviations of the items, as if each had 10 more ratings at the mean.
    offsets = {0: 30 * (4 - mean) / 40, 1: 10 * (2 - mean) / 20}
    errors = []
    for ratings, cold in USERS:
        residuals = [r - mean - offsets[i] for i, r in ratings.items()]
        prediction = mean + sum(residuals) / (len(residuals) + 10)
        errors += [prediction - rating for rating in cold]
    return np.array(errors)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_errors_over_all_ratings_include_those_of_cold_items(shard, batch_size):
    known = np.array([0.5, -1.0, 0.25, 2.0])
    errors = include_cold_ratings(
        {
            "rmse": np.sqrt(np.mean(known**2)),
            "mae": np.mean(np.abs(known)),
            "num_ratings": len(known),
        },
        ITEMS,
        cold_rating_batches([shard], 2, batch_size, "test"),
    )
    everything = np.concatenate([known, cold_errors()])
    assert errors["num_ratings"] == len(everything)
    assert errors["rmse"] == pytest.approx(
        np.sqrt(np.mean(everything**2)), rel=1e-6
    )
    assert errors["mae"] == pytest.approx(np.mean(np.abs(everything)), rel=1e-6)


def test_without_cold_ratings_the_errors_stay(shard):
    known = {"rmse": 0.75, "mae": 0.5, "num_ratings": 9}
    batches = cold_rating_batches([shard], 2, 2, "validation")
    assert include_cold_ratings(known, ITEMS, batches) == pytest.approx(known)
