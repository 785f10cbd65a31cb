import hypothesis
import numpy as np
import pyarrow as pa
import tensorflow as tf
from hypothesis import strategies as st

from data_prep.dataset.schema import COLD_RATINGS, SUBSETS
from data_prep.engine.tfrecords import serialize_records
from tests.data_prep.helpers import serialize_user

RATINGS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 300), st.integers(0, 2**40)),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    max_size=40,
)
COLD = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40
)
USERS = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=200),
        *[RATINGS] * len(SUBSETS),
        *[COLD] * len(COLD_RATINGS),
    ),
    max_size=6,
)


def write_with_tensorflow(users, path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for user_id, train, validation, test, *cold in users:
            lists = train, validation, test
            subsets = {
                subset: tuple(zip(*ratings, strict=True)) or ((), ())
                for subset, ratings in zip(SUBSETS, lists, strict=True)
            }
            cold_lists = zip(COLD_RATINGS, cold, strict=True)
            writer.write(serialize_user(user_id, subsets, cold_lists))
    return path.read_bytes()


def serialize(users):
    lists = [user[1 : 1 + len(SUBSETS)] for user in users]
    cold_lists = [user[1 + len(SUBSETS) :] for user in users]
    ratings = [pair for user in lists for pairs in user for pair in pairs]
    cold = [rating for user in cold_lists for part in user for rating in part]
    counts, cold_counts = (
        np.array(
            [[len(part) for part in user] for user in parts], np.int64
        ).reshape(-1, width)
        for parts, width in ((lists, len(SUBSETS)), (cold_lists, 2))
    )
    return serialize_records(
        pa.array([user_id for user_id, *_ in users], pa.string()),
        counts,
        np.array([index for index, _ in ratings], np.int64),
        np.array([rating for _, rating in ratings], np.float32),
        cold_counts,
        np.array(cold, np.float32),
    ).tobytes()


@hypothesis.given(users=USERS)
@hypothesis.settings(max_examples=60)
def test_bytes_are_those_of_tensorflow(users, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "users.tfrecord"
    assert serialize(users) == write_with_tensorflow(users, path)


def test_users_with_thousands_of_ratings_are_serialized_alike(tmp_path):
    rng = np.random.default_rng(0)
    users = [
        (
            f"user-{size}",
            *(
                list(
                    zip(
                        np.sort(rng.integers(0, 20_000, number)).tolist(),
                        rng.integers(1, 6, number).astype(float).tolist(),
                        strict=True,
                    )
                )
                for number in (size, size // 7, 0)
            ),
            [],
            rng.integers(1, 6, size // 9).astype(float).tolist(),
        )
        for size in (1, 25, 26, 3_000, 20_000)
    ]
    path = tmp_path / "users.tfrecord"
    assert serialize(users) == write_with_tensorflow(users, path)


def test_ids_may_be_a_slice_of_others():
    ids = pa.array(["left out", "anna", "boris"]).slice(1)
    counts = np.array([[1, 0, 0], [1, 0, 0]])
    indices, ratings = np.array([3, 4]), np.array([1.0, 2.0], np.float32)
    cold = np.zeros((2, 2), np.int64), np.zeros(0, np.float32)
    columns = counts, indices, ratings, *cold
    whole = serialize_records(pa.array(ids.to_pylist()), *columns)
    sliced = serialize_records(ids, *columns)
    assert whole.tobytes() == sliced.tobytes()
