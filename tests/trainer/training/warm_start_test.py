import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.synthetic import write_ratings
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.autoencoder import AutoEncoder
from trainer.recipes import RECIPES
from trainer.training.train import train_and_evaluate
from trainer.training.warm_start import warm_start

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def grown_data(tmp_path_factory, synthetic_data):
    """Prepares a later snapshot of the data, with five more items."""
    directory = tmp_path_factory.mktemp("grown")
    ratings = directory / "ratings.csv"
    write_ratings(ratings)
    with open(ratings, "a", newline="") as file:
        csv.writer(file).writerows(
            (f"user-{user}", f"new-{user % 5}", user % 11, 900_000_000)
            for user in range(200)
        )
    prepare(
        make_source("files", ratings=str(ratings)),
        make_split("user-time"),
        str(directory / "data"),
        options=Options(vocabulary_from=synthetic_data),
    )
    return str(directory / "data")


@pytest.fixture
def grown_items(grown_data):
    return read_items(grown_data)


def make_model(num_items, trained_job, **changes):
    config = load_job(trained_job).model.get_config()
    for name in ("name", "dtype", "trainable"):
        config.pop(name, None)
    return AutoEncoder(**{**config, "num_items": num_items, **changes})


def test_old_items_are_predicted_as_before(trained_job, grown_items):
    old = load_job(trained_job).model
    num_old, num_new = old.num_items, len(grown_items.item_ids)
    assert num_new == num_old + 5
    model = make_model(num_new, trained_job)
    initial = [variable.numpy() for variable in model.trainable_variables]
    warm_start(model, trained_job.job_dir, grown_items)
    # The same statistics, which come from the data and not from the job.
    counts, means = np.zeros(num_new), np.zeros(num_new)
    model.centering.set_statistics(counts, means)
    old.centering.set_statistics(counts[:num_old], means[:num_old])
    indices, values = [[0, 1], [0, 4], [1, 2]], [3.0, 7.0, 0.0]
    before = old(tf.SparseTensor(indices, values, [2, num_old]))
    after = model(tf.SparseTensor(indices, values, [2, num_new]))
    np.testing.assert_allclose(after[:, :num_old], before, atol=1e-5)
    for variable, start in zip(model.trainable_variables, initial, strict=True):
        if num_new in start.shape:
            axis = start.shape.index(num_new)
            new = np.arange(num_old, num_new)
            np.testing.assert_array_equal(
                np.take(variable.numpy(), new, axis), np.take(start, new, axis)
            )


def test_job_goes_on_from_the_weights_of_another(
    trained_job, grown_data, tmp_path
):
    """At a negligible learning rate it keeps the weights of the other job."""
    config = dataclasses.replace(
        RECIPES["untaught"],
        hidden_units=(16, 8),
        batch_size=40,
        num_epochs=1,
        learning_rate=1e-30,
    )
    paths = JobPaths.resolve(str(tmp_path), environ={})
    strategy = tf.distribute.get_strategy()
    train_and_evaluate(config, grown_data, paths, strategy, trained_job.job_dir)
    old, new = load_job(trained_job).model, load_job(paths).model
    for before, after in zip(
        old.trainable_variables, new.trainable_variables, strict=True
    ):
        part = tuple(slice(size) for size in before.shape)
        np.testing.assert_allclose(after.numpy()[part], before.numpy())


def test_items_in_another_order_are_refused(trained_job, grown_items):
    model = make_model(len(grown_items.item_ids), trained_job)
    items = type(grown_items)(
        grown_items.item_ids[::-1],
        grown_items.counts,
        grown_items.means,
        grown_items.titles,
    )
    with pytest.raises(UserError, match=r"otherwise. Prepare.*vocabulary-from"):
        warm_start(model, trained_job.job_dir, items)


def test_other_layers_are_refused(trained_job, grown_items):
    model = make_model(
        len(grown_items.item_ids), trained_job, hidden_units=(16, 9)
    )
    with pytest.raises(UserError, match=r"other layers. Give its --hidden_uni"):
        warm_start(model, trained_job.job_dir, grown_items)


def test_directory_without_a_job_is_refused(trained_job, grown_items, tmp_path):
    model = make_model(len(grown_items.item_ids), trained_job)
    with pytest.raises(UserError, match="holds no trained job"):
        warm_start(model, str(tmp_path), grown_items)
