"""A job is measured on other data as it was on its own."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from data_prep.dataset.items import read_items
from data_prep.dataset.records import list_shards, parse_users
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.sources.tables import make_table_source
from data_prep.splits.registry import make_split
from tests.synthetic import write_ratings
from trainer.input.item_mapping import ItemMapping
from trainer.job.record import load_job
from trainer.training.job_evaluation import evaluate_job

pytestmark = pytest.mark.extended


def prepare_ratings(directory, extra=()):
    """Prepares other ratings of the same items, and some more."""
    ratings = directory / "ratings.csv"
    write_ratings(ratings, num_users=60, seed=5)
    with open(ratings, "a", newline="") as file:
        csv.writer(file).writerows(extra)
    prepare(
        make_source("files", ratings=str(ratings)),
        make_split("random", test_fraction=0.3),
        str(directory / "data"),
        num_shards=2,
    )
    return str(directory / "data")


def read_by_id(data_dir):
    """Reads users as dicts of ratings by item id, by subset."""
    item_ids = read_items(data_dir).item_ids
    for record in tf.data.TFRecordDataset(list_shards(data_dir)):
        subsets = parse_users([record], len(item_ids), ["train", "test"])
        yield {
            name: {
                item_ids[item]: rating
                for item, rating in zip(
                    ratings.indices[:, 1].numpy(),
                    ratings.values.numpy(),
                    strict=True,
                )
            }
            for name, ratings in subsets.items()
        }


@pytest.mark.slow
def test_its_own_data_give_the_metrics_of_the_job(trained_job, synthetic_data):
    with open(trained_job.metrics_file) as file:
        assert evaluate_job(trained_job, synthetic_data) == json.load(file)


def test_items_are_found_by_id_and_new_ones_count_as_cold(
    trained_job, tmp_path, caplog
):
    # So many ratings of new items that they take the first indices.
    extra = [
        (f"user-{user}", f"new-{item}", 5, 2_000_000_000 + item)
        for user in range(60)
        for item in range(3)
    ]
    data_dir = prepare_ratings(tmp_path, extra)
    assert read_items(data_dir).item_ids[0].startswith("new-")
    metrics = evaluate_job(trained_job, data_dir)

    job = load_job(trained_job)
    index_of = {name: index for index, name in enumerate(job.items.item_ids)}
    errors, num_new = [], 0
    for user in read_by_id(data_dir):
        ratings = np.zeros(len(index_of), np.float32)
        rated = sorted(
            index_of[name] for name in user["train"] if name in index_of
        )
        for name, rating in user["train"].items():
            if name in index_of:
                ratings[index_of[name]] = rating
        predictions = job.model(
            tf.SparseTensor(
                np.array([[0, item] for item in rated]).reshape(-1, 2),
                ratings[rated],
                [1, len(index_of)],
            )
        ).numpy()[0]
        for name, rating in user["test"].items():
            if name in index_of:
                errors.append(predictions[index_of[name]] - rating)
            else:
                num_new += 1
    assert num_new > 20
    assert metrics["test"]["num_ratings"] == len(errors)
    assert metrics["test"]["rmse"] == pytest.approx(
        np.sqrt(np.mean(np.square(errors))), rel=1e-5
    )
    assert metrics["test"]["all"]["num_ratings"] == len(errors) + num_new
    assert "does not know 3 of the 43 items" in caplog.text


def test_indices_are_in_order_after_a_mapping():
    mapping = ItemMapping(["c", "x", "a", "b"], ["a", "b", "c"])
    ratings = tf.SparseTensor(
        [[0, 0], [0, 1], [0, 2], [1, 3]], [1.0, 2.0, 3.0, 4.0], [2, 4]
    )
    known = mapping.keep_known(ratings)
    assert known.indices.numpy().tolist() == [[0, 0], [0, 2], [1, 1]]
    assert known.values.numpy().tolist() == [3.0, 1.0, 4.0]
    assert known.dense_shape.numpy().tolist() == [2, 3]
    assert mapping.keep_unknown(ratings).values.numpy().tolist() == [2.0]


def prepare_table(directory, items, ratings):
    table = pa.table(
        {
            "user": [str(user) for user in range(50) for _ in range(10)],
            "item": [items[k % len(items)] for k in range(500)],
            "rating": [float(ratings[k % len(ratings)]) for k in range(500)],
        }
    )
    prepare(make_table_source(table), make_split("random"), str(directory))
    return str(directory)


def test_data_that_a_job_cannot_be_measured_on_are_refused(
    trained_job, tmp_path
):
    things = [f"thing-{number}" for number in range(11)]
    data_dir = prepare_table(tmp_path / "things", things, [1, 2])
    with pytest.raises(ValueError, match=r"none of the 11 items.*'thing-"):
        evaluate_job(trained_job, data_dir)
    items = [f"item-{number}" for number in range(11)]
    data_dir = prepare_table(tmp_path / "percent", items, [10, 100])
    with pytest.raises(ValueError, match=r"from 10 to 100, and .* 0 to 10"):
        evaluate_job(trained_job, data_dir)
    with pytest.raises(ValueError, match="nowhere is not prepared data"):
        evaluate_job(trained_job, "/nowhere")
