import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.records import (
    list_shards,
    parse_cold_ratings,
    parse_user_ids,
    parse_users,
)
from data_prep.dataset.schema import SUBSETS
from data_prep.prepare import prepare
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import serialize_user

NONE = ([], [])
ANNA = {"train": ([0, 3], [4.5, 0.0]), "validation": NONE, "test": ([2], [-1])}
BORIS = {"train": ([4], [1.0]), "validation": ([1], [5.0]), "test": NONE}


@pytest.fixture
def serialized():
    return tf.constant(
        [serialize_user("anna", ANNA), serialize_user("борис", BORIS)]
    )


def to_triples(ratings):
    return [
        (int(row), int(item), float(rating))
        for (row, item), rating in zip(
            ratings.indices.numpy(), ratings.values.numpy(), strict=True
        )
    ]


def test_users_come_back_as_they_were_written(serialized):
    parsed = parse_users(serialized, 5, list(SUBSETS))
    assert to_triples(parsed["train"]) == [(0, 0, 4.5), (0, 3, 0), (1, 4, 1)]
    assert to_triples(parsed["validation"]) == [(1, 1, 5.0)]
    assert to_triples(parsed["test"]) == [(0, 2, -1.0)]
    user_ids = [u.decode() for u in parse_user_ids(serialized).numpy()]
    assert user_ids == ["anna", "борис"]


@pytest.mark.parametrize("subset", SUBSETS)
def test_only_the_named_subset_is_parsed(serialized, subset):
    assert parse_users(serialized, 5, [subset]).keys() == {subset}


def test_training_ratings_do_not_depend_on_test_ratings():
    other = {**ANNA, "test": ([1, 4], [5.0, 5.0])}
    with_other = tf.constant([serialize_user("anna", other)])
    without = tf.constant([serialize_user("anna", ANNA)])
    assert to_triples(parse_users(with_other, 5, ["train"])["train"]) == (
        to_triples(parse_users(without, 5, ["train"])["train"])
    )


def test_ratings_of_cold_items_stand_side_by_side(serialized):
    cold = [("test", [2.0, 4.5])]
    batch = tf.concat([serialized, [serialize_user("eva", BORIS, cold)]], 0)
    parsed = parse_cold_ratings(batch, "test")
    assert to_triples(parsed) == [(2, 0, 2.0), (2, 1, 4.5)]
    assert to_triples(parse_cold_ratings(batch, "validation")) == []


def test_batch_has_a_static_number_of_items_inside_a_pipeline(serialized):
    data = tf.data.Dataset.from_tensor_slices(serialized).batch(2)
    data = data.map(lambda batch: parse_users(batch, 5, ["train"])["train"])
    (batch,) = data
    assert batch.dtype == tf.float32
    assert batch.shape == (2, 5)
    assert data.element_spec.shape.as_list()[1] == 5


def test_shards_are_listed_in_order(source, tmp_path):
    prepare(source, make_split("random"), str(tmp_path), num_shards=3)
    assert list_shards(str(tmp_path)) == [
        f"{tmp_path}/users/part-0000{k}-of-00003.tfrecord" for k in range(3)
    ]


def test_directory_without_manifest_is_not_prepared_data(source, tmp_path):
    prepare(source, make_split("random"), str(tmp_path))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"is not prepared data.*Run `python -m data_prep.task"
    ):
        list_shards(str(tmp_path))


def test_lost_shard_is_named(source, tmp_path):
    prepare(source, make_split("random"), str(tmp_path))
    (tmp_path / "users" / "part-00002-of-00008.tfrecord").unlink()
    with pytest.raises(UserError, match=r"part-00002-of-00008.tfrecord is mis"):
        list_shards(str(tmp_path))
