import dataclasses

import numpy as np
import pytest

from data_prep.dataset.files import read_json
from tests.synthetic import reverse_test_ratings
from tests.trainer.compare.known_models import clairvoyant, constant
from trainer.compare.answers import Answers
from trainer.compare.fit_data import BATCH_SIZE, FitData
from trainer.compare.fitting import Fit, fit_and_measure, measure_test
from trainer.compare.models import MODELS
from trainer.job_data import JobData
from trainer.job_record import load_job
from trainer.teachers.training_ratings import read_training_ratings


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
    shared = measured.keys() & expected.keys()
    assert shared >= {"rmse", "mae", "liked/ndcg@10", "coverage"}
    for name in shared:
        assert measured[name] == pytest.approx(expected[name], rel=1e-5), name


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
