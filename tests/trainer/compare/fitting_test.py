import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.files import read_json
from data_prep.dataset.items import Items
from tests.data_prep.helpers import serialize_user
from tests.synthetic import reverse_test_ratings
from tests.trainer.compare.known_models import clairvoyant, constant
from trainer.compare.answers import Answers
from trainer.compare.fit_data import BATCH_SIZE, FitData
from trainer.compare.fitting import Fit, fit_and_measure, measure_test
from trainer.compare.models import MODELS
from trainer.input.job_data import JobData
from trainer.job.record import load_job
from trainer.teachers.training_ratings import read_training_ratings

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def data(synthetic_data):
    return JobData.read(synthetic_data, BATCH_SIZE)


def test_a_model_that_knows_the_test_ratings_by_user_makes_no_error(
    data, synthetic_data
):
    training = read_training_ratings(synthetic_data)
    measured = measure_test(clairvoyant(data, training), data)
    assert measured["test"]["rmse"] == 0
    # Items rated lower than others are liked no less than unrated ones.
    assert measured["test"]["all/recall@50"] == pytest.approx(1)
    assert measured["resampled"]["rmse"] == [0] * 1001


def test_a_model_that_takes_one_user_for_another_is_found_out(
    data, synthetic_data
):
    training = read_training_ratings(synthetic_data)
    model = clairvoyant(data, training)
    measured = measure_test(
        lambda ratings, rows: model(ratings, (rows + 1) % training.num_users),
        data,
    )
    assert measured["test"]["rmse"] > 1


def test_the_errors_of_a_constant_are_those_of_the_ratings(data):
    measured = measure_test(constant(5.0), data)
    ratings = np.concatenate(
        [held_out.values for _, held_out in data.held_out("test")]
    )
    rmse = np.sqrt(np.mean((ratings - 5.0) ** 2))
    assert measured["test"]["rmse"] == pytest.approx(rmse)
    assert measured["resampled"]["rmse"][0] == pytest.approx(rmse)


def test_a_job_has_the_figures_that_it_has_in_its_own_metrics(
    data, trained_job
):
    model = load_job(trained_job).model

    def answer(ratings, rows):
        return Answers(model(ratings), model(ratings))

    measured = measure_test(answer, data)["test"]
    metrics = read_json(trained_job.metrics_file)
    expected = metrics["ranking"]["network"] | metrics["test"]
    for name, value in metrics["test"]["all"].items():
        expected[f"{name}_with_cold"] = value
    shared = measured.keys() & expected.keys()
    assert shared >= {"rmse", "rmse_with_cold", "liked/ndcg@10", "coverage"}
    for name in shared:
        assert measured[name] == pytest.approx(expected[name], rel=1e-5), name


def test_errors_over_all_ratings_include_those_of_cold_items(tmp_path, data):
    shard = str(tmp_path / "users.tfrecord")
    with tf.io.TFRecordWriter(shard) as writer:
        for user, train, test, cold in (
            ("ann", ([0, 1], [5.0, 3.0]), ([], []), [1.0]),
            ("bob", ([0, 1], [4.0, 2.0]), ([], []), []),
            ("cat", ([0], [3.0]), ([1], [4.0]), []),
        ):
            subsets = {"train": train, "validation": ([], []), "test": test}
            writer.write(serialize_user(user, subsets, [("test", cold)]))
    items = Items(
        ["a", "b"], np.array([3, 2]), np.array([4.0, 2.5]), [None] * 2
    )
    small = dataclasses.replace(
        data,
        manifest=dataclasses.replace(
            data.manifest, num_cold_ratings={"test": 1}
        ),
        items=items,
        shards=[shard],
    )
    measured = measure_test(constant(3.0), small)["test"]
    assert measured["rmse"] == pytest.approx(1.0)
    # Offsets of items as if each had 10 more ratings at the mean; the user's
    # likewise, of what these leave.
    mean = 17 / 5
    offsets = 3 * (4.0 - mean) / 13, 2 * (2.5 - mean) / 12
    left = (5.0 - mean - offsets[0]) + (3.0 - mean - offsets[1])
    errors = np.array([1.0, mean + left / 12 - 1.0])
    assert measured["num_ratings_with_cold"] == 2
    assert measured["mae_with_cold"] == pytest.approx(np.mean(abs(errors)))
    assert measured["rmse_with_cold"] == pytest.approx(
        np.sqrt(np.mean(errors**2))
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("biases", {"item_damping", "user_damping"}),
        ("ease", {"penalty", "diagonal_penalty"}),
        ("mf", {"k", "lambda_reg"}),
        pytest.param("untaught", set(), marks=pytest.mark.slow),
        pytest.param("quickstart", set(), marks=pytest.mark.slow),
    ],
)
def test_what_is_chosen_does_not_depend_on_the_test_ratings(
    name, settings, tmp_path, synthetic_data, monkeypatch
):
    model = MODELS[name]
    if not model.is_installed:
        pytest.skip(f"{name} needs {model.library}.")
    few = {"grid": model.grid[:2], "epochs": model.epochs[:2]}
    monkeypatch.setitem(MODELS, name, dataclasses.replace(model, **few))
    other_data = reverse_test_ratings(synthetic_data, tmp_path / "data")
    for work_dir in ("one", "other"):
        (tmp_path / work_dir).mkdir()
    record, other = (
        fit_and_measure(Fit(name, 0), data_dir, str(tmp_path / work_dir), None)
        for data_dir, work_dir in (
            (synthetic_data, "one"),
            (other_data, "other"),
        )
    )
    assert record["settings"].keys() == settings
    for key in ("settings", "num_epochs", "validation"):
        assert record[key] == other[key]
    for trial, of_other in zip(record["trials"], other["trials"], strict=True):
        assert {**trial, "seconds": 0} == {**of_other, "seconds": 0}
    assert record["test"] != other["test"]


def test_models_are_fitted_on_data_without_test_ratings(synthetic_data):
    public = {name for name in dir(FitData) if not name.startswith("_")}
    assert public == {
        *("data_dir", "items", "distribution", "training", "validation"),
    }
