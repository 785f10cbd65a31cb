import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from tests.job_state import assert_same_state
from tests.synthetic import SMALL_TAUGHT, reverse_test_ratings
from trainer.input.input_pipeline import evaluation_batches
from trainer.input.job_data import JobData
from trainer.job.fitted_teachers import fit_teachers
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.teachers import bayesian_factorization, ease
from trainer.training.train import train_and_evaluate

pytestmark = pytest.mark.extended


def run(directory, data_dir, **changes):
    """Runs a small taught job; returns its paths and metrics."""
    paths = JobPaths.resolve(str(directory), environ={})
    config = dataclasses.replace(SMALL_TAUGHT, **changes)
    strategy = tf.distribute.get_strategy()
    return paths, train_and_evaluate(config, data_dir, paths, strategy)


def stop(*_):
    raise KeyboardInterrupt


def stop_at_sweep_16(sampler):
    """Takes samples until after the first checkpoint of the chain."""
    if sampler.num_sweeps == 16:
        raise KeyboardInterrupt
    return take_sample(sampler)


take_sample = bayesian_factorization._take_sample


@pytest.fixture(scope="module")
def finished(tmp_path_factory, synthetic_data):
    return run(tmp_path_factory.mktemp("taught"), synthetic_data)


def read_test_batches(data_dir):
    num_items = read_manifest(data_dir).num_items
    return evaluation_batches(list_shards(data_dir), num_items, 40, "test")


def test_the_metrics_hold_teachers_lists_and_what_validation_chose(finished):
    paths, metrics = finished
    with open(paths.metrics_file) as file:
        assert json.load(file) == metrics
    teacher = metrics["baselines"]["bayesian_factorization"]
    assert teacher["rmse"] < 0.6 * metrics["baselines"]["biases"]["rmse"]
    assert metrics["ranking"].keys() == {
        *("network", "bayesian_factorization", "ease"),
        *("popularity", "biases"),
    }
    for figures in metrics["ranking"].values():
        assert figures.keys() >= {
            *("all/ndcg@10", "all/ndcg@100", "all/recall@10", "all/recall@50"),
            *("liked/ndcg@10", "liked/recall@50"),
            *("coverage", "top_share", "mean_popularity"),
        }
    assert metrics["blend_weights"].keys() == {
        "network_weight",
        "rating_weight",
    }


def test_the_model_is_no_worse_than_its_teacher_and_far_above_the_biases(
    finished,
):
    _, metrics = finished
    baselines = metrics["baselines"]
    teacher = baselines["bayesian_factorization"]["rmse"]
    assert metrics["test"]["rmse"] < 1.02 * teacher
    assert metrics["beats_baselines"] == (metrics["test"]["rmse"] < teacher)
    lists = metrics["ranking"]
    assert (
        lists["network"]["liked/ndcg@10"]
        > 1.2 * (lists["popularity"]["liked/ndcg@10"])
    )


@pytest.mark.slow
def test_a_taught_job_is_read_back_with_its_teachers_and_weights(
    finished, synthetic_data
):
    paths, metrics = finished
    model = load_job(paths).model
    assert isinstance(model, TaughtAutoEncoder)
    weights = metrics["blend_weights"]
    assert float(model.network_weight) == pytest.approx(
        weights["network_weight"]
    )
    assert float(model.rating_weight) == weights["rating_weight"]
    for predict, expected in (
        (model, metrics["test"]),
        (model.rating_teacher, metrics["baselines"]["bayesian_factorization"]),
    ):
        errors = [
            tf.gather_nd(predict(ratings), held_out.indices) - held_out.values
            for ratings, held_out in read_test_batches(synthetic_data)
        ]
        rmse = np.sqrt(np.mean(np.concatenate(errors) ** 2))
        assert rmse == pytest.approx(expected["rmse"], rel=1e-5)


@pytest.mark.slow
def test_a_job_stopped_anywhere_ends_as_one_that_was_not(
    finished, tmp_path, synthetic_data, monkeypatch
):
    whole, metrics = finished
    for place, stop_there in (
        (
            "trainer.teachers.bayesian_factorization._take_sample",
            stop_at_sweep_16,
        ),
        ("trainer.teachers.ease.fit", stop),
        ("trainer.training.train.Progress.epoch_done", stop),
        ("trainer.training.results.write_json", stop),
    ):
        monkeypatch.setattr(place, stop_there)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, synthetic_data)
        monkeypatch.undo()
    stopped, again = run(tmp_path, synthetic_data)
    assert again == metrics
    assert_same_state(whole.checkpoint_dir, stopped.checkpoint_dir)
    one, other = (load_job(paths).model for paths in (whole, stopped))
    for variable, expected in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.slow
def test_test_ratings_change_neither_weights_nor_choices(
    finished, tmp_path, synthetic_data
):
    paths, metrics = finished
    other_data = reverse_test_ratings(synthetic_data, tmp_path / "data")
    other_paths, other_metrics = run(tmp_path / "job", other_data)
    assert other_metrics["test"] != metrics["test"]
    for name in ("best_epoch", "validation", "liked_from", "blend_weights"):
        assert other_metrics[name] == metrics[name]
    assert_same_state(paths.checkpoint_dir, other_paths.checkpoint_dir)
    one, other = (load_job(p).model for p in (paths, other_paths))
    for variable, expected in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


def fit(paths, data_dir, **changes):
    """Fits the teachers of a small job alone."""
    config = dataclasses.replace(SMALL_TAUGHT, **changes)
    data = JobData.read(data_dir, config.batch_size)
    return fit_teachers(config, paths, data)


@pytest.mark.slow
def test_teachers_of_other_settings_are_fitted_anew(tmp_path, synthetic_data):
    paths = JobPaths.resolve(str(tmp_path), environ={})
    assert fit(paths, synthetic_data)["rating_teacher"].rank == 2
    assert (
        fit(paths, synthetic_data, teacher_rank=3)["rating_teacher"].rank == 3
    )


@pytest.mark.slow
def test_large_catalogs_have_no_interest_teacher(
    tmp_path, synthetic_data, monkeypatch
):
    monkeypatch.setattr(ease, "MAX_ITEMS", 39)
    paths = JobPaths.resolve(str(tmp_path), environ={})
    assert fit(paths, synthetic_data).keys() == {"rating_teacher"}


def test_a_teacher_that_cannot_be_written_is_told(tmp_path, synthetic_data):
    paths = JobPaths.resolve(str(tmp_path), environ={})
    # A directory in the place of the file.
    (tmp_path / "checkpoints/teachers/rating_teacher.tmp.keras").mkdir(
        parents=True
    )
    with pytest.raises(UserError, match=r"cannot write a teacher to .*keras"):
        fit(paths, synthetic_data)
